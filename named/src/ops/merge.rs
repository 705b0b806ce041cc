//! `merge`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::MergePlan;
use tilewise::{AttentionOutputs, Caps, DType, Gpu, Merge, MergeSpec, by_dtype};

use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

/// Two outputs of attention to different keys, put together
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the outputs
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Queries of a batch
    #[arg(long, default_value_t = 2048)]
    q_len: usize,
    /// Query heads
    #[arg(long, default_value_t = 8)]
    heads: usize,
    /// Width of a value, 1 to 256
    #[arg(long, default_value_t = 64)]
    value_dim: usize,
}

options! {
    /// Reads o_a, lse_a, o_b and lse_b; writes o and lse
    ///
    /// o_a, o_b and o (batch, q_len, heads, value_dim), lse_a, lse_b and lse (batch, heads, q_len) in F32, as `run attention`
    /// writes them. What saw no key has minus infinity for its log-sum-exp.
    #[derive(Debug, Args)]
    pub struct Options {}
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = MergeSpec::new(self.dtype, self.batch, self.q_len, self.heads, self.value_dim);
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (a, b) = (file.get("o_a")?, file.get("o_b")?);
        b.expect_dtype_of(&a)?;
        let [batch, q_len, heads, value_dim] = a.sizes("batch, q_len, heads, value_dim")?;
        let spec = MergeSpec::new(a.dtype, batch, q_len, heads, value_dim);
        b.expect_shape(&spec.o_shape())?;
        for name in ["lse_a", "lse_b"] {
            file.get(name)?.expect_shape(&spec.lse_shape())?;
        }
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl Operation for MergeSpec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        Ok(vec![Planned::new("forward", &MergePlan::new(self, caps)?, shaders::merge)?])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| {
            let part = |o, lse| {
                let (o, lse) = (file.get(o)?.upload::<T>(gpu)?, file.get(lse)?.upload_f32(gpu)?);
                Ok::<_, Failure>(AttentionOutputs { o, lse })
            };
            let (a, b) = (part("o_a", "lse_a")?, part("o_b", "lse_b")?);
            let merged = Merge::new(gpu, *self)?.run(&a, &b)?;
            Ok(vec![Output::on_device("o", &merged.o), Output::on_device("lse", &merged.lse)])
        }))
    }
}
