//! `tilewise bench`: fused beside unfused, beside what this adapter can do at all.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use tilewise::bench::{Attempt, Ceilings, Depth, Figures, Measured, Reach, Report, longest};
use tilewise::timing::{Doubt, Spread};
use tilewise::verify::Family;
use tilewise::{Bytes, Gpu};
use tilewise_named::record::{Engine, Progress, Protocol, Record, Suite, Unmeasured, Watcher};

use crate::args::{Global, families, family_parser};
use crate::draft::Draft;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{note, print, print_json};
use crate::progress;
use crate::table::{Cell, Column, Table};
use tilewise_named::adapter::Adapter;

/// Fused kernels beside unfused ones, beside what this adapter can do at all
///
/// A fixed suite, of sizes that suit the adapter. Every answer is checked before it is timed. Times are medians, on the
/// device's clock where it has one and on the host's from submission to completion; runs go on until the 95 % interval of
/// the median is narrow, or time is up. Memory is what is allocated beyond the inputs. Ctrl-C stops after the workload under
/// way and keeps what was measured.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tilewise bench --quick
  tilewise bench attention -o attention.json
  tilewise bench -o mine.json && tilewise report mine.json theirs.json -o report.html
  tilewise bench attention --longest
  tilewise bench --json | jq '.reports[].fused.timing'")]
pub struct Bench {
    /// Only this family
    #[arg(value_parser = family_parser())]
    family: Option<Family>,
    #[command(flatten)]
    depth: DepthFlags,
    /// At which length attention stops on this adapter: fused, its gradients, and unfused (one batch, four heads of 64, f16)
    #[arg(long, conflicts_with_all = ["quick", "full", "output", "note"])]
    longest: bool,
    /// Write the record of the measurement to this file, as JSON
    #[arg(short, long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// What readers of the record should know, such as that the machine was busy
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Print the JSON Schema of records, and measure nothing
    #[arg(long, exclusive = true)]
    schema: bool,
}

/// How many workloads, and how thoroughly.
#[derive(Debug, Args)]
struct DepthFlags {
    /// Few workloads, medians to within 5 %
    #[arg(long)]
    quick: bool,
    /// More and larger workloads, medians to within 1 % instead of 2
    #[arg(long, conflicts_with = "quick")]
    full: bool,
}

impl DepthFlags {
    fn depth(&self) -> Depth {
        match (self.quick, self.full) {
            (true, _) => Depth::Quick,
            (_, true) => Depth::Full,
            _ => Depth::Standard,
        }
    }
}

impl Bench {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        if self.schema {
            return print_json(&Record::json_schema());
        }
        if self.longest {
            return self.longest(global);
        }
        let draft = self.output.as_deref().map(Draft::reserve).transpose()?;
        let gpu = global.open()?;
        let record = self.measure(&gpu)?;
        if let (Some(draft), Some(path)) = (draft, &self.output) {
            draft.write(record.to_json().map_err(std::io::Error::from)?.as_bytes())?;
            note(&format!("written to {}", path.display()));
        }
        for Unmeasured { workload, reason, .. } in record.refused.iter().chain(&record.failed) {
            note(&format!("not measured: {workload}: {reason}"));
        }
        let printed = if global.json { print_json(&record) } else { print(&in_words(&record)) };
        // A wrong result matters more than whether anyone read the table.
        match (record.failed.len(), &record.suite) {
            (0, Some(Suite { complete: false, workloads, .. })) => Err(Failure::Stopped(format!(
                "stopped: {} of {workloads} workloads measured",
                record.reports.len()
            ))),
            (0, _) => printed,
            (failed, _) => Err(Failure::Check(format!("{failed} workloads went wrong"))),
        }
    }

    fn longest(&self, global: &Global) -> Result<(), Failure> {
        if self.family.is_some_and(|family| family != Family::Attention) {
            return Err(Failure::Input(
                "--longest is for attention: the others have no unfused table".to_owned(),
            ));
        }
        let gpu = global.open()?;
        let progress = progress::spinner("doubling the length");
        let reaches = pollster::block_on(longest(&gpu, PATIENCE))?;
        drop(progress);
        if global.json { print_json(&reaches) } else { print(&lengths(&gpu, &reaches)) }
    }

    fn measure(&self, gpu: &Gpu) -> Result<Record, Failure> {
        let (families, depth) = (families(self.family), self.depth.depth());
        let protocol = Protocol { families, depth, note: self.note.clone(), browser: None };
        let mut terminal = Terminal { interrupt: Interrupt::listen()?, bar: None };
        Ok(pollster::block_on(Record::measure(gpu, &protocol, &mut terminal))?)
    }
}

/// The person at the terminal.
struct Terminal {
    interrupt: Interrupt,
    bar: Option<ProgressBar>,
}

impl Watcher for Terminal {
    fn tell(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Ceilings => self.bar = Some(progress::spinner("what the adapter can do at all")),
            Progress::Before { workload, measured, all } => {
                if measured == 0 {
                    self.bar = Some(progress::steps(all, "bench"));
                }
                if let Some(bar) = &self.bar {
                    bar.set_position(measured as u64);
                    bar.set_message(workload.to_string());
                }
            }
            Progress::Measured(_) => {}
        }
    }

    fn is_stopped(&self) -> bool {
        self.interrupt.is_pressed()
    }

    fn now(&self) -> String {
        jiff::Timestamp::now().strftime("%FT%TZ").to_string()
    }
}

fn in_words(record: &Record) -> String {
    let Record { adapter, engine, date, ceilings, reports, .. } = record;
    let (name, driver) = (&adapter.name, adapter.driver());
    let Engine { name: by, version, on } = engine;
    let checks = if record.shader_checks { ", with shader checks" } else { "" };
    format!(
        "on {name} ({driver}), {by} {version}, {on}, {date}{checks}\n{}ceilings: {ceilings}\n\n{}{}{}{}",
        record.suite.as_ref().map(suite_in_words).unwrap_or_default(),
        table(reports),
        against_dense(reports),
        by_length(reports, ceilings),
        doubts(reports),
    )
}

fn suite_in_words(suite: &Suite) -> String {
    let Suite { version, depth, scale, within, .. } = suite;
    let depth = format!("{depth:?}").to_lowercase();
    let percent = 100.0 * within;
    format!("suite {version}, {depth}, sized for {scale} adapters, medians to within {percent} % at 95 %\n")
}

/// How many medians are doubtful, and why.
fn doubts(reports: &[Report]) -> String {
    let each = |report: &Report| report.fused.timing.doubts.clone();
    let all: Vec<_> = reports.iter().map(each).filter(|doubts| !doubts.is_empty()).collect();
    if all.is_empty() {
        return String::new();
    }
    let count = |doubt| all.iter().filter(|doubts| doubts.contains(&doubt)).count();
    let parts = [
        (count(Doubt::Noisy), "noisy (quartiles a tenth of the median apart)"),
        (
            count(Doubt::Drifting),
            "drifting (slower or faster at the end than at the beginning, as with heat)",
        ),
        (count(Doubt::Unsettled), "unsettled (time was up before the median was as sure as asked for)"),
    ];
    let parts: Vec<_> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    format!("\nof {} fused medians {} are doubtful: {}\n", reports.len(), all.len(), parts.join(", "))
}

/// A width, and how many times faster than dense something is there; `None` where dense was not timed.
type Speedup = (usize, Option<f64>);

/// For what stands in place of square dense layers: how many times faster it is, width by width, and where that crosses 1.
fn against_dense(reports: &[Report]) -> String {
    let mut lines: Vec<(String, Vec<Speedup>)> = Vec::new();
    for report in reports {
        let Some(width) = report.width else { continue };
        let name = format!("{} {}", report.kind, report.dtype);
        let at = lines.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            lines.push((name, vec![]));
            lines.len() - 1
        });
        let points = &mut lines[at].1;
        // Of several batches the last, and largest, beside which dense was timed says most.
        match (points.iter_mut().find(|(known, _)| *known == width), report.over_dense()) {
            (Some(point), Some(over)) => point.1 = Some(over),
            (Some(_), None) => {}
            (None, over) => points.push((width, over)),
        }
        points.sort_by_key(|(width, _)| *width);
    }
    let lines: Vec<_> =
        lines.iter().map(|(name, points)| format!("\n{}", over_dense(name, points))).collect();
    if lines.is_empty() { String::new() } else { format!("{}\n", lines.concat()) }
}

/// The speedups of one kind of product over dense, by width.
fn over_dense(name: &str, points: &[Speedup]) -> String {
    let timed: Vec<_> = points.iter().filter_map(|&(width, over)| Some((width, over?))).collect();
    let untimed: Vec<_> =
        points.iter().filter(|(_, over)| over.is_none()).map(|(width, _)| width.to_string()).collect();
    let without = format!("dense is too slow or too large to time at n {}", untimed.join(", "));
    if timed.is_empty() {
        return format!("{name} over dense: {without}");
    }
    let widths: Vec<_> = timed.iter().map(|(width, over)| format!("n {width} {over:.2}×")).collect();
    let text = format!("{name} over dense: {}; {}", widths.join(", "), crossing(&timed));
    if untimed.is_empty() { text } else { format!("{text}; {without}") }
}

/// For what goes along rows: how many times faster it is than either yardstick, length by length, and how much of the copy
/// bandwidth its least traffic takes.
fn by_length(reports: &[Report], ceilings: &Ceilings) -> String {
    let mut table = Table::new(&[
        Column::Left("workload"),
        Column::Right("length"),
        Column::Right("fused ms"),
        Column::Right("over unfused"),
        Column::Right("over sequential"),
        Column::Right("of copy"),
    ]);
    let times = |over: Option<f64>| over.map_or_else(|| "-".to_owned(), |over| format!("{over:.1}×"));
    let mut any = false;
    for report in reports {
        let Some(length) = report.length.filter(|_| report.family == Family::Scan) else { continue };
        any = true;
        let Figures { timing, bytes_per_second, .. } = &report.fused;
        table.row([
            report.workload.as_str().into(),
            length.into(),
            milliseconds(timing.median()).into(),
            times(report.over("unfused")).into(),
            times(report.over("sequential")).into(),
            format!("{:.0} %", 100.0 * bytes_per_second / ceilings.copy_bytes_per_second).into(),
        ]);
    }
    if any {
        format!("\nby length, beside array operations and a loop a channel:\n{table}")
    } else {
        String::new()
    }
}

/// From which width on every ratio is above 1, in words.
fn crossing(points: &[(usize, f64)]) -> String {
    let after = points.iter().rposition(|(_, over)| *over <= 1.0).map_or(0, |at| at + 1);
    match (after.checked_sub(1).map(|at| points[at].0), points.get(after)) {
        (None, _) => "above 1 at every width".to_owned(),
        (Some(slower), Some((faster, _))) => format!("crosses 1 between n = {slower} and n = {faster}"),
        (Some(slower), None) => format!("not above 1 up to n = {slower}"),
    }
}

/// What would take longer is not waited for: some systems reset a GPU that is busy for two seconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// One row a length, and what each implementation stops at.
fn lengths(gpu: &Gpu, reaches: &[Reach]) -> String {
    let mut table = Table::new(&[
        Column::Right("length"),
        Column::Right("fused ms"),
        Column::Right("backward ms"),
        Column::Right("unfused ms"),
    ]);
    let cell = |attempt: &Attempt| match attempt {
        Attempt::Ran(seconds) => milliseconds(Duration::from_secs_f64(*seconds)),
        Attempt::Fits(seconds) => format!("fits, ~{}", milliseconds(Duration::from_secs_f64(*seconds))),
        Attempt::Refused(_) => "refused".to_owned(),
    };
    for Reach { length, forward, backward, unfused } in reaches {
        let length = length.to_string();
        table.row([length.into(), cell(forward).into(), cell(backward).into(), cell(unfused).into()]);
    }
    let adapter = Adapter::of(gpu);
    #[allow(clippy::type_complexity, reason = "a name and a field, three times")]
    let stops: [(&str, fn(&Reach) -> &Attempt); 3] = [
        ("unfused", |reach| &reach.unfused),
        ("fused", |reach| &reach.forward),
        ("the gradients", |reach| &reach.backward),
    ];
    let stop = |(name, attempt): (&str, fn(&Reach) -> &Attempt)| {
        let refused = reaches.iter().find_map(|reach| match attempt(reach) {
            Attempt::Refused(why) => Some(format!("{name}: stops at {}: {why}", reach.length)),
            _ => None,
        });
        let last = reaches.last().map_or(0, |reach| reach.length);
        refused.unwrap_or_else(|| format!("{name}: fits at every length up to {last}"))
    };
    let stops = stops.map(stop).join("\n");
    let (name, driver) = (&adapter.name, adapter.driver());
    format!("attention f16 b 1 h 4 d 64, as many keys as queries, on {name} ({driver})\n\n{table}\n{stops}")
}

/// One row an implementation: what it takes, and how near it is to what this adapter can do.
pub fn table(reports: &[Report]) -> Table {
    let mut table = Table::new(&[
        Column::Left("workload"),
        Column::Left("version"),
        Column::Right("device ms"),
        Column::Right("quartiles"),
        Column::Right("wall ms"),
        Column::Right("memory"),
        Column::Right("GFLOP/s"),
        Column::Right("GB/s"),
        Column::Right("of copy"),
        Column::Right("of ceiling"),
    ]);
    for report in reports {
        table.row(row(&report.workload, "fused", &report.fused));
        for yardstick in &report.yardsticks {
            match &yardstick.measured {
                Measured::Figures(figures) => table.row(row("", &yardstick.name, figures)),
                Measured::Refused(_) => {
                    let mut cells = ["", &yardstick.name, "", "", "", "", "", "", "", ""].map(Cell::from);
                    cells[2] = Cell::from("none");
                    table.row(cells);
                }
            }
        }
    }
    table
}

fn row(workload: &str, version: &str, figures: &Figures) -> [Cell; 10] {
    let Figures { timing, peak_bytes, flops_per_second, bytes_per_second, ceiling_fraction, .. } = figures;
    // Quartiles of the clock that counts.
    let Spread { lower, upper, .. } = timing.device.unwrap_or(timing.wall);
    let quartiles = format!("{}-{}", milliseconds(lower), milliseconds(upper));
    [
        workload.into(),
        version.into(),
        timing.device.map_or_else(|| "-".to_owned(), |spread| milliseconds(spread.median)).into(),
        quartiles.into(),
        milliseconds(timing.wall.median).into(),
        Bytes(*peak_bytes).into(),
        format!("{:.1}", flops_per_second / 1e9).into(),
        format!("{:.1}", bytes_per_second / 1e9).into(),
        format!("{:.0} %", 100.0 * figures.copy_fraction).into(),
        format!("{:.0} %", 100.0 * ceiling_fraction).into(),
    ]
}

/// Three digits that say something.
pub fn milliseconds(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    let digits = match ms {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{ms:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speedups_say_where_they_cross_one() {
        assert_eq!(
            crossing(&[(256, 0.5), (1024, 1.5), (4096, 4.0)]),
            "crosses 1 between n = 256 and n = 1024"
        );
        assert_eq!(
            crossing(&[(256, 1.2), (1024, 0.9), (4096, 4.0)]),
            "crosses 1 between n = 1024 and n = 4096"
        );
        assert_eq!(crossing(&[(256, 1.2), (1024, 1.9)]), "above 1 at every width");
        assert_eq!(crossing(&[(256, 0.2), (1024, 0.9)]), "not above 1 up to n = 1024");
    }

    #[test]
    fn widths_without_a_dense_product_are_named() {
        assert_eq!(
            over_dense("monarch f16", &[(256, Some(0.5)), (1024, Some(2.25)), (4096, None), (16_384, None)]),
            "monarch f16 over dense: n 256 0.50×, n 1024 2.25×; crosses 1 between n = 256 and n = 1024; dense is too \
             slow or too large to time at n 4096, 16384"
        );
        assert_eq!(
            over_dense("monarch f16", &[(4096, None)]),
            "monarch f16 over dense: dense is too slow or too large to time at n 4096"
        );
    }

    #[test]
    fn small_and_large_times_have_three_digits() {
        let ms = |nanoseconds| milliseconds(Duration::from_nanos(nanoseconds));
        assert_eq!(
            [ms(12_345), ms(1_234_567), ms(12_345_678), ms(123_456_789)],
            ["0.012", "1.23", "12.3", "123"]
        );
    }
}
