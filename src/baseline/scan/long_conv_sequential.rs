//! A long convolution and its gradients as plain loops.

use std::fmt;

use super::long_conv::{Summed, SummedLongConv};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding, check_turns};
use crate::shader::{Shader, ShaderError, Storage};
use crate::{
    Caps, DType, Element, Error, Gpu, LongConvGradients, LongConvInputs, LongConvSpec, PlanError, Tensor,
};

/// How to run a [`LongConvSpec`] with a lane for each sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SequentialLongConvPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Samples of a dispatch.
    pub steps: u32,
    /// How sequences and gates are stored.
    pub storage: Storage,
    /// Whether sequences are gated.
    pub pre_gate: bool,
    /// Whether the result is gated.
    pub post_gate: bool,
    /// Whether there is a `D`.
    pub skip: bool,
}

/// Products of a lane in one dispatch, or of one sample where that has more: drivers end kernels that run for seconds.
const DISPATCH_PRODUCTS: u32 = 1 << 22;

/// Steps of so many products that a dispatch has, of the turns that a driver lets its loops take.
fn steps_of(products: usize, caps: &Caps) -> Result<u32, PlanError> {
    let turns = products as u64 + 1;
    check_turns("a sequential convolution", turns + 1, caps)?;
    let most = caps.loop_turns.map_or(DISPATCH_PRODUCTS, |turns| turns.min(DISPATCH_PRODUCTS));
    Ok((u64::from(most) / turns).max(1) as u32)
}

impl SequentialLongConvPlan {
    /// Plans a loop. Fails if the spec is wrong, a tensor exceeds a binding, or kernels have more samples than the loops of
    /// one invocation may take turns.
    pub fn new(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_binding("u", spec.rows() * spec.length, spec.dtype, caps)?;
        check_binding("k", spec.channels * spec.taps, DType::F32, caps)?;
        let LongConvSpec { pre_gate, post_gate, skip, .. } = *spec;
        Ok(Self {
            lanes: 64.min(caps.workgroup_lanes),
            steps: steps_of(spec.taps, caps)?,
            storage: Storage::new(spec.dtype, caps.f16, false),
            pre_gate,
            post_gate,
            skip,
        })
    }

    fn link(&self, [pre, post]: [bool; 2], reversed: bool) -> Result<Shader, ShaderError> {
        let linker = yardstick("baseline/conv_sequential")
            .set("LANES", self.lanes)
            .set("HAS_SKIP", self.skip)
            .set("HAS_PRE", pre)
            .set("HAS_POST", post)
            .set("REVERSED", reversed);
        let names = ["x", "pre", "post", "y"];
        names.into_iter().fold(linker, |linker, name| linker.tensor(name, self.storage)).link()
    }

    fn footprint(&self, kernel: &'static str) -> Footprint {
        Footprint { kernel, lanes: self.lanes, workgroup_bytes: 0, storage_buffers: 6 }
    }
}

impl Plan for SequentialLongConvPlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![self.footprint("baseline/conv_sequential")]
    }
}

impl fmt::Display for SequentialLongConvPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, steps, storage, .. } = self;
        write!(f, "a loop, a lane a sequence, {steps} samples a dispatch; {lanes} lanes, {storage}")
    }
}

params! {
    /// `baseline/conv_sequential`.
    LoopParams { rows: u32, channels: u32, length: u32, taps: u32, first: u32, end: u32 }
}

params! {
    /// `baseline/conv_sequential_taps`.
    TapsParams { batch: u32, channels: u32, length: u32, taps: u32, first: u32, end: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &SequentialLongConvPlan) -> Result<Vec<Shader>, ShaderError> {
    Ok(vec![plan.link([plan.pre_gate, plan.post_gate], false)?])
}

/// Records the loop over all samples of all sequences. `buffers` are the sequences, kernels, `D`, both gates and the result.
fn encode_loop(
    gpu: &Gpu,
    encoder: &mut wgpu::CommandEncoder,
    (spec, plan): (&LongConvSpec, &SequentialLongConvPlan),
    kernel: &Kernel,
    buffers: [&wgpu::Buffer; 6],
) -> Result<(), Error> {
    let (rows, length) = (spec.rows() as u32, spec.length as u32);
    for first in (0..length).step_by(plan.steps as usize) {
        let params = LoopParams {
            groups: rows.div_ceil(plan.lanes),
            rows,
            channels: spec.channels as u32,
            length,
            taps: spec.taps as u32,
            first,
            end: length.min(first.saturating_add(plan.steps)),
        };
        kernel.dispatch(gpu, encoder, &params, &buffers)?;
    }
    Ok(())
}

impl Summed for SequentialLongConvPlan {
    fn plan(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(spec, caps)
    }

    fn shaders(&self) -> Result<Vec<Shader>, ShaderError> {
        shaders(self)
    }

    fn record(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        (spec, kernel): (&LongConvSpec, &Kernel),
        buffers: [&wgpu::Buffer; 6],
    ) -> Result<(), Error> {
        encode_loop(gpu, encoder, (spec, self), kernel, buffers)
    }
}

/// A long convolution as a loop, one lane a sequence: as many products as its length has pairs of samples.
pub type SequentialLongConv = SummedLongConv<SequentialLongConvPlan>;

/// How to run the gradients of a [`LongConvSpec`] with a lane for each sequence and one for each kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SequentialLongConvBackwardPlan {
    /// That of the convolution.
    pub conv: SequentialLongConvPlan,
    /// Lags of a dispatch.
    pub lags: u32,
}

impl SequentialLongConvBackwardPlan {
    /// Plans loops. Fails like [`SequentialLongConvPlan::new`], where a batch takes as many turns as it has samples.
    pub fn new(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError> {
        let conv = SequentialLongConvPlan::new(spec, caps)?;
        Ok(Self { conv, lags: steps_of(spec.batch * (1 + spec.length), caps)? })
    }
}

impl Plan for SequentialLongConvBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let conv = || self.conv.footprint("baseline/conv_sequential");
        vec![conv(), conv(), conv(), self.conv.footprint("baseline/conv_sequential_taps")]
    }
}

impl fmt::Display for SequentialLongConvBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conv, lags } = self;
        write!(f, "{conv}; a lane a kernel, {lags} lags a dispatch")
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn backward_shaders(plan: &SequentialLongConvBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let conv = &plan.conv;
    let SequentialLongConvPlan { pre_gate, post_gate, .. } = *conv;
    let taps = yardstick("baseline/conv_sequential_taps")
        .set("LANES", conv.lanes)
        .set("HAS_SKIP", conv.skip)
        .set("HAS_PRE", pre_gate)
        .set("HAS_POST", post_gate);
    let names = ["x", "pre", "dy", "post"];
    let taps = names.into_iter().fold(taps, |linker, name| linker.tensor(name, conv.storage));
    Ok(vec![
        conv.link([post_gate, pre_gate], true)?,
        conv.link([post_gate, true], true)?,
        conv.link([pre_gate, true], false)?,
        taps.link()?,
    ])
}

/// The gradients of a long convolution as loops: those of sequences and gates with a lane for each sequence, those of
/// kernels with a lane for each channel, summing over the batch.
#[derive(Clone, Debug)]
pub struct SequentialLongConvBackward {
    gpu: Gpu,
    spec: LongConvSpec,
    plan: SequentialLongConvBackwardPlan,
    /// For `du`, for `dpre`, for `dpost` and for the kernels.
    kernels: [Kernel; 4],
}

impl SequentialLongConvBackward {
    /// Plans the spec's gradients for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: LongConvSpec) -> Result<Self, Error> {
        let plan = SequentialLongConvBackwardPlan::new(&spec, gpu.caps())?;
        let kernels = compile_array(gpu, &backward_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels })
    }

    /// How it runs here.
    pub fn plan(&self) -> &SequentialLongConvBackwardPlan {
        &self.plan
    }

    /// Records the gradients.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LongConvInputs<'_, T>,
        dy: &Tensor<T>,
        gradients: &LongConvGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels: [to_du, to_dpre, to_dpost, to_dk] } = self;
        inputs.check(gpu, spec)?;
        dy.expect(gpu, "dy", spec.dtype, &spec.shape())?;
        gradients.check(gpu, spec)?;
        let unused = gpu.unused();
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let skip = inputs.skip.map_or(unused, Tensor::buffer);
        let (u, k, dy) = (inputs.u.buffer(), inputs.k.buffer(), dy.buffer());
        let of_conv = (spec, &plan.conv);
        encode_loop(gpu, encoder, of_conv, to_du, [dy, k, skip, post, pre, gradients.du.buffer()])?;
        if let Some(dpre) = &gradients.dpre {
            encode_loop(gpu, encoder, of_conv, to_dpre, [dy, k, skip, post, u, dpre.buffer()])?;
        }
        if let Some(dpost) = &gradients.dpost {
            encode_loop(gpu, encoder, of_conv, to_dpost, [u, k, skip, pre, dy, dpost.buffer()])?;
        }
        // What is not written may be any tensor that the kernel does not bind.
        let dskip = gradients.dskip.as_ref().map_or(gradients.du.buffer(), Tensor::buffer);
        let buffers = [u, pre, dy, post, gradients.dk.buffer(), dskip];
        let (channels, taps) = (spec.channels as u32, spec.taps as u32);
        for first in (0..taps).step_by(plan.lags as usize) {
            let params = TapsParams {
                groups: channels.div_ceil(plan.conv.lanes),
                batch: spec.batch as u32,
                channels,
                length: spec.length as u32,
                taps,
                first,
                end: taps.min(first.saturating_add(plan.lags)),
            };
            to_dk.dispatch(gpu, encoder, &params, &buffers)?;
        }
        Ok(())
    }
}
