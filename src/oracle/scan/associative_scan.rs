//! Running sums and maxima.

use crate::oracle::Precision;
use crate::{AssociativeOperator, AssociativeScanSpec};

/// What an associative scan computes; layouts as in [`AssociativeScanSpec`].
#[derive(Clone, Debug)]
pub struct AssociativeScanResult {
    /// Every value.
    pub y: Vec<f64>,
    /// The values after the last step.
    pub last: Vec<f64>,
}

/// Sums or maxima, a step at a time. The running value is an accumulator; only `y` is rounded to storage.
pub fn associative_scan(
    spec: &AssociativeScanSpec,
    precision: Precision,
    x: &[f64],
    initial: Option<&[f64]>,
) -> AssociativeScanResult {
    let mut y = vec![0.0; x.len()];
    let mut last = Vec::with_capacity(spec.rows());
    for row in 0..spec.rows() {
        let mut value = initial.map_or(spec.start(), |initial| initial[row]);
        for t in spec.row_scan().places(row) {
            let before = value;
            value = match spec.operator {
                AssociativeOperator::Sum => precision.sum(value + x[t]),
                AssociativeOperator::Max => value.max(x[t]),
            };
            y[t] = precision.store(if spec.exclusive { before } else { value });
        }
        last.push(value);
    }
    AssociativeScanResult { y, last }
}

/// The gradients of an associative scan, of the shapes of what they belong to.
#[derive(Clone, Debug)]
pub struct AssociativeScanDerivatives {
    /// Of the steps.
    pub dx: Vec<f64>,
    /// Of the initial value.
    pub dinitial: Vec<f64>,
}

/// The gradients for `dy`, those of the outputs, from the last step taken to the first. That of a maximum goes to the
/// first step that is greater than all before it, as [`AssociativeScanSpec`] says.
pub fn associative_scan_backward(
    spec: &AssociativeScanSpec,
    precision: Precision,
    x: &[f64],
    initial: Option<&[f64]>,
    dy: &[f64],
) -> AssociativeScanDerivatives {
    let mut dx = vec![0.0; dy.len()];
    let mut dinitial = Vec::with_capacity(spec.rows());
    for row in 0..spec.rows() {
        let steps: Vec<usize> = spec.row_scan().places(row).collect();
        // Whether each step set a new maximum.
        let mut largest = initial.map(|initial| initial[row]);
        let mut sets = |t: usize| {
            let sets = largest.is_none_or(|largest| x[t] > largest);
            largest = if sets { Some(x[t]) } else { largest };
            sets
        };
        let sets: Vec<bool> = steps.iter().map(|&t| sets(t)).collect();
        let mut back = 0.0;
        for (&t, sets) in steps.iter().zip(sets).rev() {
            let value = if spec.exclusive { back } else { precision.sum(dy[t] + back) };
            let goes_on = spec.operator == AssociativeOperator::Sum || !sets;
            let takes = spec.operator == AssociativeOperator::Sum || sets;
            dx[t] = if takes { precision.store(value) } else { 0.0 };
            back = if goes_on { value } else { 0.0 };
            if spec.exclusive {
                back = precision.sum(back + dy[t]);
            }
        }
        dinitial.push(back);
    }
    AssociativeScanDerivatives { dx, dinitial }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    fn spec(operator: AssociativeOperator) -> AssociativeScanSpec {
        AssociativeScanSpec::new(DType::F32, operator, 1, 1, 4)
    }

    fn y(spec: &AssociativeScanSpec, x: &[f64], initial: Option<&[f64]>) -> Vec<f64> {
        let found = associative_scan(spec, Precision::Exact, x, initial);
        found.y.into_iter().chain(found.last).collect()
    }

    #[test]
    fn sums_and_their_gradients() {
        let (spec, x, dy) =
            (spec(AssociativeOperator::Sum), [1.0, 2.0, 3.0, 4.0], [1.0, 10.0, 100.0, 1000.0]);
        let slopes = |spec| {
            let found = associative_scan_backward(&spec, Precision::Exact, &x, Some(&[5.0]), &dy);
            found.dx.into_iter().chain(found.dinitial).collect::<Vec<_>>()
        };
        let spec = spec.initial();
        assert_eq!(y(&spec, &x, Some(&[5.0])), [6.0, 8.0, 11.0, 15.0, 15.0]);
        assert_eq!(slopes(spec), [1111.0, 1110.0, 1100.0, 1000.0, 1111.0]);
        assert_eq!(y(&spec.exclusive(), &x, Some(&[5.0])), [5.0, 6.0, 8.0, 11.0, 15.0]);
        assert_eq!(slopes(spec.exclusive()), [1110.0, 1100.0, 1000.0, 0.0, 1111.0]);
        assert_eq!(y(&spec.reverse(), &x, Some(&[5.0])), [15.0, 14.0, 12.0, 9.0, 15.0]);
        assert_eq!(slopes(spec.reverse()), [1.0, 11.0, 111.0, 1111.0, 1111.0]);
    }

    #[test]
    fn maxima_and_the_first_that_set_them() {
        let (spec, dy) = (spec(AssociativeOperator::Max), [1.0, 10.0, 100.0, 1000.0]);
        let slopes = |spec, x: &[f64], initial: Option<&[f64]>| {
            let found = associative_scan_backward(&spec, Precision::Exact, x, initial, &dy);
            found.dx.into_iter().chain(found.dinitial).collect::<Vec<_>>()
        };
        let x = [2.0, 2.0, 3.0, 1.0];
        assert_eq!(y(&spec, &x, None), [2.0, 2.0, 3.0, 3.0, 3.0]);
        assert_eq!(slopes(spec, &x, None), [11.0, 0.0, 1100.0, 0.0, 0.0]);
        assert_eq!(slopes(spec.initial(), &x, Some(&[2.0])), [0.0, 0.0, 1100.0, 0.0, 11.0]);
        let exclusive = spec.exclusive();
        assert_eq!(y(&exclusive, &x, None), [f64::from(f32::MIN), 2.0, 2.0, 3.0, 3.0]);
        assert_eq!(slopes(exclusive, &x, None), [110.0, 0.0, 1000.0, 0.0, 1.0]);
        assert_eq!(y(&spec.reverse(), &x, None), [3.0, 3.0, 3.0, 1.0, 3.0]);
        assert_eq!(slopes(spec.reverse(), &x, None), [0.0, 0.0, 111.0, 1000.0, 0.0]);
    }
}
