//! `butterfly-linear`.

use std::fmt;

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::ButterflyLinearPlan;
use tilewise::{
    ButterflyLinear, ButterflyLinearInputs, ButterflyLinearSpec, Caps, DType, Element, Gpu, by_dtype,
};

use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fewer, fields, noted};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

/// Linear layer whose weight is a product of butterfly factors
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    /// Rows of x
    #[arg(long, default_value_t = 1024)]
    batch: usize,
    /// Width of a row of x
    #[arg(long, default_value_t = 4096)]
    in_features: usize,
    /// Width of a row of y [default: that of x]
    #[arg(long)]
    out_features: Option<usize>,
    /// Butterflies one after the other, in alternating direction
    #[arg(long, default_value_t = 1)]
    nblocks: usize,
    /// Add a bias
    #[arg(long)]
    bias: bool,
    /// The first block's strides fall; without, they grow
    #[arg(long)]
    decreasing_stride: bool,
}

options! {
    /// Reads x, twiddle, and bias and dy if they are there; writes y, and with dy also dx, dtwiddle and dbias
    ///
    /// x (batch, in), padded with zeros to the next power of two n; twiddle (nstacks, nblocks, log2 n, n/2, 2, 2), with as many
    /// stacks of n outputs as make up out; bias (out); y and dy (batch, out).
    #[derive(Debug, Args)]
    pub struct Options {
        /// Width of a row of y, which bias and dy say too [default: all outputs of the stacks]
        #[arg(long)]
        out_features: Option<usize>,
        /// The first block's strides fall; without, they grow
        #[arg(long)]
        decreasing_stride: bool,
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let Self { dtype, batch, in_features, nblocks, bias, decreasing_stride, .. } = *self;
        let out_features = self.out_features.unwrap_or(in_features);
        let spec = ButterflyLinearSpec::new(dtype, batch, in_features, out_features).nblocks(nblocks);
        let spec = ButterflyLinearSpec { bias, increasing_stride: !decreasing_stride, ..spec };
        spec.check()?;
        Ok(Box::new(Layer { spec, backward: true }))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (x, twiddle) = (file.get("x")?, file.get("twiddle")?);
        let (bias, dy) = (file.find("bias")?, file.find("dy")?);
        for tensor in [Some(&twiddle), bias.as_ref(), dy.as_ref()].into_iter().flatten() {
            tensor.expect_dtype_of(&x)?;
        }
        let [batch, in_features] = x.sizes("batch, in")?;
        let [nstacks, nblocks, _, pairs, _, _] = twiddle.sizes("nstacks, nblocks, log2 n, n/2, 2, 2")?;
        let of_bias = bias.as_ref().map(|bias| bias.sizes::<1>("out")).transpose()?.map(|[out]| out);
        let of_dy = dy.as_ref().map(|dy| dy.sizes::<2>("batch, out")).transpose()?.map(|[_, out]| out);
        let whole = nstacks.saturating_mul(pairs).saturating_mul(2);
        let out_features = self.out_features.or(of_bias).or(of_dy).unwrap_or(whole);
        let spec = ButterflyLinearSpec::new(x.dtype, batch, in_features, out_features).nblocks(nblocks);
        let increasing_stride = !self.decreasing_stride;
        let spec = ButterflyLinearSpec { bias: bias.is_some(), increasing_stride, ..spec };
        spec.check()?;
        twiddle.expect_shape(&spec.product().twiddle_shape())?;
        bias.map_or(Ok(()), |bias| bias.expect_shape(&[out_features]))?;
        let backward = dy.is_some();
        dy.map_or(Ok(()), |dy| dy.expect_shape(&spec.y_shape()))?;
        Ok(Box::new(Layer { spec, backward }))
    }
}

/// A layer, and its gradients if they are asked for.
struct Layer {
    spec: ButterflyLinearSpec,
    backward: bool,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        let plan = ButterflyLinearPlan::new(&self.spec, caps)?;
        Ok(vec![Planned::new("forward and backward", &plan, shaders::butterfly_linear)?])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.spec.dtype, T => apart(|| self.run::<T>(gpu, file)))
    }
}

impl Layer {
    fn run<T: Element>(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        let (x, twiddle) = (file.upload::<T>(gpu, "x")?, file.upload::<T>(gpu, "twiddle")?);
        let bias = self.spec.bias.then(|| file.upload::<T>(gpu, "bias")).transpose()?;
        let inputs = ButterflyLinearInputs { x: &x, twiddle: &twiddle, bias: bias.as_ref() };
        let layer = ButterflyLinear::new(gpu, self.spec)?;
        let mut outputs = vec![Output::on_device("y", &layer.run(inputs)?)];
        if self.backward {
            let gradients = layer.run_backward(inputs, &file.upload::<T>(gpu, "dy")?)?;
            outputs.push(Output::on_device("dx", &gradients.dx));
            outputs.push(Output::on_device("dtwiddle", &gradients.dtwiddle));
            if let Some(dbias) = &gradients.dbias {
                outputs.push(Output::on_device("dbias", dbias));
            }
        }
        Ok(outputs)
    }
}
