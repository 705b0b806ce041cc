//! `monarch`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::MonarchPlan;
use tilewise::{Caps, DType, Gpu, Monarch, MonarchInputs, MonarchSpec, by_dtype};

use super::{FromFile, FromSizes, List, Operation, Planned, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
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

/// Reads x, w1, w2; writes y
///
/// x (batch, k p), w1 (k, q, p), w2 (l, s, r) with k q = l r; y (batch, l s).
#[derive(Debug, Args)]
pub struct Options {}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = self.spec()?;
        spec.check()?;
        Ok(Box::new(spec))
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
        Ok(Box::new(spec))
    }
}

impl Operation for MonarchSpec {
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        Ok(vec![Planned::new("forward", &MonarchPlan::new(self, caps)?, shaders::monarch)?])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => {
            let tensor = |name| file.upload::<T>(gpu, name);
            let (x, w1, w2) = (tensor("x")?, tensor("w1")?, tensor("w2")?);
            let y = Monarch::new(gpu, *self)?.run(MonarchInputs { x: &x, w1: &w1, w2: &w2 })?;
            Ok(vec![Output::download("y", &y)?])
        })
    }
}
