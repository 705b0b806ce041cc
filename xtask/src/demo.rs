//! `cargo xtask demo`: from a fresh clone to kernels running on this machine's adapter.

use anyhow::Result;

use crate::{adapter, shell};

/// Provides an adapter, builds the command line and runs its tour with the user's arguments.
pub fn run(tour_args: &[String]) -> Result<()> {
    adapter::provide_vulkan()?;
    shell::run(&mut shell::cargo("build --release --locked --package tilewise-cli"))?;
    adapter::ensure_adapter("release")?;
    shell::run(shell::tilewise("release", "tour")?.args(tour_args))
}
