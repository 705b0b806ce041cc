//! Set-up and checks of this repository: `cargo xtask help` lists what there is.
//!
//! Everything that CI does is done here, in Rust, so that it is one command, the same on every system and
//! desk. The crate depends on nothing heavy: it has to build in seconds, on a machine with only the Rust
//! toolchain.

mod adapter;
mod demo;
mod packages;
mod report;
mod runtime_dir;
mod shell;
mod test;
mod toolchain;
mod wasm;
mod web;

use std::process::ExitCode;

const HELP: &str = "\
Set-up and checks of tilewise.

usage: cargo xtask <task>

tasks:
  demo [ARGS…]   find a GPU adapter (or install a software one), build, and run `tilewise tour ARGS…`
  web [--build]  build the browser package and the demo page, and serve the page; --build only builds
  test [--full]  every check that CI runs; --full tries whole grids of cases instead of thinned ones
  setup          only provide what these need: toolchain components, a GPU adapter, the wasm target, Node.js and
                 its packages, browsers
  help           show this

environment:
  TILEWISE_ALLOW_NO_GPU=1  install no adapter; tests that need one are skipped, and say so
";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Task {
    Demo { tour_args: Vec<String> },
    Test { full: bool },
    Web { only_build: bool },
    Setup,
    Help,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(task) = parse(&args) else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    match perform(task) {
        Ok(()) => ExitCode::SUCCESS,
        // The plain chain of causes: a backtrace of this program would tell nothing about the check that
        // failed.
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the arguments; `None` when they are not understood.
fn parse(args: &[String]) -> Option<Task> {
    let (task, rest) = args.split_first()?;
    match (task.as_str(), rest) {
        ("demo", tour_args) => Some(Task::Demo { tour_args: tour_args.to_vec() }),
        ("test", []) => Some(Task::Test { full: false }),
        ("test", [flag]) if flag == "--full" => Some(Task::Test { full: true }),
        ("web", []) => Some(Task::Web { only_build: false }),
        ("web", [flag]) if flag == "--build" => Some(Task::Web { only_build: true }),
        ("setup", []) => Some(Task::Setup),
        ("help" | "--help" | "-h", _) => Some(Task::Help),
        _ => None,
    }
}

fn perform(task: Task) -> anyhow::Result<()> {
    runtime_dir::provide()?;
    match task {
        Task::Demo { tour_args } => demo::run(&tour_args),
        Task::Test { full } => test::run(full),
        Task::Web { only_build: false } => web::serve(),
        Task::Web { only_build: true } => web::provide().and_then(|()| web::build()),
        Task::Setup => setup(),
        Task::Help => {
            print!("{HELP}");
            Ok(())
        }
    }
}

/// Provides everything beforehand, for a machine that will be offline later.
fn setup() -> anyhow::Result<()> {
    toolchain::provide_components()?;
    adapter::provide_vulkan()?;
    wasm::Compiler::provide()?;
    web::provide()?;
    if cfg!(target_os = "linux") && !adapter::is_absence_allowed() {
        web::provide_browsers()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Option<Task> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn tasks_are_recognised() {
        assert_eq!(parse_line("setup"), Some(Task::Setup));
        assert_eq!(parse_line("test"), Some(Task::Test { full: false }));
        assert_eq!(parse_line("test --full"), Some(Task::Test { full: true }));
        assert_eq!(parse_line("web"), Some(Task::Web { only_build: false }));
        assert_eq!(parse_line("web --build"), Some(Task::Web { only_build: true }));
        assert_eq!(parse_line("help"), Some(Task::Help));
    }

    #[test]
    fn the_tour_gets_the_arguments_of_demo() {
        let tour_args = vec!["--json".to_string(), "--seed".to_string()];
        assert_eq!(parse_line("demo --json --seed"), Some(Task::Demo { tour_args }));
    }

    #[test]
    fn anything_else_is_refused() {
        for line in ["", "tset", "test --ful", "test --full --full", "setup now", "web now"] {
            assert_eq!(parse_line(line), None, "{line:?}");
        }
    }
}
