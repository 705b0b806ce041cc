//! `tilewise bench`: fused beside unfused, beside what this adapter can do at all.

use clap::Args;

use crate::args::Global;
use crate::failure::Failure;

/// Fused kernels beside unfused ones, beside this adapter's own copy bandwidth and FMA rate
#[derive(Debug, Args)]
pub struct Bench {}

impl Bench {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        Ok(())
    }
}
