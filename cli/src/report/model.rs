//! What a report is about: machines, and what of them can be set side by side.

use tilewise::bench::{Figures, Pass, Report, Yardstick};
use tilewise::verify::Family;
use tilewise::{Bytes, DType};
use tilewise_named::record::Record;

/// A record, and what its machine is called in all tables and plots.
#[derive(Clone, Debug)]
pub struct Machine {
    /// A letter.
    pub letter: String,
    /// The adapter's name, after the engine's if that is a peer.
    pub name: String,
    /// What was measured.
    pub record: Record,
}

impl Machine {
    /// Letters in order.
    pub fn all(records: Vec<Record>) -> Vec<Self> {
        let of = |(at, record): (usize, Record)| {
            let letter = u32::try_from(at).ok().filter(|at| *at < 26).and_then(|at| char::from_u32(65 + at));
            let letter = letter.map_or_else(|| (at + 1).to_string(), String::from);
            Self { letter, name: name(&record), record }
        };
        records.into_iter().enumerate().map(of).collect()
    }

    /// Letter and name.
    pub fn label(&self) -> String {
        format!("{} · {}", self.letter, self.name)
    }

    /// Whether this library measured it, and no peer.
    pub fn is_ours(&self) -> bool {
        self.record.engine.name == "tilewise"
    }

    /// How a case went here.
    pub fn outcome(&self, case: &str) -> Outcome<'_> {
        let reports: Vec<_> = self.record.reports.iter().filter(|report| report.case == case).collect();
        let Record { refused, failed, .. } = &self.record;
        if !reports.is_empty() {
            Outcome::Measured(reports)
        } else if let Some(one) = refused.iter().chain(failed).find(|one| one.case == case) {
            Outcome::Unmeasured(&one.reason)
        } else {
            Outcome::Absent
        }
    }
}

fn name(record: &Record) -> String {
    let (adapter, engine) = (&record.adapter, &record.engine);
    // Some browsers tell no names.
    let adapter: &str = if adapter.name.is_empty() { &adapter.device_type } else { &adapter.name };
    match (engine.name.as_str(), engine.on.split_once(" in ")) {
        ("tilewise", Some((_, browser))) => format!("{adapter} in {browser}"),
        ("tilewise", None) => adapter.to_owned(),
        (peer, _) => format!("{peer} on {adapter}"),
    }
}

/// How a case went on a machine.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// Its workloads there: one, or more that differ in how they fill the adapter.
    Measured(Vec<&'a Report>),
    /// Refused or failed: why.
    Unmeasured(&'a str),
    /// Not part of what was measured.
    Absent,
}

impl Outcome<'_> {
    /// The share of the ceiling: of several workloads the harmonic mean. 0 where it was refused or failed.
    pub fn share(&self) -> Option<f64> {
        match self {
            Self::Measured(reports) => {
                Some(harmonic(reports.iter().map(|report| report.fused.ceiling_fraction)))
            }
            Self::Unmeasured(_) => Some(0.0),
            Self::Absent => None,
        }
    }
}

/// The harmonic mean, which is 0 as soon as one value is. 0 for none.
pub fn harmonic(values: impl IntoIterator<Item = f64>) -> f64 {
    let (count, sum) =
        values.into_iter().fold((0, 0.0), |(count, sum), value| (count + 1, sum + 1.0 / value));
    if count == 0 { 0.0 } else { f64::from(count) / sum }
}

/// A case, with the family that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The family, where any report tells.
    pub family: Option<Family>,
    /// Its name on every machine.
    pub name: String,
}

/// Every case of the machines, family by family, in the order of the records.
pub fn cases(machines: &[Machine]) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |family, name: &str| match cases.iter_mut().find(|case| case.name == name) {
        Some(case) => case.family = case.family.or(family),
        None => cases.push(Case { family, name: name.to_owned() }),
    };
    for Record { reports, refused, failed, .. } in machines.iter().map(|machine| &machine.record) {
        for report in reports {
            add(Some(report.family), &report.case);
        }
        for one in refused.iter().chain(failed) {
            add(None, &one.case);
        }
    }
    let place = |family: Option<Family>| Family::ALL.iter().position(|known| Some(*known) == family);
    cases.sort_by_key(|case| place(case.family).unwrap_or(Family::ALL.len()));
    cases
}

/// Milliseconds of a figure's median.
pub fn milliseconds(figures: &Figures) -> f64 {
    figures.timing.median().as_secs_f64() * 1e3
}

/// The unfused version's figures, if there is one and it runs.
pub fn unfused(report: &Report) -> Option<&Figures> {
    let unfused = |one: &&Yardstick| one.name == "unfused";
    report.yardsticks.iter().find(unfused)?.measured.figures()
}

/// A workload of a series that differs in its length alone, and the series' name.
pub fn series(report: &Report) -> Option<(String, usize)> {
    let length = report.length?;
    let marks = [format!(", length {length}"), format!(" s {length} ")];
    let mark = marks.iter().find(|mark| report.case.contains(mark.as_str()))?;
    let gap = if mark.ends_with(' ') { " " } else { "" };
    Some((report.case.replacen(mark, gap, 1), length))
}

/// What a person reads in a tip about a workload's figures.
pub fn tip(machine: &Machine, report: &Report, version: &str, figures: &Figures) -> String {
    let share = 100.0 * figures.ceiling_fraction;
    let doubts: Vec<_> = figures.timing.doubts.iter().map(ToString::to_string).collect();
    let doubts = if doubts.is_empty() { String::new() } else { format!(" ({})", doubts.join(", ")) };
    format!(
        "{}\n{}, {version}\n{:.3} ms{doubts}, {share:.1} % of the ceiling, {}",
        machine.label(),
        report.workload,
        milliseconds(figures),
        Bytes(figures.peak_bytes)
    )
}

/// The roof of a workload's arithmetic, in words.
pub fn roof(machine: &Machine, dtype: DType) -> &'static str {
    match machine.record.ceilings.matrix_flops_per_second {
        Some(_) if dtype == DType::F16 => "matrix units",
        _ => "multiply-adds",
    }
}

/// Whether a workload goes back.
pub fn is_backward(report: &Report) -> bool {
    report.pass == Pass::Backward
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmonic_means_by_hand() {
        assert!((harmonic([0.5, 0.25]) - 1.0 / 3.0).abs() < 1e-12);
        assert!(harmonic([0.5, 0.0]).abs() < 1e-12 && harmonic([]).abs() < 1e-12);
    }
}
