//! Workloads of the butterfly family.

mod monarch;

use super::suite::{Scale, boxed};
use super::{Depth, Workload};

pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<Box<dyn Workload>> {
    boxed(monarch::suite(scale, depth))
}
