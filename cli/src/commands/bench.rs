//! `tilewise bench`: fused beside unfused, beside what this adapter can do at all.

use clap::Args;

use tilewise::verify::Family;

use crate::args::{Global, family_parser};
use crate::failure::Failure;

/// Fused kernels beside unfused ones, beside this adapter's own copy bandwidth and FMA rate
#[derive(Debug, Args)]
pub struct Bench {
    /// Only this family
    #[arg(value_parser = family_parser())]
    family: Option<Family>,
}

impl Bench {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        Ok(())
    }
}
