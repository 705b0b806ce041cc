//! The linear scan.

use super::number::Number;
use crate::LinearScanSpec;
use crate::oracle::Precision;
use crate::spec::RowScan;

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
    let parts = spec.parts();
    let mut h = vec![0.0; a.len()];
    let mut last = Vec::with_capacity(spec.rows() * parts);
    for row in 0..spec.rows() {
        let mut state = spec.first_state(initial, row);
        for t in spec.row_scan().places(row) {
            let before = state;
            let [a, b] = [a, b].map(|values| Number::load(values, t, parts));
            state = a.times(state, precision).plus(b, precision);
            let given = if spec.exclusive { before } else { state };
            given.put(&mut h, t, parts, precision);
        }
        last.extend(state.parts(parts));
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

/// The gradients for `dh`, those of the outputs: `dh_t = g_t + conj(a_(t+1)) dh_(t+1)`, a step at a time from the last
/// taken to the first, where `g` is what the outputs add to a state: an exclusive scan gives the state before a step. `h`
/// are the states as they are stored.
pub fn linear_scan_backward(
    spec: &LinearScanSpec,
    precision: Precision,
    (a, h): (&[f64], &[f64]),
    initial: Option<&[f64]>,
    dh: &[f64],
) -> LinearScanDerivatives {
    let parts = spec.parts();
    let (mut da, mut db) = (vec![0.0; dh.len()], vec![0.0; dh.len()]);
    let mut dinitial = Vec::with_capacity(spec.rows() * parts);
    for row in 0..spec.rows() {
        let steps: Vec<usize> = spec.row_scan().places(row).collect();
        let mut back = Number::default();
        for (i, &t) in steps.iter().enumerate().rev() {
            let given = Number::load(dh, t, parts);
            let state = if spec.exclusive { back } else { given.plus(back, precision) };
            let taken = match i {
                _ if spec.exclusive => Number::load(h, t, parts),
                0 => spec.first_state(initial, row),
                _ => Number::load(h, steps[i - 1], parts),
            };
            state.times(taken.conjugate(), precision).put(&mut da, t, parts, precision);
            state.put(&mut db, t, parts, precision);
            back = Number::load(a, t, parts).conjugate().times(state, precision);
            if spec.exclusive {
                back = back.plus(given, precision);
            }
        }
        dinitial.extend(back.parts(parts));
    }
    LinearScanDerivatives { da, db, dinitial }
}

impl LinearScanSpec {
    /// The state with which a row begins.
    fn first_state(&self, initial: Option<&[f64]>, row: usize) -> Number {
        initial.map_or_else(Number::default, |initial| Number::load(initial, row, self.parts()))
    }
}

impl RowScan {
    /// The places of a row's steps, in the order in which they are taken.
    pub(super) fn places(&self, row: usize) -> impl Iterator<Item = usize> + use<> {
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

    #[test]
    fn exclusive_states_are_those_before_each_step() {
        let spec = LinearScanSpec::new(DType::F32, 1, 1, 3).initial().exclusive();
        let (a, b) = ([2.0, 3.0, 5.0], [1.0, 1.0, 1.0]);
        let found = linear_scan(&spec, Precision::Exact, &a, &b, Some(&[7.0]));
        // 7, 2 · 7 + 1 = 15, 3 · 15 + 1 = 46, 5 · 46 + 1 = 231.
        assert_eq!(
            (found.h.as_slice(), found.last.as_slice()),
            ([7.0, 15.0, 46.0].as_slice(), [231.0].as_slice())
        );
        let found =
            linear_scan_backward(&spec, Precision::Exact, (&a, &found.h), Some(&[7.0]), &[1.0, 1.0, 1.0]);
        // What follows each step: nothing, 1, 1 + 3 · 1 = 4; and 1 + 2 · 4 = 9 for the initial state.
        assert_eq!(found.db, [4.0, 1.0, 0.0]);
        assert_eq!(found.da, [4.0 * 7.0, 15.0, 0.0]);
        assert_eq!(found.dinitial, [9.0]);
        let reverse = linear_scan(&spec.reverse(), Precision::Exact, &a, &b, Some(&[7.0]));
        // From the last: 7, 5 · 7 + 1 = 36, 3 · 36 + 1 = 109, 2 · 109 + 1 = 219.
        assert_eq!((reverse.h, reverse.last), (vec![109.0, 36.0, 7.0], vec![219.0]));
    }

    #[test]
    fn complex_factors_turn() {
        let spec = LinearScanSpec::new(DType::F32, 1, 1, 2).complex();
        // h = 1 + i, then i (1 + i) + 2 = 1 + i.
        let (a, b) = ([9.0, 9.0, 0.0, 1.0], [1.0, 1.0, 2.0, 0.0]);
        let found = linear_scan(&spec, Precision::Exact, &a, &b, None);
        assert_eq!(
            (found.h.as_slice(), found.last.as_slice()),
            ([1.0, 1.0, 1.0, 1.0].as_slice(), [1.0, 1.0].as_slice())
        );
        let found =
            linear_scan_backward(&spec, Precision::Exact, (&a, &found.h), None, &[0.0, 0.0, 1.0, 0.0]);
        // Of the real part of h_2: 1 for b_2, conj(h_1) = 1 - i for a_2, conj(a_2) = -i for b_1.
        assert_eq!(found.db, [0.0, -1.0, 1.0, 0.0]);
        assert_eq!(found.da, [0.0, 0.0, 1.0, -1.0]);
    }

    /// Differences of a complex, exclusive, reversed scan, by every number of its inputs.
    #[test]
    fn gradients_are_slopes() {
        let spec = LinearScanSpec::new(DType::F32, 1, 2, 4).complex().initial();
        for spec in [spec, spec.exclusive(), spec.reverse(), spec.exclusive().reverse()] {
            let wave = |count: usize, phase: f64| {
                (0..count).map(|i| (1.7 * i as f64 + phase).sin()).collect::<Vec<_>>()
            };
            let inputs = [wave(16, 0.1), wave(16, 0.2), wave(4, 0.3)];
            let dh = wave(16, 0.4);
            let loss = |[a, b, initial]: &[Vec<f64>; 3]| -> f64 {
                let h = linear_scan(&spec, Precision::Exact, a, b, Some(initial)).h;
                h.iter().zip(&dh).map(|(h, g)| h * g).sum()
            };
            let h = linear_scan(&spec, Precision::Exact, &inputs[0], &inputs[1], Some(&inputs[2])).h;
            let found =
                linear_scan_backward(&spec, Precision::Exact, (&inputs[0], &h), Some(&inputs[2]), &dh);
            for (which, gradient) in [found.da, found.db, found.dinitial].into_iter().enumerate() {
                for (i, slope) in gradient.into_iter().enumerate() {
                    let moved = |by: f64| {
                        let mut inputs = inputs.clone();
                        inputs[which][i] += by;
                        loss(&inputs)
                    };
                    let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!(
                        (difference - slope).abs() < 1e-7,
                        "{spec}: {which}, {i}: {slope} for {difference}"
                    );
                }
            }
        }
    }
}
