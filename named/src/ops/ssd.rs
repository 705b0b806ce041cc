//! `ssd`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{ChunkedBackwardPlan, ChunkedPlan, TokenPlan};
use tilewise::{
    Caps, DType, Element, Gpu, Sequences, Skip, Ssd, SsdBackward, SsdGradients, SsdInputs,
    SsdOutputGradients, SsdSpec, Tensor, by_dtype,
};

use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::{Value, decimal, options};
use crate::tensors::{Integers, Output, Stored, TensorFile, expect_shapes};

/// State-space duality, the recurrence of Mamba-2: `S_t = exp(δ_t A) S_(t-1) + δ_t x_t ⊗ B_t`, `y_t = S_t C_t + D x_t`
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Sizes {
    #[command(flatten)]
    duality: Duality,
    /// Skip the recurrence with D, one a head
    #[arg(long)]
    skip: bool,
    /// Gate the result by silu(z)
    #[arg(long)]
    gated: bool,
    /// Take an initial state
    #[arg(long)]
    initial: bool,
    /// Add a bias to dt
    #[arg(long)]
    dt_bias: bool,
    /// Pass dt through a softplus
    #[arg(long)]
    dt_softplus: bool,
}

options! {
    /// Reads x, dt, A, B, C and what else there is; writes out and final_states, and gradients if dout is there
    ///
    /// x, and z if it gates, (batch, length, heads, head_dim); dt (batch, length, heads); B and C (batch, length, groups,
    /// state_dim); A and dt_bias (heads), D (heads) or (heads, head_dim), initial_states (batch, heads, head_dim, state_dim)
    /// in any of the types. Either seq_idx (batch, length), whose changes begin sequences, or cu_seqlens, where the sequences
    /// packed in a batch of 1 begin and the last one ends; each of those has states of its own. With dout, like x, and
    /// dfinal_states if anything follows from them: dx, ddt, dA, dB, dC, and dD, dz, ddt_bias and dinitial_states of what is
    /// there. States, and what belongs to a head, are written in F32.
    #[derive(Debug, Args)]
    pub struct Options {
        #[command(flatten)]
        given: Given,
    }
}

// The sizes of a recurrence. Not a doc comment: clap would give it to the command.
#[derive(Clone, Copy, Debug, Args)]
pub struct Duality {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Steps
    #[arg(long, default_value_t = 8192)]
    length: usize,
    #[arg(long, default_value_t = 32)]
    heads: usize,
    /// Channels of a head
    #[arg(long, default_value_t = 64)]
    head_dim: usize,
    /// Groups of heads that share B and C
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// Columns of a head's state
    #[arg(long, default_value_t = 128)]
    state_dim: usize,
    /// Steps of a chunk; planned where not given
    #[arg(long)]
    chunk: Option<usize>,
}

impl Duality {
    /// The recurrence without any option.
    pub fn spec(self) -> SsdSpec {
        let Self { dtype, batch, length, heads, head_dim, groups, state_dim, chunk } = self;
        let spec = SsdSpec::new(dtype, batch, length, (heads, head_dim), state_dim);
        SsdSpec { groups, chunk, ..spec }
    }
}

// What the shapes of tensors do not say. Not a doc comment either.
options! {
    #[derive(Clone, Copy, Debug, Args)]
    pub struct Given {
        /// Steps of a chunk, 1 to 256; planned where not given
        #[arg(long)]
        chunk: Option<usize>,
        /// Pass dt through a softplus
        #[arg(long)]
        dt_softplus: bool,
        /// Keep dt, after bias and softplus, between two limits
        #[arg(long, value_name = "LOW,HIGH", allow_hyphen_values = true)]
        dt_limits: Option<Limits>,
    }
}

impl Given {
    /// A recurrence with these.
    pub fn of(self, spec: SsdSpec) -> SsdSpec {
        let Self { chunk, dt_softplus, dt_limits } = self;
        SsdSpec { chunk, dt_softplus, dt_limits: dt_limits.map(|limits| limits.0), ..spec }
    }
}

/// Two limits as they are written: `0.001,0.1`.
#[derive(Clone, Copy, Debug)]
pub struct Limits([f32; 2]);

impl std::str::FromStr for Limits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::of(text, |number| number.parse().ok())
    }
}

impl Value for Limits {
    fn read(text: &str) -> Result<Self, String> {
        Self::of(text, decimal)
    }
}

impl Limits {
    fn of(text: &str, number: impl Fn(&str) -> Option<f32>) -> Result<Self, String> {
        let numbers =
            text.split(',').map(|text| number(text.trim()).ok_or_else(|| format!("{text:?} is no number")));
        let numbers = numbers.collect::<Result<Vec<f32>, String>>()?;
        let found = numbers.len();
        numbers.try_into().map(Self).map_err(|_| format!("{found} numbers, expected 2, such as 0.001,0.1"))
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = SsdSpec {
            initial: self.initial,
            skip: if self.skip { Skip::PerHead } else { Skip::None },
            gated: self.gated,
            dt_bias: self.dt_bias,
            dt_softplus: self.dt_softplus,
            ..self.duality.spec()
        };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

/// The sequences that a file divides its steps into.
pub(super) fn sequences(file: &TensorFile<'_>, batch: usize, length: usize) -> Result<Sequences, Failure> {
    match (file.integers("cu_seqlens")?, indices(file, batch, length)?) {
        (None, None) => Ok(Sequences::Whole),
        (Some(_), Some(_)) => {
            Err(Failure::input("cu_seqlens and seq_idx are both there, expected one of them".to_owned()))
        }
        (Some(starts), None) => {
            let start = |start| usize::try_from(start);
            let starts: Result<Vec<_>, _> = starts.values.into_iter().map(start).collect();
            let starts = starts.map_err(|_| {
                Failure::input("cu_seqlens has a negative number, expected starts from 0 on".to_owned())
            })?;
            Ok(Sequences::Packed(starts))
        }
        (None, Some(indices)) => Ok(Sequences::Indexed(indices)),
    }
}

/// How `x` skips the recurrence, by the dimensions of D.
pub(super) fn skip_of(d: Option<&Stored<'_>>) -> Skip {
    match d.map(|d| d.shape.len()) {
        None => Skip::None,
        Some(2) => Skip::PerChannel,
        Some(_) => Skip::PerHead,
    }
}

/// Fails if there is a gradient of the final states, and none of the result.
pub(super) fn refuse_alone(
    dfinal: Option<&Stored<'_>>,
    dout: Option<&Stored<'_>>,
    name: &str,
) -> Result<(), Failure> {
    if dfinal.is_some() && dout.is_none() {
        let message = format!("dfinal_states is there without {name}: no gradients follow");
        return Err(Failure::input(message));
    }
    Ok(())
}

/// To which sequence of its batch each step belongs, if a file says so.
pub(super) fn indices(
    file: &TensorFile<'_>,
    batch: usize,
    length: usize,
) -> Result<Option<Vec<i64>>, Failure> {
    let Some(Integers { shape, values }) = file.integers("seq_idx")? else { return Ok(None) };
    if shape != [batch, length] {
        let expected = [batch, length];
        return Err(Failure::input(format!("seq_idx has shape {shape:?}, expected {expected:?}")));
    }
    Ok(Some(values))
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let [x, dt, a] = [file.get("x")?, file.get("dt")?, file.get("A")?];
        let [b, c] = [file.get("B")?, file.get("C")?];
        let [z, d, bias] = [file.find("z")?, file.find("D")?, file.find("dt_bias")?];
        let [initial, dout, dfinal] =
            [file.find("initial_states")?, file.find("dout")?, file.find("dfinal_states")?];
        let [batch, length, heads, head_dim] = x.sizes("batch, length, heads, head_dim")?;
        let [_, _, groups, state_dim] = b.sizes("batch, length, groups, state_dim")?;
        for tensor in [Some(&dt), Some(&b), Some(&c), z.as_ref(), dout.as_ref()].into_iter().flatten() {
            tensor.expect_dtype_of(&x)?;
        }
        let spec = SsdSpec::new(x.dtype, batch, length, (heads, head_dim), state_dim);
        let spec = SsdSpec {
            groups,
            initial: initial.is_some(),
            skip: skip_of(d.as_ref()),
            gated: z.is_some(),
            dt_bias: bias.is_some(),
            sequences: sequences(file, batch, length)?,
            ..spec
        };
        let spec = self.given.of(spec);
        spec.check()?;
        expect_shapes(&[
            (Some(&dt), &spec.dt_shape()),
            (Some(&a), &spec.head_shape()),
            (Some(&b), &spec.b_shape()),
            (Some(&c), &spec.b_shape()),
            (d.as_ref(), &spec.d_shape()),
            (z.as_ref(), &spec.x_shape()),
            (bias.as_ref(), &spec.head_shape()),
            (initial.as_ref(), &spec.state_shape()),
            (dout.as_ref(), &spec.x_shape()),
            (dfinal.as_ref(), &spec.state_shape()),
        ])?;
        refuse_alone(dfinal.as_ref(), dout.as_ref(), "dout")?;
        Ok(Box::new(spec))
    }
}

impl Operation for SsdSpec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        Ok(vec![
            Planned::new("forward", &ChunkedPlan::ssd(self, caps)?, shaders::chunked)?,
            Planned::new("backward", &ChunkedBackwardPlan::ssd(self, caps)?, shaders::chunked_backward)?,
            Planned::new("step", &TokenPlan::ssd(self, caps)?, shaders::token)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| compute::<T>(self, gpu, file)))
    }
}

fn compute<T: Element>(spec: &SsdSpec, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
    let upload = |name| file.upload::<T>(gpu, name);
    let find = |name| file.find(name)?.map(|_| file.upload::<T>(gpu, name)).transpose();
    let (x, dt, b, c) = (upload("x")?, upload("dt")?, upload("B")?, upload("C")?);
    let (z, dout): (Option<Tensor<T>>, Option<Tensor<T>>) = (find("z")?, find("dout")?);
    let a = file.get("A")?.upload_f32(gpu)?;
    let [d, bias, initial, dfinal] = ["D", "dt_bias", "initial_states", "dfinal_states"];
    let (d, bias) = (file.upload_f32(gpu, d)?, file.upload_f32(gpu, bias)?);
    let (initial, dfinal) = (file.upload_f32(gpu, initial)?, file.upload_f32(gpu, dfinal)?);
    let inputs = SsdInputs {
        x: &x,
        dt: &dt,
        a: &a,
        b: &b,
        c: &c,
        d: d.as_ref(),
        z: z.as_ref(),
        dt_bias: bias.as_ref(),
        initial: initial.as_ref(),
    };
    let outputs = Ssd::new(gpu, spec.clone())?.run(inputs)?;
    let mut written =
        vec![Output::on_device("out", &outputs.out), Output::on_device("final_states", &outputs.last)];
    let Some(dout) = dout else { return Ok(written) };
    let of = SsdOutputGradients { out: &dout, last: dfinal.as_ref() };
    written.extend(outputs_of(spec, &SsdBackward::new(gpu, spec.clone())?.run(inputs, of)?));
    Ok(written)
}

/// The gradients of a recurrence.
pub(super) fn outputs_of<T: Element>(spec: &SsdSpec, gradients: &SsdGradients<T>) -> Vec<Output> {
    let mut written = vec![
        Output::on_device("dx", &gradients.x),
        Output::on_device("ddt", &gradients.dt),
        Output::on_device("dA", &gradients.a),
        Output::on_device("dB", &gradients.b),
        Output::on_device("dC", &gradients.c),
    ];
    for (name, gradient) in [("dD", &gradients.d), ("ddt_bias", &gradients.dt_bias)] {
        written.extend(gradient.as_ref().map(|gradient| Output::on_device(name, gradient)));
    }
    written.extend(gradients.z.as_ref().map(|z| Output::on_device("dz", z)));
    if spec.initial {
        written.push(Output::on_device("dinitial_states", &gradients.initial));
    }
    written
}
