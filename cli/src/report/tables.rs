//! The tables of a report.

use tilewise::Bytes;
use tilewise::bench::{Measured, Report};
use tilewise_named::record::{Suite, Unmeasured};

use super::heatmap::percent;
use super::model::{Case, Machine, Outcome, milliseconds, roof};
use super::portability::Portability;
use super::ratios::{MEMORY, TIME};
use super::sheet::{Cell, Sheet};
use super::svg::short;

/// What each machine is, and what it can do at all.
pub fn machines(machines: &[Machine]) -> Sheet {
    let mut sheet = Sheet::new([
        "",
        "machine",
        "adapter",
        "measured by",
        "copies, B/s",
        "f32, FLOP/s",
        "matrices, FLOP/s",
        "a dispatch, µs",
        "doubtful",
        "note",
    ]);
    for machine in machines {
        let record = &machine.record;
        let (adapter, engine, ceilings) = (&record.adapter, &record.engine, &record.ceilings);
        let doubtful = record.reports.iter().filter(|report| !report.fused.timing.doubts.is_empty()).count();
        let rate =
            |rate: Option<f64>| rate.map_or_else(|| "–".into(), |rate| Cell::number(rate, short(rate)));
        let suite = record.suite.as_ref().map_or_else(|| "suite not told".to_owned(), suite);
        let device: &str = &adapter.device_type;
        let told = [device, &adapter.backend, &adapter.driver()].map(str::to_owned);
        let told: Vec<_> = told.into_iter().filter(|text| !text.is_empty()).collect();
        sheet.row([
            (&machine.letter).into(),
            (&machine.name).into(),
            told.join(", ").into(),
            format!("{} {}, {}; {suite}; {}", engine.name, engine.version, engine.on, record.date).into(),
            rate(Some(ceilings.copy_bytes_per_second)),
            rate(Some(ceilings.fma_flops_per_second)),
            rate(ceilings.matrix_flops_per_second),
            rate(ceilings.dispatch_seconds.map(|seconds| seconds * 1e6)),
            Cell::number(doubtful as f64, format!("{doubtful} of {}", record.reports.len())),
            record.note.as_deref().unwrap_or("").into(),
        ]);
    }
    sheet
}

fn suite(suite: &Suite) -> String {
    let depth = format!("{:?}", suite.depth).to_lowercase();
    let stopped = if suite.complete { "" } else { ", stopped early" };
    format!("suite {}, {depth}, {}{stopped}", suite.version, suite.scale)
}

/// A row a case, a column a machine: the share of the ceiling.
pub fn shares(machines: &[Machine], cases: &[Case]) -> Sheet {
    let headings = ["family", "case"].map(str::to_owned).into_iter();
    let mut sheet = Sheet::new(headings.chain(machines.iter().map(|machine| machine.letter.clone())));
    for Case { family, name } in cases {
        let cell = |machine: &Machine| {
            let outcome = machine.outcome(name);
            let doubtful = matches!(&outcome, Outcome::Measured(reports)
                if reports.iter().any(|report| !report.fused.timing.doubts.is_empty()));
            match (&outcome, outcome.share()) {
                (Outcome::Measured(_), Some(share)) => {
                    Cell::number(share, percent(share) + if doubtful { " ?" } else { "" })
                }
                (Outcome::Unmeasured(_), _) => Cell::number(0.0, "no"),
                _ => "".into(),
            }
        };
        let family = family.map_or("", |family| family.name());
        sheet.row([family.into(), name.into()].into_iter().chain(machines.iter().map(cell)));
    }
    sheet
}

/// Performance portability, case by case.
pub fn portability(portability: &Portability) -> Sheet {
    let mut sheet = Sheet::new(["case", "portability", "least on", "least share"]);
    for score in &portability.cases {
        let least = score.least.as_ref();
        sheet.row([
            (&score.name).into(),
            Cell::number(score.value, percent(score.value)),
            least.map_or("", |(letter, _)| letter).into(),
            least.map_or_else(|| "".into(), |(_, share)| Cell::number(*share, percent(*share))),
        ]);
    }
    sheet
}

/// Everything that was measured on one machine, the plans among it.
pub fn measured(machine: &Machine) -> Sheet {
    let mut sheet = Sheet::new([
        "workload",
        "version",
        "ms",
        "95 % interval",
        "quartiles",
        "wall ms",
        "runs",
        "of ceiling",
        "held against",
        "faster than it",
        "memory",
        "doubts",
        "plan",
    ]);
    for report in &machine.record.reports {
        version(&mut sheet, machine, report, "fused", None);
        for yardstick in &report.yardsticks {
            version(&mut sheet, machine, report, &yardstick.name, Some(&yardstick.measured));
        }
    }
    sheet
}

fn version(sheet: &mut Sheet, machine: &Machine, report: &Report, name: &str, other: Option<&Measured>) {
    let figures = match other {
        None => &report.fused,
        Some(Measured::Figures(figures)) => figures,
        Some(Measured::Refused(why)) => {
            let blank = || Cell::from("");
            let refused = [(&report.workload).into(), name.into(), "refused".into()];
            let rest = (0..9).map(|_| blank()).chain([why.into()]);
            return sheet.row(refused.into_iter().chain(rest));
        }
    };
    let (timing, spread) = (&figures.timing, figures.timing.spread());
    let ms = |time: std::time::Duration| short(time.as_secs_f64() * 1e3);
    let median = milliseconds(figures);
    let interval =
        spread.interval.map_or_else(|| "too few runs".to_owned(), |[a, b]| format!("{}–{}", ms(a), ms(b)));
    let doubts: Vec<_> = timing.doubts.iter().map(ToString::to_string).collect();
    let least_by_memory = report.least_bytes as f64 / machine.record.ceilings.copy_bytes_per_second
        >= machine.record.ceilings.floor(report.dtype, report.flops, report.least_bytes);
    let bound = if least_by_memory { "copies" } else { roof(machine, report.dtype) };
    let over = other.and_then(|_| report.over(name));
    sheet.row([
        (&report.workload).into(),
        name.into(),
        Cell::number(median, short(median)),
        interval.into(),
        format!("{}–{}", ms(spread.lower), ms(spread.upper)).into(),
        Cell::number(timing.wall.median.as_secs_f64(), ms(timing.wall.median)),
        Cell::number(timing.runs as f64, timing.runs.to_string()),
        Cell::number(figures.ceiling_fraction, percent(figures.ceiling_fraction)),
        bound.into(),
        over.map_or_else(|| "".into(), |over| Cell::number(over, format!("{over:.2}×"))),
        Cell::number(figures.peak_bytes as f64, Bytes(figures.peak_bytes).to_string()),
        doubts.join(", ").into(),
        (&figures.plan).into(),
    ]);
}

/// What could not be measured on one machine, and why.
pub fn unmeasured(machine: &Machine) -> Sheet {
    let mut sheet = Sheet::new(["workload", "", "why"]);
    let record = &machine.record;
    for (list, how) in [(&record.refused, "refused"), (&record.failed, "went wrong")] {
        for Unmeasured { workload, reason, .. } in list {
            sheet.row([workload.into(), how.into(), reason.into()]);
        }
    }
    sheet
}

/// Fused against unfused in numbers: a row a case, two columns a machine.
pub fn gains(machines: &[Machine], cases: &[Case]) -> Sheet {
    let of_machine =
        |machine: &Machine| [format!("{} time", machine.letter), format!("{} memory", machine.letter)];
    let headings = std::iter::once("case".to_owned()).chain(machines.iter().flat_map(of_machine));
    let mut sheet = Sheet::new(headings);
    for case in cases {
        let cells: Vec<_> = machines
            .iter()
            .flat_map(|machine| {
                [TIME, MEMORY].map(|ratio| match machine.outcome(&case.name) {
                    Outcome::Measured(reports) => reports.iter().find_map(|report| ratio.of(report)),
                    _ => None,
                })
            })
            .collect();
        if cells.iter().any(Option::is_some) {
            let cell = |ratio: Option<f64>| {
                ratio.map_or_else(|| "".into(), |ratio| Cell::number(ratio, format!("{ratio:.2}×")))
            };
            sheet.row(std::iter::once((&case.name).into()).chain(cells.into_iter().map(cell)));
        }
    }
    sheet
}
