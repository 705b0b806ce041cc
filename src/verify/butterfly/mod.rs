//! The acceptance grids of the butterfly family.

mod block_sparse;
mod butterfly_linear;
mod monarch;
mod monarch_backward;
mod monarch_linear;
mod pixelfly;
mod product;

use super::{Case, Grid, Tolerance, boxed};

pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    let mut cases = boxed(monarch::cases(grid));
    cases.extend(boxed(product::cases(grid)));
    cases.extend(boxed(butterfly_linear::cases(grid)));
    cases.extend(boxed(monarch_backward::cases(grid)));
    cases.extend(boxed(monarch_linear::cases(grid)));
    cases.extend(boxed(block_sparse::cases(grid)));
    cases.extend(boxed(block_sparse::softmax_cases(grid)));
    cases.extend(boxed(pixelfly::cases(grid)));
    cases
}

/// Twice the plain error, and a unit in the last place of the largest output beside it: a small product is a small
/// sample of roundings, whose maximum is luck.
fn tolerance(y: &[f64]) -> Tolerance {
    let largest = y.iter().fold(0.0, |max: f64, y| max.max(y.abs()));
    Tolerance { multiple: 2.0, atol: f64::from(f32::EPSILON) * largest }
}
