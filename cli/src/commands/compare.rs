//! `tilewise compare`: what became slower or faster between two records.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tilewise::bench::{Figures, Report};
use tilewise::timing::Spread;
use tilewise_named::record::Record;

use super::bench::milliseconds;
use super::report::read;
use crate::args::Global;
use crate::failure::Failure;
use crate::output::{note, print, print_json};
use crate::table::{Cell, Column, Table};

/// What became slower or faster between two records of the same machine, and how sure that is
///
/// Workloads are compared by their medians, on the device's clock if both records have it. The confidence is that with which
/// the change exceeds the threshold, from the intervals of both medians.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tilewise compare before.json after.json
  tilewise compare main.json branch.json --fail-above 10%

Exit code 1 tells of a regression: a workload that is slower by more than the threshold with the confidence asked for, or one
that was measured before and now is refused or goes wrong.")]
pub struct Compare {
    /// The record to compare with
    #[arg(value_name = "OLD.json")]
    old: PathBuf,
    /// The record that is judged
    #[arg(value_name = "NEW.json")]
    new: PathBuf,
    /// Fail if a workload takes longer by more than this share
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    fail_above: Option<f64>,
    /// With what confidence it must be longer to fail
    #[arg(long, value_name = "PERCENT", default_value = "95%", value_parser = percentage)]
    confidence: f64,
}

/// From which change on the table tells slower and faster from the same, where no threshold is given.
const NOTABLE: f64 = 0.05;

/// `10%` or `10`, as a share.
fn percentage(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let percent = number.parse::<f64>().ok().filter(|percent| percent.is_finite() && *percent >= 0.0);
    percent.map(|percent| percent / 100.0).ok_or_else(|| format!("{text:?} is no percentage such as 10%"))
}

/// One workload in both records.
#[derive(Clone, Debug, Serialize)]
struct Change {
    workload: String,
    old_ms: f64,
    new_ms: f64,
    /// The new time over the old one.
    ratio: f64,
    verdict: Verdict,
    /// From 0 to 1, that the change exceeds the threshold; absent where a record has too few runs to tell.
    confidence: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Slower,
    Faster,
    Same,
}

/// A workload that is in the old record alone.
#[derive(Clone, Debug, Serialize)]
struct Gone {
    workload: String,
    /// Why it was refused or failed; absent where the new record does not have it at all.
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Comparison {
    threshold: f64,
    changes: Vec<Change>,
    gone: Vec<Gone>,
    regressions: usize,
}

impl Compare {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let (old, new) = (read(&self.old)?, read(&self.new)?);
        caution(&old, &new);
        let comparison = self.compare(&old, &new);
        if comparison.changes.is_empty() && comparison.gone.iter().all(|gone| gone.reason.is_none()) {
            return Err(Failure::Input(format!(
                "{} and {} have no workload in common: {} and {} were measured",
                self.old.display(),
                self.new.display(),
                old.reports.len(),
                new.reports.len()
            )));
        }
        if global.json {
            print_json(&comparison)?;
        } else {
            print(&in_words(&comparison))?;
        }
        match (self.fail_above, comparison.regressions) {
            (None, _) | (_, 0) => Ok(()),
            (Some(_), 1) => Err(Failure::Check("1 workload regressed".to_owned())),
            (Some(_), count) => Err(Failure::Check(format!("{count} workloads regressed"))),
        }
    }

    fn compare(&self, old: &Record, new: &Record) -> Comparison {
        let threshold = self.fail_above.unwrap_or(NOTABLE);
        let (mut changes, mut gone) = (vec![], vec![]);
        for before in &old.reports {
            match new.reports.iter().find(|after| after.workload == before.workload) {
                Some(after) => changes.push(Change::of(before, after, threshold)),
                None => gone.push(Gone::of(before, new)),
            }
        }
        // The worst first.
        changes.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
        let slower = |change: &&Change| {
            change.verdict == Verdict::Slower && change.confidence.is_some_and(|sure| sure >= self.confidence)
        };
        let broken = gone.iter().filter(|gone| gone.reason.is_some()).count();
        let regressions = changes.iter().filter(slower).count() + broken;
        Comparison { threshold, changes, gone, regressions }
    }
}

/// Says what makes a comparison doubtful.
fn caution(old: &Record, new: &Record) {
    let version = |record: &Record| record.suite.as_ref().map(|suite| suite.version);
    let told = [
        (old.adapter.name == new.adapter.name, "adapters", &old.adapter.name, &new.adapter.name),
        (
            old.adapter.driver() == new.adapter.driver(),
            "drivers",
            &old.adapter.driver(),
            &new.adapter.driver(),
        ),
        (old.engine.name == new.engine.name, "engines", &old.engine.name, &new.engine.name),
    ];
    for (_, what, a, b) in told.iter().filter(|(same, ..)| !same) {
        note(&format!("these are of different {what}: {a} and {b}"));
    }
    if version(old) != version(new) {
        note("these are of different versions of the suite");
    }
}

impl Change {
    fn of(old: &Report, new: &Report, threshold: f64) -> Self {
        let [before, after] = clocks(&old.fused, &new.fused);
        let [old_ms, new_ms] = [&before, &after].map(|sample| 1e3 * sample.median);
        let ratio = after.median / before.median;
        let verdict = match ratio {
            ratio if ratio > 1.0 + threshold => Verdict::Slower,
            ratio if ratio < 1.0 / (1.0 + threshold) => Verdict::Faster,
            _ => Verdict::Same,
        };
        let beyond = match verdict {
            Verdict::Faster => 1.0 / ratio,
            _ => ratio,
        };
        let confidence = confidence(beyond, threshold, before.deviation.zip(after.deviation));
        Self { workload: old.workload.clone(), old_ms, new_ms, ratio, verdict, confidence }
    }
}

/// A median in seconds, and the standard deviation of its logarithm as far as the runs tell.
struct Sample {
    median: f64,
    deviation: Option<f64>,
}

/// Both on the device's clock, or both on the host's.
fn clocks(old: &Figures, new: &Figures) -> [Sample; 2] {
    let both = old.timing.device.zip(new.timing.device);
    let (before, after) = both.unwrap_or((old.timing.wall, new.timing.wall));
    [Sample::of(&before, old.timing.runs), Sample::of(&after, new.timing.runs)]
}

impl Sample {
    /// The interval of 95 % reaches 1.96 deviations to either side. Records of version 1 have none: there the quartiles of
    /// that many runs stand for it, as if the runs were normal, whose median deviates by 1.2533 times as much as their mean.
    fn of(spread: &Spread, runs: usize) -> Self {
        let seconds = |time: std::time::Duration| time.as_secs_f64().max(1e-9);
        let deviation = match spread.interval {
            Some([low, high]) => Some((seconds(high) / seconds(low)).ln() / (2.0 * 1.96)),
            None if runs >= 4 => {
                let quartiles = (seconds(spread.upper) / seconds(spread.lower)).ln();
                Some(1.2533 * quartiles / 1.349 / (runs as f64).sqrt())
            }
            None => None,
        };
        Self { median: seconds(spread.median), deviation }
    }
}

/// The chance that a ratio of times exceeds one and the threshold, given how far either median may be off.
fn confidence(ratio: f64, threshold: f64, deviations: Option<(f64, f64)>) -> Option<f64> {
    let (before, after) = deviations?;
    // Clocks have ticks: two medians that are alike to the last of them are no proof that either is exact.
    let deviation = before.hypot(after).max(1e-4);
    Some(normal((ratio.ln() - threshold.ln_1p()) / deviation))
}

/// The normal distribution function, by the approximation 26.2.17 of Abramowitz and Stegun, to seven decimals.
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let terms = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if z > 0.0 { 1.0 - tail } else { tail }
}

impl Gone {
    fn of(report: &Report, new: &Record) -> Self {
        let unmeasured = new.refused.iter().chain(&new.failed);
        let reason =
            unmeasured.filter(|one| one.workload == report.workload).map(|one| one.reason.clone()).next();
        Self { workload: report.workload.clone(), reason }
    }
}

fn in_words(comparison: &Comparison) -> String {
    let mut table = Table::new(&[
        Column::Left("workload"),
        Column::Right("old ms"),
        Column::Right("new ms"),
        Column::Right("change"),
        Column::Left("verdict"),
        Column::Right("confidence"),
    ]);
    for Change { workload, old_ms, new_ms, ratio, verdict, confidence } in &comparison.changes {
        let change = format!("{:+.1} %", 100.0 * (ratio - 1.0));
        let (verdict, sure) = match verdict {
            Verdict::Slower => (Cell::bad("slower"), true),
            Verdict::Faster => (Cell::good("faster"), true),
            Verdict::Same => ("the same".into(), false),
        };
        let confidence = match confidence {
            _ if !sure => String::new(),
            // No number of runs is a proof.
            Some(sure) => format!("{:.1} %", (100.0 * sure).min(99.9)),
            None => "too few runs".to_owned(),
        };
        let ms = |ms: f64| milliseconds(std::time::Duration::from_secs_f64(ms / 1e3));
        let cells = [
            workload.into(),
            ms(*old_ms).into(),
            ms(*new_ms).into(),
            change.into(),
            verdict,
            confidence.into(),
        ];
        table.row(cells);
    }
    let count = |verdict| comparison.changes.iter().filter(|change| change.verdict == verdict).count();
    let (slower, faster, same) = (count(Verdict::Slower), count(Verdict::Faster), count(Verdict::Same));
    let threshold = (1e5 * comparison.threshold).round() / 1e3;
    let gone: String = comparison
        .gone
        .iter()
        .map(|Gone { workload, reason }| match reason {
            Some(reason) => format!("no longer measured: {workload}: {reason}\n"),
            None => format!("only in the old record: {workload}\n"),
        })
        .collect();
    format!(
        "{table}\n{gone}{slower} slower and {faster} faster by more than {threshold} %, {same} the same\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_with_and_without_their_sign() {
        for (text, share) in [("10%", 0.1), ("10 %", 0.1), ("2.5", 0.025), ("0", 0.0)] {
            assert!((percentage(text).unwrap() - share).abs() < 1e-12, "{text}");
        }
        for text in ["ten", "-3%", "", "inf", "%"] {
            assert!(percentage(text).unwrap_err().contains("percentage"), "{text}");
        }
    }

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        for (z, p) in
            [(0.0, 0.5), (1.0, 0.841_344_7), (1.96, 0.975_002_1), (-1.645, 0.049_984_9), (4.0, 0.999_968_3)]
        {
            assert!((normal(z) - p).abs() < 1e-6, "{z}: {}", normal(z));
        }
    }

    #[test]
    fn confidence_follows_the_intervals() {
        let sure = |ratio: f64, deviation: f64| confidence(ratio, 0.1, Some((deviation, deviation))).unwrap();
        assert!(sure(1.2, 0.01) > 0.999, "far beyond the threshold");
        assert!(sure(1.2, 0.2) < 0.9, "the same change, far less sure");
        assert!((sure(1.1, 0.01) - 0.5).abs() < 1e-6, "just at the threshold");
        assert!(sure(1.0, 0.01) < 1e-3, "no change");
        assert!(confidence(2.0, 0.1, None).is_none());
    }
}
