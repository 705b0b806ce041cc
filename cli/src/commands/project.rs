//! `tilewise project`: the structured matrix nearest to a dense one, and back.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tilewise::project::MonarchFactors;
use tilewise::{DType, Element, LinearSpec as _, MonarchSpec, by_dtype, project};

use crate::args::Global;
use crate::draft::Draft;
use crate::failure::Failure;
use crate::files::Files;
use crate::output::{note, print, print_json};
use tilewise_named::ops::fewer;
use tilewise_named::tensors::{self, Output, TensorFile};

/// The structured matrix nearest to a dense weight, or the dense matrix that a structured one is
///
/// To monarch: reads weight (out, in), as y = x weightᵀ takes it, or another tensor by --name; writes the factors that
/// `tilewise run` takes, w1 (k, q, p) and w2 (l, s, r), in the weight's type. To dense: reads w1 and w2, writes the weight.
/// Needs no GPU.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tilewise project in.safetensors --to monarch --blocks 8 -o out.safetensors
  tilewise project in.safetensors --to monarch --blocks 24,8 --rank 2 --name mlp.weight -o out.safetensors
  tilewise project out.safetensors --to dense -o near.safetensors")]
pub struct Project {
    #[command(flatten)]
    files: Files,
    /// The kind of matrix
    #[arg(long, value_enum)]
    to: Kind,
    /// Blocks of the second factor and of the first, which divide out and in: `24,8`, or one number for both
    #[arg(long, value_name = "L,K", required_if_eq("to", "monarch"))]
    blocks: Option<Blocks>,
    /// Rank of what takes the place of each slice of the weight [default: 1]
    #[arg(long)]
    rank: Option<usize>,
    /// The dense tensor, which is read, or written with --to dense
    #[arg(long, default_value = "weight")]
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Kind {
    /// Two block-diagonal factors and the permutations between them
    Monarch,
    /// Any matrix, of the factors of another kind
    Dense,
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
    #[serde(flatten)]
    distance: Option<Distance>,
    parameters: usize,
    dense_parameters: usize,
    output: PathBuf,
}

/// Frobenius norms: of the difference from the weight, of the weight, and their quotient; and that quotient for the factors
/// as they are written, rounded to the weight's type.
#[derive(Debug, Serialize)]
struct Distance {
    error: f64,
    norm: f64,
    relative_error: f64,
    written_relative_error: f64,
}

/// What is written, and what is said of it.
struct Found {
    spec: MonarchSpec,
    distance: Option<Distance>,
    outputs: Vec<Output>,
    words: String,
}

impl Project {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let draft = Draft::reserve(&self.files.output)?;
        let bytes = self.files.read()?;
        let file = TensorFile::parse(self.files.input.display(), &bytes, &self.files.prefix)?;
        let Found { spec, distance, outputs, words } = match self.to {
            Kind::Monarch => self.to_monarch(&file)?,
            Kind::Dense => self.to_dense(&file)?,
        };
        if let Some(ignored) = file.ignored() {
            note(&ignored);
        }
        let mut metadata = vec![
            ("made_by", format!("tilewise {}", env!("CARGO_PKG_VERSION"))),
            ("projected", words.lines().next().unwrap_or_default().to_owned()),
        ];
        if let Some(Distance { written_relative_error, .. }) = &distance {
            metadata.push(("relative_error", format!("{written_relative_error:e}")));
        }
        draft.write(&pollster::block_on(tensors::file(&outputs, &metadata))?)?;
        let report = Report {
            distance,
            parameters: spec.parameters(),
            dense_parameters: spec.dense_parameters(),
            spec,
            output: self.files.output,
        };
        if global.json {
            return print_json(&report);
        }
        print(&format!("{words}\nwritten: {}\n", report.output.display()))
    }

    fn to_monarch(&self, file: &TensorFile<'_>) -> Result<Found, Failure> {
        let Some(Blocks(blocks)) = self.blocks else { unreachable!("clap requires --blocks") };
        let name = &self.name;
        let weight = file.get(name)?;
        let rank = self.rank.unwrap_or(1);
        let spec = project::monarch_shape(weight.dtype, weight.sizes("out, in")?, blocks, rank)?;
        let dense = weight.to_f64()?;
        let projection = project::monarch(&spec, &dense)?;
        let (factors, dtype) = (&projection.factors, spec.dtype);
        let written = MonarchFactors { w1: rounded(dtype, &factors.w1), w2: rounded(dtype, &factors.w2) };
        let near = project::monarch_dense(&spec, &written)?;
        let error = dense.iter().zip(&near).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let distance = Distance {
            error: projection.error,
            norm: projection.norm,
            relative_error: projection.relative_error(),
            written_relative_error: if projection.norm > 0.0 { error / projection.norm } else { 0.0 },
        };
        let outputs = [("w1", &spec.w1, &written.w1), ("w2", &spec.w2, &written.w2)]
            .map(|(name, shape, values)| Output::of(name, dtype, shape, values));
        let Distance { error, norm, relative_error, written_relative_error } = &distance;
        let [[k, q, p], [l, s, r]] = [spec.w1, spec.w2];
        let words = format!(
            "{name} to w1 {k} × {q} × {p} and w2 {l} × {s} × {r}: {}\n\
             error {relative_error:.3e} of the weight's Frobenius norm ({error:.4e} of {norm:.4e}), \
             {written_relative_error:.3e} as written in {dtype}",
            fewer(&spec),
        );
        Ok(Found { spec, distance: Some(distance), outputs: outputs.into(), words })
    }

    fn to_dense(&self, file: &TensorFile<'_>) -> Result<Found, Failure> {
        for (option, given) in [("--blocks", self.blocks.is_some()), ("--rank", self.rank.is_some())] {
            if given {
                return Err(Failure::Input(format!(
                    "{option} is for --to monarch: the factors' shapes say it"
                )));
            }
        }
        let (w1, w2) = (file.get("w1")?, file.get("w2")?);
        w2.expect_dtype_of(&w1)?;
        let spec = MonarchSpec::new(w1.dtype, 1, w1.sizes("k, q, p")?, w2.sizes("l, s, r")?);
        let factors = MonarchFactors { w1: w1.to_f64()?, w2: w2.to_f64()? };
        let dense = project::monarch_dense(&spec, &factors)?;
        let (name, size) = (&self.name, [spec.n_out(), spec.n_in()]);
        let words = format!("w1 and w2 to {name} {} × {}: {}", size[0], size[1], fewer(&spec));
        let outputs = vec![Output::of(name, spec.dtype, &size, &dense)];
        Ok(Found { spec, distance: None, outputs, words })
    }
}

/// Values as a tensor of that type holds them.
fn rounded(dtype: DType, values: &[f64]) -> Vec<f64> {
    by_dtype!(dtype, T => values.iter().map(|&value| T::from_f64(value).to_f64()).collect())
}
