//! H3.

use crate::H3Spec;
use crate::oracle::{LongConv, LongConvOperands, Precision};

/// What an H3 takes; layouts as in [`H3Spec`], with the diagonal model's kernels instead of its parameters.
#[derive(Clone, Copy, Debug)]
pub struct H3Operands<'a> {
    /// The gate of the result.
    pub q: &'a [f64],
    /// What is shifted.
    pub k: &'a [f64],
    /// The gate of what was shifted.
    pub v: &'a [f64],
    /// Kernels of the shift.
    pub shift: &'a [f64],
    /// `D_k`.
    pub shift_skip: &'a [f64],
    /// Kernels of the diagonal model, (channels, length).
    pub kernel: &'a [f64],
    /// `D`.
    pub skip: &'a [f64],
}

/// What an H3 computes.
#[derive(Clone, Debug)]
pub struct H3Result {
    /// The output.
    pub out: Vec<f64>,
    /// The gradient of `q`.
    pub dq: Vec<f64>,
    /// The gradient of `k`.
    pub dk: Vec<f64>,
    /// The gradient of `v`.
    pub dv: Vec<f64>,
    /// The gradient of the shift's kernels.
    pub dshift: Vec<f64>,
    /// The gradient of `D_k`.
    pub dshift_skip: Vec<f64>,
    /// The gradient of the diagonal model's kernels.
    pub dkernel: Vec<f64>,
    /// The gradient of `D`.
    pub dskip: Vec<f64>,
}

/// An H3 and its gradients, as the two convolutions that it is.
pub fn h3(spec: &H3Spec, precision: Precision, operands: H3Operands<'_>, dout: &[f64]) -> H3Result {
    let H3Operands { q, k, v, shift, shift_skip, kernel, skip } = operands;
    let H3Spec { channels, length, .. } = *spec;
    let each = |value: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        (0..k.len()).map(|i| value(i / length, i % length)).collect()
    };
    let of_kernels = |lags: usize, value: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        (0..channels * lags).map(|i| value(i / lags, i % lags)).collect()
    };
    let shifting = LongConvOperands { u: k, k: shift, skip: Some(shift_skip), pre: None, post: Some(v) };
    let shifting = LongConv::new(&spec.shift_conv(), precision, shifting);
    let shifted = each(&|row, t| shifting.y(row, t));
    let diagonal = LongConvOperands { u: &shifted, k: kernel, skip: Some(skip), pre: None, post: Some(q) };
    let diagonal = LongConv::new(&spec.diagonal().conv, precision, diagonal);
    let by_diagonal = diagonal.gradients(dout);
    let dshifted = each(&|row, t| by_diagonal.du(row, t));
    let by_shift = shifting.gradients(&dshifted);
    H3Result {
        out: each(&|row, t| diagonal.y(row, t)),
        dq: each(&|row, t| by_diagonal.dpost(row, t)),
        dk: each(&|row, t| by_shift.du(row, t)),
        dv: each(&|row, t| by_shift.dpost(row, t)),
        dshift: of_kernels(spec.shift, &|channel, lag| by_shift.dk(channel, lag)),
        dshift_skip: (0..channels).map(|channel| by_shift.dskip(channel)).collect(),
        dkernel: of_kernels(length, &|channel, lag| by_diagonal.dk(channel, lag)),
        dskip: (0..channels).map(|channel| by_diagonal.dskip(channel)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn two_samples_by_hand() {
        let spec = H3Spec::new(DType::F32, [1, 1, 2], 2, 1);
        let operands = H3Operands {
            q: &[1.0, 2.0],
            k: &[3.0, 4.0],
            v: &[1.0, 10.0],
            shift: &[0.0, 1.0],
            shift_skip: &[0.5],
            kernel: &[1.0, 0.5],
            skip: &[2.0],
        };
        let result = h3(&spec, Precision::Exact, operands, &[0.0, 1.0]);
        // Shifted is 0.5 · 3 = 1.5 and 10 (3 + 0.5 · 4) = 50; the model of it 3 · 1.5, and 3 · 50 + 0.5 · 1.5.
        assert_eq!(result.out, [4.5, 301.5]);
        assert_eq!(result.dq, [0.0, 150.75]);
        // Its gradient is 2 · 0.5 and 2 · 3.
        assert_eq!(result.dv, [1.5, 30.0]);
        assert_eq!(result.dk, [0.5 + 60.0, 30.0]);
        assert_eq!(result.dshift, [3.0 + 240.0, 180.0]);
        assert_eq!(result.dshift_skip, [243.0]);
        assert_eq!(result.dkernel, [100.0, 3.0]);
        assert_eq!(result.dskip, [100.0]);
    }
}
