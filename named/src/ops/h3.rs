//! `h3`.

use std::rc::Rc;

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{LongConvBackwardPlan, LongConvPlan, S4dPlan};
use tilewise::{Caps, DType, Gpu, H3, H3Backward, H3Inputs, H3Spec, by_dtype};

use super::s4d::{pairs, parameter_gradients, parameters};
use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile, expect_shapes};

/// H3: out = q (S4D(s) + D s) with s = v (shift * k + D_k k)
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the sequences
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Channels of a batch
    #[arg(long, default_value_t = 256)]
    channels: usize,
    /// Samples of a sequence
    #[arg(long, default_value_t = 8192)]
    length: usize,
    /// States of the shift: how far its kernels reach
    #[arg(long, default_value_t = 64)]
    shift: usize,
    /// Conjugate pairs of states of the diagonal model
    #[arg(long, default_value_t = 32)]
    pairs: usize,
}

options! {
    /// Reads q, k, v, shift, D_k, log_dt, log_A_real, A_imag, C and D; writes out, and gradients if there is a dout
    ///
    /// q, k, v, out and dout (batch, channels, length); shift (channels, samples that it reaches back), D_k and D (channels), and
    /// the diagonal model's log_dt, log_A_real, A_imag and C as for s4d, in any of the types. Gradients are named d and what they
    /// belong to; those of parameters are F32.
    #[derive(Debug, Args)]
    pub struct Options {}
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let shape = [self.batch, self.channels, self.length];
        let spec = H3Spec::new(self.dtype, shape, self.shift, self.pairs);
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let [q, k, v, shift] = [file.get("q")?, file.get("k")?, file.get("v")?, file.get("shift")?];
        let (of_k, skip, dout) = (file.get("D_k")?, file.get("D")?, file.find("dout")?);
        let shape = q.sizes("batch, channels, length")?;
        let [_, reach] = shift.sizes("channels, samples")?;
        let spec = H3Spec::new(q.dtype, shape, reach, pairs(file)?);
        spec.check()?;
        parameters(file, &spec.diagonal())?;
        for tensor in [Some(&k), Some(&v), dout.as_ref()].into_iter().flatten() {
            tensor.expect_dtype_of(&q)?;
        }
        expect_shapes(&[
            (Some(&k), &shape),
            (Some(&v), &shape),
            (dout.as_ref(), &shape),
            (Some(&shift), &[spec.channels, reach]),
            (Some(&of_k), &[spec.channels]),
            (Some(&skip), &[spec.channels]),
        ])?;
        Ok(Box::new(spec))
    }
}

impl Operation for H3Spec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let (shift, diagonal) = (self.shift_conv(), self.diagonal());
        let conv = |pass, spec| Planned::new(pass, &LongConvPlan::new(spec, caps)?, shaders::long_conv);
        let backward = |pass, spec| {
            Planned::new(pass, &LongConvBackwardPlan::new(spec, caps)?, shaders::long_conv_backward)
        };
        Ok(vec![
            conv("shift, forward", &shift)?,
            conv("diagonal, forward", &diagonal.conv)?,
            backward("diagonal, backward", &diagonal.conv)?,
            backward("shift, backward", &shift)?,
            Planned::new("kernels and step", &S4dPlan::new(&diagonal, caps)?, shaders::s4d)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| {
            let upload = |name| file.upload::<T>(gpu, name);
            let (q, k, v) = (upload("q")?, upload("k")?, upload("v")?);
            let in_f32 = |name| file.get(name)?.upload_f32(gpu);
            let (shift, shift_skip, skip) = (in_f32("shift")?, in_f32("D_k")?, in_f32("D")?);
            let parameters = parameters(file, &self.diagonal())?;
            let model = H3::new(gpu, *self)?;
            let modes = model.modes(&parameters)?;
            let inputs = H3Inputs {
                q: &q,
                k: &k,
                v: &v,
                shift: &shift,
                shift_skip: &shift_skip,
                modes: &modes,
                skip: &skip,
            };
            let mut outputs = vec![Output::on_device("out", &model.run(inputs)?)];
            if let Some(dout) = file.find("dout")? {
                let gradients = H3Backward::new(gpu, *self)?.run(inputs, &dout.upload::<T>(gpu)?)?;
                for (name, gradient) in [("dq", &gradients.dq), ("dk", &gradients.dk), ("dv", &gradients.dv)] {
                    outputs.push(Output::on_device(name, gradient));
                }
                let of_channels =
                    [("dshift", &gradients.dshift), ("dD_k", &gradients.dshift_skip), ("dD", &gradients.dskip)];
                for (name, gradient) in of_channels {
                    outputs.push(Output::on_device(name, gradient));
                }
                let parameters = Rc::new(parameters);
                outputs.extend(parameter_gradients(&self.diagonal(), &parameters, &gradients.dmodes));
            }
            Ok(outputs)
        }))
    }
}
