//! `selective-scan`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{SelectiveScanBackwardPlan, SelectiveScanPlan};
use tilewise::{
    Caps, CoefficientGradient, CoefficientTensor, Coefficients, DType, Element, Gpu, SelectiveScan,
    SelectiveScanBackward, SelectiveScanGradients, SelectiveScanInputs, SelectiveScanSpec, Tensor, by_dtype,
};

use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, Stored, TensorFile};

/// Selective scan of Mamba
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
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
    #[arg(long, default_value_t = 8192)]
    length: usize,
    /// States of a channel, 1 to 256
    #[arg(long, default_value_t = 16)]
    states: usize,
    /// Groups of channels that share B and C; a divisor of the channels
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// Complex A, B, C and states
    #[arg(long)]
    complex: bool,
    /// Add D u
    #[arg(long)]
    skip: bool,
    /// Gate the result by z
    #[arg(long)]
    gated: bool,
    /// Add a bias to delta
    #[arg(long)]
    delta_bias: bool,
    /// Take an initial state
    #[arg(long)]
    initial: bool,
    #[command(flatten)]
    options: Options,
}

options! {
    /// Reads u, delta, A, B, C, and D, z, delta_bias and initial_state if there are any; writes out and last_state, and
    /// gradients if there is a dout
    ///
    /// u, delta, z, out and dout (batch, channels, length); A (channels, states); B and C (channels, states), (batch,
    /// states, length) or (batch, groups, states, length); D and delta_bias (channels); initial_state and last_state
    /// (batch, channels, states). If A is complex, A, B, C and the states end in one more dimension of 2. Gradients are
    /// named d and what they belong to. What does not vary from step to step is F32, and read in any of the types.
    #[derive(Clone, Copy, Debug, Args)]
    pub struct Options {
        /// Pass delta through a softplus
        #[arg(long)]
        delta_softplus: bool,
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = SelectiveScanSpec::new(self.dtype, self.batch, self.channels, self.length, self.states);
        let varying =
            if self.groups == 1 { Coefficients::PerStep } else { Coefficients::PerGroup(self.groups) };
        let spec = SelectiveScanSpec {
            complex: self.complex,
            b: varying,
            c: varying,
            skip: self.skip,
            gated: self.gated,
            delta_bias: self.delta_bias,
            delta_softplus: self.options.delta_softplus,
            initial: self.initial,
            ..spec
        };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

/// How coefficients vary, by their dimensions.
pub(super) fn coefficients(stored: &Stored<'_>, complex: bool) -> Result<Coefficients, Failure> {
    let dimensions = stored.shape.len() - usize::from(complex && !stored.shape.is_empty());
    match dimensions {
        2 => Ok(Coefficients::PerChannel),
        3 => Ok(Coefficients::PerStep),
        4 => Ok(Coefficients::PerGroup(stored.shape[1])),
        _ => Err(Failure::input(format!(
            "{} has shape {:?}, expected (channels, states), (batch, states, length) or (batch, groups, states, length)",
            stored.name, stored.shape
        ))),
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (u, delta) = (file.get("u")?, file.get("delta")?);
        let (a, b, c) = (file.get("A")?, file.get("B")?, file.get("C")?);
        let (z, dout) = (file.find("z")?, file.find("dout")?);
        let (skip, bias, initial) = (file.find("D")?, file.find("delta_bias")?, file.find("initial_state")?);
        let [batch, channels, length] = u.sizes("batch, channels, length")?;
        let complex = a.shape.len() == 3;
        let ([_, state_dim] | [_, state_dim, 2]) = *a.shape else {
            let found = format!("A has shape {:?}", a.shape);
            return Err(Failure::input(format!(
                "{found}, expected (channels, states) or (channels, states, 2)"
            )));
        };
        let spec = SelectiveScanSpec {
            complex,
            b: coefficients(&b, complex)?,
            c: coefficients(&c, complex)?,
            skip: skip.is_some(),
            gated: z.is_some(),
            delta_bias: bias.is_some(),
            delta_softplus: self.delta_softplus,
            initial: initial.is_some(),
            ..SelectiveScanSpec::new(u.dtype, batch, channels, length, state_dim)
        };
        spec.check()?;
        for rows in [Some(delta), z, dout].into_iter().flatten() {
            rows.expect_dtype_of(&u)?;
            rows.expect_shape(&spec.shape())?;
        }
        a.expect_shape(&spec.a_shape())?;
        b.expect_shape(&spec.b_shape())?;
        c.expect_shape(&spec.c_shape())?;
        for varying in [(&b, spec.b), (&c, spec.c)].into_iter().filter(|(_, form)| form.vary()) {
            varying.0.expect_dtype_of(&u)?;
        }
        for one in [skip, bias].into_iter().flatten() {
            one.expect_shape(&spec.channel_shape())?;
        }
        if let Some(initial) = initial {
            initial.expect_shape(&spec.state_shape())?;
        }
        Ok(Box::new(spec))
    }
}

/// A tensor of coefficients on the device, in the type of its form.
pub(super) enum Held<T> {
    PerChannel(Tensor<f32>),
    PerStep(Tensor<T>),
}

impl<T: Element> Held<T> {
    pub fn upload(gpu: &Gpu, file: &TensorFile<'_>, name: &str, form: Coefficients) -> Result<Self, Failure> {
        Ok(if form.vary() {
            Self::PerStep(file.upload(gpu, name)?)
        } else {
            Self::PerChannel(file.get(name)?.upload_f32(gpu)?)
        })
    }

    pub fn tensor(&self) -> CoefficientTensor<'_, T> {
        match self {
            Self::PerChannel(tensor) => CoefficientTensor::PerChannel(tensor),
            Self::PerStep(tensor) => CoefficientTensor::PerStep(tensor),
        }
    }
}

fn coefficients_of<T: Element>(name: &'static str, gradient: &CoefficientGradient<T>) -> Output {
    match gradient {
        CoefficientGradient::PerChannel(tensor) => Output::on_device(name, tensor),
        CoefficientGradient::PerStep(tensor) => Output::on_device(name, tensor),
    }
}

/// The gradients of a scan.
pub(super) fn outputs_of<T: Element>(gradients: &SelectiveScanGradients<T>) -> Vec<Output> {
    let mut outputs = vec![
        Output::on_device("du", &gradients.du),
        Output::on_device("ddelta", &gradients.ddelta),
        Output::on_device("dA", &gradients.da),
        coefficients_of("dB", &gradients.db),
        coefficients_of("dC", &gradients.dc),
    ];
    let optional = [
        ("dD", &gradients.dskip),
        ("ddelta_bias", &gradients.ddelta_bias),
        ("dinitial_state", &gradients.dinitial),
    ];
    for (name, gradient) in optional {
        outputs.extend(gradient.as_ref().map(|gradient| Output::on_device(name, gradient)));
    }
    outputs.extend(gradients.dz.as_ref().map(|dz| Output::on_device("dz", dz)));
    outputs
}

impl Operation for SelectiveScanSpec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let backward = SelectiveScanBackwardPlan::new(self, caps)?;
        Ok(vec![
            Planned::new("forward", &SelectiveScanPlan::new(self, caps)?, shaders::selective_scan)?,
            Planned::new("backward", &backward, shaders::selective_scan_backward)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| {
            let optional = |name| file.find(name)?.map(|stored| stored.upload::<T>(gpu)).transpose();
            let (u, delta) = (file.upload::<T>(gpu, "u")?, file.upload::<T>(gpu, "delta")?);
            let a = file.get("A")?.upload_f32(gpu)?;
            let b = Held::<T>::upload(gpu, file, "B", self.b)?;
            let c = Held::<T>::upload(gpu, file, "C", self.c)?;
            let (z, dout) = (optional("z")?, optional("dout")?);
            let in_f32 = |name| file.upload_f32(gpu, name);
            let (skip, bias, initial) = (in_f32("D")?, in_f32("delta_bias")?, in_f32("initial_state")?);
            let inputs = SelectiveScanInputs {
                u: &u,
                delta: &delta,
                a: &a,
                b: b.tensor(),
                c: c.tensor(),
                skip: skip.as_ref(),
                z: z.as_ref(),
                delta_bias: bias.as_ref(),
                initial: initial.as_ref(),
            };
            let found = SelectiveScan::new(gpu, *self)?.run(inputs)?;
            let last = Output::on_device("last_state", &found.last);
            let mut outputs = vec![Output::on_device("out", &found.out), last];
            if let Some(dout) = dout {
                outputs.extend(outputs_of(&SelectiveScanBackward::new(gpu, *self)?.run(inputs, &dout)?));
            }
            Ok(outputs)
        }))
    }
}
