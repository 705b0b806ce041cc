//! `tilewise run`: an operation on tensors of a file.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::args::Global;
use crate::draft::Draft;
use crate::failure::Failure;
use crate::files::Files;
use crate::output::{note, print, print_json};
use crate::progress;
use crate::table::{Column, Table};
use tilewise_named::adapter::Adapter;
use tilewise_named::ops::{FileOp, Planned};
use tilewise_named::tensors::{self, Output, TensorFile};

/// An operation on your own tensors, from one safetensors file to another
///
/// Tensors are F32, F16 or BF16; the main ones of an operation have one type, which the result has too. The output
/// appears whole or not at all.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tilewise run attention in.safetensors -o out.safetensors --causal --window 17,5
  tilewise run linear-scan in.safetensors -o out.safetensors
  tilewise run monarch goldens.safetensors -o out.safetensors --prefix monarch-square/")]
pub struct Run {
    #[command(subcommand)]
    op: FileOp<Files>,
}

/// What was done, for `--json` and the table.
#[derive(Debug, Serialize)]
struct Report {
    adapter: String,
    /// The operation in words.
    operation: String,
    /// The spec's own fields.
    spec: serde_json::Value,
    plans: Vec<Planned>,
    output: PathBuf,
    tensors: Vec<Written>,
}

#[derive(Debug, Serialize)]
struct Written {
    name: String,
    dtype: String,
    shape: Vec<usize>,
}

impl Run {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let files = self.op.files();
        let draft = Draft::reserve(&files.output)?;
        let bytes = files.read()?;
        let file = TensorFile::parse(files.input.display(), &bytes, &files.prefix)?;
        let operation = self.op.operation(&file)?;
        if let Some(ignored) = file.ignored() {
            note(&ignored);
        }
        let gpu = global.open()?;
        let plans = operation.plans(gpu.caps())?;
        let progress = progress::spinner(operation.to_string());
        let outputs = operation.compute(&gpu, &file)?;
        let adapter = Adapter::of(&gpu).name;
        let made_by = format!("tilewise {}", env!("CARGO_PKG_VERSION"));
        let metadata =
            [("made_by", made_by), ("adapter", adapter.clone()), ("operation", operation.to_string())];
        draft.write(&pollster::block_on(tensors::file(&outputs, &metadata))?)?;
        drop(progress);
        let written =
            |output: Output| Written { dtype: output.type_name(), name: output.name, shape: output.shape };
        let tensors = outputs.into_iter().map(written).collect();
        let (operation, spec) = (operation.to_string(), operation.fields());
        Report { adapter, operation, spec, plans, output: files.output.clone(), tensors }.print(global)
    }
}

impl Report {
    fn print(&self, global: &Global) -> Result<(), Failure> {
        if global.json {
            return print_json(self);
        }
        let Self { adapter, operation, plans, output, tensors, .. } = self;
        let mut table = Table::new(&[Column::Left("written"), Column::Left("type"), Column::Left("shape")]);
        for Written { name, dtype, shape } in tensors {
            table.row([name.as_str().into(), dtype.as_str().into(), format!("{shape:?}").into()]);
        }
        let plan = |Planned { pass, explanation, .. }: &Planned| format!("{pass}: {explanation}\n");
        let plans: String = plans.iter().map(plan).collect();
        print(&format!("{operation}\non {adapter}\n{plans}\n{table}\nto {}\n", output.display()))
    }
}
