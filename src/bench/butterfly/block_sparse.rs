//! Measuring products with block-sparse matrices.

use super::dense_yardstick::{dense, pick, rows_beside_dense};
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, compare, fetch, spread, wide};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Workload, Yardstick};
use crate::oracle;
use crate::spec::wrong;
use crate::verify::{Family, Inputs, both, poisoned};
use crate::{
    BlockPattern, BlockSparse, BlockSparseMode, BlockSparseSpec, DType, Element, Error, PlanError, Tensor,
    by_dtype,
};

/// Square weights `y = x W` of which a tenth of the blocks is there, in blocks of 32 and of 64.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<BlockSparseSpec> {
    let (rows, widths): (usize, &[usize]) = match scale {
        Scale::Software => (128, &[1024]),
        Scale::Modest => (1024, &[1024, 4096]),
        Scale::Large => (8192, &[1024, 4096, 8192]),
    };
    let spec = |dtype, n, side| {
        let rows = rows_beside_dense(scale, rows, n);
        BlockSparseSpec::new(dtype, BlockSparseMode::Dds, a_tenth(side, n / side), rows)
    };
    if depth == Depth::Quick {
        return vec![];
    }
    let mut suite = Vec::new();
    for dtype in [DType::F32, DType::F16] {
        suite.extend(widths.iter().flat_map(|&n| [32, 64].map(|side| spec(dtype, n, side))));
    }
    suite
}

/// A square of blocks, about a tenth of which is there by chance, and those on the diagonal.
fn a_tenth(side: usize, blocks: usize) -> BlockPattern {
    let chance = Inputs::new(1).uniform(blocks * blocks, 0.0, 1.0);
    let there = |(at, chance): (usize, f64)| chance < 0.1 || at / blocks == at % blocks;
    let mask: Vec<bool> = chance.into_iter().enumerate().map(there).collect();
    BlockPattern::new(side, [blocks; 2], &mask).expect("a diagonal is a mask of some blocks")
}

impl Workload for BlockSparseSpec {
    fn family(&self) -> Family {
        Family::Butterfly
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn flops(&self) -> f64 {
        self.flops()
    }

    fn least_bytes(&self) -> u64 {
        self.least_bytes()
    }

    fn kind(&self) -> String {
        format!("block-sparse, blocks of {},", self.mask.side())
    }

    fn width(&self) -> Option<usize> {
        let [rows, columns] = self.size;
        (rows == columns).then_some(rows)
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(measure::<T>(bench, self)))
    }
}

/// Beside the dense product. Fails unless it is rows times a sparse matrix: of the others no rows can be compared alone.
async fn measure<T: Element>(
    bench: &Bench<'_>,
    spec: &BlockSparseSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    if spec.mode != BlockSparseMode::Dds || spec.a_transposed {
        return Err(
            PlanError::from(wrong("the product", spec, "dds, of rows that are not transposed")).into()
        );
    }
    let product = BlockSparse::new(gpu, spec.clone())?;
    let [n_in, n_out] = [spec.a_shape()[1], spec.c_shape()[1]];
    let mut inputs = Inputs::new(1);
    let x: Vec<T> = centred(&mut inputs, spec.dense * n_in, 1.0);
    // Weights that keep the variance of a row.
    let inputs_of = spec.mask.shape().iter().product::<usize>() as f64 / n_out as f64;
    let w: Vec<T> = centred(&mut inputs, spec.mask.shape().iter().product(), inputs_of.powf(-0.5));
    let device_x = Tensor::from_slice(gpu, &spec.a_shape(), &x)?;
    let device_w = Tensor::from_slice(gpu, &spec.b_shape(), &w)?;
    let rows = spread(spec.dense, 4);
    let x_rows = pick(&x, n_in, &rows);
    let w = wide(&w);
    let sample = BlockSparseSpec { dense: rows.len(), ..spec.clone() };
    let (reference, plain) =
        both(spec.dtype, |precision| oracle::block_sparse(&sample, precision, &x_rows, &w));
    let figures = bench
        .contend(
            "fused",
            product.plan(),
            || poisoned::<T>(gpu, &spec.c_shape()),
            |encoder, y| product.encode(encoder, &device_x, &device_w, y),
            async |y| {
                let (y, whole) = fetch(y).await?;
                Ok(vec![compare("y", (pick(&y, n_out, &rows), whole), &reference, &plain)])
            },
        )
        .await?;
    let dense = dense(bench, [spec.dense, n_in, n_out], &device_x, (&rows, &x_rows)).await?;
    Ok((figures, dense.into_iter().collect()))
}
