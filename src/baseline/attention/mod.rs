//! Attention with its scores in memory: a product, a softmax, a product.

mod backward;

pub use backward::{
    AttentionBackwardScratch, UnfusedAttentionBackward, UnfusedAttentionBackwardPlan,
    shaders as backward_shaders,
};

use std::fmt;

use crate::baseline::matmul::{Matmul, MatmulPlan, MatmulSpec, Operand};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Shader, ShaderError, Storage};
use crate::spec::elements;
use crate::tensor::expect_optional;
use crate::{Alibi, AttentionInputs, AttentionSpec, Caps, Element, Error, Gpu, PlanError, Tensor};

/// How to run the softmax between the products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SoftmaxPlan {
    /// Invocations of a workgroup, which takes a row at a time.
    pub lanes: u32,
    /// Whether scores are capped softly.
    pub softcap: bool,
    /// Whether there are linear biases.
    pub alibi: bool,
    /// How scores and weights are stored.
    pub storage: Storage,
}

/// How to run an [`AttentionSpec`] unfused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnfusedAttentionPlan {
    /// `scale Q Kᵀ`.
    pub scores: MatmulPlan,
    /// Softcap, biases, masks and softmax.
    pub softmax: SoftmaxPlan,
    /// Weights times values.
    pub values: MatmulPlan,
}

const SOFTMAX: &str = "baseline/softmax";

impl UnfusedAttentionPlan {
    /// Plans unfused attention. Fails if the spec is wrong or a tensor exceeds a binding, which the score matrix
    /// (batch, heads, `q_len`, `k_len`) do first.
    pub fn new(spec: &AttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        let scores = elements("the score matrix", &score_shape(spec))?;
        check_binding("the score matrix", scores, spec.dtype, caps)?;
        let lanes =
            (spec.k_len as u32).div_ceil(4).next_power_of_two().clamp(32, 256.min(caps.workgroup_lanes));
        Ok(Self {
            scores: MatmulPlan::new(&scores_product(spec), caps)?,
            softmax: SoftmaxPlan {
                lanes,
                softcap: spec.softcap.is_some(),
                alibi: spec.alibi != Alibi::None,
                storage: Storage::new(spec.dtype, caps.f16, spec.k_len.is_multiple_of(4)),
            },
            values: MatmulPlan::new(&values_product(spec), caps)?,
        })
    }
}

fn score_shape(spec: &AttentionSpec) -> [usize; 4] {
    [spec.batch, spec.heads, spec.q_len, spec.k_len]
}

fn scores_product(spec: &AttentionSpec) -> MatmulSpec {
    let AttentionSpec { dtype, batch, q_len, k_len, heads, kv_heads, head_dim, .. } = *spec;
    MatmulSpec {
        batch: [batch, heads],
        a: Operand::new(dtype, [q_len * heads * head_dim, head_dim, heads * head_dim]),
        b: Operand::new(dtype, [k_len * kv_heads * head_dim, head_dim, kv_heads * head_dim]),
        b_transposed: true,
        b_share: heads / kv_heads,
        c: Operand::new(dtype, [heads * q_len * k_len, q_len * k_len, k_len]),
        scale: spec.scale_or_default(),
        ..MatmulSpec::new(dtype, q_len, k_len, head_dim)
    }
}

fn values_product(spec: &AttentionSpec) -> MatmulSpec {
    let AttentionSpec { dtype, batch, q_len, k_len, heads, kv_heads, value_dim, .. } = *spec;
    MatmulSpec {
        batch: [batch, heads],
        a: Operand::new(dtype, [heads * q_len * k_len, q_len * k_len, k_len]),
        b: Operand::new(dtype, [k_len * kv_heads * value_dim, value_dim, kv_heads * value_dim]),
        b_share: heads / kv_heads,
        c: Operand::new(dtype, [q_len * heads * value_dim, value_dim, heads * value_dim]),
        ..MatmulSpec::new(dtype, q_len, value_dim, k_len)
    }
}

impl Plan for UnfusedAttentionPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let softmax = Footprint {
            kernel: SOFTMAX,
            lanes: self.softmax.lanes,
            workgroup_bytes: 8 * self.softmax.lanes,
            storage_buffers: 3,
        };
        [self.scores.footprints(), vec![softmax], self.values.footprints()].concat()
    }
}

impl fmt::Display for UnfusedAttentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scores, softmax, values } = self;
        write!(f, "scores: {scores} | softmax: {} lanes a row | values: {values}", softmax.lanes)
    }
}

params! {
    /// `baseline/softmax`.
    SoftmaxParams {
        heads: u32, queries: u32, keys: u32, delta: i32, left: i32, right: i32, softcap: f32, alibi_batch: u32,
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &UnfusedAttentionPlan) -> Result<Vec<Shader>, ShaderError> {
    let SoftmaxPlan { lanes, softcap, alibi, storage } = plan.softmax;
    let softmax = yardstick(SOFTMAX).set("LANES", lanes).set("HAS_SOFTCAP", softcap).set("HAS_ALIBI", alibi);
    let softmax = softmax.tensor("scores", storage).tensor("weights", storage).link()?;
    let (scores, values) =
        (crate::baseline::shaders::matmul(&plan.scores)?, crate::baseline::shaders::matmul(&plan.values)?);
    Ok([scores, vec![softmax], values].concat())
}

/// The tensors between the kernels, of shape (batch, heads, `q_len`, `k_len`).
#[derive(Clone, Debug)]
pub struct AttentionScratch<T> {
    scores: Tensor<T>,
    weights: Tensor<T>,
}

/// Attention that writes its scores to memory, as a framework without a fused kernel does.
#[derive(Clone, Debug)]
pub struct UnfusedAttention {
    gpu: Gpu,
    spec: AttentionSpec,
    plan: UnfusedAttentionPlan,
    scores: Matmul,
    softmax: Kernel,
    values: Matmul,
}

impl UnfusedAttention {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: AttentionSpec) -> Result<Self, Error> {
        let plan = UnfusedAttentionPlan::new(&spec, gpu.caps())?;
        let [_, softmax, _] = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self {
            gpu: gpu.clone(),
            spec,
            plan,
            scores: Matmul::with_plan(gpu, scores_product(&spec), plan.scores)?,
            softmax,
            values: Matmul::with_plan(gpu, values_product(&spec), plan.values)?,
        })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedAttentionPlan {
        &self.plan
    }

    /// The tensor for the output; a log-sum-exp is not computed.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.o_shape())
    }

    /// The tensors between the kernels.
    pub fn scratch<T: Element>(&self) -> Result<AttentionScratch<T>, Error> {
        let shape = score_shape(&self.spec);
        Ok(AttentionScratch {
            scores: Tensor::zeros(&self.gpu, &shape)?,
            weights: Tensor::zeros(&self.gpu, &shape)?,
        })
    }

    /// Records the three kernels.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AttentionInputs<'_, T>,
        o: &Tensor<T>,
        scratch: &AttentionScratch<T>,
    ) -> Result<(), Error> {
        let spec = &self.spec;
        inputs.v.expect(&self.gpu, "v", spec.dtype, &spec.v_shape())?;
        o.expect(&self.gpu, "o", spec.dtype, &spec.o_shape())?;
        self.encode_weights(encoder, inputs, scratch)?;
        self.values.encode(encoder, &scratch.weights, inputs.v, o)
    }

    /// Records the first two kernels: the weights of the values.
    fn encode_weights<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AttentionInputs<'_, T>,
        scratch: &AttentionScratch<T>,
    ) -> Result<(), Error> {
        let spec = &self.spec;
        inputs.q.expect(&self.gpu, "q", spec.dtype, &spec.q_shape())?;
        inputs.k.expect(&self.gpu, "k", spec.dtype, &spec.k_shape())?;
        let needed = spec.alibi != Alibi::None;
        expect_optional(&self.gpu, inputs.alibi, "the ALiBi slopes", needed, &spec.alibi_shape())?;
        for (name, between) in
            [("the score matrix", &scratch.scores), ("the attention weights", &scratch.weights)]
        {
            between.expect(&self.gpu, name, spec.dtype, &score_shape(spec))?;
        }
        let slopes = inputs.alibi.map_or(self.gpu.unused(), Tensor::buffer);
        self.scores.encode(encoder, inputs.q, inputs.k, &scratch.scores)?;
        let buffers = [scratch.scores.buffer(), slopes, scratch.weights.buffer()];
        self.softmax.dispatch(&self.gpu, encoder, &self.params(), &buffers)
    }

    fn params(&self) -> SoftmaxParams {
        let spec = &self.spec;
        let side =
            |keys: Option<usize>| keys.map_or(i32::MAX, |keys| i32::try_from(keys).unwrap_or(i32::MAX));
        let right = if spec.causal { 0 } else { i32::MAX };
        SoftmaxParams {
            groups: (spec.batch * spec.heads * spec.q_len) as u32,
            heads: spec.heads as u32,
            queries: spec.q_len as u32,
            keys: spec.k_len as u32,
            // Lengths are below 2^31: the difference is right in two's complement.
            delta: (spec.k_len as u32).wrapping_sub(spec.q_len as u32).cast_signed(),
            left: side(spec.window.left),
            right: side(spec.window.right).min(right),
            softcap: spec.softcap.unwrap_or(1.0),
            alibi_batch: if spec.alibi == Alibi::PerBatchHead { spec.heads as u32 } else { 0 },
        }
    }
}
