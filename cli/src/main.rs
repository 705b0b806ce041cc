//! The command line of tilewise: tour, plan, verify and measure hardware-aware kernels on any GPU.

mod args;
mod commands;
mod draft;
mod failure;
mod files;
mod interrupt;
mod output;
mod progress;
mod report;
mod table;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    hush_drivers();
    let cli = Cli::try_parse().unwrap_or_else(|error| args::refuse(error));
    cli.global.start_logging();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::PipeClosed) {
                output::note(&format!("error: {failure}"));
            }
            failure.exit_code().into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let global = &cli.global;
    match cli.command.unwrap_or_default() {
        Command::Tour => commands::tour::run(global),
        Command::Info => commands::info::run(global),
        Command::Plan(plan) => plan.run(global),
        Command::Shader(shader) => shader.run(global),
        Command::Verify(verify) => verify.run(global),
        Command::Bench(bench) => bench.run(global),
        Command::Report(report) => report.run(global),
        Command::Compare(compare) => compare.run(global),
        Command::Run(run) => run.run(global),
        Command::Project(project) => project.run(global),
    }
}

/// Mesa's window-system code complains on standard error where nobody is logged in. Nothing here opens a window.
#[cfg(target_os = "linux")]
fn hush_drivers() {
    for (variable, value) in [("XDG_RUNTIME_DIR", "/nonexistent"), ("EGL_LOG_LEVEL", "fatal")] {
        if std::env::var_os(variable).is_none() {
            // SAFETY: the process has one thread as yet, so nobody reads the environment meanwhile.
            unsafe { std::env::set_var(variable, value) };
        }
    }
}
