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
        let first = h.len();
        for t in spec.steps(row) {
            state = precision.sum(precision.sum(a[t] * state) + b[t]);
            h.push(precision.store(state));
        }
        if spec.reverse {
            h[first..].reverse();
        }
        last.push(state);
    }
    LinearScanResult { h, last }
}

/// The gradients of a linear scan, of the shapes of what they belong to.
#[derive(Clone, Debug)]
pub struct LinearScanDerivatives {
    /// Of the factors.
    pub da: Vec<f64>,
    /// Of the terms, which are those of the states too.
    pub db: Vec<f64>,
    /// Of the initial state.
    pub dinitial: Vec<f64>,
}

/// The gradients for `dh`, those of the outputs: `dh_t = g_t + a_(t+1) dh_(t+1)`, a step at a time from the last taken to
/// the first. `h` are the states as they are stored.
pub fn linear_scan_backward(
    spec: &LinearScanSpec,
    precision: Precision,
    (a, h): (&[f64], &[f64]),
    initial: Option<&[f64]>,
    dh: &[f64],
) -> LinearScanDerivatives {
    let (mut da, mut db) = (vec![0.0; dh.len()], vec![0.0; dh.len()]);
    let mut dinitial = Vec::with_capacity(spec.rows());
    for row in 0..spec.rows() {
        let steps: Vec<usize> = spec.steps(row).collect();
        let mut back = 0.0;
        for (i, &t) in steps.iter().enumerate().rev() {
            let state = precision.sum(dh[t] + back);
            let taken = if i > 0 { h[steps[i - 1]] } else { initial.map_or(0.0, |initial| initial[row]) };
            da[t] = precision.store(precision.sum(state * taken));
            db[t] = precision.store(state);
            back = precision.sum(a[t] * state);
        }
        dinitial.push(back);
    }
    LinearScanDerivatives { da, db, dinitial }
}

impl LinearScanSpec {
    /// The places of a row's steps, in the order in which they are taken.
    fn steps(&self, row: usize) -> impl Iterator<Item = usize> + use<> {
        let (first, length, reverse) = (row * self.length, self.length, self.reverse);
        (0..length).map(move |i| first + if reverse { length - 1 - i } else { i })
    }
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
        let result = linear_scan(&spec.reverse(), Precision::Exact, &a, &b, Some(&[10.0, 1.0]));
        assert_eq!(result.h, [20.0, 19.0, 17.0, 14.0, 16.0, 8.0, 4.0, 2.0]);
        assert_eq!(result.last, [20.0, 16.0]);
    }

    #[test]
    fn gradients_run_the_other_way() {
        let spec = LinearScanSpec::new(DType::F32, 1, 1, 3).initial();
        let (a, h) = ([2.0, 3.0, 5.0], [7.0, 11.0, 13.0]);
        let found = linear_scan_backward(&spec, Precision::Exact, (&a, &h), Some(&[17.0]), &[1.0, 1.0, 1.0]);
        // From the last: 1, 1 + 5 = 6, 1 + 3 · 6 = 19.
        assert_eq!(found.db, [19.0, 6.0, 1.0]);
        assert_eq!(found.da, [19.0 * 17.0, 6.0 * 7.0, 11.0]);
        assert_eq!(found.dinitial, [38.0]);
        let spec = spec.reverse();
        let found = linear_scan_backward(&spec, Precision::Exact, (&a, &h), Some(&[17.0]), &[1.0, 1.0, 1.0]);
        // From the first: 1, 1 + 2 = 3, 1 + 3 · 3 = 10.
        assert_eq!(found.db, [1.0, 3.0, 10.0]);
        assert_eq!(found.da, [11.0, 3.0 * 13.0, 10.0 * 17.0]);
        assert_eq!(found.dinitial, [50.0]);
    }
}
