//! What records say, side by side: a page, Markdown, and plots. Nothing here measures, and nothing reads the network.

mod heatmap;
mod html;
mod markdown;
mod model;
mod peers;
mod portability;
mod ratios;
mod roofline;
mod scaling;
mod sheet;
mod svg;
mod tables;

use tilewise::bench::Report;
use tilewise_named::record::Record;

pub use model::Machine;
pub use portability::Portability;

use model::{Case, cases};
use sheet::Sheet;
use svg::Svg;

/// What a report is about.
#[derive(Clone, Debug)]
pub struct Contents {
    /// In the order of the files.
    pub machines: Vec<Machine>,
    cases: Vec<Case>,
    /// The number.
    pub portability: Portability,
    peers: Sheet,
}

/// The plots of a report.
#[derive(Clone, Debug)]
struct Plots {
    heatmap: Svg,
    rooflines: Vec<Svg>,
    time: Option<Svg>,
    memory: Option<Svg>,
    scaling: Option<Svg>,
}

impl Contents {
    /// Of these records.
    pub fn of(records: Vec<Record>) -> Self {
        let machines = Machine::all(records);
        let cases = cases(&machines);
        let (portability, peers) = (Portability::of(&machines, &cases), peers::table(&machines));
        Self { machines, cases, portability, peers }
    }

    fn plots(&self) -> Plots {
        let Self { machines, cases, .. } = self;
        Plots {
            heatmap: heatmap::plot(machines, cases),
            rooflines: machines.iter().filter_map(roofline::plot).collect(),
            time: ratios::TIME.plot(machines, cases),
            memory: ratios::MEMORY.plot(machines, cases),
            scaling: scaling::plot(machines),
        }
    }

    /// A page in one file.
    pub fn html(&self) -> String {
        html::page(self, &self.plots())
    }

    /// Markdown.
    pub fn markdown(&self) -> String {
        markdown::text(self)
    }

    /// Names and texts of files, each a plot.
    pub fn svg_files(&self) -> Vec<(String, String)> {
        let Plots { heatmap, rooflines, time, memory, scaling } = self.plots();
        let all = [heatmap].into_iter().chain(rooflines).chain(time).chain(memory).chain(scaling);
        all.map(|plot| (format!("{}.svg", plot.name), plot.file())).collect()
    }
}

/// What a submission takes, in seconds, where it is a fifth or more of what a third of the workloads take.
fn drowned(machine: &Machine) -> Option<f64> {
    let record = &machine.record;
    let overhead = record.ceilings.submission_seconds?;
    let short = |report: &&Report| {
        let timing = &report.fused.timing;
        timing.device.is_none() && timing.median().as_secs_f64() < 5.0 * overhead
    };
    (3 * record.reports.iter().filter(short).count() > record.reports.len()).then_some(overhead)
}

/// What a reader should know before comparing.
fn warnings(machines: &[Machine]) -> Vec<String> {
    let mut words = Vec::new();
    let version = |machine: &Machine| machine.record.suite.as_ref().map(|suite| suite.version);
    if machines.iter().any(|machine| version(machine) != version(&machines[0])) {
        words.push("These records are of different versions of the suite: figures of the same name may be of different sizes.".to_owned());
    }
    for machine in machines {
        let record = &machine.record;
        let doubtful = record.reports.iter().filter(|report| !report.fused.timing.doubts.is_empty()).count();
        if 3 * doubtful > record.reports.len() {
            let (letter, all) = (&machine.letter, record.reports.len());
            words.push(format!("{letter}: {doubtful} of {all} medians are doubtful. The machine was busy or hot; measure again."));
        }
        if let Some(overhead) = drowned(machine) {
            words.push(format!(
                "{}: there are no device timestamps, and to submit anything takes {} ms: the times of short kernels \
                 are mostly that.",
                machine.letter,
                svg::short(1e3 * overhead)
            ));
        }
        if record.suite.as_ref().is_some_and(|suite| !suite.complete) {
            words.push(format!("{}: the measurement was stopped before its end.", machine.letter));
        }
        if record.shader_checks {
            words.push(format!(
                "{}: shaders kept the driver's bounds checks, which takes time.",
                machine.letter
            ));
        }
    }
    words
}
