//! Workloads of the scan family.

mod linear_scan;

use super::suite::{Scale, boxed};
use super::{Depth, Workload};

pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<Box<dyn Workload>> {
    boxed(linear_scan::suite(scale, depth))
}
