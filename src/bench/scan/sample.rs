//! What of a scan is compared with its oracle: a few rows, which no other has a part in.

use crate::Element;
use crate::bench::measure::spread;
use crate::oracle::Precision;
use crate::verify::{Outcome, Tolerance, both};

/// Steps of states that an oracle takes in about a second.
const ORACLE_STEPS: usize = 1 << 22;

/// Rows spread over all of them, fewer if each takes an oracle long.
pub(super) fn rows(total: usize, steps: usize) -> Vec<usize> {
    spread(total, (ORACLE_STEPS / steps).clamp(1, 8))
}

/// Those rows of a tensor, in f64.
pub(super) fn pick<T: Element>(values: &[T], width: usize, rows: &[usize]) -> Vec<f64> {
    let row = |row: &usize| values[row * width..(row + 1) * width].iter().map(|value| value.to_f64());
    rows.iter().flat_map(row).collect()
}

/// Those columns of the first rows of a tensor, in f64.
pub(super) fn columns<T: Element>(values: &[T], width: usize, rows: usize, columns: &[usize]) -> Vec<f64> {
    let row = |row: &[T]| columns.iter().map(|&column| row[column].to_f64()).collect::<Vec<_>>();
    values.chunks_exact(width).take(rows).flat_map(row).collect()
}

/// Shares of the largest value by which answers may be wrong beside three times the plain error: a sample's largest
/// rounding is luck, and where many steps go through a GPU's exponentials its last digits are wrong, as in the acceptance
/// grid. Here states decay by exp(−0.2 · 0.1) a step at the slowest, and terms 50 steps old have gone through as many
/// exponentials, which WGSL lets be wrong by three units in the last place.
pub(super) const ROUNDING: f64 = 4.0 * f32::EPSILON as f64;
pub(super) const EXPONENTIALS: f64 = 160.0 * f32::EPSILON as f64;

/// An oracle's answer, and that of the same mathematics done plainly.
pub(super) struct Answer {
    share: f64,
    reference: Vec<f64>,
    plain: Vec<f64>,
}

impl Answer {
    pub fn of<T: Element>(share: f64, oracle: impl Fn(Precision) -> Vec<f64>) -> Self {
        let (reference, plain) = both(T::DTYPE, oracle);
        Self { share, reference, plain }
    }

    /// Compares a sample, of a tensor whose elements are all written if it is whole.
    pub fn check(&self, tensor: &'static str, ours: &[f64], whole: bool) -> Outcome {
        let largest = self.reference.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
        let tolerance = Tolerance { multiple: 3.0, atol: self.share * largest };
        let outcome = Outcome::new(tensor, ours, &self.reference, &self.plain, tolerance);
        if whole { outcome } else { Outcome { error: f64::NAN, ..outcome } }
    }
}
