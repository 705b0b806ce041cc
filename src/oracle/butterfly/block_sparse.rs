//! Products with block-sparse matrices, and their softmax.

use crate::oracle::Precision;
use crate::{BlockPattern, BlockSoftmaxSpec, BlockSparseMode, BlockSparseSpec};

/// The elements of a block-sparse matrix, in a dense one of this size: `None` where there is no block.
fn spread(mask: &BlockPattern, size: [usize; 2], blocks: &[f64]) -> Vec<Option<f64>> {
    let side = mask.side();
    let mut dense = vec![None; size[0] * size[1]];
    for (block, &[row, column]) in mask.places().iter().enumerate() {
        for i in 0..side * side {
            let (r, c) = (row as usize * side + i / side, column as usize * side + i % side);
            if r < size[0] && c < size[1] {
                dense[r * size[1] + c] = Some(blocks[block * side * side + i]);
            }
        }
    }
    dense
}

/// The blocks of a dense matrix of this size, zeros where they overhang it.
fn sample(mask: &BlockPattern, size: [usize; 2], dense: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let side = mask.side();
    let place = |at: usize| {
        let ([row, column], i) = (mask.places()[at / (side * side)], at % (side * side));
        let (r, c) = (row as usize * side + i / side, column as usize * side + i % side);
        if r < size[0] && c < size[1] { dense(r, c) } else { 0.0 }
    };
    (0..mask.shape().iter().product()).map(place).collect()
}

/// `C = A B`, by way of dense matrices. Where a sparse matrix has no block, it has zeros.
pub fn block_sparse(spec: &BlockSparseSpec, precision: Precision, a: &[f64], b: &[f64]) -> Vec<f64> {
    let BlockSparseSpec { mask, size, a_transposed, b_transposed, .. } = spec;
    let zeros = |sparse: &[f64]| -> Vec<f64> {
        spread(mask, *size, sparse).into_iter().map(|element| element.unwrap_or(0.0)).collect()
    };
    let (a, b) = match spec.mode {
        BlockSparseMode::Dsd => (zeros(a), b.to_vec()),
        BlockSparseMode::Dds => (a.to_vec(), zeros(b)),
        BlockSparseMode::Sdd => (a.to_vec(), b.to_vec()),
    };
    let turned = |size: [usize; 2], turned: bool| if turned { [size[1], size[0]] } else { size };
    let sparse = turned(*size, spec.sparse_transposed());
    let (m, n, k) = match spec.mode {
        BlockSparseMode::Dsd => (sparse[0], spec.dense, sparse[1]),
        BlockSparseMode::Dds => (spec.dense, sparse[1], sparse[0]),
        BlockSparseMode::Sdd => (sparse[0], sparse[1], spec.dense),
    };
    let at = |matrix: &[f64], transposed: bool, [rows, columns]: [usize; 2], row: usize, column: usize| {
        matrix[if transposed { column * rows + row } else { row * columns + column }]
    };
    let c = |row: usize, column: usize| {
        let term = |i| (at(&a, *a_transposed, [m, k], row, i), at(&b, *b_transposed, [k, n], i, column));
        precision.store(precision.dot((0..k).map(term)))
    };
    match spec.mode {
        BlockSparseMode::Sdd => sample(mask, *size, c),
        _ => (0..m * n).map(|at| c(at / n, at % n)).collect(),
    }
}

/// The softmax of each row of a block-sparse matrix.
pub fn block_softmax(spec: &BlockSoftmaxSpec, precision: Precision, s: &[f64]) -> Vec<f64> {
    let width = spec.size[1];
    let scores = spread(&spec.mask, spec.size, s);
    let scores: Vec<_> =
        scores.into_iter().map(|s| s.map(|s| precision.sum(f64::from(spec.scale) * s))).collect();
    let mut p = Vec::with_capacity(scores.len());
    for row in scores.chunks_exact(width) {
        let top = row.iter().flatten().fold(f64::NEG_INFINITY, |top, &s| top.max(s));
        let term = |s: f64| precision.sum((s - top).exp());
        let sum = row.iter().flatten().fold(0.0, |sum, &s| precision.sum(sum + term(s)));
        p.extend(row.iter().map(|s| s.map_or(0.0, |s| precision.store(term(s) / sum))));
    }
    sample(&spec.mask, spec.size, |row, column| p[row * width + column])
}

/// The gradient for the matrix, from the softmax `p` and its gradient.
pub fn block_softmax_backward(
    spec: &BlockSoftmaxSpec,
    precision: Precision,
    p: &[f64],
    dp: &[f64],
) -> Vec<f64> {
    let width = spec.size[1];
    let wide = |blocks: &[f64]| -> Vec<f64> {
        spread(&spec.mask, spec.size, blocks).into_iter().map(|element| element.unwrap_or(0.0)).collect()
    };
    let (p, dp) = (wide(p), wide(dp));
    let rows = p.chunks_exact(width).zip(dp.chunks_exact(width));
    let sums: Vec<f64> =
        rows.map(|(p, dp)| precision.dot(p.iter().copied().zip(dp.iter().copied()))).collect();
    sample(&spec.mask, spec.size, |row, column| {
        let at = row * width + column;
        let product = precision.sum(p[at] * precision.sum(dp[at] - sums[row]));
        precision.store(f64::from(spec.scale) * product)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    /// Two blocks of eight on the diagonal of 12 × 12 elements: the second overhangs by four.
    fn diagonal() -> (BlockPattern, Vec<f64>) {
        let mask = BlockPattern::new(8, [2, 2], &[true, false, false, true]).unwrap();
        // The first block is 2 on its diagonal, the second 3 everywhere, also where it overhangs.
        let first = (0..64).map(|i| if i / 8 == i % 8 { 2.0 } else { 0.0 });
        (mask, first.chain(std::iter::repeat_n(3.0, 64)).collect())
    }

    #[test]
    fn products_by_hand() {
        let (mask, w) = diagonal();
        let spec = |mode| BlockSparseSpec::new(DType::F32, mode, mask.clone(), 1).size([12, 12]);
        let x: Vec<f64> = (1..=12).map(f64::from).collect();
        // 2 x in the first eight; 3 (9 + 10 + 11 + 12) in the others.
        let expected: Vec<f64> = (1..=12).map(|i| if i <= 8 { 2.0 * f64::from(i) } else { 126.0 }).collect();
        assert_eq!(block_sparse(&spec(BlockSparseMode::Dds), Precision::Exact, &x, &w), expected);
        assert_eq!(block_sparse(&spec(BlockSparseMode::Dsd), Precision::Exact, &w, &x), expected);
        let sampled = block_sparse(&spec(BlockSparseMode::Sdd), Precision::Exact, &x, &x);
        assert_eq!(sampled.len(), 128);
        // Row 3, column 5 of the first block; row 9, column 11 of the matrix in the second; what overhangs.
        assert_eq!(vec![sampled[3 * 8 + 5], sampled[64 + 8 + 3], sampled[64 + 4]], [24.0, 120.0, 0.0]);
    }

    #[test]
    fn transposes_by_hand() {
        let mask = BlockPattern::new(8, [1, 2], &[true, true]).unwrap();
        // W[v, u] = 16 v + u, as blocks.
        let w: Vec<f64> = (0..128).map(|i| f64::from(i % 64 / 8 * 16 + i / 64 * 8 + i % 8)).collect();
        let spec = BlockSparseSpec::new(DType::F32, BlockSparseMode::Dds, mask.clone(), 1);
        let unit =
            |count: usize, at: usize| (0..count).map(|i| f64::from(u8::from(i == at))).collect::<Vec<_>>();
        let row: Vec<f64> = (0..16).map(|u| f64::from(32 + u)).collect();
        assert_eq!(block_sparse(&spec, Precision::Exact, &unit(8, 2), &w), row);
        let column: Vec<f64> = (0..8).map(|v| f64::from(16 * v + 11)).collect();
        let transposed = spec.b_transposed();
        assert_eq!(block_sparse(&transposed, Precision::Exact, &unit(16, 11), &w), column);
    }

    #[test]
    fn softmax_by_hand() {
        let (mask, _) = diagonal();
        let spec = BlockSoftmaxSpec::new(DType::F32, mask).size([12, 12]).scale(2.0);
        // A row of the first block with one element of ln 7 / 2, seven zeros; a row of the second has four elements.
        let mut s = vec![0.0; 128];
        s[0] = 7_f64.ln() / 2.0;
        let p = block_softmax(&spec, Precision::Exact, &s);
        assert!((p[0] - 0.5).abs() < 1e-12 && (p[1] - 0.5 / 7.0).abs() < 1e-12);
        assert_eq!(vec![p[64], p[64 + 4], p[64 + 32]], [0.25, 0.0, 0.0]);
        let dp: Vec<f64> = (0..128).map(|i| f64::from(u8::from(i == 0))).collect();
        let ds = block_softmax_backward(&spec, Precision::Exact, &p, &dp);
        // 2 · ½ · (1 − ½), and 2 · 1/14 · (0 − ½).
        assert!((ds[0] - 0.5).abs() < 1e-12 && (ds[1] + 1.0 / 14.0).abs() < 1e-12);
    }
}
