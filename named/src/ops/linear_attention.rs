//! What `gla` and `retnet` have in common: both are linear attention whose states decay.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{LinearAttentionBackwardPlan, LinearAttentionPlan, TokenPlan};
use tilewise::{
    Caps, DType, Element, Gate, Gpu, LinearAttention, LinearAttentionBackward, LinearAttentionInputs,
    LinearAttentionOutputGradients, LinearAttentionSpec, by_dtype,
};

use super::ssd::{refuse_alone, sequences};
use super::{Fields, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, Stored, TensorFile, expect_shapes};

// What a user may choose. Not a doc comment: clap would give it to the command.
options! {
    #[derive(Args, Clone, Copy, Debug)]
    pub struct Given {
        /// Steps of a chunk, 1 to 256; planned where not given
        #[arg(long)]
        chunk: Option<usize>,
        /// Factor of the result; 1/sqrt(key_dim) where not given
        #[arg(long, allow_hyphen_values = true)]
        scale: Option<f32>,
    }
}

// The sizes of both. Not a doc comment either.
#[derive(Args, Clone, Copy, Debug)]
pub struct CommonSizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Steps
    #[arg(long, default_value_t = 8192)]
    length: usize,
    #[arg(long, default_value_t = 16)]
    heads: usize,
    /// Elements of q and k
    #[arg(long, default_value_t = 64)]
    key_dim: usize,
    /// Elements of v and o
    #[arg(long, default_value_t = 128)]
    value_dim: usize,
    #[command(flatten)]
    given: Given,
    /// Take an initial state
    #[arg(long)]
    initial: bool,
}

impl CommonSizes {
    /// The operation, checked.
    pub fn operation(self, gate: Gate) -> Result<Box<dyn Operation>, Failure> {
        let Self { dtype, batch, length, heads, key_dim, value_dim, given: Given { chunk, scale }, initial } =
            self;
        let spec = LinearAttentionSpec::new(dtype, batch, length, heads, (key_dim, value_dim), gate);
        let spec = LinearAttentionSpec { chunk, scale, initial, ..spec };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

/// The operation that a file's tensors say.
pub fn of_file(
    file: &TensorFile<'_>,
    gate: Gate,
    Given { chunk, scale }: Given,
) -> Result<Box<dyn Operation>, Failure> {
    let (read, g) = (Read::new(file)?, file.get("g")?);
    let Read { dtype, batch, length, heads, widths, .. } = read;
    let spec = LinearAttentionSpec::new(dtype, batch, length, heads, widths, gate);
    let spec = LinearAttentionSpec {
        chunk,
        scale,
        initial: read.initial.is_some(),
        sequences: sequences(file, batch, length)?,
        ..spec
    };
    spec.check()?;
    read.expect([&spec.q_shape(), &spec.v_shape(), &spec.state_shape()])?;
    g.expect_shape(&spec.g_shape())?;
    Ok(Box::new(spec))
}

/// What every recurrence reads that writes values under keys and reads them by queries.
pub struct Read<'a> {
    k: Stored<'a>,
    v: Stored<'a>,
    pub initial: Option<Stored<'a>>,
    dout: Option<Stored<'a>>,
    dfinal: Option<Stored<'a>>,
    pub dtype: DType,
    pub batch: usize,
    pub length: usize,
    pub heads: usize,
    /// Of a key, and of a value.
    pub widths: (usize, usize),
}

impl<'a> Read<'a> {
    /// Those of a file, with their types checked.
    pub fn new(file: &'a TensorFile<'_>) -> Result<Self, Failure> {
        let [q, k, v] = [file.get("q")?, file.get("k")?, file.get("v")?];
        let [initial, dout, dfinal] =
            [file.find("initial_states")?, file.find("do")?, file.find("dfinal_states")?];
        let [batch, length, heads, key_dim] = q.sizes("batch, length, heads, key_dim")?;
        let [_, _, _, value_dim] = v.sizes("batch, length, heads, value_dim")?;
        for tensor in [Some(&k), Some(&v), dout.as_ref()].into_iter().flatten() {
            tensor.expect_dtype_of(&q)?;
        }
        let (dtype, widths) = (q.dtype, (key_dim, value_dim));
        Ok(Self { k, v, initial, dout, dfinal, dtype, batch, length, heads, widths })
    }

    /// Fails if a shape is not that of queries, values or states, or a gradient is there alone.
    pub fn expect(&self, [queries, values, states]: [&[usize]; 3]) -> Result<(), Failure> {
        expect_shapes(&[
            (Some(&self.k), queries),
            (Some(&self.v), values),
            (self.initial.as_ref(), states),
            (self.dout.as_ref(), values),
            (self.dfinal.as_ref(), states),
        ])?;
        refuse_alone(self.dfinal.as_ref(), self.dout.as_ref(), "do")
    }
}

impl Operation for LinearAttentionSpec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let backward = LinearAttentionBackwardPlan::new(self, caps)?;
        Ok(vec![
            Planned::new("forward", &LinearAttentionPlan::new(self, caps)?, shaders::linear_attention)?,
            Planned::new("backward", &backward, shaders::linear_attention_backward)?,
            Planned::new("step", &TokenPlan::linear_attention(self, caps)?, shaders::token)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| compute::<T>(self, gpu, file)))
    }
}

fn compute<T: Element>(
    spec: &LinearAttentionSpec,
    gpu: &Gpu,
    file: &TensorFile<'_>,
) -> Result<Vec<Output>, Failure> {
    let upload = |name| file.upload::<T>(gpu, name);
    let (q, k, v) = (upload("q")?, upload("k")?, upload("v")?);
    let g = file.get("g")?.upload_f32(gpu)?;
    let (initial, dfinal) = (file.upload_f32(gpu, "initial_states")?, file.upload_f32(gpu, "dfinal_states")?);
    let inputs = LinearAttentionInputs { q: &q, k: &k, v: &v, g: &g, initial: initial.as_ref() };
    let outputs = LinearAttention::new(gpu, spec.clone())?.run(inputs)?;
    let mut written =
        vec![Output::on_device("o", &outputs.o), Output::on_device("final_states", &outputs.last)];
    let Some(dout) = file.find("do")? else { return Ok(written) };
    let dout = dout.upload::<T>(gpu)?;
    let of = LinearAttentionOutputGradients { o: &dout, last: dfinal.as_ref() };
    let gradients = LinearAttentionBackward::new(gpu, spec.clone())?.run(inputs, of)?;
    written.extend([
        Output::on_device("dq", &gradients.q),
        Output::on_device("dk", &gradients.k),
        Output::on_device("dv", &gradients.v),
        Output::on_device("dg", &gradients.g),
    ]);
    if spec.initial {
        written.push(Output::on_device("dinitial_states", &gradients.initial));
    }
    Ok(written)
}
