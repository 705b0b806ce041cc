//! `delta-rule`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{DeltaRuleBackwardPlan, DeltaRulePlan, TokenPlan};
use tilewise::{
    Caps, DType, DeltaRule, DeltaRuleBackward, DeltaRuleInputs, DeltaRuleSpec, Element, Gpu,
    LinearAttentionOutputGradients, by_dtype,
};

use super::linear_attention::Read;
use super::ssd::sequences;
use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile, expect_shapes};

/// The delta rule: `S_t = exp(g_t) S_(t-1) (I - β_t k_t k_tᵀ) + β_t v_t k_tᵀ`, `o_t = scale S_t q_t`
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Steps
    #[arg(long, default_value_t = 4096)]
    length: usize,
    #[arg(long, default_value_t = 16)]
    heads: usize,
    /// Elements of q and k, at most 512
    #[arg(long, default_value_t = 64)]
    key_dim: usize,
    /// Elements of v and o
    #[arg(long, default_value_t = 64)]
    value_dim: usize,
    /// Let states decay
    #[arg(long)]
    gated: bool,
    /// Take an initial state
    #[arg(long)]
    initial: bool,
    #[command(flatten)]
    options: Options,
}

options! {
    /// Reads q, k, v, beta and what else there is; writes o and final_states, and gradients if do is there
    ///
    /// q and k (batch, length, heads, key_dim); v (batch, length, heads, value_dim); the rates beta and, if states decay, the
    /// decays' logarithms g (batch, length, heads), and initial_states (batch, heads, value_dim, key_dim) in any of the types.
    /// States stay bounded where a rate times the square of its key's length is at most 2. seq_idx or cu_seqlens divide the
    /// steps into sequences as for ssd. With do, like v, and dfinal_states if anything follows from them: dq, dk, dv, dbeta, dg if
    /// there is a g, and dinitial_states if there are initial ones. States and the gradients of beta and g are written in F32.
    #[derive(Clone, Copy, Debug, Args)]
    pub struct Options {
        /// Steps of a chunk, 1 to 64; planned where not given
        #[arg(long)]
        chunk: Option<usize>,
        /// Factor of the result; 1/sqrt(key_dim) where not given
        #[arg(long, allow_hyphen_values = true)]
        scale: Option<f32>,
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let widths = (self.key_dim, self.value_dim);
        let spec = DeltaRuleSpec::new(self.dtype, self.batch, self.length, self.heads, widths);
        let Options { chunk, scale } = self.options;
        let spec = DeltaRuleSpec { gated: self.gated, initial: self.initial, chunk, scale, ..spec };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (read, beta, g) = (Read::new(file)?, file.get("beta")?, file.find("g")?);
        let Read { dtype, batch, length, heads, widths, .. } = read;
        let spec = DeltaRuleSpec {
            gated: g.is_some(),
            initial: read.initial.is_some(),
            chunk: self.chunk,
            scale: self.scale,
            sequences: sequences(file, batch, length)?,
            ..DeltaRuleSpec::new(dtype, batch, length, heads, widths)
        };
        spec.check()?;
        read.expect([&spec.q_shape(), &spec.v_shape(), &spec.state_shape()])?;
        expect_shapes(&[(Some(&beta), &spec.beta_shape()), (g.as_ref(), &spec.beta_shape())])?;
        Ok(Box::new(spec))
    }
}

impl Operation for DeltaRuleSpec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let backward = DeltaRuleBackwardPlan::new(self, caps)?;
        Ok(vec![
            Planned::new("forward", &DeltaRulePlan::new(self, caps)?, shaders::delta_rule)?,
            Planned::new("backward", &backward, shaders::delta_rule_backward)?,
            Planned::new("step", &TokenPlan::delta_rule(self, caps)?, shaders::token)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| compute::<T>(self, gpu, file)))
    }
}

fn compute<T: Element>(
    spec: &DeltaRuleSpec,
    gpu: &Gpu,
    file: &TensorFile<'_>,
) -> Result<Vec<Output>, Failure> {
    let upload = |name| file.upload::<T>(gpu, name);
    let (q, k, v) = (upload("q")?, upload("k")?, upload("v")?);
    let beta = file.get("beta")?.upload_f32(gpu)?;
    let (g, initial) = (file.upload_f32(gpu, "g")?, file.upload_f32(gpu, "initial_states")?);
    let dfinal = file.upload_f32(gpu, "dfinal_states")?;
    let inputs =
        DeltaRuleInputs { q: &q, k: &k, v: &v, beta: &beta, g: g.as_ref(), initial: initial.as_ref() };
    let outputs = DeltaRule::new(gpu, spec.clone())?.run(inputs)?;
    let mut written =
        vec![Output::on_device("o", &outputs.o), Output::on_device("final_states", &outputs.last)];
    let Some(dout) = file.find("do")? else { return Ok(written) };
    let dout = dout.upload::<T>(gpu)?;
    let of = LinearAttentionOutputGradients { o: &dout, last: dfinal.as_ref() };
    let gradients = DeltaRuleBackward::new(gpu, spec.clone())?.run(inputs, of)?;
    for (name, gradient) in [("dq", &gradients.q), ("dk", &gradients.k), ("dv", &gradients.v)] {
        written.push(Output::on_device(name, gradient));
    }
    written.push(Output::on_device("dbeta", &gradients.beta));
    written.extend(gradients.g.map(|g| Output::on_device("dg", &g)));
    if spec.initial {
        written.push(Output::on_device("dinitial_states", &gradients.initial));
    }
    Ok(written)
}
