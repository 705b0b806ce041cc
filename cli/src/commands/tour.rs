//! `tilewise tour`: what the library does, on this machine.

use clap::Args;

use crate::args::Global;
use crate::failure::Failure;

/// For each family: how it runs here, whether the answer is right, and what fusing gains
#[derive(Debug, Default, Args)]
pub struct Tour {}

impl Tour {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        Ok(())
    }
}
