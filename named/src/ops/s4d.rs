//! `s4d`.

use std::rc::Rc;

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{LongConvBackwardPlan, LongConvPlan, S4dPlan};
use tilewise::{
    Caps, DType, Discretization, Gpu, LongConvSpec, S4d, S4dBackward, S4dInputs, S4dParameters, S4dSpec,
    Tensor, by_dtype,
};

use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields_with_dtype};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile, expect_shapes};

/// Diagonal state-space model S4D as the long convolution that it is: y = post (K * v + D v), v = pre u
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
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
    /// Conjugate pairs of states of a channel
    #[arg(long, default_value_t = 32)]
    pairs: usize,
    /// Multiply u with a gate
    #[arg(long)]
    pre_gate: bool,
    /// Multiply the result with a gate
    #[arg(long)]
    post_gate: bool,
    /// Add D v
    #[arg(long)]
    skip: bool,
    #[command(flatten)]
    options: Options,
}

options! {
    /// Reads u, log_dt, log_A_real, A_imag, C, and D, pre and post if there are any; writes y, and gradients if there is a dy
    ///
    /// u, pre, post, y and dy (batch, channels, length); log_dt and D (channels), log_A_real and A_imag (channels, pairs) and C
    /// (channels, pairs, 2), real and imaginary parts, in any of the types: A = -exp(log_A_real) + i A_imag, B = 1, and K_l =
    /// 2 Re Σ C B̄ Ā^l over the pairs. Gradients are named d and what they belong to; those of parameters are F32.
    #[derive(Clone, Copy, Debug, Args)]
    pub struct Options {
        /// Discretise by the bilinear rule, instead of a zero-order hold
        #[arg(long)]
        bilinear: bool,
    }
}

impl Options {
    fn rule(self) -> Discretization {
        if self.bilinear { Discretization::Bilinear } else { Discretization::ZeroOrderHold }
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let conv = LongConvSpec::new(self.dtype, self.batch, self.channels, self.length);
        let conv =
            LongConvSpec { pre_gate: self.pre_gate, post_gate: self.post_gate, skip: self.skip, ..conv };
        let spec = S4dSpec { rule: self.options.rule(), ..S4dSpec::new(conv, self.pairs) };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let u = file.get("u")?;
        let [skip, pre, post, dy] =
            [file.find("D")?, file.find("pre")?, file.find("post")?, file.find("dy")?];
        let [batch, channels, length] = u.sizes("batch, channels, length")?;
        let conv = LongConvSpec::new(u.dtype, batch, channels, length);
        let (pre_gate, post_gate) = (pre.is_some(), post.is_some());
        let conv = LongConvSpec { pre_gate, post_gate, skip: skip.is_some(), ..conv };
        let spec = S4dSpec { rule: self.rule(), ..S4dSpec::new(conv, pairs(file)?) };
        spec.check()?;
        parameters(file, &spec)?;
        let sequences = [pre.as_ref(), post.as_ref(), dy.as_ref()];
        for tensor in sequences.into_iter().flatten() {
            tensor.expect_dtype_of(&u)?;
        }
        let shape = conv.shape();
        expect_shapes(&sequences.map(|tensor| (tensor, &shape[..])))?;
        expect_shapes(&[(skip.as_ref(), &[channels])])?;
        Ok(Box::new(spec))
    }
}

/// Pairs of states that the parameters have.
pub(super) fn pairs(file: &TensorFile<'_>) -> Result<usize, Failure> {
    let [_, pairs] = file.get("log_A_real")?.sizes("channels, pairs")?;
    Ok(pairs)
}

/// The parameters of a model, with every shape checked.
pub(super) fn parameters(file: &TensorFile<'_>, spec: &S4dSpec) -> Result<S4dParameters, Failure> {
    let [log_dt, log_a_re] = [file.get("log_dt")?, file.get("log_A_real")?];
    let [a_im, c] = [file.get("A_imag")?, file.get("C")?];
    let (channels, pairs) = (spec.conv.channels, spec.pairs);
    expect_shapes(&[
        (Some(&log_dt), &[channels]),
        (Some(&log_a_re), &[channels, pairs]),
        (Some(&a_im), &[channels, pairs]),
        (Some(&c), &[channels, pairs, 2]),
    ])?;
    let c = c.to_f64()?;
    let part = |part: usize| c.iter().skip(part).step_by(2).copied().collect();
    Ok(S4dParameters {
        log_dt: log_dt.to_f64()?,
        log_a_re: log_a_re.to_f64()?,
        a_im: a_im.to_f64()?,
        c_re: part(0),
        c_im: part(1),
    })
}

/// The gradients of a model's parameters, which follow on the host from what the device has of them.
pub(super) fn parameter_gradients(
    spec: &S4dSpec,
    parameters: &Rc<S4dParameters>,
    dmodes: &Tensor<f32>,
) -> Vec<Output> {
    let spec = *spec;
    let (channels, pairs) = (spec.conv.channels, spec.pairs);
    let output = |name, shape: &[usize], part: fn(S4dParameters) -> Vec<f64>| {
        let parameters = Rc::clone(parameters);
        let derive = move |dmodes: &[f32]| Ok(part(parameters.gradients(&spec, dmodes)?));
        Output::derived(name, DType::F32, shape, dmodes, derive)
    };
    vec![
        output("dlog_dt", &[channels], |of| of.log_dt),
        output("dlog_A_real", &[channels, pairs], |of| of.log_a_re),
        output("dA_imag", &[channels, pairs], |of| of.a_im),
        output("dC", &[channels, pairs, 2], |of| {
            of.c_re.into_iter().zip(of.c_im).flat_map(|(re, im)| [re, im]).collect()
        }),
    ]
}

impl Operation for S4dSpec {
    fn fields(&self) -> Fields {
        fields_with_dtype(self, self.conv.dtype)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let backward = LongConvBackwardPlan::new(&self.conv, caps)?;
        Ok(vec![
            Planned::new("forward", &LongConvPlan::new(&self.conv, caps)?, shaders::long_conv)?,
            Planned::new("backward", &backward, shaders::long_conv_backward)?,
            Planned::new("kernels and step", &S4dPlan::new(self, caps)?, shaders::s4d)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.conv.dtype, T => apart(|| {
            let optional = |name| file.find(name)?.map(|stored| stored.upload::<T>(gpu)).transpose();
            let (u, pre, post, dy) = (file.upload::<T>(gpu, "u")?, optional("pre")?, optional("post")?, optional("dy")?);
            let skip = file.upload_f32(gpu, "D")?;
            let parameters = parameters(file, self)?;
            let model = S4d::new(gpu, *self)?;
            let modes = model.modes(&parameters)?;
            let inputs =
                S4dInputs { u: &u, modes: &modes, skip: skip.as_ref(), pre: pre.as_ref(), post: post.as_ref() };
            let mut outputs = vec![Output::on_device("y", &model.run(inputs)?)];
            if let Some(dy) = dy {
                let gradients = S4dBackward::new(gpu, *self)?.run(inputs, &dy)?;
                outputs.push(Output::on_device("du", &gradients.du));
                outputs.extend(parameter_gradients(self, &Rc::new(parameters), &gradients.dmodes));
                outputs.extend(gradients.dskip.map(|dskip| Output::on_device("dD", &dskip)));
                for (name, gradient) in [("dpre", gradients.dpre), ("dpost", gradients.dpost)] {
                    outputs.extend(gradient.map(|gradient| Output::on_device(name, &gradient)));
                }
            }
            Ok(outputs)
        }))
    }
}
