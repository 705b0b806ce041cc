//! Linear attention and the delta rule as a plain loop.

use std::fmt;

use super::recurrence::{tensors, whole};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Shader, ShaderError, Storage};
use crate::{
    Caps, DType, DeltaRuleInputs, DeltaRuleSpec, Element, Error, Gate, Gpu, LinearAttentionInputs,
    LinearAttentionOutputs, LinearAttentionSpec, PlanError, Tensor,
};

/// What both have in common, in the terms of the kernel.
#[derive(Clone, Copy, Debug)]
struct Attention {
    dtype: DType,
    batch: usize,
    length: usize,
    heads: usize,
    key_dim: usize,
    value_dim: usize,
    scale: f32,
    /// Distances of steps and heads in `g`, if states decay.
    g: Option<[usize; 2]>,
    keyed: bool,
    delta: bool,
}

impl Attention {
    fn linear(spec: &LinearAttentionSpec) -> Result<Self, PlanError> {
        spec.check()?;
        whole(&spec.sequences, spec.length)?;
        let LinearAttentionSpec { dtype, batch, length, heads, key_dim, value_dim, .. } = *spec;
        let g = match spec.gate {
            Gate::Constant => [0, 1],
            Gate::PerStep => [heads, 1],
            Gate::PerKey => [heads * key_dim, key_dim],
        };
        let keyed = spec.gate == Gate::PerKey;
        let scale = spec.scale_value();
        Ok(Self { dtype, batch, length, heads, key_dim, value_dim, scale, g: Some(g), keyed, delta: false })
    }

    fn delta_rule(spec: &DeltaRuleSpec) -> Result<Self, PlanError> {
        spec.check()?;
        whole(&spec.sequences, spec.length)?;
        let DeltaRuleSpec { dtype, batch, length, heads, key_dim, value_dim, .. } = *spec;
        let (scale, g) = (spec.scale_value(), spec.gated.then_some([heads, 1]));
        Ok(Self { dtype, batch, length, heads, key_dim, value_dim, scale, g, keyed: false, delta: true })
    }

    /// Rows of all states.
    fn rows(&self) -> usize {
        self.batch * self.heads * self.value_dim
    }
}

/// How to run a [`LinearAttentionSpec`] or a [`DeltaRuleSpec`] with a lane for each row of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SequentialAttentionPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Elements of a row.
    pub key_dim: u32,
    /// Steps of a dispatch.
    pub steps: u32,
    /// How queries, keys, values and results are stored.
    pub storage: Storage,
    /// Whether states decay.
    pub decay: bool,
    /// Whether elements of keys decay each on its own.
    pub keyed: bool,
    /// Whether values replace what is under their key.
    pub delta: bool,
}

/// Steps of one dispatch at most: drivers end kernels that run for seconds.
const DISPATCH_STEPS: u32 = 1 << 14;

impl SequentialAttentionPlan {
    /// Plans linear attention. Fails if the spec is wrong, there are several sequences to a batch, or a tensor exceeds a
    /// binding.
    pub fn linear_attention(spec: &LinearAttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Attention::linear(spec)?, caps)
    }

    /// Plans the delta rule. Fails alike.
    pub fn delta_rule(spec: &DeltaRuleSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Attention::delta_rule(spec)?, caps)
    }

    fn new(of: &Attention, caps: &Caps) -> Result<Self, PlanError> {
        let tokens = of.batch * of.length * of.heads;
        check_binding("q", tokens * of.key_dim, of.dtype, caps)?;
        check_binding("v", tokens * of.value_dim, of.dtype, caps)?;
        check_binding("g", tokens * if of.keyed { of.key_dim } else { 1 }, DType::F32, caps)?;
        check_binding("the states", of.rows() * of.key_dim, DType::F32, caps)?;
        let key_dim = of.key_dim as u32;
        let steps = caps.loop_turns.map_or(DISPATCH_STEPS, |turns| (turns / 2 / (1 + 2 * key_dim)).max(1));
        Ok(Self {
            lanes: 64.min(caps.workgroup_lanes),
            key_dim,
            steps: steps.min(DISPATCH_STEPS),
            storage: Storage::new(of.dtype, caps.f16, false),
            decay: of.g.is_some(),
            keyed: of.keyed,
            delta: of.delta,
        })
    }
}

impl Plan for SequentialAttentionPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = "baseline/attention_sequential";
        vec![Footprint { kernel, lanes: self.lanes, workgroup_bytes: 0, storage_buffers: 7 }]
    }
}

impl fmt::Display for SequentialAttentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, key_dim, storage, .. } = self;
        write!(f, "a loop, a lane a row of {key_dim} elements of a state; {lanes} lanes, {storage}")
    }
}

params! {
    /// `baseline/attention_sequential`.
    AttentionParams {
        rows: u32, heads: u32, value_dim: u32, length: u32, first: u32, end: u32, scale: f32, g_step: u32,
        g_head: u32,
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &SequentialAttentionPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = yardstick("baseline/attention_sequential")
        .set("LANES", plan.lanes)
        .set("KEY_DIM", plan.key_dim)
        .set("HAS_DECAY", plan.decay)
        .set("KEYED", plan.keyed)
        .set("DELTA", plan.delta);
    Ok(vec![tensors(linker, &["q", "k", "v", "o"], plan.storage).link()?])
}

/// Linear attention or the delta rule as a loop, one lane a row of a state: no work is done twice, and few heads leave a GPU
/// idle.
#[derive(Clone, Debug)]
pub struct SequentialAttention {
    gpu: Gpu,
    of: Attention,
    plan: SequentialAttentionPlan,
    kernel: Kernel,
}

/// What the kernel binds but the states.
struct Buffers<'a> {
    q: &'a wgpu::Buffer,
    k: &'a wgpu::Buffer,
    v: &'a wgpu::Buffer,
    g: &'a wgpu::Buffer,
    beta: &'a wgpu::Buffer,
    initial: Option<&'a Tensor<f32>>,
}

impl SequentialAttention {
    /// Plans linear attention for this GPU and compiles what the plan needs.
    pub fn linear_attention(gpu: &Gpu, spec: &LinearAttentionSpec) -> Result<Self, Error> {
        let plan = SequentialAttentionPlan::linear_attention(spec, gpu.caps())?;
        Self::new(gpu, Attention::linear(spec)?, plan)
    }

    /// Plans the delta rule for this GPU and compiles what the plan needs.
    pub fn delta_rule(gpu: &Gpu, spec: &DeltaRuleSpec) -> Result<Self, Error> {
        let plan = SequentialAttentionPlan::delta_rule(spec, gpu.caps())?;
        Self::new(gpu, Attention::delta_rule(spec)?, plan)
    }

    fn new(gpu: &Gpu, of: Attention, plan: SequentialAttentionPlan) -> Result<Self, Error> {
        let [kernel] = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), of, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &SequentialAttentionPlan {
        &self.plan
    }

    /// Records linear attention of the spec that this was made from.
    pub fn encode_linear_attention<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        spec: &LinearAttentionSpec,
        inputs: LinearAttentionInputs<'_, T>,
        outputs: &LinearAttentionOutputs<T>,
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, spec)?;
        outputs.check(&self.gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        let LinearAttentionInputs { q, k, v, g, initial } = inputs;
        let (g, beta) = (g.buffer(), self.gpu.unused());
        let buffers = Buffers { q: q.buffer(), k: k.buffer(), v: v.buffer(), g, beta, initial };
        self.encode(encoder, &buffers, [outputs.o.buffer(), outputs.last.buffer()])
    }

    /// Records the delta rule of the spec that this was made from.
    pub fn encode_delta_rule<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        spec: &DeltaRuleSpec,
        inputs: DeltaRuleInputs<'_, T>,
        outputs: &LinearAttentionOutputs<T>,
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, spec)?;
        outputs.check(&self.gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        let DeltaRuleInputs { q, k, v, beta, g, initial } = inputs;
        let (g, beta) = (g.map_or(self.gpu.unused(), Tensor::buffer), beta.buffer());
        let buffers = Buffers { q: q.buffer(), k: k.buffer(), v: v.buffer(), g, beta, initial };
        self.encode(encoder, &buffers, [outputs.o.buffer(), outputs.last.buffer()])
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        buffers: &Buffers<'_>,
        [o, last]: [&wgpu::Buffer; 2],
    ) -> Result<(), Error> {
        let Self { gpu, of, plan, kernel } = self;
        let bytes = 4 * (of.rows() * of.key_dim) as u64;
        match buffers.initial {
            Some(initial) => encoder.copy_buffer_to_buffer(initial.buffer(), 0, last, 0, bytes),
            None => encoder.clear_buffer(last, 0, Some(bytes)),
        }
        let (rows, length) = (of.rows() as u32, of.length as u32);
        let [g_step, g_head] = of.g.unwrap_or_default().map(|distance| distance as u32);
        for first in (0..length).step_by(plan.steps as usize) {
            let params = AttentionParams {
                groups: rows.div_ceil(plan.lanes),
                rows,
                heads: of.heads as u32,
                value_dim: of.value_dim as u32,
                length,
                first,
                end: length.min(first + plan.steps),
                scale: of.scale,
                g_step,
                g_head,
            };
            let Buffers { q, k, v, g, beta, .. } = *buffers;
            kernel.dispatch(gpu, encoder, &params, &[q, k, v, g, beta, o, last])?;
        }
        Ok(())
    }
}
