//! The gradients of selective scans, of state-space duality and of linear attention as plain loops, and as compositions of
//! array operations.

use std::fmt;

use super::recurrence::{
    Given, Recurrence, RecurrenceDecay, RecurrenceParams, copy, dispatch_steps, link_steps, tensors,
};
use super::recurrence_unfused::{double, double_shader, pairs_shape, passes};
use super::strided_sums::{Places, Sums};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::spec::wrong;
use crate::{
    Caps, CoefficientGradient, DType, DeltaRuleGradients, DeltaRuleInputs, DeltaRuleSpec, Element, Error,
    Gate, Gpu, LinearAttentionGradients, LinearAttentionInputs, LinearAttentionOutputGradients,
    LinearAttentionSpec, PlanError, SelectiveScanGradients, SelectiveScanInputs, SelectiveScanSpec,
    SsdGradients, SsdInputs, SsdOutputGradients, SsdSpec, Tensor,
};

/// In which of two ways a yardstick computes a recurrence's gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum PlainWay {
    /// As a loop, a lane a channel: the sequential yardstick.
    Loop,
    /// As array frameworks compose it, operation by operation over whole arrays: the unfused one.
    Arrays,
}

/// How to run the gradients of a [`SelectiveScanSpec`], an [`SsdSpec`], a [`LinearAttentionSpec`] or a [`DeltaRuleSpec`]
/// plainly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PlainRecurrenceBackwardPlan {
    /// In which way.
    pub way: PlainWay,
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// States of a channel.
    pub states: u32,
    /// Steps whose states are in memory at once, and that a dispatch takes.
    pub window: u32,
    /// How tensors with something for each step are stored.
    pub storage: Storage,
    /// How step sizes or given decays are stored.
    pub dt: Storage,
    /// How states decay.
    pub decay: RecurrenceDecay,
    /// Whether decays come from numbers of channels or heads, which have gradients of their own.
    pub rates: bool,
    /// Numbers kept for each state of a step, and for each step.
    pub kept: [u32; 2],
    /// Whether the result is gated.
    pub gated: bool,
    /// Whether values replace what states hold under their key.
    pub delta: bool,
}

/// Bytes of what lies between the kernels: more steps at once would be no faster.
const WORK_BYTES: u64 = 1 << 29;

impl PlainRecurrenceBackwardPlan {
    /// Plans the gradients of a selective scan. Fails if the spec is wrong or has options that yardsticks have not, or a
    /// tensor exceeds a binding.
    pub fn selective_scan(spec: &SelectiveScanSpec, way: PlainWay, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Recurrence::selective_scan(spec)?, way, caps)
    }

    /// Plans the gradients of state-space duality. Fails alike.
    pub fn ssd(spec: &SsdSpec, way: PlainWay, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Recurrence::ssd(spec)?, way, caps)
    }

    /// Plans the gradients of linear attention. Fails alike.
    pub fn linear_attention(
        spec: &LinearAttentionSpec,
        way: PlainWay,
        caps: &Caps,
    ) -> Result<Self, PlanError> {
        Self::new(&Recurrence::linear_attention(spec)?, way, caps)
    }

    /// Plans the gradients of the delta rule. Fails alike, and for array operations: the factors of its scan are matrices,
    /// which take as many times the memory and the arithmetic as a key has elements, squared.
    pub fn delta_rule(spec: &DeltaRuleSpec, way: PlainWay, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Recurrence::delta_rule(spec)?, way, caps)
    }

    fn new(of: &Recurrence, way: PlainWay, caps: &Caps) -> Result<Self, PlanError> {
        of.check_bindings(caps)?;
        if of.delta && way == PlainWay::Arrays {
            let matrices = format!("matrices of {} × {} numbers", of.states, of.states);
            return Err(
                wrong("a step's factor in a scan of the delta rule", &matrices, "a number a state").into()
            );
        }
        let kept = match way {
            PlainWay::Loop => [3 + u32::from(of.keyed()), 2],
            PlainWay::Arrays => [4, 3],
        };
        let work = |window| work_of(of, kept, window);
        let room = (caps.binding_bytes.min(caps.buffer_bytes).min(WORK_BYTES) / 4) as usize;
        let window = (room.saturating_sub(work(0)) / (work(1) - work(0))).clamp(1, of.length) as u32;
        let window = match way {
            PlainWay::Loop => window.min(dispatch_steps(of, caps)),
            PlainWay::Arrays => window,
        };
        check_binding("what lies between the kernels", work(window as usize), DType::F32, caps)?;
        let windows = of.length.div_ceil(window as usize);
        let states = (windows + 1) * of.rows() * of.states;
        check_binding("the states between windows", states, DType::F32, caps)?;
        let lanes = if way == PlainWay::Loop { 64 } else { 256 };
        Ok(Self {
            way,
            lanes: caps.workgroup_lanes.min(lanes),
            states: of.states as u32,
            window,
            storage: Storage::new(of.dtype, caps.f16, false),
            dt: Storage::new(of.dt_type, caps.f16, false),
            decay: of.decay,
            rates: of.has_rates(),
            kept,
            gated: of.gated,
            delta: of.delta,
        })
    }

    /// Whether each step has a decay that is given.
    fn has_given_decays(&self) -> bool {
        matches!(self.decay, RecurrenceDecay::Given(Gate::PerStep | Gate::PerKey))
    }

    fn kernels(&self) -> &'static [PlainKernel] {
        use PlainKernel::{
            Apply, DeltaGradients, DeltaStates, Double, Gates, Gradients, Pairs, PairsBack, Products, States,
            Sum, Totals,
        };
        match self.way {
            PlainWay::Loop if self.delta => {
                &[DeltaStates, DeltaGradients, Sum { steps: true }, Sum { steps: false }]
            }
            PlainWay::Loop => &[States, Gates, Gradients, Sum { steps: true }, Sum { steps: false }],
            PlainWay::Arrays => &[
                Pairs,
                Double,
                Apply,
                Gates,
                PairsBack,
                Products,
                Totals,
                Sum { steps: true },
                Sum { steps: false },
            ],
        }
    }
}

/// The kernels of either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlainKernel {
    /// States as a loop.
    States,
    /// States as pairs, scanned and applied.
    Pairs,
    Double,
    Apply,
    /// Back through the gate.
    Gates,
    /// All gradients as a loop.
    Gradients,
    /// States and gradients of the delta rule.
    DeltaStates,
    DeltaGradients,
    /// Gradients of states as pairs.
    PairsBack,
    /// What each step adds to the other gradients.
    Products,
    /// Sums over steps.
    Totals,
    /// Sums over channels: of tensors with something for each step, or of decays and what else is f32.
    Sum {
        steps: bool,
    },
}

/// Numbers of all that `baseline/recurrence_work` divides.
fn work_of(of: &Recurrence, kept: [u32; 2], window: usize) -> usize {
    let [cells, sizes] = kept.map(|count| count as usize);
    of.rows() * ((cells * of.states + sizes) * window + 4 * of.states + 2)
}

impl Plan for PlainRecurrenceBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let footprint = |kernel: &PlainKernel| {
            let (kernel, lanes, workgroup_bytes, storage_buffers) = match kernel {
                PlainKernel::States => ("baseline/recurrence_states", self.lanes, 0, 5),
                PlainKernel::Pairs => ("baseline/recurrence_pairs", self.lanes, 0, 5),
                PlainKernel::Double => ("baseline/scan_double", self.lanes, 0, 2),
                PlainKernel::Apply => ("baseline/recurrence_apply", self.lanes, 0, 2),
                PlainKernel::Gates => ("baseline/recurrence_gates", self.lanes, 0, 7),
                PlainKernel::Gradients => ("baseline/recurrence_gradients", self.lanes, 0, 7),
                PlainKernel::DeltaStates => ("baseline/delta_states", self.lanes, 0, 5),
                PlainKernel::DeltaGradients => ("baseline/delta_gradients", self.lanes, 0, 8),
                PlainKernel::PairsBack => ("baseline/recurrence_pairs_back", self.lanes, 0, 5),
                PlainKernel::Products => ("baseline/recurrence_products", self.lanes, 0, 7),
                PlainKernel::Totals => ("baseline/recurrence_totals", TOTAL_LANES, 4 * TOTAL_LANES, 1),
                PlainKernel::Sum { .. } => return Sums::footprint(),
            };
            Footprint { kernel, lanes, workgroup_bytes, storage_buffers }
        };
        self.kernels().iter().map(footprint).collect()
    }
}

/// Lanes of `baseline/recurrence_totals`.
const TOTAL_LANES: u32 = 64;

impl fmt::Display for PlainRecurrenceBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { way, lanes, states, window, storage, .. } = self;
        match way {
            PlainWay::Loop => {
                write!(f, "a loop, a lane a channel with {states} states, {window} steps at once")?;
            }
            PlainWay::Arrays => {
                let passes = passes(*window);
                write!(f, "{passes} doubling passes each way over pairs of all states of {window} steps")?;
            }
        }
        write!(f, "; {lanes} lanes, {storage}")
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &PlainRecurrenceBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    plan.kernels().iter().map(|kernel| shader(plan, *kernel)).collect()
}

fn shader(plan: &PlainRecurrenceBackwardPlan, kernel: PlainKernel) -> Result<Shader, ShaderError> {
    let lanes = if kernel == PlainKernel::Totals { TOTAL_LANES } else { plan.lanes };
    let numbers = |file| {
        let linker = yardstick(file).module("baseline/recurrence");
        linker.set("LANES", lanes).set("STATES", plan.states)
    };
    let work = |file| {
        let linker = numbers(file).module("baseline/recurrence_work");
        linker.set("CELLS", plan.kept[0]).set("SIZES", plan.kept[1])
    };
    let steps = |linker: Linker, names: &[&'static str]| {
        let linker = link_steps(linker, plan.decay).tensor("dt", plan.dt);
        tensors(linker, names, plan.storage)
    };
    let delta = |file| work(file).module("baseline/delta_steps").set("GATED", plan.has_given_decays());
    match kernel {
        PlainKernel::DeltaStates => tensors(delta("baseline/delta_states"), &["v", "k"], plan.storage).link(),
        PlainKernel::DeltaGradients => {
            let names = ["v", "k", "q", "dy", "dv"];
            tensors(delta("baseline/delta_gradients"), &names, plan.storage).link()
        }
        PlainKernel::States => steps(work("baseline/recurrence_states"), &["x", "b"]).link(),
        PlainKernel::Pairs => steps(numbers("baseline/recurrence_pairs"), &["x", "b"]).link(),
        PlainKernel::Double => double_shader(plan.lanes),
        PlainKernel::Apply => work("baseline/recurrence_apply").link(),
        PlainKernel::Gates => {
            let linker = work("baseline/recurrence_gates").module("common/activation");
            let linker = linker.set("GATED", plan.gated).set("ARRAYS", plan.way == PlainWay::Arrays);
            tensors(linker, &["x", "c", "z", "dy", "dz"], plan.storage).link()
        }
        PlainKernel::Gradients => {
            let linker = work("baseline/recurrence_gradients").set("RATES", plan.kept[0] == 3);
            steps(linker, &["x", "b", "c", "dx"]).link()
        }
        PlainKernel::PairsBack => steps(work("baseline/recurrence_pairs_back"), &["c"]).link(),
        PlainKernel::Products => steps(work("baseline/recurrence_products"), &["x", "b", "dx"]).link(),
        PlainKernel::Totals => work("baseline/recurrence_totals").link(),
        PlainKernel::Sum { steps: true } => Sums::shader(plan.storage),
        PlainKernel::Sum { steps: false } => Sums::shader(Storage::F32),
    }
}

/// Where gradients go, under the names of what they belong to.
struct Gradients<'a> {
    x: &'a wgpu::Buffer,
    /// Of step sizes, or of given decays.
    dt: Option<&'a wgpu::Buffer>,
    b: &'a wgpu::Buffer,
    c: &'a wgpu::Buffer,
    z: &'a wgpu::Buffer,
    beta: Option<&'a wgpu::Buffer>,
    a: Option<&'a wgpu::Buffer>,
    skip: Option<&'a wgpu::Buffer>,
    bias: Option<&'a wgpu::Buffer>,
    initial: Option<&'a wgpu::Buffer>,
}

/// What lies between the kernels.
#[derive(Clone, Debug)]
pub struct RecurrenceScratch {
    packed: Tensor<f32>,
    work: Tensor<f32>,
    /// The states before each window, and what goes from one to the next.
    states: Tensor<f32>,
    /// Pairs before and after a pass.
    pairs: [Tensor<f32>; 2],
}

/// The gradients of a selective scan, of state-space duality or of linear attention, as loops or as array operations. States
/// are kept of some steps at once, and computed again from those before them.
#[derive(Clone, Debug)]
pub struct PlainRecurrenceBackward {
    gpu: Gpu,
    of: Recurrence,
    plan: PlainRecurrenceBackwardPlan,
    kernels: Vec<Kernel>,
}

impl PlainRecurrenceBackward {
    /// Plans the gradients of a selective scan for this GPU and compiles what the plan needs.
    pub fn selective_scan(gpu: &Gpu, spec: &SelectiveScanSpec, way: PlainWay) -> Result<Self, Error> {
        Self::new(gpu, Recurrence::selective_scan(spec).map_err(PlanError::from)?, way)
    }

    /// Plans the gradients of state-space duality for this GPU and compiles what the plan needs.
    pub fn ssd(gpu: &Gpu, spec: &SsdSpec, way: PlainWay) -> Result<Self, Error> {
        Self::new(gpu, Recurrence::ssd(spec).map_err(PlanError::from)?, way)
    }

    /// Plans the gradients of linear attention for this GPU and compiles what the plan needs.
    pub fn linear_attention(gpu: &Gpu, spec: &LinearAttentionSpec, way: PlainWay) -> Result<Self, Error> {
        Self::new(gpu, Recurrence::linear_attention(spec).map_err(PlanError::from)?, way)
    }

    /// Plans the gradients of the delta rule for this GPU and compiles what the plan needs.
    pub fn delta_rule(gpu: &Gpu, spec: &DeltaRuleSpec, way: PlainWay) -> Result<Self, Error> {
        Self::new(gpu, Recurrence::delta_rule(spec).map_err(PlanError::from)?, way)
    }

    fn new(gpu: &Gpu, of: Recurrence, way: PlainWay) -> Result<Self, Error> {
        let plan = PlainRecurrenceBackwardPlan::new(&of, way, gpu.caps())?;
        Ok(Self { gpu: gpu.clone(), of, plan, kernels: compile(gpu, &shaders(&plan)?)? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &PlainRecurrenceBackwardPlan {
        &self.plan
    }

    fn kernel(&self, wanted: PlainKernel) -> &Kernel {
        let at = self.plan.kernels().iter().position(|kernel| *kernel == wanted);
        &self.kernels[at.expect("each way asks for its own kernels")]
    }

    /// The tensors between the kernels.
    pub fn scratch(&self) -> Result<RecurrenceScratch, Error> {
        let [packed, work, states, pairs, _] = self.scratch_sizes();
        let zeros = |size| Tensor::zeros(&self.gpu, &[size]);
        let pairs = [zeros(pairs)?, zeros(pairs)?];
        Ok(RecurrenceScratch { packed: zeros(packed)?, work: zeros(work)?, states: zeros(states)?, pairs })
    }

    fn scratch_sizes(&self) -> [usize; 5] {
        let Self { of, plan, .. } = self;
        let windows = of.length.div_ceil(plan.window as usize);
        let pairs = match plan.way {
            PlainWay::Loop => 0,
            PlainWay::Arrays => pairs_shape(of, plan.window).iter().product(),
        };
        let work = work_of(of, plan.kept, plan.window as usize);
        [of.packed()[2], work, (windows + 1) * of.rows() * of.states, pairs, pairs]
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
            dt: Some(gradients.ddelta.buffer()),
            b: &b,
            c: &c,
            // What is not written may be any tensor that the kernel does not bind.
            z: gradients.dz.as_ref().unwrap_or(&gradients.du).buffer(),
            beta: None,
            a: Some(gradients.da.buffer()),
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
            dt: Some(gradients.dt.buffer()),
            b: gradients.b.buffer(),
            c: gradients.c.buffer(),
            z: gradients.z.as_ref().unwrap_or(&gradients.x).buffer(),
            beta: None,
            a: Some(gradients.a.buffer()),
            skip: gradients.d.as_ref().map(Tensor::buffer),
            bias: gradients.dt_bias.as_ref().map(Tensor::buffer),
            initial: Some(gradients.initial.buffer()),
        };
        self.encode(encoder, &Given::ssd(gpu, &inputs), (of.out.buffer(), of.last), &to, scratch)
    }

    /// Records the gradients of linear attention of the spec that this was made from.
    pub fn encode_linear_attention<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        spec: &LinearAttentionSpec,
        (inputs, of): (LinearAttentionInputs<'_, T>, LinearAttentionOutputGradients<'_, T>),
        (gradients, scratch): (&LinearAttentionGradients<T>, &RecurrenceScratch),
    ) -> Result<(), Error> {
        let gpu = &self.gpu;
        inputs.check(gpu, spec)?;
        of.check(gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        gradients.check(gpu, spec)?;
        let constant = spec.gate == Gate::Constant;
        let g = gradients.g.buffer();
        let to = Gradients {
            x: gradients.v.buffer(),
            dt: (!constant).then_some(g),
            b: gradients.k.buffer(),
            c: gradients.q.buffer(),
            z: gradients.v.buffer(),
            beta: None,
            a: constant.then_some(g),
            skip: None,
            bias: None,
            initial: Some(gradients.initial.buffer()),
        };
        let given = Given::linear_attention(gpu, &inputs, constant);
        self.encode(encoder, &given, (of.o.buffer(), of.last), &to, scratch)
    }

    /// Records the gradients of the delta rule of the spec that this was made from.
    pub fn encode_delta_rule<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        spec: &DeltaRuleSpec,
        (inputs, of): (DeltaRuleInputs<'_, T>, LinearAttentionOutputGradients<'_, T>),
        (gradients, scratch): (&DeltaRuleGradients<T>, &RecurrenceScratch),
    ) -> Result<(), Error> {
        let gpu = &self.gpu;
        inputs.check(gpu, spec)?;
        of.check(gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        gradients.check(gpu, spec)?;
        let to = Gradients {
            x: gradients.v.buffer(),
            dt: gradients.g.as_ref().map(Tensor::buffer),
            b: gradients.k.buffer(),
            c: gradients.q.buffer(),
            z: gradients.v.buffer(),
            beta: Some(gradients.beta.buffer()),
            a: None,
            skip: None,
            bias: None,
            initial: Some(gradients.initial.buffer()),
        };
        self.encode(encoder, &Given::delta_rule(gpu, &inputs), (of.o.buffer(), of.last), &to, scratch)
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
        let RecurrenceScratch { packed, work, states, pairs } = scratch;
        let all = [packed, work, states, &pairs[0], &pairs[1]];
        for (tensor, size) in all.into_iter().zip(self.scratch_sizes()) {
            tensor.expect(gpu, "what lies between the kernels", DType::F32, &[size])?;
        }
        given.pack(encoder, of, packed);
        let pairs = pairs.each_ref().map(Tensor::buffer);
        let (work, states) = (work.buffer(), states.buffer());
        given.begin(encoder, of, states);
        let windows = of.length.div_ceil(plan.window as usize) as u32;
        let parts = Parts { of, plan, given, packed: packed.buffer(), work, states, pairs };
        for window in 0..windows {
            self.states(encoder, &parts, window)?;
            if window + 1 < windows {
                parts.leave(encoder, window + 1);
            }
        }
        // What comes from behind, and all that is summed over windows.
        let behind = parts.of_states() + 2 * (of.rows() * of.states) as u64;
        encoder.clear_buffer(work, 4 * behind, None);
        if let Some(dlast) = dlast {
            copy(encoder, dlast, work, behind as usize);
        }
        for window in (0..windows).rev() {
            if window + 1 < windows {
                self.states(encoder, &parts, window)?;
            }
            self.window(encoder, &parts, window, dy, to)?;
        }
        if let Some(initial) = to.initial {
            encoder.copy_buffer_to_buffer(work, 4 * behind, initial, 0, parts.state_bytes());
        }
        self.sum_channels(encoder, work, to)
    }

    /// Records the states after each step of a window.
    fn states(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        parts: &Parts<'_>,
        window: u32,
    ) -> Result<(), Error> {
        let (gpu, of) = (&self.gpu, &self.of);
        let Parts { packed, work, pairs, .. } = *parts;
        let Given { x, dt, b, .. } = *parts.given;
        parts.take(encoder, window, parts.of_states());
        if self.plan.delta {
            let params = parts.params(window, of.rows());
            let kernel = self.kernel(PlainKernel::DeltaStates);
            return kernel.dispatch(gpu, encoder, &params, &[x, dt, b, parts.given.beta, work]);
        }
        if self.plan.way == PlainWay::Loop {
            let params = parts.params(window, of.rows());
            let kernel = self.kernel(PlainKernel::States);
            return kernel.dispatch(gpu, encoder, &params, &[x, dt, b, packed, work]);
        }
        let params = parts.params(window, of.rows() * of.states * parts.steps(window));
        self.kernel(PlainKernel::Pairs).dispatch(gpu, encoder, &params, &[x, dt, b, packed, pairs[0]])?;
        let scanned = self.double(encoder, parts, window)?;
        self.kernel(PlainKernel::Apply).dispatch(gpu, encoder, &params, &[scanned, work])
    }

    fn double<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        parts: &Parts<'a>,
        window: u32,
    ) -> Result<&'a wgpu::Buffer, Error> {
        let kernel = (self.kernel(PlainKernel::Double), self.plan.lanes);
        let sizes = (self.of.rows() * self.of.states, parts.steps(window) as u32);
        double(&self.gpu, encoder, kernel, sizes, parts.pairs)
    }

    /// Records the gradients of a window, whose states are there.
    fn window(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        parts: &Parts<'_>,
        window: u32,
        dy: &wgpu::Buffer,
        to: &Gradients<'_>,
    ) -> Result<(), Error> {
        let (gpu, of) = (&self.gpu, &self.of);
        let Parts { packed, work, .. } = *parts;
        let Given { x, dt, b, c, z, .. } = *parts.given;
        let gated = [x, c, z, dy, packed, work, to.z];
        match self.plan.way {
            PlainWay::Loop if self.plan.delta => {
                let params = parts.params(window, of.rows());
                let buffers = [x, dt, b, c, parts.given.beta, dy, work, to.x];
                self.kernel(PlainKernel::DeltaGradients).dispatch(gpu, encoder, &params, &buffers)?;
            }
            PlainWay::Loop => {
                let params = parts.params(window, of.rows());
                self.kernel(PlainKernel::Gates).dispatch(gpu, encoder, &params, &gated)?;
                let buffers = [x, dt, b, c, packed, work, to.x];
                self.kernel(PlainKernel::Gradients).dispatch(gpu, encoder, &params, &buffers)?;
            }
            PlainWay::Arrays => {
                let params = |each: usize| parts.params(window, each * parts.steps(window));
                self.kernel(PlainKernel::Gates).dispatch(gpu, encoder, &params(of.rows()), &gated)?;
                let buffers = [dt, c, packed, work, parts.pairs[0]];
                let back = self.kernel(PlainKernel::PairsBack);
                back.dispatch(gpu, encoder, &params(of.rows() * of.states), &buffers)?;
                let scanned = self.double(encoder, parts, window)?;
                let buffers = [x, dt, b, packed, scanned, work, to.x];
                self.kernel(PlainKernel::Products).dispatch(gpu, encoder, &params(of.rows()), &buffers)?;
                if self.plan.rates {
                    // A workgroup for each rate, and for what else a channel has.
                    let groups = (of.rows() * (of.states + 2)) as u32;
                    let params = RecurrenceParams { groups, ..params(1) };
                    self.kernel(PlainKernel::Totals).dispatch(gpu, encoder, &params, &[work])?;
                }
                let spare = of.length.div_ceil(self.plan.window as usize) as u32;
                // What these steps leave for those before them lies where the states after them were.
                parts.leave(encoder, spare);
                parts.take(encoder, spare, parts.of_states() + 2 * parts.state_bytes() / 4);
            }
        }
        self.sum_steps(encoder, parts, window, to)
    }

    /// Records what a window gives to tensors with something for each step, summed over channels that share it.
    fn sum_steps(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        parts: &Parts<'_>,
        window: u32,
        to: &Gradients<'_>,
    ) -> Result<(), Error> {
        let Self { gpu, of, plan, .. } = self;
        let work = parts.work;
        let params = parts.params(window, 0);
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
        let [sums, of_decays] = [true, matches!(of.decay, RecurrenceDecay::Sized { .. })]
            .map(|steps| self.kernel(PlainKernel::Sum { steps }));
        of_group.encode(gpu, encoder, sums, [work, to.b])?;
        Sums { first: 2 * cells, ..of_group }.encode(gpu, encoder, sums, [work, to.c])?;
        let heads = of.channels / of.share;
        let [of_batch, of_head, of_step] = of.dt;
        let places = Some(Places { units: heads, steps, apart: [of_batch, of_head, 1, of_step] });
        let (units, width) = (of.batch * heads, plan.window as usize);
        // What each head has for every step lies behind what each state has.
        let first = plan.kept[0] as usize * cells;
        let of_heads = Sums { first, share: of.share, width, units, to: places, ..of_group };
        if let Some(beta) = to.beta {
            let first = first + of.rows() * width;
            Sums { first, ..of_heads }.encode(gpu, encoder, of_decays, [work, beta])?;
        }
        let Some(dt) = to.dt else { return Ok(()) };
        if of.keyed() {
            let of_keys = Sums { first: 3 * cells, width: of_group.width, ..of_heads };
            return of_keys.encode(gpu, encoder, of_decays, [work, dt]);
        }
        of_heads.encode(gpu, encoder, of_decays, [work, dt])
    }

    /// Records the gradients of what belongs to channels, summed over batches and over channels that share it.
    fn sum_channels(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        work: &wgpu::Buffer,
        to: &Gradients<'_>,
    ) -> Result<(), Error> {
        let Self { gpu, of, plan, .. } = self;
        let sums = self.kernel(PlainKernel::Sum { steps: false });
        let states = of.rows() * of.states;
        let rates = work_of(of, plan.kept, plan.window as usize) - states - 2 * of.rows();
        let (width, share) = if of.one_rate() { (1, of.share * of.states) } else { (of.states, of.share) };
        if let Some(a) = to.a {
            let of_rates = Sums {
                first: rates,
                batches: [of.batch, of.channels * of.states],
                share,
                width,
                units: of.channels / of.share,
                to: None,
            };
            of_rates.encode(gpu, encoder, sums, [work, a])?;
        }
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

/// What the kernels of a call have in common.
struct Parts<'a> {
    of: &'a Recurrence,
    plan: &'a PlainRecurrenceBackwardPlan,
    given: &'a Given<'a>,
    packed: &'a wgpu::Buffer,
    work: &'a wgpu::Buffer,
    states: &'a wgpu::Buffer,
    pairs: [&'a wgpu::Buffer; 2],
}

impl Parts<'_> {
    fn params(&self, window: u32, invocations: usize) -> RecurrenceParams {
        let Self { of, plan, .. } = self;
        let first = window * plan.window;
        let end = (of.length as u32).min(first + plan.window);
        of.params((plan.lanes, invocations), [first, end], plan.window)
    }

    fn steps(&self, window: u32) -> usize {
        let params = self.params(window, 0);
        (params.end - params.first) as usize
    }

    fn state_bytes(&self) -> u64 {
        4 * (self.of.rows() * self.of.states) as u64
    }

    /// Where in `work` there is something for each channel and state.
    fn of_states(&self) -> u64 {
        let all = work_of(self.of, self.plan.kept, self.plan.window as usize);
        (all - self.of.rows() * (4 * self.of.states + 2)) as u64
    }

    /// Copies what a window leaves to its neighbour to that place among the states between windows.
    fn leave(&self, encoder: &mut wgpu::CommandEncoder, place: u32) {
        let bytes = self.state_bytes();
        let after = 4 * self.of_states() + bytes;
        encoder.copy_buffer_to_buffer(self.work, after, self.states, u64::from(place) * bytes, bytes);
    }

    /// Copies what lies there to that place in `work`.
    fn take(&self, encoder: &mut wgpu::CommandEncoder, place: u32, to: u64) {
        let bytes = self.state_bytes();
        encoder.copy_buffer_to_buffer(self.states, u64::from(place) * bytes, self.work, 4 * to, bytes);
    }
}
