//! Selective scans and linear attention as a composition of array operations.

use std::fmt;

use super::recurrence::{Given, Recurrence, RecurrenceDecay, link_steps, tensors};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Shader, ShaderError, Storage};
use crate::spec::elements;
use crate::{
    Caps, DType, Element, Error, Gate, Gpu, LinearAttentionInputs, LinearAttentionOutputs,
    LinearAttentionSpec, PlanError, SelectiveScanInputs, SelectiveScanOutputs, SelectiveScanSpec, Tensor,
};

params! {
    /// `baseline/scan_double`.
    DoubleParams { length: u32, total: u32, reach: u32 }
}

/// Bytes of an array of all states of some steps: more steps at once would be no faster.
const ARRAY_BYTES: u64 = 1 << 28;

/// How to run a [`SelectiveScanSpec`] or a [`LinearAttentionSpec`] unfused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnfusedRecurrencePlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// States of a channel.
    pub states: u32,
    /// Steps whose pairs are in memory at once.
    pub window: u32,
    /// How tensors with something for each step are stored.
    pub storage: Storage,
    /// How step sizes or given decays are stored.
    pub dt: Storage,
    /// How states decay.
    pub decay: RecurrenceDecay,
    /// Whether the result is gated.
    pub gated: bool,
}

impl UnfusedRecurrencePlan {
    /// Plans an unfused scan. Fails if the spec is wrong or has options that yardsticks have not, or a tensor exceeds a
    /// binding.
    pub fn selective_scan(spec: &SelectiveScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Recurrence::selective_scan(spec)?, caps)
    }

    /// Plans unfused linear attention. Fails alike.
    pub fn linear_attention(spec: &LinearAttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Recurrence::linear_attention(spec)?, caps)
    }

    fn new(of: &Recurrence, caps: &Caps) -> Result<Self, PlanError> {
        of.check_bindings(caps)?;
        let of_step = elements("the pairs of a step", &pairs_shape(of, 1))?;
        check_binding("the pairs of a step", of_step, DType::F32, caps)?;
        let room = caps.binding_bytes.min(caps.buffer_bytes).min(ARRAY_BYTES) / 4;
        Ok(Self {
            lanes: 256.min(caps.workgroup_lanes),
            states: of.states as u32,
            window: (room / of_step as u64).min(of.length as u64) as u32,
            storage: Storage::new(of.dtype, caps.f16, false),
            dt: Storage::new(of.dt_type, caps.f16, false),
            decay: of.decay,
            gated: of.gated,
        })
    }
}

/// A factor and a term for each state of so many steps.
pub(super) fn pairs_shape(of: &Recurrence, steps: u32) -> [usize; 4] {
    [of.rows(), of.states, steps as usize, 2]
}

impl Plan for UnfusedRecurrencePlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        vec![
            kernel("baseline/recurrence_pairs", 5),
            kernel("baseline/scan_double", 2),
            kernel("baseline/recurrence_results", 8),
        ]
    }
}

impl fmt::Display for UnfusedRecurrencePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, window, storage, .. } = self;
        let passes = passes(*window);
        write!(f, "{passes} doubling passes over pairs of all states of {window} steps in f32")?;
        write!(f, "; {lanes} lanes, {storage}")
    }
}

/// Doubling passes over that many steps.
pub(super) fn passes(steps: u32) -> u32 {
    steps.next_power_of_two().ilog2()
}

/// `baseline/scan_double`.
pub(super) fn double_shader(lanes: u32) -> Result<Shader, ShaderError> {
    yardstick("baseline/scan_double").module("scan/affine").set("LANES", lanes).link()
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &UnfusedRecurrencePlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| {
        let linker = yardstick(kernel).module("baseline/recurrence");
        linker.set("LANES", plan.lanes).set("STATES", plan.states)
    };
    let pairs = link_steps(linker("baseline/recurrence_pairs"), plan.decay);
    let pairs = tensors(pairs, &["x", "b"], plan.storage).tensor("dt", plan.dt);
    let results = linker("baseline/recurrence_results").module("common/activation").set("GATED", plan.gated);
    let results = tensors(results, &["x", "c", "z", "y"], plan.storage);
    Ok(vec![pairs.link()?, double_shader(plan.lanes)?, results.link()?])
}

/// Pairs before and after a pass.
pub(super) type Pairs<'a> = [&'a wgpu::Buffer; 2];

/// Records doubling passes over the pairs of so many steps, from the first buffer on, and tells which has them after.
pub(super) fn double<'a>(
    gpu: &Gpu,
    encoder: &mut wgpu::CommandEncoder,
    (kernel, lanes): (&Kernel, u32),
    (units, steps): (usize, u32),
    [mut before, mut after]: Pairs<'a>,
) -> Result<&'a wgpu::Buffer, Error> {
    let total = units as u32 * steps;
    for pass in 0..passes(steps) {
        let params = DoubleParams { groups: total.div_ceil(lanes), length: steps, total, reach: 1 << pass };
        kernel.dispatch(gpu, encoder, &params, &[before, after])?;
        std::mem::swap(&mut before, &mut after);
    }
    Ok(before)
}

/// The pairs of all states of some steps, before and after a pass, what the kernels read of channels, and the states before
/// these steps.
#[derive(Clone, Debug)]
pub struct UnfusedRecurrenceScratch {
    pairs: [Tensor<f32>; 2],
    packed: Tensor<f32>,
    begun: Tensor<f32>,
}

/// A selective scan or linear attention as array frameworks compose it: what each step does to each state, doubling passes
/// over whole arrays (Hillis and Steele 1986), and what is read out of the states. Where arrays of all steps would not fit,
/// some steps are taken at a time.
#[derive(Clone, Debug)]
pub struct UnfusedRecurrence {
    gpu: Gpu,
    of: Recurrence,
    plan: UnfusedRecurrencePlan,
    kernels: [Kernel; 3],
}

impl UnfusedRecurrence {
    /// Plans a selective scan for this GPU and compiles what the plan needs.
    pub fn selective_scan(gpu: &Gpu, spec: &SelectiveScanSpec) -> Result<Self, Error> {
        let plan = UnfusedRecurrencePlan::selective_scan(spec, gpu.caps())?;
        Self::new(gpu, Recurrence::selective_scan(spec).map_err(PlanError::from)?, plan)
    }

    /// Plans linear attention for this GPU and compiles what the plan needs.
    pub fn linear_attention(gpu: &Gpu, spec: &LinearAttentionSpec) -> Result<Self, Error> {
        let plan = UnfusedRecurrencePlan::linear_attention(spec, gpu.caps())?;
        Self::new(gpu, Recurrence::linear_attention(spec).map_err(PlanError::from)?, plan)
    }

    fn new(gpu: &Gpu, of: Recurrence, plan: UnfusedRecurrencePlan) -> Result<Self, Error> {
        Ok(Self { gpu: gpu.clone(), of, plan, kernels: compile_array(gpu, &shaders(&plan)?)? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedRecurrencePlan {
        &self.plan
    }

    /// The tensors between the kernels.
    pub fn scratch(&self) -> Result<UnfusedRecurrenceScratch, Error> {
        let Self { gpu, of, plan, .. } = self;
        let pairs = || Tensor::zeros(gpu, &pairs_shape(of, plan.window));
        Ok(UnfusedRecurrenceScratch {
            pairs: [pairs()?, pairs()?],
            packed: Tensor::zeros(gpu, &[of.packed()[2]])?,
            begun: Tensor::zeros(gpu, &[of.rows(), of.states])?,
        })
    }

    /// Records a selective scan of the spec that this was made from.
    pub fn encode_selective_scan<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        spec: &SelectiveScanSpec,
        inputs: SelectiveScanInputs<'_, T>,
        (outputs, scratch): (&SelectiveScanOutputs<T>, &UnfusedRecurrenceScratch),
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, spec)?;
        outputs.check(&self.gpu, spec)?;
        let results = [outputs.out.buffer(), outputs.last.buffer()];
        self.encode(encoder, &Given::selective_scan(&self.gpu, &inputs), results, scratch)
    }

    /// Records linear attention of the spec that this was made from.
    pub fn encode_linear_attention<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        spec: &LinearAttentionSpec,
        inputs: LinearAttentionInputs<'_, T>,
        (outputs, scratch): (&LinearAttentionOutputs<T>, &UnfusedRecurrenceScratch),
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, spec)?;
        outputs.check(&self.gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        let given = Given::linear_attention(&self.gpu, &inputs, spec.gate == Gate::Constant);
        self.encode(encoder, &given, [outputs.o.buffer(), outputs.last.buffer()], scratch)
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        given: &Given<'_>,
        [y, last]: [&wgpu::Buffer; 2],
        scratch: &UnfusedRecurrenceScratch,
    ) -> Result<(), Error> {
        let Self { gpu, of, plan, kernels: [pairs, passes, results] } = self;
        let UnfusedRecurrenceScratch { pairs: between, packed, begun } = scratch;
        for pairs in between {
            pairs.expect(gpu, "the pairs of all states", DType::F32, &pairs_shape(of, plan.window))?;
        }
        packed.expect(gpu, "what belongs to channels", DType::F32, &[of.packed()[2]])?;
        begun.expect(gpu, "the states", DType::F32, &[of.rows(), of.states])?;
        given.pack(encoder, of, packed);
        given.begin(encoder, of, begun.buffer());
        let Given { x, dt, b, c, z, .. } = *given;
        let (packed, length) = (packed.buffer(), of.length as u32);
        let [first_pairs, other_pairs] = [0, 1].map(|i: usize| between[i].buffer());
        for first in (0..length).step_by(plan.window as usize) {
            let end = length.min(first + plan.window);
            let units = of.rows() * of.states;
            let params =
                |each: usize| of.params((plan.lanes, each * (end - first) as usize), [first, end], 0);
            pairs.dispatch(gpu, encoder, &params(units), &[x, dt, b, packed, first_pairs])?;
            let scanned =
                double(gpu, encoder, (passes, plan.lanes), (units, end - first), [first_pairs, other_pairs])?;
            let buffers = [scanned, x, c, z, packed, begun.buffer(), y, last];
            results.dispatch(gpu, encoder, &params(of.rows()), &buffers)?;
            encoder.copy_buffer_to_buffer(last, 0, begun.buffer(), 0, 4 * units as u64);
        }
        Ok(())
    }
}
