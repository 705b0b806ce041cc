//! What a benchmark leaves behind: the same JSON from the command line and from the demo page.

use std::time::Duration;

use serde::Serialize;
use tilewise::bench::{Ceilings, Depth, Report, Workload, ceilings, measure, suite};
use tilewise::timing::Effort;
use tilewise::verify::Family;
use tilewise::{Caps, Error, Gpu};

use crate::adapter::Adapter;

/// A measurement with everything that is needed to judge it later.
#[derive(Debug, Serialize)]
pub struct Record {
    /// When it was finished, in UTC.
    pub date: String,
    /// What measured.
    pub versions: Versions,
    /// On what.
    pub adapter: Adapter,
    /// What that can do.
    pub caps: Caps,
    /// Whether shaders kept the driver's own checks.
    pub shader_checks: bool,
    /// What the adapter can do at all, as measured.
    pub ceilings: Ceilings,
    /// What was measured.
    pub reports: Vec<Report>,
    /// Workloads that are more than this adapter holds.
    pub refused: Vec<Unmeasured>,
    /// Workloads that went wrong.
    pub failed: Vec<Unmeasured>,
}

/// A workload without figures.
#[derive(Debug, Serialize)]
pub struct Unmeasured {
    /// The workload, in words.
    pub workload: String,
    /// Why there are none.
    pub reason: String,
}

/// What measured.
#[derive(Debug, Serialize)]
pub struct Versions {
    /// The library.
    pub tilewise: &'static str,
    /// What it runs on.
    pub wgpu: &'static str,
}

/// How thoroughly to measure.
#[derive(Clone, Copy, Debug)]
pub struct Thoroughness {
    /// How many workloads.
    pub depth: Depth,
    /// How often each.
    pub effort: Effort,
}

impl Thoroughness {
    /// Few workloads and few runs.
    pub const QUICK: Self = Self {
        depth: Depth::Quick,
        effort: Effort { warm_up: Duration::from_millis(100), runs: 7, budget: Duration::from_millis(500) },
    };

    /// What a comparison of adapters needs.
    pub fn standard() -> Self {
        Self { depth: Depth::Standard, effort: Effort::default() }
    }
}

/// How far a measurement is.
pub enum Progress<'a> {
    /// What the adapter can do at all is being measured.
    Ceilings,
    /// A workload is about to be measured.
    Before {
        /// Which.
        workload: &'a dyn Workload,
        /// How many were measured before it.
        measured: usize,
        /// How many there are.
        all: usize,
    },
    /// A workload was measured.
    Measured(&'a Report),
}

impl Record {
    /// Measures the workloads of some families. `now` says the date when it is done.
    ///
    /// Fails if the device is lost; what is wrong with one workload is recorded.
    pub async fn measure(
        gpu: &Gpu,
        families: &[Family],
        Thoroughness { depth, effort }: Thoroughness,
        mut tell: impl FnMut(Progress<'_>),
        now: impl FnOnce() -> String,
    ) -> Result<Self, Error> {
        tell(Progress::Ceilings);
        let ceilings = ceilings(gpu, effort).await?;
        let workloads: Vec<_> = families.iter().flat_map(|&family| suite(family, &ceilings, depth)).collect();
        let (mut reports, mut refused, mut failed) = (vec![], vec![], vec![]);
        for (measured, workload) in workloads.iter().enumerate() {
            let workload = &**workload;
            tell(Progress::Before { workload, measured, all: workloads.len() });
            let unmeasured =
                |error: Error| Unmeasured { workload: workload.to_string(), reason: error.to_string() };
            match measure(gpu, workload, effort, &ceilings).await {
                Ok(report) => {
                    tell(Progress::Measured(&report));
                    reports.push(report);
                }
                Err(lost @ Error::DeviceLost(_)) => return Err(lost),
                Err(error @ (Error::Plan(_) | Error::Allocation { .. })) => refused.push(unmeasured(error)),
                // The other workloads are worth knowing all the same.
                Err(error) => failed.push(unmeasured(error)),
            }
        }
        Ok(Self {
            date: now(),
            versions: Versions { tilewise: env!("CARGO_PKG_VERSION"), wgpu: env!("WGPU_VERSION") },
            adapter: Adapter::of(gpu),
            caps: gpu.caps().clone(),
            shader_checks: gpu.shader_checks(),
            ceilings,
            reports,
            refused,
            failed,
        })
    }
}
