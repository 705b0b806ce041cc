//! The gradients of attention with scores and weights in memory: five products and a softmax, forth and back.

use std::fmt;

use super::{
    AttentionScratch, UnfusedAttention, UnfusedAttentionPlan, score_shape, scores_product, values_product,
};
use crate::baseline::matmul::{Matmul, MatmulPlan, MatmulSpec, Operand};
use crate::baseline::transpose::{self, Transpose, TransposePlan};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, params};
use crate::plan::{Footprint, Plan};
use crate::shader::{Shader, ShaderError, Storage};
use crate::{
    Alibi, AttentionGradients, AttentionInputs, AttentionSpec, Caps, Element, Error, Gpu, PlanError,
    SpecError, Tensor,
};

const SOFTMAX: &str = "baseline/softmax_backward";

/// How to compute the gradients of an [`AttentionSpec`] unfused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnfusedAttentionBackwardPlan {
    /// The weights, as they were forward; what it plans for the values does not run.
    pub forward: UnfusedAttentionPlan,
    /// Gradients of the weights: `dO Vᵀ`.
    pub weights: MatmulPlan,
    /// Gradients of the scores: how weights and gradients are stored.
    pub scores: Storage,
    /// `scale dS K`.
    pub queries: MatmulPlan,
    /// `(scale Qᵀ dS)` and `(dOᵀ P)`: gradients of keys and values, transposed.
    pub keys: [MatmulPlan; 2],
    /// The copies that turn `Q` and `dO`, and the gradients of keys and values.
    pub turns: [TransposePlan; 4],
}

impl UnfusedAttentionBackwardPlan {
    /// Plans the gradients. Fails as [`UnfusedAttentionPlan::new`] does, and for options that this yardstick does not have:
    /// it is for a key head for each query head, with no softcap, biases, dropout or sinks, and no packed sequences.
    pub fn new(spec: &AttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        let forward = UnfusedAttentionPlan::new(spec, caps)?;
        let optional =
            spec.softcap.is_some() || spec.dropout.is_some() || spec.sinks || spec.packed.is_some();
        if optional
            || spec.alibi != Alibi::None
            || spec.heads != spec.kv_heads
            || spec.q_len == 0
            || spec.k_len == 0
        {
            let expected = "a key head for each query head, masks by position alone, and a length, unfused";
            let (name, found) = ("attention", spec.to_string());
            return Err(SpecError::Value { name, found, expected: expected.to_owned() }.into());
        }
        let AttentionSpec { dtype, q_len, k_len, heads, head_dim, value_dim, .. } = *spec;
        let turn = |size| TransposePlan::new(dtype, size, caps);
        Ok(Self {
            forward,
            weights: MatmulPlan::new(&weights_product(spec), caps)?,
            scores: forward.softmax.storage,
            queries: MatmulPlan::new(&queries_product(spec), caps)?,
            keys: [
                MatmulPlan::new(&keys_product(spec), caps)?,
                MatmulPlan::new(&d_values_product(spec), caps)?,
            ],
            turns: [
                turn([q_len, heads * head_dim]),
                turn([q_len, heads * value_dim]),
                turn([heads * head_dim, k_len]),
                turn([heads * value_dim, k_len]),
            ],
        })
    }
}

/// `dO Vᵀ`: as the scores are made of queries and keys.
fn weights_product(spec: &AttentionSpec) -> MatmulSpec {
    MatmulSpec { scale: 1.0, ..scores_product(&AttentionSpec { head_dim: spec.value_dim, ..*spec }) }
}

/// `dS K`: as the output is made of weights and values.
fn queries_product(spec: &AttentionSpec) -> MatmulSpec {
    let scale = spec.scale_or_default();
    MatmulSpec { scale, ..values_product(&AttentionSpec { value_dim: spec.head_dim, ..*spec }) }
}

/// `Qᵀ dS`, (batch, heads, `head_dim`, `k_len`).
fn keys_product(spec: &AttentionSpec) -> MatmulSpec {
    MatmulSpec { scale: spec.scale_or_default(), ..turned_product(spec, spec.head_dim) }
}

/// `dOᵀ P`, (batch, heads, `value_dim`, `k_len`).
fn d_values_product(spec: &AttentionSpec) -> MatmulSpec {
    turned_product(spec, spec.value_dim)
}

fn turned_product(spec: &AttentionSpec, dim: usize) -> MatmulSpec {
    let AttentionSpec { dtype, batch, q_len, k_len, heads, .. } = *spec;
    MatmulSpec {
        batch: [batch, heads],
        a: Operand::new(dtype, [heads * dim * q_len, dim * q_len, q_len]),
        b: Operand::new(dtype, [heads * q_len * k_len, q_len * k_len, k_len]),
        c: Operand::new(dtype, [heads * dim * k_len, dim * k_len, k_len]),
        ..MatmulSpec::new(dtype, dim, k_len, q_len)
    }
}

impl UnfusedAttentionBackwardPlan {
    fn softmax_lanes(&self) -> u32 {
        self.forward.softmax.lanes
    }
}

impl Plan for UnfusedAttentionBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let softmax = Footprint {
            kernel: SOFTMAX,
            lanes: self.softmax_lanes(),
            workgroup_bytes: 4 * self.softmax_lanes(),
            storage_buffers: 3,
        };
        let products = [self.queries, self.keys[0], self.keys[1]];
        let all = [self.forward.footprints(), self.weights.footprints(), vec![softmax]];
        let products = products.iter().flat_map(Plan::footprints);
        all.concat().into_iter().chain(products).chain(self.turns.iter().flat_map(Plan::footprints)).collect()
    }
}

impl fmt::Display for UnfusedAttentionBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { forward, weights, queries, keys: [keys, values], turns: [turn, ..], .. } = self;
        write!(f, "{forward} | dp: {weights} | ds: {} lanes a row | ", self.softmax_lanes())?;
        write!(f, "dq: {queries} | dk: {keys} | dv: {values} | copies: {turn}")
    }
}

params! {
    /// `baseline/softmax_backward`.
    SoftmaxBackwardParams { keys: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &UnfusedAttentionBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let matmul = crate::baseline::shaders::matmul;
    let mut all =
        [super::shaders(&plan.forward)?, matmul(&plan.weights)?, vec![softmax_shader(plan)?]].concat();
    for product in [plan.queries, plan.keys[0], plan.keys[1]] {
        all.extend(matmul(&product)?);
    }
    for turn in &plan.turns {
        all.push(transpose::shader(turn)?);
    }
    Ok(all)
}

fn softmax_shader(plan: &UnfusedAttentionBackwardPlan) -> Result<Shader, ShaderError> {
    let linker = yardstick(SOFTMAX).set("LANES", plan.softmax_lanes());
    let linker = linker.tensor("weights", plan.scores).tensor("d_weights", plan.scores);
    linker.tensor("d_scores", plan.scores).link()
}

/// The tensors between the kernels.
#[derive(Clone, Debug)]
pub struct AttentionBackwardScratch<T> {
    forward: AttentionScratch<T>,
    d_weights: Tensor<T>,
    /// `Q` and `dO`, and the gradients of keys and values, all turned.
    turned: [Tensor<T>; 4],
}

/// The gradients of attention as a framework without a fused kernel computes them, with scores and weights in memory: the
/// forward pass would have kept the weights, so that it is run along without its output only to have them here.
#[derive(Clone, Debug)]
pub struct UnfusedAttentionBackward {
    gpu: Gpu,
    spec: AttentionSpec,
    plan: UnfusedAttentionBackwardPlan,
    forward: UnfusedAttention,
    weights: Matmul,
    softmax: Kernel,
    queries: Matmul,
    keys: [Matmul; 2],
    turns: [Transpose; 4],
}

impl UnfusedAttentionBackward {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: AttentionSpec) -> Result<Self, Error> {
        let plan = UnfusedAttentionBackwardPlan::new(&spec, gpu.caps())?;
        let [turn_q, turn_do, turn_dk, turn_dv] = plan.turns.map(|turn| Transpose::new(gpu, turn));
        Ok(Self {
            gpu: gpu.clone(),
            spec,
            plan,
            forward: UnfusedAttention::new(gpu, spec)?,
            weights: Matmul::with_plan(gpu, weights_product(&spec), plan.weights)?,
            softmax: gpu.kernel(&softmax_shader(&plan)?)?,
            queries: Matmul::with_plan(gpu, queries_product(&spec), plan.queries)?,
            keys: [
                Matmul::with_plan(gpu, keys_product(&spec), plan.keys[0])?,
                Matmul::with_plan(gpu, d_values_product(&spec), plan.keys[1])?,
            ],
            turns: [turn_q?, turn_do?, turn_dk?, turn_dv?],
        })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedAttentionBackwardPlan {
        &self.plan
    }

    /// The tensors between the kernels.
    pub fn scratch<T: Element>(&self) -> Result<AttentionBackwardScratch<T>, Error> {
        let (gpu, spec) = (&self.gpu, &self.spec);
        let zeros = |shape: &[usize]| Tensor::zeros(gpu, shape);
        Ok(AttentionBackwardScratch {
            forward: self.forward.scratch()?,
            d_weights: zeros(&score_shape(spec))?,
            turned: [
                zeros(&spec.q_shape())?,
                zeros(&spec.o_shape())?,
                zeros(&spec.k_shape())?,
                zeros(&spec.v_shape())?,
            ],
        })
    }

    /// Records what the forward pass would have kept.
    pub fn encode_weights<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AttentionInputs<'_, T>,
        scratch: &AttentionBackwardScratch<T>,
    ) -> Result<(), Error> {
        self.forward.encode_weights(encoder, inputs, &scratch.forward)
    }

    /// Records the gradients, from the weights that [`encode_weights`](Self::encode_weights) left.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AttentionInputs<'_, T>,
        d_o: &Tensor<T>,
        gradients: &AttentionGradients<T>,
        scratch: &AttentionBackwardScratch<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, weights, softmax, queries, keys, turns, .. } = self;
        d_o.expect(gpu, "do", spec.dtype, &spec.o_shape())?;
        for (name, tensor, shape) in [
            ("dq", &gradients.dq, spec.q_shape()),
            ("dk", &gradients.dk, spec.k_shape()),
            ("dv", &gradients.dv, spec.v_shape()),
        ] {
            tensor.expect(gpu, name, spec.dtype, &shape)?;
        }
        let AttentionBackwardScratch { forward, d_weights, turned: [q, turned_do, dk, dv] } = scratch;
        // The scores have served: their place is that of their gradients.
        let (p, ds) = (&forward.weights, &forward.scores);
        weights.encode(encoder, d_o, inputs.v, d_weights)?;
        let rows = (spec.batch * spec.heads * spec.q_len) as u32;
        let params = SoftmaxBackwardParams { groups: rows, keys: spec.k_len as u32 };
        softmax.dispatch(gpu, encoder, &params, &[p.buffer(), d_weights.buffer(), ds.buffer()])?;
        queries.encode(encoder, ds, inputs.k, &gradients.dq)?;
        turns[0].encode(encoder, spec.batch, inputs.q, q)?;
        keys[0].encode(encoder, q, ds, dk)?;
        turns[2].encode(encoder, spec.batch, dk, &gradients.dk)?;
        turns[1].encode(encoder, spec.batch, d_o, turned_do)?;
        keys[1].encode(encoder, turned_do, p, dv)?;
        turns[3].encode(encoder, spec.batch, dv, &gradients.dv)
    }
}
