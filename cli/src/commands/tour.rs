//! `tilewise tour`: what the library does, on this machine.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use serde::Serialize;
use tilewise::bench::{
    Ceilings, Depth, Figures, Measured, Report, Scale, Yardstick, ceilings, measure, suite,
};
use tilewise::timing::Effort;
use tilewise::verify::{self, Family, Grid};
use tilewise::{Bytes, Error, Gpu};

use super::bench::milliseconds;
use crate::args::Global;
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::progress;
use crate::table::{Cell, Column, Table};
use tilewise_named::adapter::Adapter;

/// How long a family's checks may take.
const CHECKS: Duration = Duration::from_secs(8);

/// Few runs: a tour shows ratios, `bench` measures.
const EFFORT: Effort = Effort::fixed(Duration::from_millis(200), 5, Duration::from_secs(1));

/// Everything that was shown.
#[derive(Debug, Serialize)]
struct Shown {
    adapter: Adapter,
    ceilings: Ceilings,
    families: Vec<Stop>,
}

/// One family of the tour.
#[derive(Debug, Serialize)]
struct Stop {
    family: Family,
    checks: Checks,
    /// Nothing where the workload is more than the adapter holds.
    report: Option<Report>,
    /// What fusing gains, in words.
    meaning: String,
}

/// How a part of the acceptance grid went.
#[derive(Debug, Default, Serialize)]
struct Checks {
    cases: usize,
    cases_of_grid: usize,
    outputs: usize,
    wrong: usize,
    /// The largest error as a share of what is allowed.
    worst: f64,
}

/// Goes from family to family.
pub fn run(global: &Global) -> Result<(), Failure> {
    let gpu = global.open()?;
    let adapter = Adapter::of(&gpu);
    let introduction = format!(
        "tilewise {} on {} ({}, {})\n",
        env!("CARGO_PKG_VERSION"),
        adapter.name,
        adapter.device_type,
        adapter.driver()
    );
    let say = |text: &str| if global.json { Ok(()) } else { print(text) };
    say(&introduction)?;
    let progress = progress::spinner("measuring copy bandwidth and FMA rate");
    let ceilings = pollster::block_on(ceilings(&gpu, EFFORT))?;
    drop(progress);
    say(&format!("What it can do at all: {ceilings}.\n"))?;
    let mut families = Vec::new();
    // All are timed before any is checked: while the oracle keeps the processor busy, a GPU turns its clocks down.
    for family in Family::ALL {
        families.push(Stop::time(&gpu, family, &ceilings)?);
    }
    for stop in &mut families {
        stop.checks = Checks::run(&gpu, stop.family)?;
        say(&stop.in_words())?;
    }
    let wrong: usize = families.iter().map(|stop| stop.checks.wrong).sum();
    if global.json {
        print_json(&Shown { adapter, ceilings, families })?;
    } else {
        say(
            "\nMore: `tilewise verify` for whole grids, `tilewise bench` for measurements,\n`tilewise plan` for other \
             machines, `tilewise run` for your own tensors.\n",
        )?;
    }
    match wrong {
        0 => Ok(()),
        _ => Err(Failure::Check(format!("{wrong} outputs are wrong; `tilewise verify -v` lists them"))),
    }
}

impl Stop {
    /// Times the family's workload; its checks are to follow.
    fn time(gpu: &Gpu, family: Family, ceilings: &Ceilings) -> Result<Self, Failure> {
        let suite = suite(family, Scale::by_arithmetic(ceilings), Depth::Quick);
        let nothing = || Failure::Check(format!("a bug of tilewise: no workload shows what {family} does"));
        let workload = suite.first().ok_or_else(nothing)?;
        let _progress = progress::spinner(format!("measuring {workload}"));
        let (report, meaning) = match pollster::block_on(measure(gpu, &**workload, EFFORT, ceilings)) {
            Ok(report) => {
                let meaning = meaning(&report);
                (Some(report), meaning)
            }
            Err(refused @ (Error::Plan(_) | Error::Allocation { .. })) => {
                (None, format!("{workload} does not run here: {refused}"))
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { family, checks: Checks::default(), report, meaning })
    }

    fn in_words(&self) -> String {
        let Self { family, checks, report, meaning } = self;
        let mut words = format!("\n== {family} ==\n");
        if let Some(Report { fused, .. }) = report {
            let _ = writeln!(words, "plan   {}", fused.plan);
        }
        let _ = writeln!(words, "check  {checks}");
        if let Some(report) = report {
            let _ = writeln!(words, "timed  {}\n\n{}", report.workload, times(report));
        }
        words + meaning + "\n"
    }
}

/// The versions side by side, and below them those that do not run.
fn times(report: &Report) -> String {
    let mut table = Table::new(&[
        Column::Left(""),
        Column::Right("time"),
        Column::Right("memory"),
        Column::Right("of what the adapter can do"),
    ]);
    table.row(row("fused", &report.fused));
    let mut refused = String::new();
    for Yardstick { name, measured } in &report.yardsticks {
        match measured {
            Measured::Figures(figures) => table.row(row(name, figures)),
            Measured::Refused(reason) => {
                let _ = writeln!(refused, "{name} does not run here: {reason}");
            }
        }
    }
    format!("{table}{refused}")
}

fn row(name: &str, figures: &Figures) -> [Cell; 4] {
    [
        name.into(),
        format!("{} ms", milliseconds(figures.timing.median())).into(),
        Bytes(figures.peak_bytes).into(),
        format!("{:.0} %", 100.0 * figures.ceiling_fraction).into(),
    ]
}

impl Checks {
    /// Runs cases from all over the thinned grid, until time is up.
    fn run(gpu: &Gpu, family: Family) -> Result<Self, Failure> {
        let grid = verify::cases(family, Grid::Thin);
        let started = Instant::now();
        let bar = progress::bar(grid.len(), format!("checking {family}"));
        let mut checks = Self { cases_of_grid: grid.len(), ..Self::default() };
        // A stride without a common factor visits every case once, far apart from the one before.
        let stride = (grid.len() / 3..=grid.len()).find(|stride| gcd(*stride, grid.len()) == 1).unwrap_or(1);
        for case in (0..grid.len()).filter_map(|i| grid.get(i * stride % grid.len())) {
            if started.elapsed() > CHECKS {
                break;
            }
            bar.inc(1);
            match pollster::block_on(case.run(gpu)) {
                Ok(outcomes) => {
                    checks.cases += 1;
                    for outcome in outcomes {
                        checks.outputs += 1;
                        checks.wrong += usize::from(!outcome.passed());
                        checks.worst = checks.worst.max(outcome.error / outcome.allowed);
                    }
                }
                // Too large for this adapter: `verify` names it.
                Err(Error::Plan(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(checks)
    }
}

impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cases, cases_of_grid, outputs, wrong, worst } = self;
        if *outputs == 0 {
            return f.write_str("nothing fits this adapter, nothing was checked");
        }
        write!(f, "{outputs} outputs of {cases} cases ({cases_of_grid} in the grid) against the oracle: ")?;
        match wrong {
            0 => write!(f, "right, the worst error is {:.0} % of what is allowed", 100.0 * worst),
            _ => write!(f, "{wrong} WRONG"),
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What the figures mean.
fn meaning(report: &Report) -> String {
    let why = match report.family {
        Family::Attention => {
            "Unfused attention stores a table of queries × keys scores for each head and reads it back; the fused \
             kernel keeps a tile of it in workgroup memory."
        }
        Family::Butterfly => {
            "Unfused products write what lies between the factors and permute it in passes of their own; the fused \
             kernel does both in its indexing."
        }
        Family::Scan => {
            "Composed of array operations, a scan passes over all its steps log2(length) times; the fused kernels \
             read them once or twice."
        }
    };
    let gain = |times: f64, more: &str, less: &str| match times {
        1.05.. => format!("{} {more}", factor(times)),
        0.0..0.95 => format!("{} {less}", factor(1.0 / times)),
        _ => format!("neither {more} nor {less}"),
    };
    let mut text = match (report.memory_saving(), report.speed_up()) {
        (Some(memory), Some(speed)) => {
            let memory = gain(memory, "less memory", "more memory");
            format!("{why}\nHere fusing takes {memory}, and is {}.", gain(speed, "faster", "slower"))
        }
        _ => format!("{why}\nHere the unfused version does not fit at all."),
    };
    let fused = report.fused.timing.median().as_secs_f64();
    for Yardstick { name, measured } in report.yardsticks.iter().skip(1) {
        let faster = measured.figures().map(|figures| fused / figures.timing.median().as_secs_f64());
        if let Some(times) = faster.filter(|times| *times >= 1.05) {
            let _ = write!(text, "\nThe {name} version is {} faster here.", factor(times));
            if *name == "sequential" {
                text += " Where few lanes run at once, there is little to gain from many.";
            }
        }
    }
    text
}

/// Two digits that say something.
fn factor(times: f64) -> String {
    let digits = usize::from(times < 9.95);
    format!("{times:.digits$} times")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_checked_is_not_called_right() {
        let checks = Checks { cases_of_grid: 9, ..Checks::default() };
        assert_eq!(checks.to_string(), "nothing fits this adapter, nothing was checked");
        let checks = Checks { cases: 2, outputs: 4, worst: 0.5, ..checks };
        assert!(
            checks.to_string().ends_with("right, the worst error is 50 % of what is allowed"),
            "{checks}"
        );
        let checks = Checks { wrong: 1, ..checks };
        assert!(checks.to_string().ends_with("1 WRONG"), "{checks}");
    }
}
