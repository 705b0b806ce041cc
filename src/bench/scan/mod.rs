//! Workloads of the scan family.

mod linear_scan;
mod long_conv;

use super::suite::{Scale, boxed};
use super::{Depth, Workload};

pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<Box<dyn Workload>> {
    let mut suite = boxed(linear_scan::suite(scale, depth));
    suite.extend(boxed(long_conv::suite(scale, depth)));
    suite
}
