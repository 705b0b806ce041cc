//! `tilewise report`: records side by side.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tilewise_named::record::Record;

use crate::args::Global;
use crate::draft::Draft;
use crate::failure::Failure;
use crate::output::{note, print, print_json};
use crate::report::Contents;

/// Records of `tilewise bench` side by side: a page, Markdown, and plots
///
/// The page is one file that needs no network: rooflines, shares of the ceiling, fused against unfused, memory, scaling with
/// length, performance portability, and the plan that each adapter got. Without an output it prints Markdown.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tilewise report mine.json theirs.json -o report.html
  tilewise report mine.json --md -
  tilewise report mine.json theirs.json --svg plots/")]
pub struct Report {
    /// Records that `tilewise bench -o`, the demo page or a peer's script wrote
    #[arg(required = true, value_name = "FILE.json")]
    records: Vec<PathBuf>,
    /// Write a page to this file
    #[arg(short, long, value_name = "FILE.html")]
    output: Option<PathBuf>,
    /// Write Markdown to this file; `-` is standard output
    #[arg(long, value_name = "FILE.md")]
    md: Option<PathBuf>,
    /// Write each plot as an SVG file into this folder
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
}

impl Report {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let records = self.records.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
        let contents = Contents::of(records);
        if let Some(path) = &self.output {
            write(path, &contents.html())?;
        }
        if let Some(folder) = &self.svg {
            fs::create_dir_all(folder).map_err(|error| refused(folder, &error))?;
            for (name, text) in contents.svg_files() {
                write(&folder.join(name), &text)?;
            }
        }
        let to_stdout = self.md.as_deref() == Some(Path::new("-"));
        if let Some(path) = self.md.as_deref().filter(|_| !to_stdout) {
            write(path, &contents.markdown())?;
        }
        if global.json {
            let machines = contents.machines.iter();
            let machines: Vec<_> =
                machines.map(|machine| json!({ "letter": machine.letter, "name": machine.name })).collect();
            return print_json(&json!({ "machines": machines, "portability": contents.portability }));
        }
        let asked = self.output.is_some() || self.svg.is_some() || self.md.is_some();
        if to_stdout || !asked { print(&contents.markdown()) } else { Ok(()) }
    }
}

/// A record from a file.
pub fn read(path: &Path) -> Result<Record, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Input(format!("cannot read {}: {error}", path.display())))?;
    Record::from_json(&text).map_err(|why| Failure::Input(format!("{}: {why}", path.display())))
}

fn refused(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Input(format!("cannot write to {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    Draft::reserve(path)?.write(text.as_bytes())?;
    note(&format!("written to {}", path.display()));
    Ok(())
}
