//! Does this adapter compute the right thing? The acceptance grids, run against the oracles.
//!
//! A result passes when `max|ours - reference| ≤ multiple · max|plain - reference| + atol`: the reference is f64 on
//! the rounded inputs, `plain` the same mathematics done naively at the kernel's storage precision. Outputs are
//! poisoned with NaN before each run, so that an element nobody wrote cannot pass.

mod attention;
mod butterfly;
mod inputs;
mod scan;

pub use inputs::Inputs;

use std::fmt;
use std::pin::Pin;

use crate::oracle::Precision;
use crate::{DType, Element, Error, Gpu, Tensor};

/// The families, by the name they have everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Family {
    /// Attention.
    Attention,
    /// Structured matrices.
    Butterfly,
    /// Recurrences.
    Scan,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::Attention, Self::Butterfly, Self::Scan];

    /// Its name, the same everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Butterfly => "butterfly",
            Self::Scan => "scan",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How much of a grid to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Thinned for software adapters; the awkward sizes stay.
    Thin,
    /// All of it.
    Full,
}

/// One row of an acceptance grid: an operation with its inputs. Its `Display` names it.
pub trait Case: fmt::Display + Send + Sync {
    /// The element type of its tensors.
    fn dtype(&self) -> DType;

    /// Runs the case, and compares each of its outputs with the oracle.
    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a>;
}

/// A case on its way: one [`Outcome`] for each output.
pub type Comparison<'a> = Pin<Box<dyn Future<Output = Result<Vec<Outcome>, Error>> + 'a>>;

/// The grid of a family.
pub fn cases(family: Family, grid: Grid) -> Vec<Box<dyn Case>> {
    match family {
        Family::Attention => attention::cases(grid),
        Family::Butterfly => butterfly::cases(grid),
        Family::Scan => scan::cases(grid),
    }
}

/// The cases of one operation, with their types forgotten.
fn boxed<C: Case + 'static>(cases: impl IntoIterator<Item = C>) -> Vec<Box<dyn Case>> {
    cases.into_iter().map(|case| Box::new(case) as Box<dyn Case>).collect()
}

/// How one output of a case compares.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Outcome {
    /// Which tensor.
    pub tensor: &'static str,
    /// The largest error; NaN where a value is not a number or an infinity is out of place.
    pub error: f64,
    /// The largest error allowed.
    pub allowed: f64,
    /// The largest value of the reference.
    pub largest: f64,
}

/// What an output may differ by.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Multiple of the plain computation's error.
    pub multiple: f64,
    /// Absolute term.
    pub atol: f64,
}

impl Outcome {
    /// Whether the error is allowed, and whether an output of zeros would not have been.
    pub fn passed(&self) -> bool {
        self.error <= self.allowed && self.largest > self.allowed
    }

    /// Compares an output with the reference, allowing for the error that the plain computation has.
    pub fn new(
        tensor: &'static str,
        ours: &[f64],
        reference: &[f64],
        plain: &[f64],
        Tolerance { multiple, atol }: Tolerance,
    ) -> Self {
        let largest = reference.iter().filter(|x| x.is_finite()).fold(0.0, |max: f64, x| max.max(x.abs()));
        let allowed = multiple * largest_error(plain, reference) + atol;
        Self { tensor, error: largest_error(ours, reference), allowed, largest }
    }
}

/// The largest difference; NaN if a length, a NaN or an infinity does not agree.
fn largest_error(ours: &[f64], reference: &[f64]) -> f64 {
    if ours.len() != reference.len() {
        return f64::NAN;
    }
    ours.iter().zip(reference).fold(0.0, |max: f64, (&x, &y)| {
        // Equal infinities differ by nothing; `max` would drop a NaN, so it is carried by hand.
        let same_infinity = x.is_infinite() && x.total_cmp(&y).is_eq();
        let error = if same_infinity { 0.0 } else { (x - y).abs() };
        if max.is_nan() || !error.is_finite() { f64::NAN } else { max.max(error) }
    })
}

/// Values as the device will see them: rounded to `T`, then exact.
pub(crate) fn rounded<T: Element>(values: &[f64]) -> Vec<f64> {
    values.iter().map(|&value| T::from_f64(value).to_f64()).collect()
}

pub(crate) fn upload<T: Element>(gpu: &Gpu, shape: &[usize], values: &[f64]) -> Result<Tensor<T>, Error> {
    let values: Vec<T> = values.iter().map(|&value| T::from_f64(value)).collect();
    Tensor::from_slice(gpu, shape, &values)
}

/// A tensor in which every element is NaN until it is written.
pub(crate) fn poisoned<T: Element>(gpu: &Gpu, shape: &[usize]) -> Result<Tensor<T>, Error> {
    let count = crate::spec::elements("a tensor", shape)?;
    Tensor::from_slice(gpu, shape, &vec![T::from_f64(f64::NAN); count])
}

async fn download<T: Element>(tensor: &Tensor<T>) -> Result<Vec<f64>, Error> {
    Ok(tensor.read().await?.into_iter().map(Element::to_f64).collect())
}

/// Reference and plain results of one oracle.
pub(crate) fn both<R>(dtype: DType, oracle: impl Fn(Precision) -> R) -> (R, R) {
    (oracle(Precision::Exact), oracle(Precision::Stored(dtype)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWICE: Tolerance = Tolerance { multiple: 2.0, atol: 0.0 };

    #[test]
    fn zeros_and_nans_never_pass() {
        let reference = [1.0, -2.0, 3.0];
        let plain = [1.0, -2.1, 3.0];
        assert!(Outcome::new("o", &[1.1, -2.0, 3.0], &reference, &plain, TWICE).passed());
        assert!(!Outcome::new("o", &[0.0; 3], &reference, &plain, TWICE).passed());
        assert!(!Outcome::new("o", &[f64::NAN, -2.0, 3.0], &reference, &plain, TWICE).passed());
        assert!(!Outcome::new("o", &[1.0, f64::NAN, 3.0], &reference, &plain, TWICE).passed());
        assert!(!Outcome::new("o", &[1.0, -2.0], &reference, &plain, TWICE).passed());
        assert!(!Outcome::new("o", &[0.0; 3], &[0.0; 3], &[0.0; 3], TWICE).passed(), "a reference of zeros");
    }

    #[test]
    fn infinities_must_agree() {
        let reference = [f64::NEG_INFINITY, 1.0];
        let plain = [f64::NEG_INFINITY, 1.1];
        assert!(Outcome::new("lse", &[f64::NEG_INFINITY, 1.0], &reference, &plain, TWICE).passed());
        assert!(!Outcome::new("lse", &[-1e30, 1.0], &reference, &plain, TWICE).passed());
        assert!(!Outcome::new("lse", &[f64::NEG_INFINITY; 2], &reference, &plain, TWICE).passed());
    }
}
