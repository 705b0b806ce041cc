//! The acceptance grids of the butterfly family.

mod monarch;

use super::{Case, Grid, boxed};

pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    boxed(monarch::cases(grid))
}
