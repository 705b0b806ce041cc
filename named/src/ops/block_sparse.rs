//! `block-sparse`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::BlockSparsePlan;
use tilewise::{
    BlockPattern, BlockSparse, BlockSparseMode, BlockSparseSpec, Caps, DType, Element, Gpu, PixelflyConfig,
    by_dtype,
};

use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fewer_than_dense, fields, noted};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Integers, Output, Stored, TensorFile};

/// Block-sparse linear layer y = x W, and its gradients: W has blocks where a butterfly of --factors factors has entries
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    /// Rows of x
    #[arg(long, default_value_t = 1024)]
    batch: usize,
    /// Rows and columns of W
    #[arg(long, default_value_t = 4096)]
    n: usize,
    /// Side of a block: 8, 16, 32 or 64
    #[arg(long, default_value_t = 32)]
    block: usize,
    /// Side of the butterfly that the mask is stretched from
    #[arg(long, default_value_t = 16)]
    butterfly_size: usize,
    /// Its factors beside the identity
    #[arg(long, default_value_t = 2)]
    factors: usize,
}

options! {
    /// Reads x, w, mask, and dy if there is one; writes y, and with dy also dx and dw
    ///
    /// x (batch, in), mask (row blocks, column blocks) of W with true or a number other than 0 where there is a block, w
    /// (blocks, side, side) those blocks row by row; y and dy (batch, out). in and out are what the blocks cover, or less: the last
    /// blocks may overhang. Without dy, out is what they cover.
    #[derive(Debug, Args)]
    pub struct Options {
        /// Columns of W, where the last blocks overhang it and there is no dy that says so
        #[arg(long)]
        out: Option<usize>,
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let config = PixelflyConfig::new(self.block, self.butterfly_size, self.factors, 1);
        let mask = config.mask([self.n; 2])?;
        Layer::checked(self.dtype, self.batch, mask, [self.n; 2], true)
    }
}

/// The pattern of the file's mask for these blocks.
pub fn pattern(file: &TensorFile<'_>, w: &Stored<'_>) -> Result<BlockPattern, Failure> {
    let Integers { shape, values: there } = file.flags("mask")?;
    let [rows, columns] = shape[..] else {
        return Err(Failure::input(format!(
            "mask has {} dimensions, of shape {shape:?}; expected 2: (row blocks, column blocks)",
            shape.len()
        )));
    };
    let [_, side, _] = w.sizes("blocks, side, side")?;
    let pattern = BlockPattern::new(side, [rows, columns], &there)?;
    w.expect_shape(&pattern.shape())?;
    Ok(pattern)
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (x, w, dy) = (file.get("x")?, file.get("w")?, file.find("dy")?);
        w.expect_dtype_of(&x)?;
        let mask = pattern(file, &w)?;
        let [batch, inputs] = x.sizes("batch, in")?;
        let mut out = self.out.unwrap_or(mask.columns() * mask.side());
        if let Some(dy) = &dy {
            dy.expect_dtype_of(&x)?;
            let [_, columns] = dy.sizes("batch, out")?;
            out = self.out.unwrap_or(columns);
            dy.expect_shape(&[batch, out])?;
        }
        Layer::checked(x.dtype, batch, mask, [inputs, out], dy.is_some())
    }
}

/// The products of a layer: forward, and the two gradients if they are asked for.
struct Layer {
    forward: BlockSparseSpec,
    backward: bool,
}

impl Layer {
    fn checked(
        dtype: DType,
        batch: usize,
        mask: BlockPattern,
        size: [usize; 2],
        backward: bool,
    ) -> Result<Box<dyn Operation>, Failure> {
        let forward = BlockSparseSpec::new(dtype, BlockSparseMode::Dds, mask, batch).size(size);
        forward.check()?;
        Ok(Box::new(Self { forward, backward }))
    }

    /// For `x` and for `w`.
    fn gradients(&self) -> [BlockSparseSpec; 2] {
        let dw = BlockSparseSpec { mode: BlockSparseMode::Sdd, ..self.forward.clone() };
        [self.forward.clone().b_transposed(), dw.a_transposed()]
    }

    fn run<T: Element>(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        let (x, w) = (file.upload::<T>(gpu, "x")?, file.upload::<T>(gpu, "w")?);
        let y = BlockSparse::new(gpu, self.forward.clone())?.run(&x, &w)?;
        let mut outputs = vec![Output::on_device("y", &y)];
        if self.backward {
            let dy = file.upload::<T>(gpu, "dy")?;
            let [dx, dw] = self.gradients().map(|spec| BlockSparse::new(gpu, spec));
            outputs.push(Output::on_device("dx", &dx?.run(&dy, &w)?));
            outputs.push(Output::on_device("dw", &dw?.run(&x, &dy)?));
        }
        Ok(outputs)
    }
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.forward.fmt(f)
    }
}

impl Operation for Layer {
    fn fields(&self) -> Fields {
        fields(&self.forward)
    }

    fn note(&self) -> Option<String> {
        let spec = &self.forward;
        let [parameters, dense] = [spec.mask.shape().iter().product(), spec.size.iter().product::<usize>()];
        let dense_flops = 2.0 * spec.dense as f64 * dense as f64;
        noted(|| fewer_than_dense([parameters, dense], [spec.flops(), dense_flops]))
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let plan = |pass, spec| Planned::new(pass, &BlockSparsePlan::new(spec, caps)?, shaders::block_sparse);
        let mut plans = vec![plan("forward", &self.forward)?];
        if self.backward {
            let [dx, dw] = self.gradients();
            plans.extend([plan("backward, dx", &dx)?, plan("backward, dw", &dw)?]);
        }
        Ok(plans)
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.forward.dtype, T => apart(|| self.run::<T>(gpu, file)))
    }
}
