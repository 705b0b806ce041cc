//! Caches of keys and values.

use crate::spec::{elements, wrong};
use crate::{CacheSpec, CacheView, Element, Error, Gpu, SpecError, Tensor};

/// The keys and values of a cache; shapes as in [`CacheSpec`]. Cheap to clone: clones share the buffers.
#[derive(Clone, Debug)]
pub struct KvCache<T> {
    gpu: Gpu,
    spec: CacheSpec,
    rows: Rows<T>,
}

/// How a cache stores its rows.
#[derive(Clone, Debug)]
enum Rows<T> {
    Whole { k: Tensor<T>, v: Tensor<T> },
    Int8 { k: Tensor<i8>, v: Tensor<i8>, scales: Box<Scales> },
}

/// The scales of an 8-bit cache, for each head: keys and values are `scale` times the integers kept.
#[derive(Clone, Debug)]
pub(super) struct Scales {
    /// (2, `kv_heads`): of the keys, then of the values.
    pub both: Tensor<f32>,
    /// One over those of the keys.
    pub inverse_k: Tensor<f32>,
    /// One over those of the values.
    pub inverse_v: Tensor<f32>,
}

impl Scales {
    fn new(gpu: &Gpu, spec: &CacheSpec, k: &[f32], v: &[f32]) -> Result<Self, Error> {
        for (name, scales) in [("the number of scales of keys", k), ("the number of scales of values", v)] {
            if scales.len() != spec.kv_heads {
                let expected = format!("{}, one for each key head", spec.kv_heads);
                return Err(wrong(name, &scales.len(), expected).into());
            }
        }
        // One over a subnormal number is infinite, which a positive finite one never is.
        let good = |scale: &&f32| **scale > 0.0 && scale.is_finite() && (1.0 / **scale).is_finite();
        if let Some(bad) = k.iter().chain(v).find(|scale| !good(scale)) {
            return Err(wrong("a scale", bad, "a positive number between 3e-39 and 3e38").into());
        }
        let inverse = |scales: &[f32]| {
            let inverse: Vec<_> = scales.iter().map(|scale| 1.0 / scale).collect();
            Tensor::from_slice(gpu, &[spec.kv_heads], &inverse)
        };
        let both = Tensor::from_slice(gpu, &[2, spec.kv_heads], &[k, v].concat())?;
        Ok(Self { both, inverse_k: inverse(k)?, inverse_v: inverse(v)? })
    }
}

impl<T: Element> KvCache<T> {
    /// An empty cache. Fails if the spec is wrong or keeps 8-bit integers, or the device has no memory for it.
    pub fn zeros(gpu: &Gpu, spec: CacheSpec) -> Result<Self, Error> {
        spec.check()?;
        let (k, v) = (Tensor::zeros(gpu, &spec.k_shape())?, Tensor::zeros(gpu, &spec.v_shape())?);
        Self::from_tensors(gpu, spec, k, v)
    }

    /// Takes these keys and values. Fails if they are not as the spec says.
    pub fn from_tensors(gpu: &Gpu, spec: CacheSpec, k: Tensor<T>, v: Tensor<T>) -> Result<Self, Error> {
        expect_int8(&spec, false)?;
        k.expect(gpu, "k_cache", spec.dtype, &spec.k_shape())?;
        v.expect(gpu, "v_cache", spec.dtype, &spec.v_shape())?;
        Ok(Self { gpu: gpu.clone(), spec, rows: Rows::Whole { k, v } })
    }

    /// An empty cache of 8-bit integers, with a scale for each key head: values up to `127 · scale` are kept to within
    /// half a scale. Fails if the spec is wrong or does not keep 8-bit integers, a scale is no positive number, or the
    /// device has no memory for it.
    pub fn zeros_int8(gpu: &Gpu, spec: CacheSpec, k_scales: &[f32], v_scales: &[f32]) -> Result<Self, Error> {
        spec.check()?;
        let (k, v) = (Tensor::zeros(gpu, &spec.k_shape())?, Tensor::zeros(gpu, &spec.v_shape())?);
        Self::from_int8(gpu, spec, (k, k_scales), (v, v_scales))
    }

    /// Takes these integers and scales. Fails like [`zeros_int8`](Self::zeros_int8), and if shapes are not as the spec says.
    pub fn from_int8(
        gpu: &Gpu,
        spec: CacheSpec,
        (k, k_scales): (Tensor<i8>, &[f32]),
        (v, v_scales): (Tensor<i8>, &[f32]),
    ) -> Result<Self, Error> {
        expect_int8(&spec, true)?;
        k.expect_shape(gpu, "k_cache", &spec.k_shape())?;
        v.expect_shape(gpu, "v_cache", &spec.v_shape())?;
        let scales = Scales::new(gpu, &spec, k_scales, v_scales)?;
        Ok(Self { gpu: gpu.clone(), spec, rows: Rows::Int8 { k, v, scales: Box::new(scales) } })
    }

    /// What it holds.
    pub fn spec(&self) -> &CacheSpec {
        &self.spec
    }

    /// The keys and values, unless they are quantised.
    pub fn tensors(&self) -> Option<(&Tensor<T>, &Tensor<T>)> {
        match &self.rows {
            Rows::Whole { k, v } => Some((k, v)),
            Rows::Int8 { .. } => None,
        }
    }

    /// The keys and values in 8-bit integers, if they are quantised.
    pub fn int8_tensors(&self) -> Option<(&Tensor<i8>, &Tensor<i8>)> {
        match &self.rows {
            Rows::Whole { .. } => None,
            Rows::Int8 { k, v, .. } => Some((k, v)),
        }
    }

    pub(super) fn buffers(&self) -> (&wgpu::Buffer, &wgpu::Buffer) {
        match &self.rows {
            Rows::Whole { k, v } => (k.buffer(), v.buffer()),
            Rows::Int8 { k, v, .. } => (k.buffer(), v.buffer()),
        }
    }

    pub(super) fn scales(&self) -> Option<&Scales> {
        match &self.rows {
            Rows::Whole { .. } => None,
            Rows::Int8 { scales, .. } => Some(scales),
        }
    }

    /// Fails unless the cache is on this GPU and as the operation was planned for.
    pub(super) fn expect(&self, gpu: &Gpu, spec: &CacheSpec) -> Result<(), Error> {
        if !self.gpu.is(gpu) {
            return Err(Error::Foreign { tensor: "the cache" });
        }
        if self.spec != *spec {
            return Err(
                wrong("the cache", &self.spec, format!("{spec}, of the operation's own sizes")).into()
            );
        }
        Ok(())
    }
}

fn expect_int8(spec: &CacheSpec, int8: bool) -> Result<(), SpecError> {
    match (spec.int8, int8) {
        (true, false) => Err(wrong("int8", &true, "false without scales")),
        (false, true) => Err(wrong("int8", &false, "true with scales")),
        _ => Ok(()),
    }
}

/// A [`CacheView`] that was checked and copied to the device: made once a step, and used by every layer.
#[derive(Clone, Debug)]
pub struct CacheIndex {
    gpu: Gpu,
    cache: CacheSpec,
    view: CacheView,
    q_len: usize,
    /// The positions of each sequence's first query.
    positions: Vec<u32>,
    /// (batch): the place of a sequence's first new key, and its position.
    firsts: wgpu::Buffer,
    /// (batch): first key, keys; then the block table, if the cache is paged.
    buffer: wgpu::Buffer,
}

impl CacheIndex {
    /// For a step of `q_len` queries of each sequence, which stand at its last keys. Fails if anything lies outside the
    /// cache.
    pub fn new(gpu: &Gpu, cache: &CacheSpec, view: &CacheView, q_len: usize) -> Result<Self, Error> {
        cache.check()?;
        view.check(cache, 0)?;
        elements("the queries", &[view.batch(), q_len])?;
        let sequence = |i: usize| {
            let (pad, length) = (view.pad(i), view.lengths[i] as usize);
            [view.start(cache, i) + pad, length - pad].map(|number| number as u32)
        };
        let table = view.block_table.iter().flatten().copied();
        let words: Vec<_> = (0..view.batch()).flat_map(sequence).chain(table).collect();
        let positions: Vec<_> =
            view.lengths.iter().map(|length| length.saturating_sub(q_len as u32)).collect();
        let first = |(i, &position): (usize, &u32)| [view.start(cache, i) as u32 + position, position];
        let firsts: Vec<_> = positions.iter().enumerate().flat_map(first).collect();
        Ok(Self {
            gpu: gpu.clone(),
            cache: *cache,
            view: view.clone(),
            q_len,
            positions,
            firsts: gpu.upload(&firsts)?,
            buffer: gpu.upload(&words)?,
        })
    }

    /// What it was made from.
    pub fn view(&self) -> &CacheView {
        &self.view
    }

    /// The positions of each sequence's first query, where those of [`Rotate`](crate::Rotate) begin.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    pub(super) fn firsts(&self) -> &wgpu::Buffer {
        &self.firsts
    }

    pub(super) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Fails unless the index is on this GPU, and of such a step.
    pub(super) fn expect(
        &self,
        gpu: &Gpu,
        cache: &CacheSpec,
        batch: usize,
        q_len: usize,
    ) -> Result<(), Error> {
        if !self.gpu.is(gpu) {
            return Err(Error::Foreign { tensor: "the cache's index" });
        }
        if self.cache != *cache {
            return Err(wrong("the index's cache", &self.cache, cache.to_string()).into());
        }
        let found = [self.view.batch(), self.q_len];
        if found != [batch, q_len] {
            let found = format!("of {} sequences of {} queries", found[0], found[1]);
            return Err(wrong("the cache's index", &found, format!("{batch} of {q_len}")).into());
        }
        Ok(())
    }
}

/// The integers that an 8-bit cache keeps of values with that scale: what appending stores, on the host.
pub fn quantise(values: &[f32], scale: f32) -> Vec<i8> {
    let inverse = 1.0 / scale;
    values.iter().map(|value| (value * inverse).round_ties_even().clamp(-127.0, 127.0) as i8).collect()
}
