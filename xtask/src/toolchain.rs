//! The parts of the Rust toolchain that the checks need, added through rustup where they are missing.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::shell;

/// A download of some 30 MB ends well before; where the network swallows packets, waiting longer helps
/// nobody.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(3);

/// Makes sure that `cargo fmt` and `cargo clippy` are there.
pub fn provide_components() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if has(subcommand) {
            continue;
        }
        rustup(&format!("component add {component}"));
        if !has(subcommand) {
            bail!(
                "`cargo {subcommand}` is missing and rustup could not add it: install {component} and try again"
            );
        }
    }
    Ok(())
}

/// Runs rustup on the active toolchain; says whether it did what it was asked.
pub fn rustup(arguments: &str) -> bool {
    let mut rustup = shell::command("rustup", arguments);
    // One retry: an absent network stays absent. A backtrace of rustup would bury its message.
    rustup.env("RUSTUP_MAX_RETRIES", "1").env("RUST_BACKTRACE", "0");
    let result = shell::run_within(DOWNLOAD_LIMIT, &mut rustup);
    if let Err(error) = &result {
        println!("rustup could not do it: {error:#}");
    }
    result.is_ok()
}

fn has(subcommand: &str) -> bool {
    shell::answer(&mut shell::cargo(&format!("{subcommand} --version"))).is_some()
}
