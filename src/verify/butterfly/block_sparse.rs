//! The acceptance grids of products with block-sparse matrices, and of their softmax.

use std::fmt;

use super::tolerance;
use crate::oracle::{block_softmax, block_softmax_backward, block_sparse};
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{
    BlockPattern, BlockSoftmax, BlockSoftmaxSpec, BlockSparse, BlockSparseMode, BlockSparseSpec, DType,
    Element, Error, Gpu, by_dtype,
};

/// Rows and columns of a sparse matrix that its blocks fill, and that they overhang, by fours and by ones.
const SIZES: &[[usize; 2]] = &[[64, 128], [97, 64], [113, 203], [68, 76]];

/// About a third of the blocks, some rows and columns without any.
pub(super) fn mask(side: usize, size: [usize; 2]) -> BlockPattern {
    let sizes = size.map(|size| size.div_ceil(side));
    let mut inputs = Inputs::new((side + size[0]) as u64);
    let mut mask: Vec<bool> =
        inputs.uniform(sizes[0] * sizes[1], 0.0, 3.0).into_iter().map(|x| x < 1.0).collect();
    // The last block, which overhangs, is there always.
    *mask.last_mut().expect("a mask has a block at least") = true;
    BlockPattern::new(side, sizes, &mask).expect("a mask of some blocks")
}

/// Every mode, its transposes, every block side, every storage; and the layers of the acceptance, whose widths blocks
/// do not divide.
pub(super) fn cases(grid: Grid) -> Vec<BlockSparseSpec> {
    let modes = [BlockSparseMode::Dds, BlockSparseMode::Dsd, BlockSparseMode::Sdd];
    let mut cases = Vec::new();
    for (i, transposes) in (0..4).enumerate() {
        for (j, mode) in modes.into_iter().enumerate() {
            for (k, side) in [8, 16, 32, 64].into_iter().enumerate() {
                for (n, &size) in SIZES.iter().enumerate() {
                    if grid == Grid::Thin && ((n + i + j) % 4 != k || (n + 2 * i) % 3 != 0) {
                        continue;
                    }
                    let dense = [1, 97, 33, 200][(i + n) % 4];
                    let spec = BlockSparseSpec::new(DType::ALL[(i + k) % 3], mode, mask(side, size), dense);
                    let (a_transposed, b_transposed) = (transposes % 2 == 1, transposes / 2 == 1);
                    cases.push(BlockSparseSpec { a_transposed, b_transposed, ..spec.size(size) });
                }
            }
        }
    }
    let (rows, outs): (&[usize], &[usize]) = match grid {
        Grid::Full => (&[149, 497, 640], &[698, 1280, 3081]),
        Grid::Thin => (&[149], &[698]),
    };
    for &out in outs {
        for &rows in rows {
            for side in if grid == Grid::Full { &[16, 32][..] } else { &[32] } {
                let size = [512, out];
                let layer = |mode| BlockSparseSpec::new(DType::F32, mode, mask(*side, size), rows).size(size);
                // y = x W, dx = dy Wᵀ, dW = xᵀ dy.
                cases.push(layer(BlockSparseMode::Dds));
                cases.push(layer(BlockSparseMode::Dds).b_transposed());
                cases.push(layer(BlockSparseMode::Sdd).a_transposed());
            }
        }
    }
    cases
}

impl Case for BlockSparseSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype, T => Box::pin(run::<T>(gpu, self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: &BlockSparseSpec) -> Result<Vec<Outcome>, Error> {
    let mut inputs = Inputs::new(spec.dense as u64);
    let (a_shape, b_shape) = (spec.a_shape(), spec.b_shape());
    let mut given = |shape: &[usize]| rounded::<T>(&inputs.normal(shape.iter().product(), 0.3));
    let (a, b) = (given(&a_shape), given(&b_shape));
    let (reference, plain) = both(spec.dtype, |precision| block_sparse(spec, precision, &a, &b));
    let c = poisoned::<T>(gpu, &spec.c_shape())?;
    let (a, b) = (upload::<T>(gpu, &a_shape, &a)?, upload::<T>(gpu, &b_shape, &b)?);
    let mut encoder = gpu.encoder();
    BlockSparse::new(gpu, spec.clone())?.encode(&mut encoder, &a, &b, &c)?;
    gpu.submit(encoder)?;
    Ok(vec![Outcome::new("c", &download(&c).await?, &reference, &plain, tolerance(&reference))])
}

/// A softmax and its gradient.
pub(super) fn softmax_cases(grid: Grid) -> Vec<impl Case> {
    let case = |i: usize, side, size| {
        let scale = [1.0, 0.125][i % 2];
        Softmax(BlockSoftmaxSpec::new(DType::ALL[i % 3], mask(side, size)).size(size).scale(scale))
    };
    let sides: &[usize] = &[8, 16, 32, 64];
    match grid {
        Grid::Full => {
            let places = sides.iter().flat_map(|&side| SIZES.iter().map(move |&size| (side, size)));
            places.flat_map(|(side, size)| (0..3).map(move |i| case(i, side, size))).collect::<Vec<_>>()
        }
        Grid::Thin => {
            sides.iter().zip(SIZES).enumerate().map(|(i, (&side, &size))| case(i, side, size)).collect()
        }
    }
}

struct Softmax(BlockSoftmaxSpec);

impl fmt::Display for Softmax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Case for Softmax {
    fn dtype(&self) -> DType {
        self.0.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.0.dtype, T => Box::pin(run_softmax::<T>(gpu, &self.0)))
    }
}

async fn run_softmax<T: Element>(gpu: &Gpu, spec: &BlockSoftmaxSpec) -> Result<Vec<Outcome>, Error> {
    let shape = spec.mask.shape();
    let count = shape.iter().product();
    let mut inputs = Inputs::new(count as u64);
    // Far from zero: exponentials of it alone would overflow.
    let s: Vec<f64> = inputs.normal(count, 3.0).into_iter().map(|s| s + 100.0).collect();
    let s = rounded::<T>(&s);
    let dp = rounded::<T>(&inputs.normal(count, 1.0));
    let (p_reference, p_plain) = both(spec.dtype, |precision| block_softmax(spec, precision, &s));
    // The gradient starts from a result as it is stored.
    let p = rounded::<T>(&p_reference);
    let (ds_reference, ds_plain) =
        both(spec.dtype, |precision| block_softmax_backward(spec, precision, &p, &dp));

    let (p_out, ds) = (poisoned::<T>(gpu, &shape)?, poisoned::<T>(gpu, &shape)?);
    let (s, p, dp) =
        (upload::<T>(gpu, &shape, &s)?, upload::<T>(gpu, &shape, &p)?, upload::<T>(gpu, &shape, &dp)?);
    let softmax = BlockSoftmax::new(gpu, spec.clone())?;
    let mut encoder = gpu.encoder();
    softmax.encode(&mut encoder, &s, &p_out)?;
    softmax.encode_backward(&mut encoder, &p, &dp, &ds)?;
    gpu.submit(encoder)?;
    Ok(vec![
        Outcome::new("p", &download(&p_out).await?, &p_reference, &p_plain, tolerance(&p_reference)),
        Outcome::new("ds", &download(&ds).await?, &ds_reference, &ds_plain, tolerance(&ds_reference)),
    ])
}
