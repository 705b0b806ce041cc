//! `butterfly`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{ButterflyBackwardPlan, ButterflyPlan};
use tilewise::{
    Butterfly, ButterflyBackward, ButterflyInputs, ButterflySpec, Caps, DType, Element, Gpu, by_dtype,
};

use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fewer_than_dense, fields, noted};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

/// Butterfly product: log2 N sparse factors in place of an N × N matrix, several times with --nblocks
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    /// Rows of x
    #[arg(long, default_value_t = 1024)]
    batch: usize,
    /// Nodes of a row, a power of two
    #[arg(long, default_value_t = 4096)]
    n: usize,
    /// Elements of a row of x, padded with zeros or trimmed [default: as many as of y]
    #[arg(long)]
    n_in: Option<usize>,
    /// Butterflies one after the other, in alternating direction
    #[arg(long, default_value_t = 1)]
    nblocks: usize,
    /// Products side by side
    #[arg(long, default_value_t = 1)]
    nstacks: usize,
    /// Rows and columns of an entry (block butterfly); a node then has as many elements
    #[arg(long, default_value_t = 1)]
    entry: usize,
    /// Complex elements, real and imaginary parts interleaved
    #[arg(long)]
    complex: bool,
    #[command(flatten)]
    direction: Direction,
}

options! {
    #[derive(Clone, Copy, Debug, Args)]
    struct Direction {
        /// The first block's strides grow; without, they fall
        #[arg(long)]
        increasing_stride: bool,
        /// The transpose of the product
        #[arg(long)]
        transposed: bool,
    }
}

options! {
    /// Reads x, twiddle, and dy if there is one; writes y, and with dy also dx and dtwiddle
    ///
    /// x (batch, nstacks, n_in), padded with zeros or trimmed to n; twiddle (nstacks, nblocks, log2 n, n/2, 2, 2), with two
    /// dimensions more for a block butterfly, whose x is n times as wide as an entry; y and dy (batch, nstacks, n). Complex
    /// tensors have a last dimension of 2 more: twiddle then has 7 or 9 dimensions.
    #[derive(Debug, Args)]
    pub struct Options {
        #[command(flatten)]
        direction: Direction,
    }
}

impl Direction {
    fn apply(self, spec: ButterflySpec) -> ButterflySpec {
        ButterflySpec { increasing_stride: self.increasing_stride, transposed: self.transposed, ..spec }
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let Self { dtype, batch, n, nblocks, nstacks, entry, complex, .. } = *self;
        let spec = ButterflySpec { complex, ..ButterflySpec::new(dtype, batch, n) };
        let spec = self.direction.apply(spec.nblocks(nblocks).nstacks(nstacks).entry(entry));
        let spec = ButterflySpec { n_in: self.n_in.unwrap_or(spec.n_in), ..spec };
        spec.check()?;
        Ok(Box::new(Product { spec, backward: true }))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (x, twiddle, dy) = (file.get("x")?, file.get("twiddle")?, file.find("dy")?);
        twiddle.expect_dtype_of(&x)?;
        let (entry, complex) = match *twiddle.shape {
            [_, _, _, _, _, _] => (1, false),
            [_, _, _, _, _, _, _] => (1, true),
            [_, _, _, _, _, _, entry, _] => (entry, false),
            [_, _, _, _, _, _, entry, _, _] => (entry, true),
            _ => {
                return Err(Failure::input(format!(
                    "twiddle has {} dimensions, of shape {:?}; expected 6 (nstacks, nblocks, log2 n, n/2, 2, 2), 8 with \
                     entries of matrices, and one more where they are complex",
                    twiddle.shape.len(),
                    twiddle.shape
                )));
            }
        };
        let (batch, n_in) = if complex {
            let [batch, _, n_in, _] = x.sizes("batch, nstacks, n_in, 2")?;
            (batch, n_in)
        } else {
            let [batch, _, n_in] = x.sizes("batch, nstacks, n_in")?;
            (batch, n_in)
        };
        let n = twiddle.shape[3].saturating_mul(2);
        let spec = ButterflySpec { complex, ..ButterflySpec::new(x.dtype, batch, n) };
        let spec = spec.nstacks(twiddle.shape[0]).nblocks(twiddle.shape[1]).entry(entry).n_in(n_in);
        let spec = self.direction.apply(spec);
        spec.check()?;
        twiddle.expect_shape(&spec.twiddle_shape())?;
        x.expect_shape(&spec.x_shape())?;
        if let Some(dy) = &dy {
            dy.expect_dtype_of(&x)?;
            dy.expect_shape(&spec.y_shape())?;
        }
        Ok(Box::new(Product { spec, backward: dy.is_some() }))
    }
}

/// A product, and its gradients if they are asked for.
struct Product {
    spec: ButterflySpec,
    backward: bool,
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}

impl Operation for Product {
    fn fields(&self) -> Fields {
        fields(&self.spec)
    }

    /// Beside a dense product for each stack, of as many elements of a row as count.
    fn note(&self) -> Option<String> {
        let Self { spec, .. } = self;
        let dense = spec.nstacks * spec.n_in.min(spec.width()) * spec.width() * spec.parts();
        let dense_flops = 2.0 * (spec.parts() * spec.batch) as f64 * dense as f64;
        noted(|| fewer_than_dense([spec.parameters(), dense], [spec.flops(), dense_flops]))
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let forward = ButterflyPlan::new(&self.spec, caps)?;
        let mut plans = vec![Planned::new("forward", &forward, shaders::butterfly)?];
        if self.backward {
            let backward = ButterflyBackwardPlan::new(&self.spec, caps)?;
            plans.push(Planned::new("backward", &backward, shaders::butterfly_backward)?);
        }
        Ok(plans)
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.spec.dtype, T => apart(|| self.run::<T>(gpu, file)))
    }
}

impl Product {
    fn run<T: Element>(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        let (x, twiddle) = (file.upload::<T>(gpu, "x")?, file.upload::<T>(gpu, "twiddle")?);
        let inputs = ButterflyInputs { x: &x, twiddle: &twiddle };
        let y = Butterfly::new(gpu, self.spec)?.run(inputs)?;
        let mut outputs = vec![Output::on_device("y", &y)];
        if self.backward {
            let dy = file.upload::<T>(gpu, "dy")?;
            let gradients = ButterflyBackward::new(gpu, self.spec)?.run(inputs, &dy)?;
            outputs.push(Output::on_device("dx", &gradients.dx));
            outputs.push(Output::on_device("dtwiddle", &gradients.dtwiddle));
        }
        Ok(outputs)
    }
}
