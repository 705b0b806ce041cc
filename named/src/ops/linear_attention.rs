//! What `gla` and `retnet` have in common: both are linear attention whose states decay.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{ChunkedBackwardPlan, ChunkedPlan, TokenPlan};
use tilewise::{
    Caps, DType, Element, Gate, Gpu, LinearAttention, LinearAttentionBackward, LinearAttentionInputs,
    LinearAttentionOutputGradients, LinearAttentionSpec, by_dtype,
};

use super::ssd::sequences;
use super::{Operation, Planned, apart, fields};
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

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

/// The operation of these sizes: batch, length, heads, and the elements of keys and of values.
pub fn of_sizes(
    dtype: DType,
    [batch, length, heads, key_dim, value_dim]: [usize; 5],
    gate: Gate,
    Given { chunk, scale }: Given,
    initial: bool,
) -> Result<Box<dyn Operation>, Failure> {
    let spec = LinearAttentionSpec::new(dtype, batch, length, heads, (key_dim, value_dim), gate);
    let spec = LinearAttentionSpec { chunk, scale, initial, ..spec };
    spec.check()?;
    Ok(Box::new(spec))
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
    let expected: [(Option<&_>, &[usize]); 6] = [
        (Some(&k), &spec.q_shape()),
        (Some(&v), &spec.v_shape()),
        (Some(&g), &spec.g_shape()),
        (initial.as_ref(), &spec.state_shape()),
        (dout.as_ref(), &spec.v_shape()),
        (dfinal.as_ref(), &spec.state_shape()),
    ];
    for (tensor, shape) in expected {
        tensor.map_or(Ok(()), |tensor| tensor.expect_shape(shape))?;
    }
    if dfinal.is_some() && dout.is_none() {
        return Err(Failure::Input("dfinal_states is there without do: no gradients follow".to_owned()));
    }
    Ok(Box::new(spec))
}

impl Operation for LinearAttentionSpec {
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let backward = ChunkedBackwardPlan::linear_attention(self, caps)?;
        Ok(vec![
            Planned::new("forward", &ChunkedPlan::linear_attention(self, caps)?, shaders::chunked)?,
            Planned::new("backward", &backward, shaders::chunked_backward)?,
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
