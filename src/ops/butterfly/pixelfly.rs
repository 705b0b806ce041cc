//! The Pixelfly linear layer.

use super::block_sparse::{sparse_params, sparse_product, upload_list};
use super::block_tile::{
    ColumnSums, Outer, Scale, block_diagonal, column_sums, diagonal_params, outer_scaled, with_bias,
};
use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::ops::slice_sum::{self, Slices};
use crate::plan::{
    DOT_ELEMENTS, DOT_LANES, PixelflyBackwardPlan, PixelflyPlan, SliceSumPlan, SparseProductPlan,
};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::tensor::expect_optional;
use crate::{Element, Error, Gpu, PixelflySpec, Tensor};

params! {
    /// `butterfly/dot_parts`.
    DotParams { first: u32, left_length: u32, length: u32, group_length: u32, sign: f32 }
}

/// Inputs of a [`PixelflyLinear`]; shapes as in [`PixelflySpec`].
#[derive(Clone, Copy, Debug)]
pub struct PixelflyInputs<'a, T> {
    /// Rows to multiply.
    pub x: &'a Tensor<T>,
    /// The blocks of `W`.
    pub w: &'a Tensor<T>,
    /// The first factor of the low rank.
    pub u: &'a Tensor<T>,
    /// The second.
    pub v: &'a Tensor<T>,
    /// The gate, if the spec learns it.
    pub gate: Option<&'a Tensor<f32>>,
    /// The bias, if the spec has one.
    pub bias: Option<&'a Tensor<T>>,
}

/// Gradients of a [`PixelflyLinear`], each of the shape and type of what it belongs to.
#[derive(Clone, Debug)]
pub struct PixelflyGradients<T> {
    /// For `x`.
    pub dx: Tensor<T>,
    /// For the blocks of `W`.
    pub dw: Tensor<T>,
    /// For the first factor of the low rank.
    pub du: Tensor<T>,
    /// For the second.
    pub dv: Tensor<T>,
    /// For the gate, if the spec learns it.
    pub dgate: Option<Tensor<f32>>,
    /// For the bias, if the spec has one.
    pub dbias: Option<Tensor<T>>,
}

/// The layer `y = (1 - g) x Wᵀ + g (x U) V + bias` with a block-sparse `W` (Dao et al. 2022).
///
/// The gate's gradient needs no product of its own: it is `⟨x U, dy Vᵀ⟩ - ⟨W, dyᵀ x⟩`, over what the others compute anyway.
#[derive(Clone, Debug)]
pub struct PixelflyLinear {
    gpu: Gpu,
    spec: PixelflySpec,
    plan: PixelflyPlan,
    kernels: Vec<Kernel>,
    lists: Tensor<f32>,
    half: Tensor<f32>,
    scratch: Scratch,
}

/// The gradients of a [`PixelflyLinear`].
#[derive(Clone, Debug)]
pub struct PixelflyBackward {
    gpu: Gpu,
    spec: PixelflySpec,
    plan: PixelflyBackwardPlan,
    kernels: Vec<Kernel>,
    lists: Tensor<f32>,
    places: Tensor<f32>,
    half: Tensor<f32>,
    scratch: Scratch,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &PixelflyPlan) -> Result<Vec<Shader>, ShaderError> {
    let tensors = &plan.storage;
    let low = block_diagonal(&plan.low, true, [tensors.x, tensors.u, tensors.h])?;
    let factors = [tensors.h, tensors.y];
    let linker = low_rank(&plan.product, [tensors.x, tensors.w, tensors.y], false, factors);
    let linker = with_bias(linker, plan.bias.then_some(tensors.y));
    Ok(vec![low, linker.link()?])
}

fn low_rank(
    plan: &SparseProductPlan,
    tensors: [Storage; 3],
    turned: bool,
    [h, factor]: [Storage; 2],
) -> Linker {
    let linker = sparse_product(plan, tensors, "butterfly/further_low_rank").set("FACTOR_TURNED", turned);
    linker.tensor("h", h).tensor("factor", factor)
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn backward_shaders(plan: &PixelflyBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let tensors = &plan.storage;
    let product = low_rank(&plan.dx, [tensors.y, tensors.w, tensors.x], true, [tensors.h, tensors.u]);
    let mut shaders = vec![
        block_diagonal(&plan.low, true, [tensors.x, tensors.u, tensors.h])?,
        block_diagonal(&plan.low_gradient, false, [tensors.y, tensors.y, tensors.h])?,
        with_bias(product, None).link()?,
    ];
    let (listed, diagonal) = ("butterfly/pairs_listed", "butterfly/pairs_diagonal");
    let outer =
        |plan, pairs, sides, low_rank| outer_scaled(plan, pairs, [false; 2], sides, Scale::Gate { low_rank });
    shaders.extend(outer(&plan.dw, listed, [tensors.y, tensors.x], false)?);
    shaders.extend(outer(&plan.du, diagonal, [tensors.x, tensors.h], true)?);
    shaders.extend(outer(&plan.dv, diagonal, [tensors.h, tensors.y], true)?);
    if let Some(bias) = &plan.bias {
        shaders.extend(column_sums(bias)?);
    }
    if plan.gate {
        let one_by_one = |storage| Storage { vectors: false, ..storage };
        let dot = |left| {
            let linker = Linker::new("butterfly/dot_parts").set("LANES", DOT_LANES);
            linker.tensor("left", one_by_one(left)).tensor("right", Storage::F32).link()
        };
        shaders.extend([dot(tensors.w)?, dot(tensors.h)?]);
        shaders.push(slice_sum::shader(DOT_SUM)?);
    }
    Ok(shaders)
}

/// How the parts of the gate's gradient are summed: one number each.
const DOT_SUM: SliceSumPlan = SliceSumPlan { spread: 1, slices: Storage::F32, sums: Storage::F32 };

impl<T: Element> PixelflyInputs<'_, T> {
    fn check(&self, gpu: &Gpu, spec: &PixelflySpec) -> Result<(), Error> {
        let [out, r#in] = spec.size;
        self.x.expect(gpu, "x", spec.dtype, &[spec.batch, r#in])?;
        self.w.expect(gpu, "w", spec.dtype, &spec.mask.shape())?;
        self.u.expect(gpu, "u", spec.dtype, &spec.u_shape())?;
        self.v.expect(gpu, "v", spec.dtype, &spec.v_shape())?;
        expect_optional(gpu, self.gate, "the gate", spec.gate, &[1])?;
        expect_optional(gpu, self.bias, "the bias", spec.bias, &[out])
    }
}

impl PixelflyLinear {
    /// Plans the spec for this GPU, compiles what the plan needs and uploads the mask's lists. Fails with
    /// [`Error::Plan`] if the spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: PixelflySpec) -> Result<Self, Error> {
        let plan = PixelflyPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &shaders(&plan)?)?;
        let lists = upload_list(gpu, &spec.mask.product_lists(true))?;
        let half = Tensor::from_slice(gpu, &[1], &[0.5])?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, lists, half, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &PixelflyPlan {
        &self.plan
    }

    /// A tensor for `y`. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &[self.spec.batch, self.spec.size[0]])
    }

    /// Records the layer into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it, and if scratch cannot be allocated. No output may share a
    /// buffer with an input: the submission would fail. Clones of the op share its scratch, which counts in
    /// [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: PixelflyInputs<'_, T>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, lists, half, scratch } = self;
        let ([out, r#in], batch, rank) = (spec.size, spec.batch, spec.rank);
        inputs.check(gpu, spec)?;
        y.expect(gpu, "y", spec.dtype, &[batch, out])?;
        let h = scratch.tensors(gpu, &[&[batch, rank]])?[0].buffer();
        let gate = inputs.gate.unwrap_or(half).buffer();
        let [x, w, u, v] = [inputs.x, inputs.w, inputs.u, inputs.v].map(Tensor::buffer);
        kernels[0].dispatch(gpu, encoder, &diagonal_params(batch, [1, rank, r#in], &plan.low), &[x, u, h])?;
        let params = sparse_params(&plan.product, [batch, spec.mask.rows(), r#in, out, rank]);
        let mut buffers = vec![x, w, lists.buffer(), y.buffer(), h, v, gate];
        buffers.extend(inputs.bias.map(Tensor::buffer));
        kernels[1].dispatch(gpu, encoder, &params, &buffers)
    }

    /// Allocates `y`, records the layer and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: PixelflyInputs<'_, T>) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }
}

impl PixelflyBackward {
    /// Plans the gradients for this GPU, compiles what the plan needs and uploads the mask's lists. Fails with
    /// [`Error::Plan`] if the spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: PixelflySpec) -> Result<Self, Error> {
        let plan = PixelflyBackwardPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &backward_shaders(&plan)?)?;
        let lists = upload_list(gpu, &spec.mask.product_lists(false))?;
        let places = upload_list(gpu, spec.mask.places().as_flattened())?;
        let half = Tensor::from_slice(gpu, &[1], &[0.5])?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, lists, places, half, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &PixelflyBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<PixelflyGradients<T>, Error> {
        let (gpu, spec) = (&self.gpu, &self.spec);
        let [out, r#in] = spec.size;
        Ok(PixelflyGradients {
            dx: Tensor::zeros(gpu, &[spec.batch, r#in])?,
            dw: Tensor::zeros(gpu, &spec.mask.shape())?,
            du: Tensor::zeros(gpu, &spec.u_shape())?,
            dv: Tensor::zeros(gpu, &spec.v_shape())?,
            dgate: spec.gate.then(|| Tensor::zeros(gpu, &[1])).transpose()?,
            dbias: spec.bias.then(|| Tensor::zeros(gpu, &[out])).transpose()?,
        })
    }

    /// Records the gradients into an encoder of the same device, from the layer's inputs and the gradient `dy` of its
    /// result. Sums over the batch are taken in an order that is always the same. Fails like
    /// [`PixelflyLinear::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: PixelflyInputs<'_, T>,
        dy: &Tensor<T>,
        outputs: &PixelflyGradients<T>,
    ) -> Result<(), Error> {
        self.check(&inputs, dy, outputs)?;
        let Self { gpu, spec, plan, kernels, lists, places, half, scratch } = self;
        let ([out, r#in], batch, rank) = (spec.size, spec.batch, spec.rank);
        let dots = plan.dots(spec);
        let low = [batch, rank];
        let scratch =
            scratch.tensors(gpu, &[&low, &low, &[plan.scratch_elements(spec)], &[dots[0] + dots[1]]])?;
        let [h, dh, parts, products] = [0, 1, 2, 3].map(|i| scratch[i].buffer());
        let gate = inputs.gate.unwrap_or(half).buffer();
        let [x, w, u, v, dy] = [inputs.x, inputs.w, inputs.u, inputs.v, dy].map(Tensor::buffer);
        let mut kernels = kernels.iter();
        let mut take = |count: usize| -> Vec<Kernel> { kernels.by_ref().take(count).cloned().collect() };

        let [to_h, to_dh, to_dx] = &take(3)[..] else { unreachable!("three kernels come first") };
        to_h.dispatch(gpu, encoder, &diagonal_params(batch, [1, rank, r#in], &plan.low), &[x, u, h])?;
        let params = diagonal_params(batch, [1, rank, out], &plan.low_gradient);
        to_dh.dispatch(gpu, encoder, &params, &[dy, v, dh])?;
        let params = sparse_params(&plan.dx, [batch, spec.mask.columns(), out, r#in, rank]);
        let buffers = [dy, w, lists.buffer(), outputs.dx.buffer(), dh, u, gate];
        to_dx.dispatch(gpu, encoder, &params, &buffers)?;

        let [dw, du, dv] = [(); 3].map(|()| take(2));
        let shape = spec.mask.shape();
        let sum = |plan, kernels, shape, widths| Outer { plan, kernels, rows: batch, shape, widths };
        let result = outputs.dw.buffer();
        sum(&plan.dw, &dw, shape, [out, r#in]).encode_scaled(
            gpu,
            encoder,
            [dy, x],
            Some(places.buffer()),
            parts,
            Some(gate),
            result,
        )?;
        let of_bias = take(if plan.bias.is_some() { 2 } else { 0 });
        if let ([of_blocks, of_low, finish], Some(dgate)) = (&take(3)[..], &outputs.dgate) {
            // The parts of dw are still in scratch.
            let blocks = shape.iter().product::<usize>();
            let dot = |first: usize, groups: usize, [left_length, length]: [usize; 2], sign: f32| DotParams {
                groups: groups as u32,
                first: first as u32,
                left_length: left_length as u32,
                length: length as u32,
                group_length: DOT_ELEMENTS as u32,
                sign,
            };
            let params = dot(0, dots[0], [blocks, plan.dw.scratch_elements(blocks)], -1.0);
            of_blocks.dispatch(gpu, encoder, &params, &[w, parts, products])?;
            let params = dot(dots[0], dots[1], [batch * rank; 2], 1.0);
            of_low.dispatch(gpu, encoder, &params, &[h, dh, products])?;
            let params = Slices::one((dots[0] + dots[1]) as u32, 1).params(DOT_SUM);
            finish.dispatch(gpu, encoder, &params, &[products, dgate.buffer()])?;
        }
        let result = outputs.du.buffer();
        sum(&plan.du, &du, [1, r#in, rank], [r#in, rank]).encode_scaled(
            gpu,
            encoder,
            [x, dh],
            None,
            parts,
            Some(gate),
            result,
        )?;
        let result = outputs.dv.buffer();
        sum(&plan.dv, &dv, [1, rank, out], [rank, out]).encode_scaled(
            gpu,
            encoder,
            [h, dy],
            None,
            parts,
            Some(gate),
            result,
        )?;
        if let (Some(plan), Some(dbias)) = (&plan.bias, &outputs.dbias) {
            let sums = ColumnSums { plan, kernels: &of_bias, rows: batch, width: out };
            sums.encode(gpu, encoder, dy, parts, dbias.buffer())?;
        }
        Ok(())
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: PixelflyInputs<'_, T>,
        dy: &Tensor<T>,
    ) -> Result<PixelflyGradients<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, dy, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }

    fn check<T: Element>(
        &self,
        inputs: &PixelflyInputs<'_, T>,
        dy: &Tensor<T>,
        outputs: &PixelflyGradients<T>,
    ) -> Result<(), Error> {
        let (gpu, spec, dtype) = (&self.gpu, &self.spec, self.spec.dtype);
        let [out, r#in] = spec.size;
        inputs.check(gpu, spec)?;
        let PixelflyGradients { dx, dw, du, dv, dgate, dbias } = outputs;
        dy.expect(gpu, "dy", dtype, &[spec.batch, out])?;
        dx.expect(gpu, "dx", dtype, &[spec.batch, r#in])?;
        dw.expect(gpu, "dw", dtype, &spec.mask.shape())?;
        du.expect(gpu, "du", dtype, &spec.u_shape())?;
        dv.expect(gpu, "dv", dtype, &spec.v_shape())?;
        expect_optional(gpu, dgate.as_ref(), "the gate's gradient", spec.gate, &[1])?;
        expect_optional(gpu, dbias.as_ref(), "the bias's gradient", spec.bias, &[out])
    }
}
