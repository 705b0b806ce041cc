//! The acceptance grids of the scan family.

mod associative_scan;
mod conv1d;
mod delta_rule;
mod h3;
mod hyena;
mod linear_attention;
mod linear_scan;
mod long_conv;
mod mamba;
mod s4d;
mod selective_scan;
mod ssd;

use super::{Case, Grid, Tolerance, boxed};

pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    let mut cases = boxed(linear_scan::cases(grid));
    cases.extend(boxed(associative_scan::cases(grid)));
    cases.extend(boxed(long_conv::cases(grid)));
    cases.extend(boxed(conv1d::cases(grid)));
    cases.extend(boxed(selective_scan::cases(grid)));
    cases.extend(boxed(ssd::cases(grid)));
    cases.extend(boxed(linear_attention::cases(grid)));
    cases.extend(boxed(delta_rule::cases(grid)));
    cases.extend(boxed(s4d::cases(grid)));
    cases.extend(boxed(h3::cases(grid)));
    cases.extend(boxed(hyena::cases(grid)));
    cases.extend(boxed(mamba::cases(grid)));
    cases.extend(boxed(mamba::cases2(grid)));
    cases
}

/// A share of the largest value, beside twice the error of the plain computation.
fn share(values: &[f64], share: f64) -> Tolerance {
    let largest = values.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    Tolerance { multiple: 2.0, atol: share * largest }
}
