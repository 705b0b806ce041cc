//! Appending to a cache, and turning rows.

use super::cache::{CacheIndex, KvCache};
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{AppendPlan, RotatePlan, RowsPlan};
use crate::shader::{Linker, Shader, ShaderError};
use crate::spec::wrong;
use crate::{AppendSpec, DType, Element, Error, Gpu, Rotary, RotaryPairs, RotateSpec, Tensor};

params! {
    /// `attention/append`.
    AppendParams { rows: u32, len: u32, heads: u32, advance: u32, batch: u32, page: u32 }
}

/// Cosines and sines of a [`Rotary`] on the device, (positions, `dim / 2`) each.
#[derive(Clone, Copy, Debug)]
pub struct RotaryTables<'a> {
    /// Cosines.
    pub cos: &'a Tensor<f32>,
    /// Sines.
    pub sin: &'a Tensor<f32>,
}

impl RotaryTables<'_> {
    fn check(&self, gpu: &Gpu, rotary: &Rotary) -> Result<(), Error> {
        self.cos.expect(gpu, "rotary_cos", DType::F32, &rotary.table_shape())?;
        self.sin.expect(gpu, "rotary_sin", DType::F32, &rotary.table_shape())
    }
}

/// The linked shaders of a plan: of the keys, and of the values.
pub fn append_shaders(plan: &AppendPlan) -> Result<Vec<Shader>, ShaderError> {
    [plan.keys, plan.values].iter().map(shader).collect()
}

/// The linked shader of a plan.
pub fn rotate_shaders(plan: &RotatePlan) -> Result<Vec<Shader>, ShaderError> {
    Ok(vec![shader(&plan.rows)?])
}

/// Modules that bind a tensor are linked in the order of [`buffers`].
fn shader(plan: &RowsPlan) -> Result<Shader, ShaderError> {
    let linker = Linker::new("attention/append").set("WIDTH", plan.width).set("LANES", plan.lanes());
    let linker = match plan.rotary {
        None => linker.module("attention/rotary_none"),
        Some((dim, pairs)) => linker
            .module("attention/rotary_pairs")
            .set("ROTARY_DIM", dim)
            .set("INTERLEAVED", pairs == RotaryPairs::Interleaved),
    };
    let linker = if plan.paged {
        linker.module("attention/cache_index").module("attention/cache_pages")
    } else {
        linker.module("attention/cache_slots")
    };
    linker
        .module(if plan.scaled() { "attention/scales_heads" } else { "attention/scales_none" })
        .tensor("x", plan.from)
        .tensor("y", plan.to)
        .link()
}

/// The tensors of a kernel, those of its modules last.
fn buffers<'a>(
    own: [&'a wgpu::Buffer; 3],
    tables: Option<RotaryTables<'a>>,
    index: Option<&'a wgpu::Buffer>,
    scales: Option<&'a Tensor<f32>>,
) -> Vec<&'a wgpu::Buffer> {
    let tables = tables.into_iter().flat_map(|tables| [tables.cos.buffer(), tables.sin.buffer()]);
    own.into_iter().chain(tables).chain(index).chain(scales.map(Tensor::buffer)).collect()
}

/// New keys and values of an [`Append`]; shapes as in [`AppendSpec`].
#[derive(Clone, Copy, Debug)]
pub struct AppendInputs<'a, T> {
    /// New keys.
    pub k: &'a Tensor<T>,
    /// New values.
    pub v: &'a Tensor<T>,
    /// Cosines and sines, if the spec turns keys.
    pub rotary: Option<RotaryTables<'a>>,
}

/// New keys and values, written behind those of their sequences in a cache, in place.
#[derive(Clone, Debug)]
pub struct Append {
    gpu: Gpu,
    spec: AppendSpec,
    plan: AppendPlan,
    kernels: [Kernel; 2],
}

impl Append {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: AppendSpec) -> Result<Self, Error> {
        let plan = AppendPlan::new(&spec, gpu.caps())?;
        let kernels = compile_array(gpu, &append_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels })
    }

    /// How it runs here.
    pub fn plan(&self) -> &AppendPlan {
        &self.plan
    }

    /// Records the append into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor or the cache lives on another [`Gpu`] or is not as the spec says, if
    /// the index is that of another step, has no room for the new keys or the same for two sequences, or if a new key stands past the rotary tables.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AppendInputs<'_, T>,
        cache: &KvCache<T>,
        index: &CacheIndex,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels } = self;
        inputs.k.expect(gpu, "k", spec.cache.dtype, &spec.k_shape())?;
        inputs.v.expect(gpu, "v", spec.cache.dtype, &spec.v_shape())?;
        cache.expect(gpu, &spec.cache)?;
        index.expect(gpu, &spec.cache, spec.batch, spec.len)?;
        index.view().check(&spec.cache, spec.len)?;
        check_tables(gpu, spec.rotary, inputs.rotary, index.positions(), spec.len)?;
        let params = |plan: &RowsPlan| {
            let rows = spec.batch * spec.len * spec.cache.kv_heads;
            AppendParams {
                groups: plan.groups(rows),
                rows: rows as u32,
                len: spec.len as u32,
                heads: spec.cache.kv_heads as u32,
                advance: 1,
                batch: spec.batch as u32,
                page: spec.cache.block_len as u32,
            }
        };
        let (k_cache, v_cache) = cache.buffers();
        let scales = cache.scales();
        let pages = spec.cache.paged.then(|| index.buffer());
        let own = [inputs.k.buffer(), index.firsts(), k_cache];
        let keys = buffers(own, inputs.rotary, pages, scales.map(|scales| &scales.inverse_k));
        kernels[0].dispatch(gpu, encoder, &params(&plan.keys), &keys)?;
        let own = [inputs.v.buffer(), index.firsts(), v_cache];
        let values = buffers(own, None, pages, scales.map(|scales| &scales.inverse_v));
        kernels[1].dispatch(gpu, encoder, &params(&plan.values), &values)
    }

    /// Records the append and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: AppendInputs<'_, T>,
        cache: &KvCache<T>,
        index: &CacheIndex,
    ) -> Result<(), Error> {
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, cache, index)?;
        self.gpu.submit(encoder)
    }
}

fn check_tables(
    gpu: &Gpu,
    rotary: Option<Rotary>,
    tables: Option<RotaryTables<'_>>,
    positions: &[u32],
    len: usize,
) -> Result<(), Error> {
    match (rotary, tables) {
        (Some(rotary), Some(tables)) => {
            positions.iter().try_for_each(|&first| rotary.check_positions(first, len))?;
            tables.check(gpu, &rotary)
        }
        (None, None) => Ok(()),
        (rotary, _) => Err(Error::Presence { tensor: "a rotary table", expected: rotary.is_some() }),
    }
}

/// Rows turned by their positions.
#[derive(Clone, Debug)]
pub struct Rotate {
    gpu: Gpu,
    spec: RotateSpec,
    plan: RotatePlan,
    kernel: Kernel,
}

impl Rotate {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: RotateSpec) -> Result<Self, Error> {
        let plan = RotatePlan::new(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &rotate_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &RotatePlan {
        &self.plan
    }

    /// The tensor for the output. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.shape())
    }

    /// Records the rotation into an encoder of the same device. `positions` are those of each batch's first row.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`] or is not as the spec says, and if a row
    /// stands past the tables. The output may not share a buffer with the input: the submission would fail.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        x: &Tensor<T>,
        tables: RotaryTables<'_>,
        positions: &[u32],
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        x.expect(gpu, "x", spec.dtype, &spec.shape())?;
        y.expect(gpu, "y", spec.dtype, &spec.shape())?;
        if positions.len() != spec.batch {
            let expected = format!("{}, one for each batch", spec.batch);
            return Err(wrong("the number of positions", &positions.len(), expected).into());
        }
        let advancing = if spec.in_place { 1 } else { spec.len };
        check_tables(gpu, Some(spec.rotary), Some(tables), positions, advancing)?;
        let first = |(i, &position): (usize, &u32)| [(i * spec.len) as u32, position];
        let firsts: Vec<_> = positions.iter().enumerate().flat_map(first).collect();
        let rows = spec.batch * spec.len * spec.heads;
        let params = AppendParams {
            groups: plan.rows.groups(rows),
            rows: rows as u32,
            len: spec.len as u32,
            heads: spec.heads as u32,
            advance: u32::from(!spec.in_place),
            batch: spec.batch as u32,
            page: 1,
        };
        let own = [x.buffer(), &gpu.upload(&firsts)?, y.buffer()];
        kernel.dispatch(gpu, encoder, &params, &buffers(own, Some(tables), None, None))
    }

    /// Allocates the output, records the rotation and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        x: &Tensor<T>,
        tables: RotaryTables<'_>,
        positions: &[u32],
    ) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, x, tables, positions, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }
}
