//! `mamba`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{
    Conv1dBackwardPlan, Conv1dPlan, Conv1dStepPlan, SelectiveScanBackwardPlan, SelectiveScanPlan,
};
use tilewise::{
    Caps, DType, Element, Gpu, Mamba, MambaBackward, MambaInputs, MambaSpec, SelectiveScanSpec, by_dtype,
};

use super::conv1d::gradients as conv_gradients;
use super::selective_scan::{self, Held, coefficients};
use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields_with_dtype};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, Stored, TensorFile, expect_shapes};

/// Core of a Mamba block: out = scan(silu(conv1d(x))) silu(z)
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Channels of a batch
    #[arg(long, default_value_t = 2048)]
    channels: usize,
    /// Steps
    #[arg(long, default_value_t = 4096)]
    length: usize,
    /// States of a channel, 1 to 256
    #[arg(long, default_value_t = 16)]
    states: usize,
    /// Taps of the convolution, 2 to 4
    #[arg(long, default_value_t = 4)]
    width: usize,
    /// Take initial states
    #[arg(long)]
    initial: bool,
}

options! {
    /// Reads x, weight, delta, A, B, C and what else there is; writes out, conv_last_state and last_state, and gradients if there
    /// is a dout
    ///
    /// x, delta, z, out and dout (batch, channels, length); the convolution's taps, weight (channels, width), bias (channels) and
    /// conv_initial_state (batch, channels, width - 1); A, B, C, D, delta_bias and initial_state as for selective-scan. The two
    /// initial states are both there or neither. Gradients are named d and what they belong to; du is of what the convolution
    /// gave. What does not vary from step to step is F32, and read in any of the types.
    #[derive(Clone, Copy, Debug, Args)]
    pub struct Options {
        /// Pass delta through a softplus
        #[arg(long)]
        delta_softplus: bool,
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = MambaSpec::new(self.dtype, self.batch, self.channels, self.length, self.states);
        let scan = SelectiveScanSpec { initial: self.initial, ..spec.scan };
        let spec = MambaSpec { scan, width: self.width, ..spec };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

/// Whether there are initial states: both of the convolution and of the recurrence, or neither.
pub(super) fn both_or_neither(
    conv: Option<&Stored<'_>>,
    states: Option<&Stored<'_>>,
) -> Result<bool, Failure> {
    match (conv, states) {
        (Some(one), None) | (None, Some(one)) => Err(Failure::input(format!(
            "{} is there alone, expected the convolution's initial state and the recurrence's, or neither",
            one.name
        ))),
        _ => Ok(conv.is_some()),
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let [x, weight, delta] = [file.get("x")?, file.get("weight")?, file.get("delta")?];
        let [a, b, c] = [file.get("A")?, file.get("B")?, file.get("C")?];
        let [bias, skip, delta_bias] = [file.find("bias")?, file.find("D")?, file.find("delta_bias")?];
        let [conv_initial, initial] = [file.find("conv_initial_state")?, file.find("initial_state")?];
        let [z, dout] = [file.find("z")?, file.find("dout")?];
        let [batch, channels, length] = x.sizes("batch, channels, length")?;
        let [_, width] = weight.sizes("channels, width")?;
        let [_, state_dim] = a.sizes("channels, states")?;
        let scan = SelectiveScanSpec {
            b: coefficients(&b, false)?,
            c: coefficients(&c, false)?,
            skip: skip.is_some(),
            gated: z.is_some(),
            delta_bias: delta_bias.is_some(),
            delta_softplus: self.delta_softplus,
            initial: both_or_neither(conv_initial.as_ref(), initial.as_ref())?,
            ..SelectiveScanSpec::new(x.dtype, batch, channels, length, state_dim)
        };
        let spec = MambaSpec { scan, width, conv_bias: bias.is_some() };
        spec.check()?;
        for tensor in [Some(&delta), z.as_ref(), dout.as_ref()].into_iter().flatten() {
            tensor.expect_dtype_of(&x)?;
        }
        for (tensor, _) in [(&b, scan.b), (&c, scan.c)].into_iter().filter(|(_, form)| form.vary()) {
            tensor.expect_dtype_of(&x)?;
        }
        let conv = spec.conv();
        expect_shapes(&[
            (Some(&weight), &conv.weight_shape()),
            (bias.as_ref(), &conv.bias_shape()),
            (conv_initial.as_ref(), &conv.state_shape()),
            (Some(&delta), &scan.shape()),
            (Some(&a), &scan.a_shape()),
            (Some(&b), &scan.b_shape()),
            (Some(&c), &scan.c_shape()),
            (skip.as_ref(), &scan.channel_shape()),
            (delta_bias.as_ref(), &scan.channel_shape()),
            (initial.as_ref(), &scan.state_shape()),
            (z.as_ref(), &scan.shape()),
            (dout.as_ref(), &scan.shape()),
        ])?;
        Ok(Box::new(spec))
    }
}

impl Operation for MambaSpec {
    fn fields(&self) -> Fields {
        fields_with_dtype(self, self.scan.dtype)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let (scan, conv) = (&self.scan, &self.conv());
        let scan_backward = SelectiveScanBackwardPlan::new(scan, caps)?;
        let conv_backward = Conv1dBackwardPlan::new(conv, caps)?;
        let step = SelectiveScanSpec { length: 1, initial: true, ..*scan };
        Ok(vec![
            Planned::new("conv, forward", &Conv1dPlan::new(conv, caps)?, shaders::conv1d)?,
            Planned::new("scan, forward", &SelectiveScanPlan::new(scan, caps)?, shaders::selective_scan)?,
            Planned::new("scan, backward", &scan_backward, shaders::selective_scan_backward)?,
            Planned::new("conv, backward", &conv_backward, shaders::conv1d_backward)?,
            Planned::new("conv, step", &Conv1dStepPlan::new(conv, caps)?, shaders::conv1d_step)?,
            Planned::new("scan, step", &SelectiveScanPlan::new(&step, caps)?, shaders::selective_scan)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.scan.dtype, T => apart(|| compute::<T>(*self, gpu, file)))
    }
}

fn compute<T: Element>(spec: MambaSpec, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
    let (x, delta) = (file.upload::<T>(gpu, "x")?, file.upload::<T>(gpu, "delta")?);
    let z = file.find("z")?.map(|z| z.upload::<T>(gpu)).transpose()?;
    let [weight, a] = [file.get("weight")?.upload_f32(gpu)?, file.get("A")?.upload_f32(gpu)?];
    let b = Held::<T>::upload(gpu, file, "B", spec.scan.b)?;
    let c = Held::<T>::upload(gpu, file, "C", spec.scan.c)?;
    let in_f32 = |name| file.upload_f32(gpu, name);
    let (bias, conv_initial) = (in_f32("bias")?, in_f32("conv_initial_state")?);
    let (skip, delta_bias, initial) = (in_f32("D")?, in_f32("delta_bias")?, in_f32("initial_state")?);
    let inputs = MambaInputs {
        x: &x,
        weight: &weight,
        bias: bias.as_ref(),
        conv_initial: conv_initial.as_ref(),
        delta: &delta,
        a: &a,
        b: b.tensor(),
        c: c.tensor(),
        skip: skip.as_ref(),
        z: z.as_ref(),
        delta_bias: delta_bias.as_ref(),
        initial: initial.as_ref(),
    };
    let found = Mamba::new(gpu, spec)?.run(inputs)?;
    let mut outputs = vec![
        Output::on_device("out", &found.out),
        Output::on_device("conv_last_state", &found.conv_last),
        Output::on_device("last_state", &found.last),
    ];
    if let Some(dout) = file.find("dout")? {
        let gradients = MambaBackward::new(gpu, spec)?.run(inputs, &dout.upload::<T>(gpu)?)?;
        outputs.extend(conv_gradients("dx", "dconv_initial_state", &gradients.conv));
        outputs.extend(selective_scan::outputs_of(&gradients.scan));
    }
    Ok(outputs)
}
