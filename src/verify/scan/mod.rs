//! The acceptance grids of the scan family.

mod conv1d;
mod linear_attention;
mod linear_scan;
mod long_conv;
mod ssd;

use super::{Case, Grid, boxed};

pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    let mut cases = boxed(linear_scan::cases(grid));
    cases.extend(boxed(long_conv::cases(grid)));
    cases.extend(boxed(conv1d::cases(grid)));
    cases.extend(boxed(ssd::cases(grid)));
    cases.extend(boxed(linear_attention::cases(grid)));
    cases
}
