//! The files of `run` and `project`.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;

// Not a doc comment: clap would give it to the command.
#[derive(Debug, Args)]
pub struct Files {
    /// The safetensors file to read
    #[arg(value_name = "IN.safetensors")]
    pub input: PathBuf,
    /// The safetensors file to write
    #[arg(short, long, value_name = "OUT.safetensors")]
    pub output: PathBuf,
    /// Read only tensors whose names begin with PREFIX, such as `case/`; their names then lose it
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prefix: String,
}

impl Files {
    /// The whole file to read.
    pub fn read(&self) -> Result<Vec<u8>, Failure> {
        let refused = |error| Failure::Input(format!("cannot read {}: {error}", self.input.display()));
        fs::read(&self.input).map_err(refused)
    }
}
