//! Writes the JavaScript and the types beside a compiled crate, as wasm-bindgen's own command line does: but built from this
//! repository's lock file, so that the two halves of wasm-bindgen agree and nothing is to be installed.
//!
//! usage: tilewise-bindgen IN.wasm OUT-FOLDER

use std::env::args_os;

use anyhow::{Context as _, Result};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut paths = args_os().skip(1);
    let (input, output) =
        paths.next().zip(paths.next()).context("usage: tilewise-bindgen IN.wasm OUT-FOLDER")?;
    Bindgen::new()
        .input_path(input)
        .web(true)?
        .typescript(true)
        .remove_producers_section(true)
        .omit_default_module_path(false)
        .generate(output)
}
