//! `long-conv`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{LongConvBackwardPlan, LongConvPlan};
use tilewise::{Caps, DType, Gpu, LongConv, LongConvBackward, LongConvInputs, LongConvSpec, by_dtype};

use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

/// Causal convolution with kernels up to as long as the sequences, through Fourier transforms
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Channels of a batch, each with a kernel
    #[arg(long, default_value_t = 768)]
    channels: usize,
    /// Samples of a sequence
    #[arg(long, default_value_t = 8192)]
    length: usize,
    /// Samples of a kernel [default: as many as those of a sequence]
    #[arg(long)]
    taps: Option<usize>,
    /// Multiply the sequences with a gate
    #[arg(long)]
    pre_gate: bool,
    /// Multiply the result with a gate
    #[arg(long)]
    post_gate: bool,
    /// Add D u
    #[arg(long)]
    skip: bool,
}

options! {
    /// Reads u, k, and D, pre and post if there are any; writes y, and gradients if there is a dy
    ///
    /// y = post (k * v + D v) of v = pre u. u, pre, post, y and dy (batch, channels, length); k (channels, taps) with as
    /// many taps as samples or fewer, and D (channels), in any of the types. Gradients are du, dk, dD, dpre and dpost, dk and dD in F32.
    #[derive(Debug, Args)]
    pub struct Options {}
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = LongConvSpec::new(self.dtype, self.batch, self.channels, self.length);
        let spec = spec.taps(self.taps.unwrap_or(self.length));
        let spec =
            LongConvSpec { pre_gate: self.pre_gate, post_gate: self.post_gate, skip: self.skip, ..spec };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (u, k) = (file.get("u")?, file.get("k")?);
        let (skip, pre, post, dy) =
            (file.find("D")?, file.find("pre")?, file.find("post")?, file.find("dy")?);
        let [batch, channels, length] = u.sizes("batch, channels, length")?;
        let spec = LongConvSpec::new(u.dtype, batch, channels, length);
        let (pre_gate, post_gate) = (pre.is_some(), post.is_some());
        let spec = LongConvSpec { pre_gate, post_gate, skip: skip.is_some(), ..spec };
        let [_, taps] = k.sizes("channels, taps")?;
        let spec = spec.taps(taps);
        k.expect_shape(&spec.kernel_shape())?;
        if let Some(skip) = skip {
            skip.expect_shape(&[channels])?;
        }
        for sequences in [pre, post, dy].into_iter().flatten() {
            sequences.expect_dtype_of(&u)?;
            sequences.expect_shape(&spec.shape())?;
        }
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl Operation for LongConvSpec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let (forward, backward) = (LongConvPlan::new(self, caps)?, LongConvBackwardPlan::new(self, caps)?);
        Ok(vec![
            Planned::new("forward", &forward, shaders::long_conv)?,
            Planned::new("backward", &backward, shaders::long_conv_backward)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| {
            let optional = |name| file.find(name)?.map(|_| file.upload::<T>(gpu, name)).transpose();
            let (u, pre, post, dy) = (file.upload::<T>(gpu, "u")?, optional("pre")?, optional("post")?, optional("dy")?);
            let in_f32 = |name| file.upload_f32(gpu, name);
            let (k, skip) = (in_f32("k")?, in_f32("D")?);
            let k = k.as_ref().expect("k was there when the operation was made");
            let inputs = LongConvInputs { u: &u, k, skip: skip.as_ref(), pre: pre.as_ref(), post: post.as_ref() };
            let y = LongConv::new(gpu, *self)?.run(inputs)?;
            let mut outputs = vec![Output::on_device("y", &y)];
            if let Some(dy) = dy {
                let gradients = LongConvBackward::new(gpu, *self)?.run(inputs, &dy)?;
                outputs.push(Output::on_device("du", &gradients.du));
                outputs.push(Output::on_device("dk", &gradients.dk));
                if let Some(dskip) = &gradients.dskip {
                    outputs.push(Output::on_device("dD", dskip));
                }
                if let Some(dpre) = &gradients.dpre {
                    outputs.push(Output::on_device("dpre", dpre));
                }
                if let Some(dpost) = &gradients.dpost {
                    outputs.push(Output::on_device("dpost", dpost));
                }
            }
            Ok(outputs)
        }))
    }
}
