//! The steps of a long task: each is named as it begins and timed, and a table closes the task.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What ran so far.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    elapsed: Duration,
    passed: bool,
}

impl Report {
    /// Does one step. Its error is given back with the step's name before it.
    pub fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n── {name} ──");
        let begin = Instant::now();
        let result = work();
        self.rows.push(Row { name, elapsed: begin.elapsed(), passed: result.is_ok() });
        result.with_context(|| format!("step `{name}` failed"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let width =
            self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max("total".len());
        writeln!(f, "{:width$}  {:>8}", "step", "seconds")?;
        for Row { name, elapsed, passed } in &self.rows {
            let mark = if *passed { "" } else { "  FAILED" };
            writeln!(f, "{name:width$}  {:8.1}{mark}", elapsed.as_secs_f64())?;
        }
        let total: Duration = self.rows.iter().map(|row| row.elapsed).sum();
        write!(f, "{:width$}  {:8.1}", "total", total.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up() {
        let row = |name, seconds, passed| Row { name, elapsed: Duration::from_secs_f64(seconds), passed };
        let report = Report { rows: vec![row("format", 0.84, true), row("shader checks", 301.26, false)] };
        let expected = "\
step            seconds
format              0.8
shader checks     301.3  FAILED
total             302.1";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn a_failing_step_is_named_and_kept() {
        let mut report = Report::default();
        assert_eq!(report.step("one", || Ok(7)).unwrap(), 7);
        let error = report.step("two", || -> Result<()> { anyhow::bail!("no space left") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "step `two` failed: no space left");
        assert_eq!(report.rows.iter().map(|row| row.passed).collect::<Vec<_>>(), [true, false]);
    }
}
