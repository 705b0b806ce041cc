//! The gradients of a long convolution as a composition of array operations.

use std::fmt;

use super::UnfusedLongConvPlan;
use super::long_conv::{Gate, Pad, Transforms, transform_shaders};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile, params};
use crate::plan::{Footprint, Plan};
use crate::shader::{Shader, ShaderError, Storage};
use crate::{Caps, Element, Error, Gpu, LongConvGradients, LongConvInputs, LongConvSpec, PlanError, Tensor};

params! {
    /// `baseline/conv_sum`.
    SumParams { total: u32, taps: u32, length: u32, channels: u32, batch: u32, points: u32 }
}

/// How to run the gradients of a [`LongConvSpec`] unfused: as three convolutions, two of them backwards in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnfusedLongConvBackwardPlan {
    /// That of the convolution.
    pub conv: UnfusedLongConvPlan,
}

impl UnfusedLongConvBackwardPlan {
    /// Plans unfused gradients. Fails like [`UnfusedLongConvPlan::new`].
    pub fn new(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError> {
        Ok(Self { conv: UnfusedLongConvPlan::new(spec, caps)? })
    }
}

impl Plan for UnfusedLongConvBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.conv.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        vec![
            kernel("baseline/conv_pad", 3),
            kernel("baseline/conv_pad", 3),
            kernel("baseline/conv_pad", 3),
            kernel("baseline/fft_pass", 3),
            kernel("baseline/conv_product", 3),
            kernel("baseline/conv_gate", 6),
            kernel("baseline/conv_gate", 6),
            kernel("baseline/conv_gate", 6),
            kernel("baseline/conv_sum", 3),
        ]
    }
}

impl fmt::Display for UnfusedLongConvBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.conv)
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(
    UnfusedLongConvBackwardPlan { conv }: &UnfusedLongConvBackwardPlan,
) -> Result<Vec<Shader>, ShaderError> {
    let UnfusedLongConvPlan { lanes, storage, pre_gate, post_gate, skip, .. } = *conv;
    let pad = |gated, reversed| Pad { gated, reversed, storage }.link(lanes);
    let gate = |pre, post, reversed| Gate { skip, pre, post, reversed, storage }.link(lanes);
    let [pass, product] = transform_shaders(lanes)?;
    let sum = yardstick("baseline/conv_sum").set("LANES", lanes).set("HAS_SKIP", skip);
    Ok(vec![
        Pad { gated: false, reversed: false, storage: Storage::F32 }.link(lanes)?,
        pad(pre_gate, false)?,
        pad(post_gate, true)?,
        pass,
        product,
        gate(post_gate, pre_gate, true)?,
        gate(post_gate, true, true)?,
        gate(pre_gate, true, false)?,
        sum.link()?,
    ])
}

/// The transforms of all kernels, sequences, gradients and products, before and after a pass.
#[derive(Clone, Debug)]
pub struct LongConvBackwardScratch {
    kernels: [Tensor<f32>; 2],
    sequences: [[Tensor<f32>; 2]; 3],
}

/// The gradients of a long convolution as array frameworks compose them: each as a convolution of its own, over transforms
/// that they share.
#[derive(Clone, Debug)]
pub struct UnfusedLongConvBackward {
    transforms: Transforms,
    plan: UnfusedLongConvBackwardPlan,
    kernels: Vec<Kernel>,
}

impl UnfusedLongConvBackward {
    /// Plans the spec's gradients for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: LongConvSpec) -> Result<Self, Error> {
        let plan = UnfusedLongConvBackwardPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &shaders(&plan)?)?;
        let transforms = Transforms::new(gpu, spec, plan.conv, [kernels[3].clone(), kernels[4].clone()])?;
        Ok(Self { transforms, plan, kernels })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedLongConvBackwardPlan {
        &self.plan
    }

    /// The tensors between the kernels.
    pub fn scratch(&self) -> Result<LongConvBackwardScratch, Error> {
        let (transforms, spec) = (&self.transforms, &self.transforms.spec);
        let sequences = || transforms.pair(spec.rows());
        Ok(LongConvBackwardScratch {
            kernels: transforms.pair(spec.channels)?,
            sequences: [sequences()?, sequences()?, sequences()?],
        })
    }

    /// Records every pass.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LongConvInputs<'_, T>,
        dy: &Tensor<T>,
        gradients: &LongConvGradients<T>,
        scratch: &LongConvBackwardScratch,
    ) -> Result<(), Error> {
        let Self { transforms, kernels, .. } = self;
        let [pad_kernel, pad, pad_gradient, _, _, to_du, to_dpre, to_dpost, sum] = &kernels[..] else {
            unreachable!("a plan has nine kernels")
        };
        let (gpu, spec) = (&transforms.gpu, &transforms.spec);
        let LongConvSpec { batch, channels, length, taps, .. } = *spec;
        inputs.check(gpu, spec)?;
        dy.expect(gpu, "dy", spec.dtype, &spec.shape())?;
        gradients.check(gpu, spec)?;
        let of_kernels = transforms.buffers(&scratch.kernels, channels)?;
        let [v, g, both] = &scratch.sequences;
        let pair = |pair| transforms.buffers(pair, spec.rows());
        let (v, g, both) = (pair(v)?, pair(g)?, pair(both)?);
        let unused = gpu.unused();
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let (u, skip) = (inputs.u.buffer(), inputs.skip.map_or(unused, Tensor::buffer));
        let dy = dy.buffer();

        let k = [inputs.k.buffer(), unused];
        let [k, _] = transforms.forward(encoder, pad_kernel, k, [channels, taps], of_kernels)?;
        let rows = [spec.rows(), length];
        let v = transforms.forward(encoder, pad, [u, pre], rows, v)?;
        let [g, _] = transforms.forward(encoder, pad_gradient, [dy, post], rows, g)?;
        encoder.copy_buffer_to_buffer(g, 0, both[0], 0, g.size());
        let [numbers, _] = transforms.convolve(encoder, (k, channels), both)?;
        let du = gradients.du.buffer();
        transforms.finish(encoder, to_du, [numbers, skip, dy, post, pre, du])?;
        if let Some(dpre) = &gradients.dpre {
            transforms.finish(encoder, to_dpre, [numbers, skip, dy, post, u, dpre.buffer()])?;
        }
        if let Some(dpost) = &gradients.dpost {
            encoder.copy_buffer_to_buffer(v[0], 0, both[0], 0, v[0].size());
            let [numbers, _] = transforms.convolve(encoder, (k, channels), both)?;
            transforms.finish(encoder, to_dpost, [numbers, skip, u, pre, dy, dpost.buffer()])?;
        }
        let [numbers, _] = transforms.convolve(encoder, (g, spec.rows()), v)?;
        let total = (channels * taps) as u32;
        let params = SumParams {
            groups: total.div_ceil(self.plan.conv.lanes),
            total,
            taps: taps as u32,
            length: length as u32,
            channels: channels as u32,
            batch: batch as u32,
            points: self.plan.conv.points,
        };
        let dskip = gradients.dskip.as_ref().map_or(unused, Tensor::buffer);
        sum.dispatch(gpu, encoder, &params, &[numbers, gradients.dk.buffer(), dskip])
    }
}
