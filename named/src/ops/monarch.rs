//! `monarch`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{MonarchBackwardPlan, MonarchPlan};
use tilewise::{Caps, DType, Element, Gpu, Monarch, MonarchBackward, MonarchInputs, MonarchSpec, by_dtype};

use super::{FromFile, FromSizes, List, Operation, Planned, apart, fewer, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

/// Monarch product: two block-diagonal factors and the permutations between them
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
}

options! {
    /// Reads x, w1, w2, and dy if there is one; writes y, and with dy also dx, dw1 and dw2
    ///
    /// x (batch, k p), w1 (k, q, p), w2 (l, s, r) with k q = l r; y and dy (batch, l s).
    #[derive(Debug, Args)]
    pub struct Options {}
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = self.spec()?;
        spec.check()?;
        Ok(Box::new(Product { spec, backward: true }))
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
            return Err(Failure::Input(format!(
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
        let dy = file.find("dy")?;
        if let Some(dy) = &dy {
            dy.expect_dtype_of(&x)?;
            dy.expect_shape(&[batch, spec.n_out()])?;
        }
        Ok(Box::new(Product { spec, backward: dy.is_some() }))
    }
}

/// A product, and its gradients if they are asked for.
struct Product {
    spec: MonarchSpec,
    backward: bool,
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}

impl Operation for Product {
    fn fields(&self) -> serde_json::Value {
        fields(&self.spec)
    }

    fn note(&self) -> Option<String> {
        Some(fewer(&self.spec))
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let forward = MonarchPlan::new(&self.spec, caps)?;
        let mut plans = vec![Planned::new("forward", &forward, shaders::monarch)?];
        if self.backward {
            let backward = MonarchBackwardPlan::new(&self.spec, caps)?;
            plans.push(Planned::new("backward", &backward, shaders::monarch_backward)?);
        }
        Ok(plans)
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.spec.dtype, T => apart(|| self.run::<T>(gpu, file)))
    }
}

impl Product {
    fn run<T: Element>(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        let tensor = |name| file.upload::<T>(gpu, name);
        let (x, w1, w2) = (tensor("x")?, tensor("w1")?, tensor("w2")?);
        let inputs = MonarchInputs { x: &x, w1: &w1, w2: &w2 };
        let mut outputs = vec![Output::on_device("y", &Monarch::new(gpu, self.spec)?.run(inputs)?)];
        if self.backward {
            let gradients = MonarchBackward::new(gpu, self.spec)?.run(inputs, &tensor("dy")?)?;
            outputs.push(Output::on_device("dx", &gradients.dx));
            outputs.push(Output::on_device("dw1", &gradients.dw1));
            outputs.push(Output::on_device("dw2", &gradients.dw2));
        }
        Ok(outputs)
    }
}
