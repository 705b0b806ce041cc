//! `pixelfly`.

use clap::Args;
use clap::builder::PossibleValuesParser;
use tilewise::ops::shaders;
use tilewise::plan::{PixelflyBackwardPlan, PixelflyPlan};
use tilewise::{
    Caps, DType, Element, Gpu, PixelflyBackward, PixelflyConfig, PixelflyInputs, PixelflyLinear,
    PixelflySpec, by_dtype,
};

use super::block_sparse::pattern;
use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fewer, fields, noted};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

/// Pixelfly linear layer: a block-sparse product of a flat butterfly's pattern, and a low-rank one beside it
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    /// Rows of x
    #[arg(long, default_value_t = 1024)]
    batch: usize,
    /// In features
    #[arg(long, default_value_t = 1024)]
    inputs: usize,
    /// Out features
    #[arg(long, default_value_t = 1024)]
    outputs: usize,
    /// A published configuration, which the options below change
    #[arg(long, default_value = "standard", value_parser = published_parser())]
    config: String,
    /// Side of a block: 8, 16, 32 or 64
    #[arg(long)]
    block: Option<usize>,
    /// Side of the butterfly that the mask is stretched from
    #[arg(long)]
    butterfly_size: Option<usize>,
    /// Its factors beside the identity
    #[arg(long)]
    factors: Option<usize>,
    /// Rank of the dense product beside the sparse one
    #[arg(long)]
    rank: Option<usize>,
    /// Rows and columns of blocks that are whole
    #[arg(long, default_value_t = 0)]
    global: usize,
    /// Learn the gate between the two products
    #[arg(long)]
    gate: bool,
    /// Add a bias
    #[arg(long)]
    bias: bool,
}

options! {
    /// Reads x, w, mask, u, v, and gate, bias and dy if they are there; writes y, and with dy the gradients of all
    ///
    /// y = (1 - gate) x Wᵀ + gate (x U) V + bias. x (batch, in); mask (row blocks, column blocks) of W (out, in), with true or a
    /// number other than 0 where there is a block; w (blocks, side, side) those blocks row by row; u (in, rank); v (rank, out); gate
    /// (1), a half if absent; bias (out); y and dy (batch, out). The gradients are dx, dw, du, dv, dgate and dbias.
    #[derive(Debug, Args)]
    pub struct Options {}
}

fn published_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(PixelflyConfig::PUBLISHED.map(|(name, _)| name))
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let named = PixelflyConfig::named(&self.config).expect("the parser takes the published names alone");
        let config = PixelflyConfig {
            block: self.block.unwrap_or(named.block),
            butterfly_size: self.butterfly_size.unwrap_or(named.butterfly_size),
            factors: self.factors.unwrap_or(named.factors),
            rank: self.rank.unwrap_or(named.rank),
            global: self.global,
        };
        let spec = PixelflySpec::new(self.dtype, self.batch, [self.outputs, self.inputs], &config)?;
        let spec = PixelflySpec { gate: self.gate, bias: self.bias, ..spec };
        spec.check()?;
        Ok(Box::new(Layer { spec, backward: true }))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let [x, w, u, v] = ["x", "w", "u", "v"].map(|name| file.get(name));
        let (x, w, u, v) = (x?, w?, u?, v?);
        let [gate, bias, dy] = ["gate", "bias", "dy"].map(|name| file.find(name));
        let (gate, bias, dy) = (gate?, bias?, dy?);
        for tensor in [Some(&w), Some(&u), Some(&v), bias.as_ref(), dy.as_ref()].into_iter().flatten() {
            tensor.expect_dtype_of(&x)?;
        }
        let ([batch, inputs], [_, rank]) = (x.sizes("batch, in")?, u.sizes("in, rank")?);
        let [_, out] = v.sizes("rank, out")?;
        let spec = PixelflySpec {
            dtype: x.dtype,
            batch,
            mask: pattern(file, &w)?,
            size: [out, inputs],
            rank,
            gate: gate.is_some(),
            bias: bias.is_some(),
        };
        spec.check()?;
        u.expect_shape(&spec.u_shape())?;
        v.expect_shape(&spec.v_shape())?;
        gate.map_or(Ok(()), |gate| gate.expect_shape(&[1]))?;
        bias.map_or(Ok(()), |bias| bias.expect_shape(&[out]))?;
        dy.as_ref().map_or(Ok(()), |dy| dy.expect_shape(&[batch, out]))?;
        Ok(Box::new(Layer { spec, backward: dy.is_some() }))
    }
}

/// A layer, and its gradients if they are asked for.
struct Layer {
    spec: PixelflySpec,
    backward: bool,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}

impl Operation for Layer {
    fn fields(&self) -> Fields {
        fields(&self.spec)
    }

    fn note(&self) -> Option<String> {
        noted(|| fewer(&self.spec))
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let forward = PixelflyPlan::new(&self.spec, caps)?;
        let mut plans = vec![Planned::new("forward", &forward, shaders::pixelfly)?];
        if self.backward {
            let backward = PixelflyBackwardPlan::new(&self.spec, caps)?;
            plans.push(Planned::new("backward", &backward, shaders::pixelfly_backward)?);
        }
        Ok(plans)
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.spec.dtype, T => apart(|| self.run::<T>(gpu, file)))
    }
}

impl Layer {
    fn run<T: Element>(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        let tensor = |name| file.upload::<T>(gpu, name);
        let (x, w, u, v) = (tensor("x")?, tensor("w")?, tensor("u")?, tensor("v")?);
        let gate = file.upload_f32(gpu, "gate")?;
        let bias = self.spec.bias.then(|| tensor("bias")).transpose()?;
        let inputs = PixelflyInputs { x: &x, w: &w, u: &u, v: &v, gate: gate.as_ref(), bias: bias.as_ref() };
        let y = PixelflyLinear::new(gpu, self.spec.clone())?.run(inputs)?;
        let mut outputs = vec![Output::on_device("y", &y)];
        if self.backward {
            let dy = tensor("dy")?;
            let gradients = PixelflyBackward::new(gpu, self.spec.clone())?.run(inputs, &dy)?;
            outputs.push(Output::on_device("dx", &gradients.dx));
            outputs.push(Output::on_device("dw", &gradients.dw));
            outputs.push(Output::on_device("du", &gradients.du));
            outputs.push(Output::on_device("dv", &gradients.dv));
            outputs.extend(gradients.dgate.map(|dgate| Output::on_device("dgate", &dgate)));
            outputs.extend(gradients.dbias.map(|dbias| Output::on_device("dbias", &dbias)));
        }
        Ok(outputs)
    }
}
