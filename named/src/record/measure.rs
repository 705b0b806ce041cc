//! The protocol: which workloads are measured, how thoroughly, and what becomes of those that fail.

use std::time::Duration;

use tilewise::bench::{Depth, Report, SUITE_VERSION, Scale, Workload, ceilings, measure, memory, suite};
use tilewise::timing::Effort;
use tilewise::verify::Family;
use tilewise::{Error, Gpu};

use super::{Record, Suite, Unmeasured};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Workloads of these families.
    pub families: Vec<Family>,
    /// How many of them, and how thoroughly.
    pub depth: Depth,
    /// See [`Record::note`].
    pub note: Option<String>,
    /// The browser, where it is one.
    pub browser: Option<String>,
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

/// Who wants a measurement.
pub trait Watcher {
    /// Hears how far it is.
    fn tell(&mut self, progress: Progress<'_>);

    /// Whether to stop before the next workload, and keep what was measured.
    fn is_stopped(&self) -> bool {
        false
    }

    /// The date, as in [`Record::date`].
    fn now(&self) -> String;
}

/// How thoroughly the workloads of a depth are measured.
pub fn effort(depth: Depth) -> Effort {
    let effort = |warm_up, runs, most, within, budget| Effort {
        warm_up: Duration::from_millis(warm_up),
        runs,
        most,
        within,
        budget: Duration::from_millis(budget),
    };
    // 0.3 s at least: for 0.2 s the clock of an H100 that fell stays on each of the steps by which it rises again.
    match depth {
        Depth::Quick => effort(300, 7, 50, 0.05, 700),
        Depth::Standard => effort(300, 10, 200, 0.02, 2000),
        Depth::Full => effort(500, 20, 1000, 0.01, 6000),
    }
}

impl Record {
    /// Measures workloads, of the sizes that suit the adapter.
    ///
    /// Fails if the device is lost before any was measured; what is wrong with one of them, the loss among it, is
    /// recorded.
    pub async fn measure(gpu: &Gpu, protocol: &Protocol, watcher: &mut impl Watcher) -> Result<Self, Error> {
        watcher.tell(Progress::Ceilings);
        let effort = effort(protocol.depth);
        let mut record = Self::begin(gpu, ceilings(gpu, effort).await?);
        let scale = Scale::by_arithmetic(&record.ceilings);
        let memory_bytes = memory(gpu, scale.memory()).await?;
        let scale = scale.within(memory_bytes);
        let families = protocol.families.iter();
        let workloads: Vec<_> = families.flat_map(|&family| suite(family, scale, protocol.depth)).collect();
        let mut complete = true;
        for (measured, workload) in workloads.iter().enumerate() {
            if watcher.is_stopped() {
                complete = false;
                break;
            }
            let workload = &**workload;
            log::debug!("measuring {workload}, {} of {}", measured + 1, workloads.len());
            watcher.tell(Progress::Before { workload, measured, all: workloads.len() });
            let outcome = measure(gpu, workload, effort, &record.ceilings).await;
            let unmeasured = |error: Error| Unmeasured {
                workload: workload.to_string(),
                case: workload.case(),
                reason: error.to_string(),
            };
            match outcome {
                Ok(report) => {
                    watcher.tell(Progress::Measured(&report));
                    record.reports.push(report);
                }
                Err(lost @ Error::DeviceLost(_)) => {
                    record.failed.push(unmeasured(lost));
                    complete = false;
                    break;
                }
                Err(error @ (Error::Plan(_) | Error::Allocation { .. })) => {
                    record.refused.push(unmeasured(error));
                }
                // The other workloads are worth knowing all the same.
                Err(error) => record.failed.push(unmeasured(error)),
            }
        }
        if complete {
            watcher.tell(Progress::Ceilings);
            record.ceilings = record.ceilings.or_better(ceilings(gpu, effort).await?);
            let Self { ceilings, reports, .. } = &mut record;
            for report in reports {
                report.hold_against(ceilings);
            }
        }
        record.suite = Some(Suite {
            version: SUITE_VERSION,
            depth: protocol.depth,
            scale,
            memory_bytes,
            families: protocol.families.clone(),
            within: effort.within,
            workloads: workloads.len(),
            complete,
        });
        record.note.clone_from(&protocol.note);
        if let Some(browser) = &protocol.browser {
            record.engine.on = format!("{} in {browser}", record.engine.on);
        }
        record.date = watcher.now();
        Ok(record)
    }
}
