//! What goes to standard output and standard error. Neither may panic when it is closed.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::failure::Failure;

/// Writes to standard output. Colours are dropped unless it is a terminal that wants them: `NO_COLOR` is respected.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes JSON to standard output.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&json(value)?)
}

/// JSON for people too: indented, and ended by a line break.
pub fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    Ok(text + "\n")
}

/// Writes a line to standard error: what a person should know, and a program reading the output should not see.
pub fn note(line: &str) {
    // If standard error is gone there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{line}");
}
