//! What `gla` and `retnet` have in common: both are linear attention whose states decay.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{LinearAttentionBackwardPlan, LinearAttentionPlan, TokenPlan};
use tilewise::{
    Caps, DType, Element, Gate, Gpu, LinearAttention, LinearAttentionBackward, LinearAttentionInputs,
    LinearAttentionOutputGradients, LinearAttentionSpec, by_dtype,
};

use super::ssd::{refuse_alone, sequences};
use super::{Operation, Planned, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::tensors::{Output, TensorFile, expect_shapes};

// What a user may choose. Not a doc comment: clap would give it to the command.
#[derive(Args, Clone, Copy, Debug)]
pub struct Given {
    /// Steps of a chunk, 1 to 256; planned where not given
    #[arg(long)]
    chunk: Option<usize>,
    /// Factor of the result; 1/sqrt(key_dim) where not given
    #[arg(long, allow_hyphen_values = true)]
    scale: Option<f32>,
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
    let [q, k, v, g] = [file.get("q")?, file.get("k")?, file.get("v")?, file.get("g")?];
    let [initial, dout, dfinal] =
        [file.find("initial_states")?, file.find("do")?, file.find("dfinal_states")?];
    let [batch, length, heads, key_dim] = q.sizes("batch, length, heads, key_dim")?;
    let [_, _, _, value_dim] = v.sizes("batch, length, heads, value_dim")?;
    for tensor in [Some(&k), Some(&v), dout.as_ref()].into_iter().flatten() {
        tensor.expect_dtype_of(&q)?;
    }
    let spec = LinearAttentionSpec::new(q.dtype, batch, length, heads, (key_dim, value_dim), gate);
    let spec = LinearAttentionSpec {
        chunk,
        scale,
        initial: initial.is_some(),
        sequences: sequences(file, batch, length)?,
        ..spec
    };
    spec.check()?;
    expect_shapes(&[
        (Some(&k), &spec.q_shape()),
        (Some(&v), &spec.v_shape()),
        (Some(&g), &spec.g_shape()),
        (initial.as_ref(), &spec.state_shape()),
        (dout.as_ref(), &spec.v_shape()),
        (dfinal.as_ref(), &spec.state_shape()),
    ])?;
    refuse_alone(dfinal.as_ref(), dout.as_ref(), "do")?;
    Ok(Box::new(spec))
}

impl Operation for LinearAttentionSpec {
    fn fields(&self) -> serde_json::Value {
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
        by_dtype!(self.dtype, T => compute::<T>(self, gpu, file))
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
        vec![Output::download("o", &outputs.o)?, Output::download("final_states", &outputs.last)?];
    let Some(dout) = file.find("do")? else { return Ok(written) };
    let dout = dout.upload::<T>(gpu)?;
    let of = LinearAttentionOutputGradients { o: &dout, last: dfinal.as_ref() };
    let gradients = LinearAttentionBackward::new(gpu, spec.clone())?.run(inputs, of)?;
    written.extend([
        Output::download("dq", &gradients.q)?,
        Output::download("dk", &gradients.k)?,
        Output::download("dv", &gradients.v)?,
        Output::download("dg", &gradients.g)?,
    ]);
    if spec.initial {
        written.push(Output::download("dinitial_states", &gradients.initial)?);
    }
    Ok(written)
}
