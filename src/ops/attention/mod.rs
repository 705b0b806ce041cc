//! Operations of the attention family.

mod append;
mod cache;
mod merge;

pub use append::{Append, AppendInputs, RotaryTables, Rotate, append_shaders, rotate_shaders};
pub use cache::{CacheIndex, KvCache, quantise};
pub use merge::{Merge, merge_shaders};

use std::f32::consts::LOG2_E;

use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::plan::{AttentionPlan, Exchange};
use crate::shader::{Linker, Shader, ShaderError};
use crate::tensor::expect_optional;
use crate::{Alibi, AttentionSpec, DType, Element, Error, Gpu, MergeSpec, Tensor};

params! {
    /// `attention/forward`.
    ForwardParams {
        splits: u32,
        split_keys: u32,
        tiles: u32,
        batch: u32,
        q_len: u32,
        k_len: u32,
        heads: u32,
        kv_heads: u32,
        keys_from: i32,
        keys_to: i32,
        scale: f32,
        softcap: f32,
        slopes: u32,
        unseen: f32,
    }
}

/// What stands for the log-sum-exp of nothing between forward and combine, as in `attention/combine.wgsl`.
const UNSEEN: f32 = -3e38;

/// Inputs of [`Attention`]; shapes as in [`AttentionSpec`].
#[derive(Clone, Copy, Debug)]
pub struct AttentionInputs<'a, T> {
    /// Queries.
    pub q: &'a Tensor<T>,
    /// Keys.
    pub k: &'a Tensor<T>,
    /// Values.
    pub v: &'a Tensor<T>,
    /// ALiBi slopes, if the spec has them.
    pub alibi: Option<&'a Tensor<f32>>,
}

/// Outputs of [`Attention`]; shapes as in [`AttentionSpec`].
#[derive(Clone, Debug)]
pub struct AttentionOutputs<T> {
    /// Weighted sums of the values.
    pub o: Tensor<T>,
    /// Log-sum-exp of the scores: what a backward pass, or a merge with attention to other keys, needs of them.
    pub lse: Tensor<f32>,
}

impl<T: Element> AttentionOutputs<T> {
    fn zeros(gpu: &Gpu, o_shape: &[usize], lse_shape: &[usize]) -> Result<Self, Error> {
        Ok(Self { o: Tensor::zeros(gpu, o_shape)?, lse: Tensor::zeros(gpu, lse_shape)? })
    }
}

/// Scaled dot-product attention that never stores its scores (FlashAttention-2, Dao 2023), with the online softmax of
/// Milakov and Gimelshein (2018). Where few queries meet many keys, the keys are split among workgroups
/// (Flash-Decoding, Dao et al. 2023).
#[derive(Clone, Debug)]
pub struct Attention {
    gpu: Gpu,
    spec: AttentionSpec,
    plan: AttentionPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &AttentionPlan) -> Result<Vec<Shader>, ShaderError> {
    let combine = plan.merge.as_ref().map(merge_shaders).transpose()?.unwrap_or_default();
    Ok([vec![forward_shader(plan)?], combine].concat())
}

fn forward_shader(plan: &AttentionPlan) -> Result<Shader, ShaderError> {
    let linker = Linker::new("attention/forward")
        .module("common/product")
        .module("attention/mask")
        .module("attention/score");
    let linker = match plan.exchange {
        Exchange::Workgroup => linker.module("common/lane_workgroup").module("common/reduce_workgroup"),
        Exchange::Subgroup => linker.module("common/lane_subgroup").module("common/reduce_subgroup"),
    };
    linker
        .set("HEAD_DIM", plan.head_dim)
        .set("VALUE_DIM", plan.value_dim)
        .set("ROW_LANES", plan.row_lanes)
        .set("KEY_LANES", plan.key_lanes)
        .set("ROW_FOURS", plan.row_fours)
        .set("HEAD_SLICE", plan.head_slice)
        .set("KEY_SLICE", plan.key_slice)
        .set("SOFTCAP", plan.softcap)
        .set("ALIBI", plan.alibi)
        .tensor("q", plan.key_storage)
        .tensor("k", plan.key_storage)
        .tensor("v", plan.value_storage)
        .tensor("o", plan.merge.map_or(plan.value_storage, |merge| merge.part_storage))
        .link()
}

impl Attention {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: AttentionSpec) -> Result<Self, Error> {
        let plan = AttentionPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &AttentionPlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<AttentionOutputs<T>, Error> {
        AttentionOutputs::zeros(&self.gpu, &self.spec.o_shape(), &self.spec.lse_shape())
    }

    /// Records the attention into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it, and if scratch cannot be allocated. No output may share a
    /// buffer with an input: the submission would fail. Clones of the op share its scratch, which counts in
    /// [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AttentionInputs<'_, T>,
        outputs: &AttentionOutputs<T>,
    ) -> Result<(), Error> {
        self.check(&inputs, outputs)?;
        let AttentionInputs { q, k, v, alibi } = inputs;
        let alibi = alibi.map_or(self.gpu.unused(), Tensor::buffer);
        let Self { gpu, spec, plan, kernels, scratch } = self;
        let forward = |encoder: &mut _, kernel: &Kernel, unseen, o, lse| {
            let buffers = [q.buffer(), k.buffer(), v.buffer(), alibi, o, lse];
            kernel.dispatch(gpu, encoder, &self.forward_params(unseen), &buffers)
        };
        match (kernels.as_slice(), &plan.merge) {
            ([whole], None) => {
                forward(encoder, whole, f32::NEG_INFINITY, outputs.o.buffer(), outputs.lse.buffer())
            }
            ([split, combine], Some(merge)) => {
                let splits = plan.splits as usize;
                let o_parts = [&[splits], spec.o_shape().as_slice()].concat();
                let lse_parts = [&[splits], spec.lse_shape().as_slice()].concat();
                let parts = scratch.tensors(gpu, &[&o_parts, &lse_parts])?;
                let [o_parts, lse_parts] = [parts[0].buffer(), parts[1].buffer()];
                forward(encoder, split, UNSEEN, o_parts, lse_parts)?;
                let buffers = [outputs.o.buffer(), outputs.lse.buffer(), o_parts, lse_parts];
                let params = merge::combine_params(merge, &MergeSpec::of(spec), plan.splits);
                combine.dispatch(gpu, encoder, &params, &buffers)
            }
            _ => unreachable!("attention has one kernel, or two where keys are split"),
        }
    }

    /// Allocates the outputs, records the attention and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: AttentionInputs<'_, T>) -> Result<AttentionOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }

    fn forward_params(&self, unseen: f32) -> ForwardParams {
        let Self { spec, plan, .. } = self;
        let tiles = spec.q_len.div_ceil(plan.queries() as usize);
        let (keys_from, keys_to) = key_range(spec);
        ForwardParams {
            // No more than elements of the outputs of all splits, which fit.
            groups: (spec.batch * spec.heads * tiles) as u32 * plan.splits,
            splits: plan.splits,
            split_keys: plan.split_keys,
            tiles: tiles as u32,
            batch: spec.batch as u32,
            q_len: spec.q_len as u32,
            k_len: spec.k_len as u32,
            heads: spec.heads as u32,
            kv_heads: spec.kv_heads as u32,
            keys_from,
            keys_to,
            scale: spec.scale_or_default() * LOG2_E,
            softcap: spec.softcap.unwrap_or(1.0) * LOG2_E,
            slopes: if spec.alibi == Alibi::PerBatchHead { spec.heads as u32 } else { 0 },
            unseen,
        }
    }

    fn check<T: Element>(
        &self,
        inputs: &AttentionInputs<'_, T>,
        outputs: &AttentionOutputs<T>,
    ) -> Result<(), Error> {
        let spec = &self.spec;
        inputs.q.expect(&self.gpu, "q", spec.dtype, &spec.q_shape())?;
        inputs.k.expect(&self.gpu, "k", spec.dtype, &spec.k_shape())?;
        inputs.v.expect(&self.gpu, "v", spec.dtype, &spec.v_shape())?;
        let slopes = spec.alibi != Alibi::None;
        expect_optional(&self.gpu, inputs.alibi, "the ALiBi slopes", slopes, &spec.alibi_shape())?;
        outputs.o.expect(&self.gpu, "o", spec.dtype, &spec.o_shape())?;
        outputs.lse.expect(&self.gpu, "lse", DType::F32, &spec.lse_shape())
    }
}

/// The keys that query 0 would see if keys had neither beginning nor end: from the first to before the second. Query
/// `i` sees those `i` further on.
///
/// An absent or an absurdly wide side of the window becomes the widest that makes a difference: the kernel counts in
/// i32, and adds queries to these numbers.
fn key_range(spec: &AttentionSpec) -> (i32, i32) {
    let (q_len, k_len) = (spec.q_len as i128, spec.k_len as i128);
    let widest = q_len + k_len;
    let side = |side: Option<usize>| side.map_or(widest, |side| widest.min(side as i128));
    let right = if spec.causal { 0 } else { side(spec.window.right) };
    let from = (k_len - q_len - side(spec.window.left)).max(-q_len);
    let to = (k_len - q_len + right + 1).min(k_len + 1);
    // Lengths fit an i32, and so does all but the very last of these ends.
    (from as i32, to.min(i32::MAX.into()) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_keys_moves_with_the_query() {
        let lengths = [(1, 1), (1, 7), (7, 1), (5, 8), (8, 5), (6, 6)];
        let sides = [None, Some(0), Some(1), Some(3), Some(100), Some(usize::MAX)];
        let windows = || sides.iter().flat_map(|&left| sides.map(|right| (left, right)));
        for (lengths, (left, right)) in lengths.iter().flat_map(|&l| windows().map(move |w| (l, w))) {
            let spec = AttentionSpec::new(DType::F32, 1, lengths, 1, 8).window(left, right);
            for spec in [spec, spec.causal()] {
                let (from, to) = key_range(&spec);
                let k_len = i32::try_from(spec.k_len).unwrap();
                for (i, query) in (0..spec.q_len).zip(0_i32..) {
                    // As in attention/mask.wgsl.
                    let first = (query + from).max(0);
                    let end = (query + to.min(k_len - query)).max(0);
                    let (seen_first, seen_end) = spec.keys_seen(i);
                    assert_eq!(
                        (seen_first..seen_end).collect::<Vec<_>>(),
                        (first..end).map(|key| key as usize).collect::<Vec<_>>(),
                        "query {i} of {spec:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_longest_lengths_do_not_overflow() {
        let longest = i32::MAX as usize;
        let spec = AttentionSpec::new(DType::F32, 1, (longest, longest), 1, 1);
        assert_eq!(key_range(&spec), (-i32::MAX, i32::MAX));
        let spec = spec.window(Some(usize::MAX), Some(usize::MAX));
        assert_eq!(key_range(&spec), (-i32::MAX, i32::MAX));
    }
}
