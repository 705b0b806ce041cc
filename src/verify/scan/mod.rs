//! The acceptance grids of the scan family.

mod linear_scan;

use super::{Case, Grid, boxed};

pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    boxed(linear_scan::cases(grid))
}
