//! `tilewise verify`: the acceptance grids on this adapter.

use clap::Args;
use serde::Serialize;
use tilewise::verify::{self, Family, Grid, Outcome};
use tilewise::{DType, Error, Gpu};

use crate::args::{Global, families, family_parser};
use crate::failure::Failure;
use crate::output::{note, print, print_json};
use crate::progress;
use crate::table::{Cell, Column, Table};
use tilewise_named::adapter::Adapter;

/// Whether this adapter computes the right thing: the acceptance grids, against oracles in f64
///
/// A result passes when its error is within twice that of the plain computation at the same precision. With -v
/// every case is listed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tilewise verify
  tilewise verify attention --full
  tilewise verify scan --as webgpu-baseline --shader-checks")]
pub struct Verify {
    /// Only this family
    #[arg(value_parser = family_parser())]
    family: Option<Family>,
    /// The whole grid instead of the thinned one
    #[arg(long)]
    full: bool,
}

/// One compared output.
#[derive(Clone, Debug, Serialize)]
struct Compared {
    family: Family,
    case: String,
    dtype: DType,
    passed: bool,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What this adapter is too small for.
#[derive(Debug, Serialize)]
struct Refused {
    family: Family,
    case: String,
    reason: String,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
struct Report {
    adapter: Adapter,
    compared: Vec<Compared>,
    refused: Vec<Refused>,
}

impl Verify {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let gpu = global.open()?;
        let grid = if self.full { Grid::Full } else { Grid::Thin };
        let adapter = Adapter::of(&gpu);
        let mut report = Report { adapter, compared: vec![], refused: vec![] };
        for family in families(self.family) {
            report.add(&gpu, family, grid)?;
        }
        let printed = report.print(global);
        // A wrong result matters more than whether anyone read the table.
        report.verdict()?;
        printed
    }
}

impl Report {
    fn add(&mut self, gpu: &Gpu, family: Family, grid: Grid) -> Result<(), Failure> {
        let cases = verify::cases(family, grid);
        let bar = progress::bar(cases.len(), family.to_string());
        for case in cases {
            match pollster::block_on(case.run(gpu)) {
                Ok(outcomes) => {
                    let compared = |outcome: Outcome| Compared {
                        family,
                        case: case.to_string(),
                        dtype: case.dtype(),
                        passed: outcome.passed(),
                        outcome,
                    };
                    self.compared.extend(outcomes.into_iter().map(compared));
                }
                Err(Error::Plan(reason)) => {
                    let refused = Refused { family, case: case.to_string(), reason: reason.to_string() };
                    self.refused.push(refused);
                }
                Err(error) => {
                    note(&format!("while running {case}:"));
                    return Err(error.into());
                }
            }
            bar.inc(1);
        }
        Ok(())
    }

    fn print(&self, global: &Global) -> Result<(), Failure> {
        if global.json {
            return print_json(self);
        }
        for Refused { case, reason, .. } in &self.refused {
            note(&format!("not run: {case}: {reason}"));
        }
        let table = if global.verbose > 0 { self.every_case() } else { self.worst() };
        print(&format!("on {}\n\n{table}", self.adapter.name))
    }

    fn every_case(&self) -> Table {
        let mut table = Table::new(&[
            Column::Left("case"),
            Column::Left("tensor"),
            Column::Right("error"),
            Column::Right("allowed"),
            Column::Left("verdict"),
        ]);
        for Compared { case, outcome, passed, .. } in &self.compared {
            let verdict = if *passed { Cell::good("ok") } else { Cell::bad("WRONG") };
            table.row([
                case.into(),
                outcome.tensor.into(),
                format!("{:.2e}", outcome.error).into(),
                format!("{:.2e}", outcome.allowed).into(),
                verdict,
            ]);
        }
        table
    }

    /// For each family, element type and tensor the output that comes nearest to what is allowed.
    fn worst(&self) -> Table {
        let mut table = Table::new(&[
            Column::Left("family"),
            Column::Left("type"),
            Column::Left("tensor"),
            Column::Right("outputs"),
            Column::Right("worst error"),
            Column::Right("allowed"),
            Column::Right("of allowed"),
            Column::Left("verdict"),
            Column::Left("worst case"),
        ]);
        for group in self.groups() {
            let wrong = group.iter().filter(|compared| !compared.passed).count();
            let Some(worst) = group.iter().max_by(|a, b| a.severity().total_cmp(&b.severity())) else {
                continue;
            };
            let verdict = if wrong == 0 { Cell::good("ok") } else { Cell::bad(format!("{wrong} WRONG")) };
            let Outcome { tensor, error, allowed, .. } = worst.outcome;
            table.row([
                worst.family.into(),
                worst.dtype.into(),
                tensor.into(),
                group.len().into(),
                format!("{error:.2e}").into(),
                format!("{allowed:.2e}").into(),
                format!("{:.0} %", 100.0 * error / allowed).into(),
                verdict,
                (&worst.case).into(),
            ]);
        }
        table
    }

    /// The outputs by family, element type and tensor, in the order in which they first appear.
    fn groups(&self) -> Vec<Vec<&Compared>> {
        let mut groups: Vec<Vec<&Compared>> = vec![];
        for family in Family::ALL {
            for dtype in DType::ALL {
                for compared in self.compared.iter().filter(|c| (c.family, c.dtype) == (family, dtype)) {
                    let tensor = compared.outcome.tensor;
                    let same = |group: &&mut Vec<&Compared>| {
                        group
                            .first()
                            .is_some_and(|c| (c.family, c.dtype, c.outcome.tensor) == (family, dtype, tensor))
                    };
                    match groups.iter_mut().find(same) {
                        Some(group) => group.push(compared),
                        None => groups.push(vec![compared]),
                    }
                }
            }
        }
        groups
    }

    fn verdict(&self) -> Result<(), Failure> {
        let wrong = self.compared.iter().filter(|compared| !compared.passed).count();
        match (wrong, self.compared.len()) {
            (0, 0) => Err(Failure::Check("nothing could be compared".to_owned())),
            (0, _) => Ok(()),
            (wrong, all) => Err(Failure::Check(format!("{wrong} of {all} outputs are wrong"))),
        }
    }
}

impl Compared {
    /// The error as a share of what is allowed; a failure comes before everything that passed.
    fn severity(&self) -> f64 {
        let share = self.outcome.error / self.outcome.allowed;
        match (self.passed, share.is_nan()) {
            (true, _) => share,
            (false, true) => f64::INFINITY,
            (false, false) => share.max(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(dtype: DType, error: f64) -> Compared {
        let outcome = Outcome { tensor: "h", error, allowed: 1.0, largest: 9.0 };
        let passed = outcome.passed();
        Compared { family: Family::Scan, case: format!("error {error}"), dtype, passed, outcome }
    }

    fn report(compared: Vec<Compared>) -> Report {
        let adapter =
            tilewise::wgpu::AdapterInfo::new(tilewise::wgpu::DeviceType::Cpu, tilewise::wgpu::Backend::Noop);
        Report { adapter: adapter.into(), compared, refused: vec![] }
    }

    #[test]
    fn one_wrong_output_fails_the_whole() {
        assert!(report(vec![compared(DType::F32, 0.5)]).verdict().is_ok());
        for bad in [1.5, f64::NAN, f64::INFINITY] {
            let wrong = report(vec![compared(DType::F32, 0.5), compared(DType::F16, bad)]).verdict();
            assert!(wrong.is_err_and(|failure| failure.exit_code() == 1), "{bad}");
        }
        assert!(report(vec![]).verdict().is_err(), "nothing was checked");
    }

    #[test]
    fn the_table_shows_the_worst_of_each_kind() {
        let all =
            vec![compared(DType::F32, 0.25), compared(DType::F32, f64::NAN), compared(DType::F32, 0.75)];
        let table = report([all, vec![compared(DType::F16, 0.1)]].concat()).worst().to_string();
        assert!(table.contains("error NaN") && table.contains("1 WRONG"), "{table}");
        assert!(table.contains("error 0.1") && table.contains("10 %"), "{table}");
        assert_eq!(table.lines().count(), 3, "{table}");
    }
}
