//! `cargo xtask test`: every check that CI runs, in the order in which a failure costs the least time.

use std::process::Command;

use anyhow::Result;

use crate::report::Report;
use crate::{adapter, shell, toolchain, web};

/// Runs all checks up to the first that fails, then says how long each took.
pub fn run(full: bool) -> Result<()> {
    let mut report = Report::default();
    let result = check_all(&mut report, full);
    println!("\n{report}");
    result
}

fn check_all(report: &mut Report, full: bool) -> Result<()> {
    report.step("set-up", set_up)?;
    report.step("format", || shell::run(&mut format()))?;
    report.step("clippy", || shell::run(&mut clippy()))?;
    report.step("build", || shell::run(&mut build()))?;
    report.step("adapter", find_adapter)?;
    report.step("tests", || shell::run(&mut all_tests(full)))?;
    report.step("shader checks", || shell::run(&mut shader_checks(full)))?;
    report.step("benches", || shell::run(&mut benches()))?;
    report.step("docs", || shell::run(&mut docs()))?;
    report.step("web set-up", web::provide)?;
    report.step("web build", web::build)?;
    browsers(report)
}

/// The package and the demo page in real browsers, on adapters in software that only Linux has for all to install.
fn browsers(report: &mut Report) -> Result<()> {
    if !cfg!(target_os = "linux") {
        println!(
            "\nSKIPPED: tests in browsers run on Linux alone, where there are adapters in software for them"
        );
        return Ok(());
    }
    if adapter::is_absence_allowed() {
        println!(
            "\nSKIPPED: tests in browsers need an adapter, which TILEWISE_ALLOW_NO_GPU=1 allows to be absent"
        );
        return Ok(());
    }
    report.step("browsers", web::provide_browsers)?;
    report.step("browser shaders", || shell::run(&mut web::write_shaders()?))?;
    report.step("browser tests", || shell::run(&mut web::test()?))
}

fn set_up() -> Result<()> {
    toolchain::provide_components()?;
    adapter::provide_vulkan()
}

fn format() -> Command {
    shell::cargo("fmt --all --check")
}

fn clippy() -> Command {
    shell::cargo("clippy --workspace --all-targets --locked -- -D warnings")
}

/// A step of its own, so that the times of the tests are times of tests.
///
/// Without xtask: it is running, and Windows refuses to overwrite a running program.
fn build() -> Command {
    shell::cargo("build --workspace --exclude xtask --all-targets --locked")
}

/// Makes sure that there is an adapter, and shows in the log which one the tests will use.
fn find_adapter() -> Result<()> {
    if adapter::ensure_adapter("debug")? {
        shell::run(&mut shell::tilewise("debug", "info")?)?;
    }
    Ok(())
}

/// Unit tests, integration tests and the examples in the docs.
fn all_tests(full: bool) -> Command {
    whole_grids(full, shell::cargo("test --workspace --locked"))
}

/// The suites that run kernels, once more with the shader compiler's own bounds checks. Natively these are
/// off, as our kernels check their bounds themselves; this finds one that does not.
///
/// The whole workspace is named, not one package: cargo would choose other features for that, and build wgpu
/// again.
fn shader_checks(full: bool) -> Command {
    let suites = ["attention", "butterfly", "scan", "baseline", "bench"];
    let suites = suites.map(|suite| format!(" --test {suite}")).concat();
    let mut tests = shell::cargo(&format!("test --workspace --locked{suites}"));
    tests.env("TILEWISE_SHADER_CHECKS", "1");
    whole_grids(full, tests)
}

/// Criterion runs each benchmark once, untimed, when `cargo test` calls it: what counts is that the answers,
/// which each bench checks, are right.
fn benches() -> Command {
    shell::cargo("test --workspace --locked --bench *")
}

fn docs() -> Command {
    let mut doc = shell::cargo("doc --workspace --no-deps --locked");
    doc.env("RUSTDOCFLAGS", "-D warnings");
    doc
}

/// Tests run a thinned grid of cases unless told otherwise.
fn whole_grids(full: bool, mut tests: Command) -> Command {
    if full {
        tests.env("TILEWISE_FULL", "1");
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_asks_the_tests_for_whole_grids() {
        assert_eq!(shell::describe(&all_tests(false)), "cargo test --workspace --locked");
        assert_eq!(shell::describe(&all_tests(true)), "TILEWISE_FULL=1 cargo test --workspace --locked");
    }

    #[test]
    fn the_pattern_of_the_benches_survives_a_shell() {
        assert!(shell::describe(&benches()).ends_with(" --bench '*'"));
    }
}
