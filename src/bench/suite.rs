//! The workloads worth timing.

use std::fmt;

use super::{Ceilings, Depth, Workload, attention, butterfly, scan};
use crate::verify::Family;

/// Figures of suites of the same version can be compared. Adding workloads keeps it; changing one of them, or the sizes of
/// a scale, makes it another.
pub const SUITE_VERSION: u32 = 1;

/// The class of an adapter, by its arithmetic and its memory: what finishes in milliseconds on one takes minutes on
/// another, or does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Scale {
    /// A processor that poses as a GPU.
    Software,
    /// An integrated or mobile GPU.
    Modest,
    /// A GPU with memory of its own.
    Large,
}

impl Scale {
    const ALL: [Self; 3] = [Self::Software, Self::Modest, Self::Large];

    /// The class by arithmetic alone.
    pub fn by_arithmetic(ceilings: &Ceilings) -> Self {
        match ceilings.fma_flops_per_second {
            ..4e11 => Self::Software,
            4e11..8e12 => Self::Modest,
            _ => Self::Large,
        }
    }

    /// The largest class up to this one whose workloads fit that much memory, with their unfused versions.
    #[must_use]
    pub fn within(self, memory: u64) -> Self {
        let fits = |scale: &&Self| **scale <= self && scale.memory() <= memory;
        Self::ALL.iter().rfind(fits).copied().unwrap_or(Self::Software)
    }

    /// What its workloads take with their unfused versions, in bytes, as far as these are not refused.
    pub fn memory(self) -> u64 {
        match self {
            Self::Software => 256 << 20,
            Self::Modest => 1 << 30,
            Self::Large => 4 << 30,
        }
    }

    /// The next larger one, if there is any.
    fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|scale| *scale > self)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software => "software",
            Self::Modest => "modest",
            Self::Large => "large",
        })
    }
}

/// The workloads of a family, of sizes that suit an adapter of that scale.
pub fn suite(family: Family, scale: Scale, depth: Depth) -> Vec<Box<dyn Workload>> {
    let of = |scale, depth| match family {
        Family::Attention => attention::suite(scale, depth),
        Family::Butterfly => butterfly::suite(scale, depth),
        Family::Scan => scan::suite(scale, depth),
    };
    let larger = if depth == Depth::Full { scale.next() } else { None };
    let larger = larger.into_iter().flat_map(|larger| of(larger, Depth::Quick));
    let mut suite: Vec<Box<dyn Workload>> = Vec::new();
    // A row of a table may be a point of a sweep too, and one of two scales.
    for workload in of(scale, depth).into_iter().chain(larger) {
        if !suite.iter().any(|known| known.to_string() == workload.to_string()) {
            suite.push(workload);
        }
    }
    suite
}

/// The workloads of one operation, with their types forgotten.
pub(super) fn boxed<W: Workload + 'static>(workloads: impl IntoIterator<Item = W>) -> Vec<Box<dyn Workload>> {
    workloads.into_iter().map(|workload| Box::new(workload) as Box<dyn Workload>).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::bench::Pass;

    #[test]
    fn every_scale_has_a_suite_of_workloads() {
        for scale in Scale::ALL {
            for family in Family::ALL {
                let of = |depth| suite(family, scale, depth);
                let [quick, standard, full] = [Depth::Quick, Depth::Standard, Depth::Full].map(of);
                assert!(!quick.is_empty() && quick.len() < standard.len() && standard.len() <= full.len());
                for workload in full {
                    assert_eq!(workload.family(), family);
                    assert!(workload.flops() > 0.0 && workload.least_bytes() > 0, "{workload}");
                }
            }
        }
    }

    /// However quick, both ways and both types of each family are measured, and no workload twice.
    #[test]
    fn every_suite_goes_both_ways_in_both_types() {
        for (scale, family) in
            Scale::ALL.into_iter().flat_map(|scale| Family::ALL.map(|family| (scale, family)))
        {
            for depth in [Depth::Quick, Depth::Standard, Depth::Full] {
                let suite = suite(family, scale, depth);
                for pass in [Pass::Forward, Pass::Backward] {
                    for dtype in [DType::F32, DType::F16] {
                        let found = suite.iter().any(|one| one.pass() == pass && one.dtype() == dtype);
                        assert!(found, "no {pass:?} {dtype} of {family} for {scale}, {depth:?}");
                    }
                }
                let mut names: Vec<_> = suite.iter().map(ToString::to_string).collect();
                let count = names.len();
                names.sort();
                names.dedup();
                assert_eq!(names.len(), count, "{family} for {scale}, {depth:?}");
            }
        }
    }

    /// What is called alike on two scales is of the same kind, type, way, width and length.
    #[test]
    fn cases_are_the_same_on_every_scale() {
        let all = || Scale::ALL.into_iter().flat_map(|scale| Family::ALL.map(|family| (scale, family)));
        let suites = all().flat_map(|(scale, family)| suite(family, scale, Depth::Full));
        let mut known = std::collections::HashMap::new();
        let mut shared = 0;
        for workload in suites {
            let case = workload.case();
            assert!(case.contains(&workload.dtype().to_string()) && !case.contains(" rows"), "{case}");
            let what =
                (workload.kind(), workload.dtype(), workload.pass() == Pass::Backward, workload.width());
            let first = known.entry(case.clone()).or_insert_with(|| what.clone());
            assert_eq!(*first, what, "{case}");
            shared += 1;
        }
        let quick =
            |scale| Family::ALL.into_iter().flat_map(move |family| suite(family, scale, Depth::Quick));
        let cases = |scale| quick(scale).map(|workload| workload.case()).collect::<Vec<_>>();
        let [software, modest, large] = Scale::ALL.map(cases);
        assert!(
            software.iter().all(|case| modest.contains(case) && large.contains(case)),
            "{software:?}, {large:?}"
        );
        assert!(known.len() < shared);
    }

    #[test]
    fn a_scale_must_fit_the_memory() {
        assert_eq!(Scale::Large.within(8 << 30), Scale::Large);
        assert_eq!(Scale::Large.within(2 << 30), Scale::Modest);
        assert_eq!(Scale::Modest.within(8 << 30), Scale::Modest);
        assert_eq!(Scale::Large.within(0), Scale::Software);
    }
}
