//! The acceptance grids of the butterfly family.

mod butterfly_linear;
mod monarch;
mod product;

use super::{Case, Grid, boxed};

pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    let mut cases = boxed(monarch::cases(grid));
    cases.extend(boxed(product::cases(grid)));
    cases.extend(boxed(butterfly_linear::cases(grid)));
    cases
}
