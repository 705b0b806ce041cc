//! The delta rule as a composition of array operations.

use std::fmt;

use super::recurrence::{Given, Recurrence, tensors};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array};
use crate::plan::{Footprint, Plan};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::spec::wrong;
use crate::{
    Caps, DType, DeltaRuleInputs, DeltaRuleSpec, Element, Error, Gpu, LinearAttentionOutputs, PlanError,
    Tensor,
};

/// How to run a [`DeltaRuleSpec`] unfused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnfusedDeltaRulePlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Elements of a key.
    pub key_dim: u32,
    /// How queries, keys, values and results are stored.
    pub storage: Storage,
    /// Whether states decay.
    pub gated: bool,
}

/// Steps that are recorded at most: each takes three operations, which take a host longer than a GPU.
const STEPS: usize = 1 << 13;

impl UnfusedDeltaRulePlan {
    /// Plans a composition. Fails if the spec is wrong, there are several sequences to a batch, a tensor exceeds a binding, or
    /// there are too many steps.
    pub fn new(spec: &DeltaRuleSpec, caps: &Caps) -> Result<Self, PlanError> {
        let of = Recurrence::delta_rule(spec)?;
        of.check_bindings(caps)?;
        if spec.length > STEPS {
            let most = format!("at most {STEPS}: each is three operations after those of the one before");
            return Err(wrong("the number of steps of the unfused delta rule", &spec.length, most).into());
        }
        Ok(Self {
            lanes: 256.min(caps.workgroup_lanes),
            key_dim: spec.key_dim as u32,
            storage: Storage::new(spec.dtype, caps.f16, false),
            gated: spec.gated,
        })
    }
}

impl Plan for UnfusedDeltaRulePlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        vec![
            kernel("baseline/delta_take", 6),
            kernel("baseline/delta_put", 4),
            kernel("baseline/delta_read", 3),
        ]
    }
}

impl fmt::Display for UnfusedDeltaRulePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, storage, .. } = self;
        write!(f, "three operations a step over states in f32; {lanes} lanes, {storage}")
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &UnfusedDeltaRulePlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel, names: &[&'static str]| {
        let linker = yardstick(kernel).module("baseline/recurrence");
        let linker = linker.set("LANES", plan.lanes).set("STATES", plan.key_dim);
        tensors(linker, names, plan.storage)
    };
    let stepped = |linker: Linker| linker.module("baseline/delta_steps").set("GATED", plan.gated).link();
    Ok(vec![
        stepped(linker("baseline/delta_take", &["v", "k"]))?,
        stepped(linker("baseline/delta_put", &["k"]))?,
        linker("baseline/delta_read", &["q", "o"]).link()?,
    ])
}

/// The delta rule as array frameworks compose it without a chunked form: for each step a product of states with keys, an outer
/// product that is added to them, and a product with queries.
#[derive(Clone, Debug)]
pub struct UnfusedDeltaRule {
    gpu: Gpu,
    spec: DeltaRuleSpec,
    of: Recurrence,
    plan: UnfusedDeltaRulePlan,
    kernels: [Kernel; 3],
}

impl UnfusedDeltaRule {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: DeltaRuleSpec) -> Result<Self, Error> {
        let plan = UnfusedDeltaRulePlan::new(&spec, gpu.caps())?;
        let of = Recurrence::delta_rule(&spec).map_err(PlanError::from)?;
        Ok(Self { gpu: gpu.clone(), spec, of, plan, kernels: compile_array(gpu, &shaders(&plan)?)? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedDeltaRulePlan {
        &self.plan
    }

    /// What each row of a state takes in.
    pub fn scratch(&self) -> Result<Tensor<f32>, Error> {
        Tensor::zeros(&self.gpu, &[self.of.rows()])
    }

    /// Records every operation.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: DeltaRuleInputs<'_, T>,
        outputs: &LinearAttentionOutputs<T>,
        taken: &Tensor<f32>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, of, plan, kernels: [take, put, read] } = self;
        inputs.check(gpu, spec)?;
        outputs.check(gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        taken.expect(gpu, "what states take in", DType::F32, &[of.rows()])?;
        let given = Given::delta_rule(gpu, &inputs);
        let (taken, states) = (taken.buffer(), outputs.last.buffer());
        given.begin(encoder, of, states);
        let Given { x: v, dt: g, b: k, c: q, beta, .. } = given;
        for t in 0..of.length as u32 {
            let params = |invocations| of.params((plan.lanes, invocations), [t, t + 1], 0);
            take.dispatch(gpu, encoder, &params(of.rows()), &[v, g, k, beta, states, taken])?;
            put.dispatch(gpu, encoder, &params(of.rows() * of.states), &[g, k, taken, states])?;
            read.dispatch(gpu, encoder, &params(of.rows()), &[q, states, outputs.o.buffer()])?;
        }
        Ok(())
    }
}
