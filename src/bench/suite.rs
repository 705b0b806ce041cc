//! The workloads worth timing.

use super::{Ceilings, Depth, Workload, attention, butterfly, scan};
use crate::verify::Family;

/// The class of an adapter, by its arithmetic: what finishes in milliseconds on one takes minutes on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// A processor that poses as a GPU.
    Software,
    /// An integrated or mobile GPU.
    Modest,
    /// A GPU with memory of its own.
    Large,
}

impl Scale {
    fn of(ceilings: &Ceilings) -> Self {
        match ceilings.fma_flops_per_second {
            ..4e11 => Self::Software,
            4e11..8e12 => Self::Modest,
            _ => Self::Large,
        }
    }
}

/// The workloads of a family, of sizes that suit an adapter with these ceilings.
pub fn suite(family: Family, ceilings: &Ceilings, depth: Depth) -> Vec<Box<dyn Workload>> {
    let scale = Scale::of(ceilings);
    match family {
        Family::Attention => attention::suite(scale, depth),
        Family::Butterfly => butterfly::suite(scale, depth),
        Family::Scan => scan::suite(scale, depth),
    }
}

/// The workloads of one operation, with their types forgotten.
pub(super) fn boxed<W: Workload + 'static>(workloads: impl IntoIterator<Item = W>) -> Vec<Box<dyn Workload>> {
    workloads.into_iter().map(|workload| Box::new(workload) as Box<dyn Workload>).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_has_a_suite_of_workloads() {
        for fma_flops_per_second in [1e10, 1e12, 4e13] {
            let ceilings = Ceilings { copy_bytes_per_second: 1e10, fma_flops_per_second };
            for family in Family::ALL {
                let [quick, standard] =
                    [Depth::Quick, Depth::Standard].map(|depth| suite(family, &ceilings, depth));
                assert!(!quick.is_empty() && quick.len() < standard.len());
                for workload in standard {
                    assert_eq!(workload.family(), family);
                    assert!(workload.flops() > 0.0 && workload.least_bytes() > 0, "{workload}");
                }
            }
        }
    }
}
