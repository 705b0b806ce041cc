//! `tilewise project`: the structured matrix nearest to a dense one.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tilewise::{LinearSpec as _, MonarchSpec, project};

use crate::args::Global;
use crate::draft::Draft;
use crate::failure::Failure;
use crate::files::Files;
use crate::output::{note, print, print_json};
use tilewise_named::ops::fewer;
use tilewise_named::tensors::{self, Output, TensorFile};

/// The structured matrix nearest to a dense weight
///
/// Reads weight (out, in), as y = x weightᵀ takes it, or another tensor by --name; writes the factors that `tilewise run`
/// takes, w1 (k, q, p) and w2 (l, s, r), in the weight's type. Needs no GPU.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tilewise project in.safetensors --to monarch --blocks 8 -o out.safetensors
  tilewise project in.safetensors --to monarch --blocks 24,8 --rank 2 --name mlp.weight -o out.safetensors")]
pub struct Project {
    #[command(flatten)]
    files: Files,
    /// The kind of matrix
    #[arg(long, value_enum)]
    to: Kind,
    /// Blocks of the second factor and of the first, which divide out and in: `24,8`, or one number for both
    #[arg(long, value_name = "L,K")]
    blocks: Blocks,
    /// Rank of what takes the place of each slice of the weight
    #[arg(long, default_value_t = 1)]
    rank: usize,
    /// The tensor to read
    #[arg(long, default_value = "weight")]
    name: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Two block-diagonal factors and the permutations between them
    Monarch,
}

/// Of rows and of columns.
#[derive(Clone, Copy, Debug)]
struct Blocks([usize; 2]);

impl std::str::FromStr for Blocks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.trim().parse().map_err(|_| format!("{part:?} is no number of blocks"));
        let (rows, columns) = text.split_once(',').unwrap_or((text, text));
        Ok(Self([number(rows)?, number(columns)?]))
    }
}

/// What was done, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    spec: MonarchSpec,
    /// Frobenius norms: of the difference, of the weight, and their quotient.
    error: f64,
    norm: f64,
    relative_error: f64,
    parameters: usize,
    dense_parameters: usize,
    output: PathBuf,
}

impl Project {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let Self { files, to: Kind::Monarch, blocks: Blocks(blocks), rank, name } = self;
        let draft = Draft::reserve(&files.output)?;
        let bytes = files.read()?;
        let file = TensorFile::parse(files.input.display(), &bytes, &files.prefix)?;
        let weight = file.get(&name)?;
        if let Some(ignored) = file.ignored() {
            note(&ignored);
        }
        let spec = project::monarch_shape(weight.dtype, weight.sizes("out, in")?, blocks, rank)?;
        let projection = project::monarch(&spec, &weight.to_f64()?)?;
        let factors = &projection.factors;
        let outputs = [("w1", &spec.w1, &factors.w1), ("w2", &spec.w2, &factors.w2)]
            .map(|(name, shape, values)| Output::of(name, spec.dtype, shape, values));
        let relative_error = projection.relative_error();
        let metadata = [
            ("made_by", format!("tilewise {}", env!("CARGO_PKG_VERSION"))),
            ("projected", format!("{name} to {spec}")),
            ("relative_error", format!("{relative_error:e}")),
        ];
        draft.write(&pollster::block_on(tensors::file(&outputs, &metadata))?)?;
        let report = Report {
            error: projection.error,
            norm: projection.norm,
            relative_error,
            parameters: spec.parameters(),
            dense_parameters: spec.dense_parameters(),
            spec,
            output: files.output,
        };
        if global.json {
            return print_json(&report);
        }
        let Report { error, norm, output, .. } = &report;
        let [[k, q, p], [l, s, r]] = [spec.w1, spec.w2];
        print(&format!(
            "{name} to w1 {k} × {q} × {p} and w2 {l} × {s} × {r}: {}\n\
             error {relative_error:.3e} of the weight's Frobenius norm ({error:.4e} of {norm:.4e})\n\
             written: {}\n",
            fewer(&spec),
            output.display()
        ))
    }
}
