//! `mamba2`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{
    ChunkedBackwardPlan, ChunkedPlan, Conv1dBackwardPlan, Conv1dPlan, Conv1dStepPlan, TokenPlan,
};
use tilewise::{
    Caps, Element, Gpu, Mamba2, Mamba2Backward, Mamba2Inputs, Mamba2Spec, SsdOutputGradients, SsdSpec,
    by_dtype,
};

use super::conv1d::gradients as conv_gradients;
use super::mamba::both_or_neither;
use super::ssd::{self, sequences, skip_of};
use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields_with_dtype};
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile, expect_shapes};

/// Core of a Mamba-2 block: out = ssd(silu(conv1d(xBC))) silu(z)
#[derive(Debug, Args)]
pub struct Sizes {
    #[command(flatten)]
    duality: ssd::Duality,
    /// Taps of the convolution, 2 to 4
    #[arg(long, default_value_t = 4)]
    width: usize,
    /// Take initial states
    #[arg(long)]
    initial: bool,
}

options! {
    /// Reads xBC, weight, dt, A and what else there is; writes out, conv_last_state and final_states, and gradients if dout is
    /// there
    ///
    /// xBC (batch, length, channels), its channels those of all heads of x, of all groups of B and of all groups of C; the
    /// convolution's taps, weight (channels, width), bias (channels) and conv_initial_state (batch, channels, width - 1); dt
    /// (batch, length, heads); A, D, z, dt_bias, initial_states, seq_idx, cu_seqlens, dout and dfinal_states as for ssd: with
    /// cu_seqlens, states of the convolution too are those of its sequences, (sequences, channels, width - 1). The two initial
    /// states are both there or neither. Gradients are named d and what they belong to, dxBC as xBC; those of x, B and C apart are of what
    /// the convolution gave.
    #[derive(Debug, Args)]
    pub struct Options {
        /// Columns of a head's state
        #[arg(long)]
        state_dim: usize,
        /// Groups of heads that share B and C [default: 1]
        #[arg(long)]
        groups: Option<usize>,
        #[command(flatten)]
        given: ssd::Given,
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let ssd = self.duality.spec();
        let heads = (ssd.heads, ssd.head_dim);
        let spec = Mamba2Spec::new(ssd.dtype, ssd.batch, ssd.length, heads, ssd.state_dim);
        let ssd = SsdSpec { groups: ssd.groups, chunk: ssd.chunk, initial: self.initial, ..spec.ssd };
        let spec = Mamba2Spec { ssd, width: self.width, ..spec };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl Options {
    fn groups(&self) -> usize {
        self.groups.unwrap_or(1)
    }

    /// Channels of a head: what B and C leave of the channels.
    fn head_dim(&self, channels: usize, heads: usize) -> Result<usize, Failure> {
        let groups = self.groups();
        let shared = groups.checked_mul(self.state_dim).and_then(|one| one.checked_mul(2));
        let left = shared.and_then(|shared| channels.checked_sub(shared)).filter(|&left| left > 0);
        left.filter(|left| heads > 0 && left.is_multiple_of(heads)).map(|left| left / heads).ok_or_else(|| {
            let states = self.state_dim;
            Failure::input(format!(
                "xBC has {channels} channels, expected some for each of the {heads} heads of dt and 2 × {groups} × \
                 {states} for B and C"
            ))
        })
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let [xbc, weight] = [file.get("xBC")?, file.get("weight")?];
        let (dt, a, bias) = (file.get("dt")?, file.get("A")?, file.find("bias")?);
        let [d, z, dt_bias] = [file.find("D")?, file.find("z")?, file.find("dt_bias")?];
        let [conv_initial, initial] = [file.find("conv_initial_state")?, file.find("initial_states")?];
        let [dout, dfinal] = [file.find("dout")?, file.find("dfinal_states")?];
        let [batch, length, channels] = xbc.sizes("batch, length, channels")?;
        let [_, _, heads] = dt.sizes("batch, length, heads")?;
        let [_, width] = weight.sizes("channels, width")?;
        for tensor in [Some(&dt), z.as_ref(), dout.as_ref()].into_iter().flatten() {
            tensor.expect_dtype_of(&xbc)?;
        }
        let heads = (heads, self.head_dim(channels, heads)?);
        let ssd = SsdSpec {
            groups: self.groups(),
            initial: both_or_neither(conv_initial.as_ref(), initial.as_ref())?,
            skip: skip_of(d.as_ref()),
            gated: z.is_some(),
            dt_bias: dt_bias.is_some(),
            sequences: sequences(file, batch, length)?,
            ..SsdSpec::new(xbc.dtype, batch, length, heads, self.state_dim)
        };
        let ssd = self.given.of(ssd);
        let spec = Mamba2Spec { ssd, width, conv_bias: bias.is_some() };
        spec.check()?;
        let (ssd, conv) = (&spec.ssd, spec.conv());
        expect_shapes(&[
            (Some(&weight), &conv.weight_shape()),
            (bias.as_ref(), &conv.bias_shape()),
            (conv_initial.as_ref(), &conv.state_shape()),
            (Some(&dt), &ssd.dt_shape()),
            (Some(&a), &ssd.head_shape()),
            (d.as_ref(), &ssd.d_shape()),
            (z.as_ref(), &ssd.x_shape()),
            (dt_bias.as_ref(), &ssd.head_shape()),
            (initial.as_ref(), &ssd.state_shape()),
            (dout.as_ref(), &ssd.x_shape()),
            (dfinal.as_ref(), &ssd.state_shape()),
        ])?;
        ssd::refuse_alone(dfinal.as_ref(), dout.as_ref(), "dout")?;
        Ok(Box::new(spec))
    }
}

impl Operation for Mamba2Spec {
    fn fields(&self) -> Fields {
        fields_with_dtype(self, self.ssd.dtype)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let (ssd, conv_backward) = (&self.ssd, Conv1dBackwardPlan::mamba2(self, caps)?);
        let ssd_backward = ChunkedBackwardPlan::ssd(ssd, caps)?;
        Ok(vec![
            Planned::new("conv, forward", &Conv1dPlan::mamba2(self, caps)?, shaders::conv1d)?,
            Planned::new("ssd, forward", &ChunkedPlan::ssd(ssd, caps)?, shaders::chunked)?,
            Planned::new("ssd, backward", &ssd_backward, shaders::chunked_backward)?,
            Planned::new("conv, backward", &conv_backward, shaders::conv1d_backward)?,
            Planned::new("conv, step", &Conv1dStepPlan::new(&self.conv(), caps)?, shaders::conv1d_step)?,
            Planned::new("ssd, step", &TokenPlan::ssd(ssd, caps)?, shaders::token)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.ssd.dtype, T => apart(|| compute::<T>(self, gpu, file)))
    }
}

fn compute<T: Element>(spec: &Mamba2Spec, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
    let (xbc, dt) = (file.upload::<T>(gpu, "xBC")?, file.upload::<T>(gpu, "dt")?);
    let z = file.find("z")?.map(|z| z.upload::<T>(gpu)).transpose()?;
    let [weight, a] = [file.get("weight")?.upload_f32(gpu)?, file.get("A")?.upload_f32(gpu)?];
    let in_f32 = |name| file.upload_f32(gpu, name);
    let (bias, conv_initial) = (in_f32("bias")?, in_f32("conv_initial_state")?);
    let (d, dt_bias, initial) = (in_f32("D")?, in_f32("dt_bias")?, in_f32("initial_states")?);
    let dfinal = in_f32("dfinal_states")?;
    let inputs = Mamba2Inputs {
        xbc: &xbc,
        weight: &weight,
        bias: bias.as_ref(),
        conv_initial: conv_initial.as_ref(),
        dt: &dt,
        a: &a,
        d: d.as_ref(),
        z: z.as_ref(),
        dt_bias: dt_bias.as_ref(),
        initial: initial.as_ref(),
    };
    let found = Mamba2::new(gpu, spec.clone())?.run(inputs)?;
    let mut outputs = vec![
        Output::on_device("out", &found.out),
        Output::on_device("conv_last_state", &found.conv_last),
        Output::on_device("final_states", &found.last),
    ];
    if let Some(dout) = file.find("dout")? {
        let dout = dout.upload::<T>(gpu)?;
        let of = SsdOutputGradients { out: &dout, last: dfinal.as_ref() };
        let gradients = Mamba2Backward::new(gpu, spec.clone())?.run(inputs, of)?;
        outputs.extend(conv_gradients("dxBC", "dconv_initial_state", &gradients.conv));
        outputs.extend(ssd::outputs_of(&spec.ssd, &gradients.ssd));
    }
    Ok(outputs)
}
