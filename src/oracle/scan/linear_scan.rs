//! The linear scan.

use crate::LinearScanSpec;
use crate::oracle::Precision;

/// What a linear scan computes; layouts as in [`LinearScanSpec`].
#[derive(Clone, Debug)]
pub struct LinearScanResult {
    /// Every state.
    pub h: Vec<f64>,
    /// The states after the last step.
    pub last: Vec<f64>,
}

/// `h_t = a_t h_(t-1) + b_t`, a step at a time. The running state is an accumulator; only `h` is rounded to storage.
pub fn linear_scan(
    spec: &LinearScanSpec,
    precision: Precision,
    a: &[f64],
    b: &[f64],
    initial: Option<&[f64]>,
) -> LinearScanResult {
    let mut h = Vec::with_capacity(a.len());
    let mut last = Vec::with_capacity(spec.rows());
    for row in 0..spec.rows() {
        let mut state = initial.map_or(0.0, |initial| initial[row]);
        for t in row * spec.length..(row + 1) * spec.length {
            state = precision.sum(precision.sum(a[t] * state) + b[t]);
            h.push(precision.store(state));
        }
        last.push(state);
    }
    LinearScanResult { h, last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn sums_and_powers() {
        let spec = LinearScanSpec::new(DType::F32, 1, 2, 4).initial();
        let a = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0];
        let b = [1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0];
        let result = linear_scan(&spec, Precision::Exact, &a, &b, Some(&[10.0, 1.0]));
        assert_eq!(result.h, [11.0, 13.0, 16.0, 20.0, 2.0, 4.0, 8.0, 16.0]);
        assert_eq!(result.last, [20.0, 16.0]);
    }
}
