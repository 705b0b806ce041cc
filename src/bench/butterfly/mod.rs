//! Workloads of the butterfly family.

mod block_sparse;
mod dense;
mod dense_yardstick;
mod linear;
mod monarch;
mod pixelfly;
mod product;

use super::suite::{Scale, boxed};
use super::{Depth, Workload};

pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<Box<dyn Workload>> {
    let mut suite = boxed(monarch::suite(scale, depth));
    suite.extend(boxed(monarch::backward(scale, depth)));
    suite.extend(boxed(product::suite(scale, depth)));
    suite.extend(boxed(linear::suite(scale, depth)));
    suite.extend(boxed(block_sparse::suite(scale, depth)));
    suite.extend(boxed(pixelfly::suite(scale, depth)));
    suite.extend(boxed(dense::suite(scale, depth)));
    suite
}
