//! The gradients of selective scans and of state-space duality as plain loops.

use std::fmt;

use super::recurrence::{Given, Recurrence, copy, dispatch_steps, tensors};
use super::strided_sums::{Places, Sums};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Shader, ShaderError, Storage};
use crate::{
    Caps, CoefficientGradient, DType, Element, Error, Gpu, PlanError, SelectiveScanGradients,
    SelectiveScanInputs, SelectiveScanSpec, SsdGradients, SsdInputs, SsdOutputGradients, SsdSpec, Tensor,
};

/// How to run the gradients of a [`SelectiveScanSpec`] or an [`SsdSpec`] with a lane for each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SequentialRecurrenceBackwardPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// States of a lane.
    pub states: u32,
    /// Steps whose states are in memory at once, and that a dispatch takes.
    pub window: u32,
    /// How tensors with something for each step are stored.
    pub storage: Storage,
    /// Whether all states of a channel decay alike.
    pub one_decay: bool,
    /// Whether step sizes pass through a softplus.
    pub softplus: bool,
    /// Whether the result is gated.
    pub gated: bool,
}

/// Bytes of what lies between the kernels: more steps at once would be no faster.
const WORK_BYTES: u64 = 1 << 29;

impl SequentialRecurrenceBackwardPlan {
    /// Plans the gradients of a selective scan. Fails if the spec is wrong or has options that yardsticks have not, or a
    /// tensor exceeds a binding.
    pub fn selective_scan(spec: &SelectiveScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Recurrence::selective_scan(spec)?, caps)
    }

    /// Plans the gradients of state-space duality. Fails alike.
    pub fn ssd(spec: &SsdSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Recurrence::ssd(spec)?, caps)
    }

    fn new(of: &Recurrence, caps: &Caps) -> Result<Self, PlanError> {
        of.check_bindings(caps)?;
        let room = (caps.binding_bytes.min(caps.buffer_bytes).min(WORK_BYTES) / 4) as usize;
        let of_step = work_of(of, 1) - work_of(of, 0);
        let window = (room.saturating_sub(work_of(of, 0)) / of_step).clamp(1, of.length) as u32;
        let window = window.min(dispatch_steps(of, caps));
        check_binding("what lies between the loops", work_of(of, window as usize), DType::F32, caps)?;
        let windows = of.length.div_ceil(window as usize);
        check_binding("the states between windows", windows * of.rows() * of.states, DType::F32, caps)?;
        Ok(Self {
            lanes: 64.min(caps.workgroup_lanes),
            states: of.states as u32,
            window,
            storage: Storage::new(of.dtype, caps.f16, false),
            one_decay: of.one_decay,
            softplus: of.softplus,
            gated: of.gated,
        })
    }
}

/// Numbers of all that `baseline/recurrence_work` divides.
fn work_of(of: &Recurrence, window: usize) -> usize {
    of.rows() * ((3 * of.states + 2) * window + 4 * of.states + 2)
}

impl Plan for SequentialRecurrenceBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        vec![
            kernel("baseline/recurrence_states", 5),
            kernel("baseline/recurrence_gates", 7),
            kernel("baseline/recurrence_gradients", 7),
            Sums::footprint(),
            Sums::footprint(),
        ]
    }
}

impl fmt::Display for SequentialRecurrenceBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, states, window, storage, .. } = self;
        write!(f, "a loop, a lane a channel with {states} states, {window} steps at once")?;
        write!(f, "; {lanes} lanes, {storage}")
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &SequentialRecurrenceBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| {
        let linker = yardstick(kernel).module("baseline/recurrence").module("baseline/recurrence_work");
        let linker = linker.module("common/activation");
        linker.set("LANES", plan.lanes).set("STATES", plan.states)
    };
    let with_steps = |kernel| {
        let linker = linker(kernel).module("baseline/recurrence_steps");
        linker.set("ONE_DECAY", plan.one_decay).set("SOFTPLUS", plan.softplus)
    };
    let states = tensors(with_steps("baseline/recurrence_states"), &["x", "dt", "b"], plan.storage);
    let gates = linker("baseline/recurrence_gates").set("GATED", plan.gated);
    let gates = tensors(gates, &["x", "c", "z", "dy", "dz"], plan.storage);
    let gradients = with_steps("baseline/recurrence_gradients");
    let gradients = tensors(gradients, &["x", "dt", "b", "c", "dx"], plan.storage);
    Ok(vec![
        states.link()?,
        gates.link()?,
        gradients.link()?,
        Sums::shader(plan.storage)?,
        Sums::shader(Storage::F32)?,
    ])
}

/// Where gradients go, under the names of what they belong to.
struct Gradients<'a> {
    x: &'a wgpu::Buffer,
    dt: &'a wgpu::Buffer,
    b: &'a wgpu::Buffer,
    c: &'a wgpu::Buffer,
    z: &'a wgpu::Buffer,
    a: &'a wgpu::Buffer,
    skip: Option<&'a wgpu::Buffer>,
    bias: Option<&'a wgpu::Buffer>,
    initial: Option<&'a wgpu::Buffer>,
}

/// What lies between the kernels.
#[derive(Clone, Debug)]
pub struct RecurrenceScratch {
    packed: Tensor<f32>,
    work: Tensor<f32>,
    /// The states before each window.
    states: Tensor<f32>,
}

/// The gradients of a selective scan or of state-space duality as loops, one lane a channel. States are kept of some steps
/// at once, and computed again from those before them.
#[derive(Clone, Debug)]
pub struct SequentialRecurrenceBackward {
    gpu: Gpu,
    of: Recurrence,
    plan: SequentialRecurrenceBackwardPlan,
    kernels: [Kernel; 5],
}

impl SequentialRecurrenceBackward {
    /// Plans the gradients of a selective scan for this GPU and compiles what the plan needs.
    pub fn selective_scan(gpu: &Gpu, spec: &SelectiveScanSpec) -> Result<Self, Error> {
        let plan = SequentialRecurrenceBackwardPlan::selective_scan(spec, gpu.caps())?;
        Self::new(gpu, Recurrence::selective_scan(spec).map_err(PlanError::from)?, plan)
    }

    /// Plans the gradients of state-space duality for this GPU and compiles what the plan needs.
    pub fn ssd(gpu: &Gpu, spec: &SsdSpec) -> Result<Self, Error> {
        let plan = SequentialRecurrenceBackwardPlan::ssd(spec, gpu.caps())?;
        Self::new(gpu, Recurrence::ssd(spec).map_err(PlanError::from)?, plan)
    }

    fn new(gpu: &Gpu, of: Recurrence, plan: SequentialRecurrenceBackwardPlan) -> Result<Self, Error> {
        let kernels = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), of, plan, kernels })
    }

    /// How it runs here.
    pub fn plan(&self) -> &SequentialRecurrenceBackwardPlan {
        &self.plan
    }

    /// The tensors between the kernels.
    pub fn scratch(&self) -> Result<RecurrenceScratch, Error> {
        let [packed, work, states] = self.scratch_sizes();
        let zeros = |size| Tensor::zeros(&self.gpu, &[size]);
        Ok(RecurrenceScratch { packed: zeros(packed)?, work: zeros(work)?, states: zeros(states)? })
    }

    fn scratch_sizes(&self) -> [usize; 3] {
        let Self { of, plan, .. } = self;
        let window = plan.window as usize;
        [of.packed()[2], work_of(of, window), of.length.div_ceil(window) * of.rows() * of.states]
    }

    /// Records the gradients of a selective scan of the spec that this was made from.
    pub fn encode_selective_scan<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        spec: &SelectiveScanSpec,
        (inputs, dout): (SelectiveScanInputs<'_, T>, &Tensor<T>),
        (gradients, scratch): (&SelectiveScanGradients<T>, &RecurrenceScratch),
    ) -> Result<(), Error> {
        let gpu = &self.gpu;
        inputs.check(gpu, spec)?;
        dout.expect(gpu, "dout", spec.dtype, &spec.shape())?;
        gradients.check(gpu, spec)?;
        let steps = |of: &CoefficientGradient<T>| match of {
            CoefficientGradient::PerStep(tensor) => tensor.buffer().clone(),
            CoefficientGradient::PerChannel(tensor) => tensor.buffer().clone(),
        };
        let (b, c) = (steps(&gradients.db), steps(&gradients.dc));
        let to = Gradients {
            x: gradients.du.buffer(),
            dt: gradients.ddelta.buffer(),
            b: &b,
            c: &c,
            // What is not written may be any tensor that the kernel does not bind.
            z: gradients.dz.as_ref().unwrap_or(&gradients.du).buffer(),
            a: gradients.da.buffer(),
            skip: gradients.dskip.as_ref().map(Tensor::buffer),
            bias: gradients.ddelta_bias.as_ref().map(Tensor::buffer),
            initial: gradients.dinitial.as_ref().map(Tensor::buffer),
        };
        self.encode(encoder, &Given::selective_scan(gpu, &inputs), (dout.buffer(), None), &to, scratch)
    }

    /// Records the gradients of state-space duality of the spec that this was made from.
    pub fn encode_ssd<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        spec: &SsdSpec,
        (inputs, of): (SsdInputs<'_, T>, SsdOutputGradients<'_, T>),
        (gradients, scratch): (&SsdGradients<T>, &RecurrenceScratch),
    ) -> Result<(), Error> {
        let gpu = &self.gpu;
        inputs.check(gpu, spec)?;
        of.check(gpu, spec)?;
        gradients.check(gpu, spec)?;
        let to = Gradients {
            x: gradients.x.buffer(),
            dt: gradients.dt.buffer(),
            b: gradients.b.buffer(),
            c: gradients.c.buffer(),
            z: gradients.z.as_ref().unwrap_or(&gradients.x).buffer(),
            a: gradients.a.buffer(),
            skip: gradients.d.as_ref().map(Tensor::buffer),
            bias: gradients.dt_bias.as_ref().map(Tensor::buffer),
            initial: Some(gradients.initial.buffer()),
        };
        self.encode(encoder, &Given::ssd(gpu, &inputs), (of.out.buffer(), of.last), &to, scratch)
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        given: &Given<'_>,
        (dy, dlast): (&wgpu::Buffer, Option<&Tensor<f32>>),
        to: &Gradients<'_>,
        scratch: &RecurrenceScratch,
    ) -> Result<(), Error> {
        let Self { gpu, of, plan, .. } = self;
        let RecurrenceScratch { packed, work, states } = scratch;
        for (tensor, size) in [packed, work, states].into_iter().zip(self.scratch_sizes()) {
            tensor.expect(gpu, "what lies between the loops", DType::F32, &[size])?;
        }
        given.pack(encoder, of, packed);
        let (work, states) = (work.buffer(), states.buffer());
        given.begin(encoder, of, states);
        let windows = of.length.div_ceil(plan.window as usize) as u32;
        let loops = Loops { of, plan, given, packed: packed.buffer(), work };
        for window in 0..windows {
            self.states(encoder, &loops, window, states)?;
            if window + 1 < windows {
                let bytes = loops.state_bytes();
                let next = u64::from(window + 1) * bytes;
                encoder.copy_buffer_to_buffer(work, 4 * loops.of_states() + bytes, states, next, bytes);
            }
        }
        // What comes from behind, and all that is summed over windows.
        let behind = loops.of_states() + 2 * (of.rows() * of.states) as u64;
        encoder.clear_buffer(work, 4 * behind, None);
        if let Some(dlast) = dlast {
            copy(encoder, dlast, work, behind as usize);
        }
        for window in (0..windows).rev() {
            if window + 1 < windows {
                self.states(encoder, &loops, window, states)?;
            }
            self.window(encoder, &loops, window, dy, to)?;
        }
        if let Some(initial) = to.initial {
            encoder.copy_buffer_to_buffer(work, 4 * behind, initial, 0, loops.state_bytes());
        }
        self.sum_channels(encoder, work, to)
    }

    /// Records the states after each step of a window.
    fn states(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        loops: &Loops<'_>,
        window: u32,
        states: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let bytes = loops.state_bytes();
        let Given { x, dt, b, .. } = *loops.given;
        encoder.copy_buffer_to_buffer(
            states,
            u64::from(window) * bytes,
            loops.work,
            4 * loops.of_states(),
            bytes,
        );
        let buffers = [x, dt, b, loops.packed, loops.work];
        self.kernels[0].dispatch(&self.gpu, encoder, &loops.params(window), &buffers)
    }

    /// Records the gradients of a window, whose states are there.
    fn window(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        loops: &Loops<'_>,
        window: u32,
        dy: &wgpu::Buffer,
        to: &Gradients<'_>,
    ) -> Result<(), Error> {
        let Self { gpu, of, plan, kernels: [_, gates, gradients, sums, _] } = self;
        let Loops { packed, work, .. } = *loops;
        let Given { x, dt, b, c, z, .. } = *loops.given;
        let params = loops.params(window);
        gates.dispatch(gpu, encoder, &params, &[x, c, z, dy, packed, work, to.z])?;
        gradients.dispatch(gpu, encoder, &params, &[x, dt, b, c, packed, work, to.x])?;
        let steps = [plan.window, params.end - params.first, params.first];
        let cells = of.rows() * of.states * plan.window as usize;
        let groups = of.channels / of.group_channels;
        let of_group = Sums {
            first: cells,
            batches: [1, 0],
            share: of.group_channels,
            width: of.states * plan.window as usize,
            units: of.batch * groups,
            to: Some(Places { units: groups, steps, apart: of.b }),
        };
        of_group.encode(gpu, encoder, sums, [work, to.b])?;
        Sums { first: 2 * cells, ..of_group }.encode(gpu, encoder, sums, [work, to.c])?;
        let heads = of.channels / of.share;
        let [of_batch, of_head, of_step] = of.dt;
        let of_head = Sums {
            first: 3 * cells,
            share: of.share,
            width: plan.window as usize,
            units: of.batch * heads,
            to: Some(Places { units: heads, steps, apart: [of_batch, of_head, 0, of_step] }),
            ..of_group
        };
        of_head.encode(gpu, encoder, sums, [work, to.dt])
    }

    /// Records the gradients of what belongs to channels, summed over batches and over channels that share it.
    fn sum_channels(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        work: &wgpu::Buffer,
        to: &Gradients<'_>,
    ) -> Result<(), Error> {
        let Self { gpu, of, plan, kernels: [.., sums] } = self;
        let (states, window) = (of.rows() * of.states, plan.window as usize);
        let rates = of.rows() * (3 * of.states + 2) * window + 3 * states;
        let (width, share) = if of.one_decay { (1, of.share * of.states) } else { (of.states, of.share) };
        let of_rates = Sums {
            first: rates,
            batches: [of.batch, of.channels * of.states],
            share,
            width,
            units: of.channels / of.share,
            to: None,
        };
        of_rates.encode(gpu, encoder, sums, [work, to.a])?;
        let of_channels = |first, share| Sums {
            first,
            batches: [of.batch, of.channels],
            share,
            width: 1,
            units: of.channels / share,
            to: None,
        };
        if let Some(skip) = to.skip {
            of_channels(rates + states, of.skip_share).encode(gpu, encoder, sums, [work, skip])?;
        }
        if let Some(bias) = to.bias {
            of_channels(rates + states + of.rows(), of.share).encode(gpu, encoder, sums, [work, bias])?;
        }
        Ok(())
    }
}

/// What the loops of a call have in common.
struct Loops<'a> {
    of: &'a Recurrence,
    plan: &'a SequentialRecurrenceBackwardPlan,
    given: &'a Given<'a>,
    packed: &'a wgpu::Buffer,
    work: &'a wgpu::Buffer,
}

impl Loops<'_> {
    fn params(&self, window: u32) -> super::recurrence::RecurrenceParams {
        let Self { of, plan, .. } = self;
        let first = window * plan.window;
        let end = (of.length as u32).min(first + plan.window);
        of.params((plan.lanes, of.rows()), [first, end], plan.window)
    }

    fn state_bytes(&self) -> u64 {
        4 * (self.of.rows() * self.of.states) as u64
    }

    /// Where in `work` there is something for each channel and state.
    fn of_states(&self) -> u64 {
        (self.of.rows() * (3 * self.of.states + 2) * self.plan.window as usize) as u64
    }
}
