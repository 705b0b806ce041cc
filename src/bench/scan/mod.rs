//! Workloads of the scan family.

mod attention;
mod conv1d;
mod layers;
mod linear_scan;
mod long_conv;
mod s4d;
mod sample;
mod selective_scan;
mod ssd;

use super::suite::{Scale, boxed};
use super::{Backward, Depth, Trainable, Workload};
use crate::DType;

pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<Box<dyn Workload>> {
    let mut suite = boxed(linear_scan::suite(scale, depth));
    suite.extend(boxed(long_conv::suite(scale, depth)));
    if scale == Scale::Large && depth >= Depth::Standard {
        let scans = [DType::F32, DType::F16].map(selective_scan::of_model);
        suite.extend(boxed(scans));
        suite.extend(boxed(scans.map(Backward)));
        suite.extend(boxed([ssd::of_model()]));
        suite.extend(boxed([Backward(ssd::of_model())]));
    }
    suite.extend(sweep(lengths(scale, depth), scale));
    suite
}

/// Lengths of a sweep. A software adapter takes too long for most of them.
fn lengths(scale: Scale, depth: Depth) -> &'static [usize] {
    const ALL: [usize; 7] = [1 << 9, 1 << 11, 1 << 13, 1 << 15, 1 << 17, 1 << 19, 1 << 20];
    match (scale, depth) {
        (Scale::Software, Depth::Quick) => &ALL[..1],
        // A loop of 8192 steps takes seconds where its work grows with their square.
        (Scale::Software, Depth::Standard) | (_, Depth::Quick) => &ALL[..2],
        (Scale::Software, Depth::Full) => &ALL[..4],
        (_, Depth::Standard | Depth::Full) => &ALL,
    }
}

/// The same amount of work as short rows and as long ones, operation by operation.
fn sweep(lengths: &[usize], scale: Scale) -> Vec<Box<dyn Workload>> {
    let mut sweep = both_ways(lengths, |length| linear_scan::of_length(scale, length));
    sweep.extend(both_ways(lengths, |length| selective_scan::of_length(scale, length)));
    sweep.extend(both_ways(lengths, |length| ssd::of_length(scale, length)));
    sweep.extend(both_ways(lengths, |length| conv1d::of_length(scale, length)));
    sweep.extend(both_ways(lengths, |length| long_conv::of_length(scale, length)));
    sweep.extend(both_ways(lengths, |length| attention::gla_of_length(scale, length)));
    sweep.extend(both_ways(lengths, |length| attention::retention_of_length(scale, length)));
    sweep.extend(both_ways(lengths, |length| attention::delta_of_length(scale, length)));
    sweep.extend(forward(lengths, |length| layers::mamba_of_length(scale, length)));
    sweep.extend(forward(lengths, |length| layers::mamba2_of_length(scale, length)));
    sweep.extend(forward(lengths, |length| layers::hyena_of_length(scale, length)));
    sweep.extend(forward(lengths, |length| s4d::of_length(scale, length)));
    sweep.extend(forward(lengths, |length| s4d::h3_of_length(scale, length)));
    sweep
}

fn forward<W: Workload + 'static>(lengths: &[usize], of: impl Fn(usize) -> W) -> Vec<Box<dyn Workload>> {
    boxed(lengths.iter().map(|length| of(*length)))
}

/// An operation, then its gradients.
fn both_ways<W: Trainable + 'static>(lengths: &[usize], of: impl Fn(usize) -> W) -> Vec<Box<dyn Workload>> {
    let mut all = forward(lengths, &of);
    all.extend(forward(lengths, |length| Backward(of(length))));
    all
}
