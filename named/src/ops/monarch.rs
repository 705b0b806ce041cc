//! `monarch`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{MonarchBackwardPlan, MonarchLinearPlan, MonarchPlan};
use tilewise::{
    Caps, DType, Element, Gpu, MonarchInputs, MonarchLinear, MonarchLinearSpec, MonarchSpec, by_dtype,
};

use super::{Fields, FromFile, FromSizes, List, Operation, Planned, apart, fewer, fields, noted};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

/// Monarch product or layer: two block-diagonal factors and the permutations between them
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    /// Rows of x
    #[arg(long, default_value_t = 1024)]
    batch: usize,
    /// An N × N product of square blocks; N is a square number [default: 4096]
    #[arg(long, conflicts_with_all = ["w1", "w2"])]
    n: Option<usize>,
    /// Blocks of the first factor: k blocks of q × p
    #[arg(long, value_name = "K,Q,P", requires = "w2")]
    w1: Option<List<3>>,
    /// Blocks of the second factor: l blocks of s × r, with k q = l r
    #[arg(long, value_name = "L,S,R", requires = "w1")]
    w2: Option<List<3>>,
    /// Add a bias
    #[arg(long)]
    bias: bool,
}

options! {
    /// Reads x, w1, w2, and bias and dy if they are there; writes y, and with dy also dx, dw1, dw2 and dbias
    ///
    /// x (batch, k p), w1 (k, q, p), w2 (l, s, r) with k q = l r; bias (l s); y and dy (batch, l s).
    #[derive(Debug, Args)]
    pub struct Options {}
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = self.spec()?;
        spec.check()?;
        Ok(Box::new(Layer { spec: MonarchLinearSpec { product: spec, bias: self.bias }, backward: true }))
    }
}

impl Sizes {
    fn spec(&self) -> Result<MonarchSpec, Failure> {
        if let (Some(w1), Some(w2)) = (self.w1, self.w2) {
            return Ok(MonarchSpec::new(self.dtype, self.batch, w1.0, w2.0));
        }
        let n = self.n.unwrap_or(4096);
        let blocks = n.isqrt();
        if blocks * blocks != n {
            return Err(Failure::input(format!(
                "n is {n}, expected a square number such as {} or {}; for other sizes give --w1 K,Q,P and --w2 L,S,R",
                blocks * blocks,
                (blocks as u128 + 1).pow(2),
            )));
        }
        Ok(MonarchSpec::square(self.dtype, self.batch, blocks))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (x, w1, w2) = (file.get("x")?, file.get("w1")?, file.get("w2")?);
        w1.expect_dtype_of(&x)?;
        w2.expect_dtype_of(&x)?;
        let [batch, _] = x.sizes("batch, k p")?;
        let spec = MonarchSpec::new(x.dtype, batch, w1.sizes("k, q, p")?, w2.sizes("l, s, r")?);
        spec.check()?;
        x.expect_shape(&[batch, spec.n_in()])?;
        let (bias, dy) = (file.find("bias")?, file.find("dy")?);
        let shapes: [&[usize]; 2] = [&[spec.n_out()], &[batch, spec.n_out()]];
        for (tensor, shape) in [&bias, &dy].into_iter().zip(shapes) {
            if let Some(tensor) = tensor {
                tensor.expect_dtype_of(&x)?;
                tensor.expect_shape(shape)?;
            }
        }
        let spec = MonarchLinearSpec { product: spec, bias: bias.is_some() };
        Ok(Box::new(Layer { spec, backward: dy.is_some() }))
    }
}

/// A product, with a bias if there is one, and its gradients if they are asked for.
struct Layer {
    spec: MonarchLinearSpec,
    backward: bool,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.spec.bias { self.spec.fmt(f) } else { self.spec.product.fmt(f) }
    }
}

impl Operation for Layer {
    fn fields(&self) -> Fields {
        if self.spec.bias { fields(&self.spec) } else { fields(&self.spec.product) }
    }

    fn note(&self) -> Option<String> {
        noted(|| fewer(&self.spec))
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        if self.spec.bias {
            let plan = MonarchLinearPlan::new(&self.spec, caps)?;
            return Ok(vec![Planned::new("forward and backward", &plan, shaders::monarch_linear)?]);
        }
        let forward = MonarchPlan::new(&self.spec.product, caps)?;
        let mut plans = vec![Planned::new("forward", &forward, shaders::monarch)?];
        if self.backward {
            let backward = MonarchBackwardPlan::new(&self.spec.product, caps)?;
            plans.push(Planned::new("backward", &backward, shaders::monarch_backward)?);
        }
        Ok(plans)
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.spec.product.dtype, T => apart(|| self.run::<T>(gpu, file)))
    }
}

impl Layer {
    fn run<T: Element>(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        let tensor = |name| file.upload::<T>(gpu, name);
        let (x, w1, w2) = (tensor("x")?, tensor("w1")?, tensor("w2")?);
        let bias = self.spec.bias.then(|| tensor("bias")).transpose()?;
        let inputs = MonarchInputs { x: &x, w1: &w1, w2: &w2 };
        let layer = MonarchLinear::new(gpu, self.spec)?;
        let mut outputs = vec![Output::on_device("y", &layer.run(inputs, bias.as_ref())?)];
        if self.backward {
            let gradients = layer.run_backward(inputs, &tensor("dy")?)?;
            outputs.push(Output::on_device("dx", &gradients.product.dx));
            outputs.push(Output::on_device("dw1", &gradients.product.dw1));
            outputs.push(Output::on_device("dw2", &gradients.product.dw2));
            if let Some(dbias) = &gradients.dbias {
                outputs.push(Output::on_device("dbias", dbias));
            }
        }
        Ok(outputs)
    }
}
