//! The operations, one file each: from options to sizes for `plan` and `shader`, from a file of
//! tensors to results for `run`.
//!
//! An operation's file holds `Sizes` (its options for `plan` and `shader`), `Options` (those for `run`), and a type that
//! implements [`Operation`]. The list at the end of this file makes subcommands of them.

#![allow(clippy::doc_markdown, reason = "clap prints these comments to people, backticks and all")]

mod associative_scan;
mod attention;
mod attention_mods;
mod block_sparse;
mod butterfly;
mod butterfly_linear;
mod cached_attention;
mod conv1d;
mod delta_rule;
mod gla;
mod h3;
mod hyena;
mod linear_attention;
mod linear_scan;
mod long_conv;
mod mamba;
mod mamba2;
mod merge;
mod monarch;
mod pixelfly;
mod retnet;
mod s4d;
mod selective_scan;
mod ssd;

use std::fmt;

use clap::{Args, Subcommand};
use serde::Serialize;
use tilewise::plan::{Footprint, Plan};
use tilewise::shader::{Shader, ShaderError};
use tilewise::verify::Family;
use tilewise::{Caps, DType, Error, Gpu, LinearSpec};

use crate::failure::Failure;
use crate::options::{Given, Take as _, Value};
use crate::tensors::{Output, TensorFile};

/// An operation with its sizes, checked. Its `Display` names it.
pub trait Operation: fmt::Display {
    /// The spec's own fields, for `--json`.
    fn fields(&self) -> Fields;

    /// What else a person may want to know of it before it runs.
    fn note(&self) -> Option<String> {
        None
    }

    /// Plans what would run, the forward pass first, and links the plans' shaders.
    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure>;

    /// Runs the operation on the tensors that it was made from.
    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure>;
}

/// Options that say the sizes of an operation.
pub trait FromSizes: Args {
    /// The operation, checked.
    fn operation(&self) -> Result<Box<dyn Operation>, Failure>;
}

/// Options that the shapes of tensors do not say.
pub trait FromFile: Args {
    /// The operation that the tensors' shapes and these options say, with every shape checked against it.
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure>;
}

/// A plan with its type forgotten.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// Which pass: `forward`, `backward`, …
    pub pass: &'static str,
    /// The plan in words.
    pub explanation: String,
    /// The plan's own fields.
    pub plan: Fields,
    /// What each kernel takes.
    pub kernels: Vec<Footprint>,
    /// The kernels' shaders, in the same order.
    #[serde(skip)]
    pub shaders: Vec<Shader>,
}

impl Planned {
    /// A plan and its shaders.
    pub fn new<P: Plan + Serialize>(
        pass: &'static str,
        plan: &P,
        shaders: impl Fn(&P) -> Result<Vec<Shader>, ShaderError>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            pass,
            explanation: plan.to_string(),
            plan: fields(plan),
            kernels: plan.footprints(),
            shaders: shaders(plan).map_err(Error::from)?,
        })
    }
}

/// The gradients of results: where one is given, those of the inputs are asked for.
const GIVEN_GRADIENTS: [&str; 4] = ["dy", "dout", "do", "dh"];

impl Planned {
    /// Whether computing from these tensors takes this pass. Plans also tell of what follows: gradients, and the steps of
    /// decoding.
    pub fn is_taken(&self, file: &TensorFile<'_>) -> bool {
        let trained = GIVEN_GRADIENTS.iter().any(|name| file.has(name));
        let backward = self.pass.ends_with("backward") && !self.pass.contains("forward");
        let step = self.pass == "step" || self.pass.ends_with(", step");
        !step && (trained || !backward)
    }
}

/// What is said where anyone asks for notes.
fn noted(words: impl FnOnce() -> String) -> Option<String> {
    cfg!(feature = "json").then(words)
}

/// What a structured layer saves.
pub fn fewer(spec: &impl LinearSpec) -> String {
    let parameters = [spec.parameters(), spec.dense_parameters()];
    fewer_than_dense(parameters, [spec.flops(), spec.dense_flops()])
}

/// What a structured product saves: its parameters and its operations, each before those of a dense one.
pub fn fewer_than_dense([parameters, dense]: [usize; 2], [flops, dense_flops]: [f64; 2]) -> String {
    let (fewer, fewer_flops) = (dense as f64 / parameters as f64, dense_flops / flops);
    format!(
        "{parameters} parameters, {fewer:.1} times fewer than dense ({dense}); {flops:.3e} operations, \
         {fewer_flops:.1} times fewer ({dense_flops:.3e})"
    )
}

/// Does the work in a function of its own. Where it is for one element type of three, it stays apart from the others: a
/// browser's package then holds what they have in common once.
#[inline(never)]
fn apart<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// The fields of a spec or a plan.
#[cfg(feature = "json")]
pub type Fields = serde_json::Value;

/// Nobody reads them.
#[cfg(not(feature = "json"))]
pub type Fields = ();

#[cfg(not(feature = "json"))]
fn fields<T>(_: &T) -> Fields {}

#[cfg(feature = "json")]
fn fields(value: &impl Serialize) -> Fields {
    serde_json::to_value(value).expect("specs and plans are plain data")
}

/// The fields of a spec, and the type that its parts have.
#[cfg(not(feature = "json"))]
fn fields_with_dtype<T>(_: &T, _: DType) -> Fields {}

/// The fields of a spec, and the type that its parts have.
#[cfg(feature = "json")]
fn fields_with_dtype(value: &impl Serialize, dtype: DType) -> Fields {
    let mut found = fields(value);
    found["dtype"] = fields(&dtype);
    found
}

/// The sizes of a block as they are written: `8,192,96`.
#[derive(Clone, Copy, Debug)]
pub struct List<const N: usize>(pub [usize; N]);

impl<const N: usize> Value for List<N> {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl<const N: usize> std::str::FromStr for List<N> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes: Vec<usize> = text
            .split(',')
            .map(|size| size.trim().parse().map_err(|_| format!("{size:?} is no size")))
            .collect::<Result<_, _>>()?;
        let found = sizes.len();
        let example = [8, 192, 96, 32].iter().take(N).map(usize::to_string).collect::<Vec<_>>().join(",");
        sizes.try_into().map(Self).map_err(|_| format!("{found} sizes, expected {N}, such as {example}"))
    }
}

/// Makes the subcommands of `plan`, `shader` and `run`, and the list of operations, from one line each.
macro_rules! operations {
    ($($variant:ident in $module:ident, $name:literal of $family:ident;)*) => {
        /// The names of the operations, and the family of each.
        pub const OPERATIONS: &[(&str, Family)] = &[$(($name, Family::$family)),*];

        /// An operation and its sizes.
        #[derive(Debug, Subcommand)]
        #[allow(missing_docs, reason = "each operation's options describe themselves")]
        pub enum SizedOp {
            $(#[command(name = $name)] $variant($module::Sizes),)*
        }

        /// An operation, its options, and where its tensors are read and written.
        #[derive(Debug, Subcommand)]
        #[allow(missing_docs, reason = "each operation's options describe themselves")]
        pub enum FileOp<F: Args> {
            $(#[command(name = $name)] $variant {
                #[command(flatten)]
                options: $module::Options,
                #[command(flatten)]
                files: F,
            },)*
        }

        /// The operation that a call's tensors and options say.
        pub fn of_call(
            name: &str,
            mut given: Given,
            tensors: &TensorFile<'_>,
        ) -> Result<Box<dyn Operation>, Failure> {
            match name {
                $($name => {
                    let options = $module::Options::take(&mut given, name)?;
                    given.finish()?;
                    options.operation(tensors)
                })*
                _ => Err(Failure::input(format!("there is no operation {name}; there are: {}", names()))),
            }
        }

        impl SizedOp {
            /// The operation, checked.
            pub fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
                match self {
                    $(Self::$variant(sizes) => sizes.operation(),)*
                }
            }

            /// Its name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }
        }

        impl<F: Args> FileOp<F> {
            /// Where its tensors are read and written.
            pub fn files(&self) -> &F {
                match self {
                    $(Self::$variant { files, .. } => files,)*
                }
            }

            /// The operation that a file's tensors and the options say.
            pub fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
                match self {
                    $(Self::$variant { options, .. } => options.operation(file),)*
                }
            }
        }
    };
}

operations! {
    Attention in attention, "attention" of Attention;
    Merge in merge, "merge" of Attention;
    Butterfly in butterfly, "butterfly" of Butterfly;
    Monarch in monarch, "monarch" of Butterfly;
    BlockSparse in block_sparse, "block-sparse" of Butterfly;
    Pixelfly in pixelfly, "pixelfly" of Butterfly;
    ButterflyLinear in butterfly_linear, "butterfly-linear" of Butterfly;
    LinearScan in linear_scan, "linear-scan" of Scan;
    AssociativeScan in associative_scan, "associative-scan" of Scan;
    LongConv in long_conv, "long-conv" of Scan;
    Ssd in ssd, "ssd" of Scan;
    Gla in gla, "gla" of Scan;
    Retnet in retnet, "retnet" of Scan;
    DeltaRule in delta_rule, "delta-rule" of Scan;
    S4d in s4d, "s4d" of Scan;
    H3 in h3, "h3" of Scan;
    Hyena in hyena, "hyena" of Scan;
    Mamba in mamba, "mamba" of Scan;
    Mamba2 in mamba2, "mamba2" of Scan;
    Conv1d in conv1d, "conv1d" of Scan;
    SelectiveScan in selective_scan, "selective-scan" of Scan;
}

/// The names of all operations, for messages.
pub fn names() -> String {
    OPERATIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};
    use safetensors::tensor::{Dtype, TensorView};

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        op: FileOp<NoFiles>,
    }

    #[derive(Args, Debug)]
    struct NoFiles {}

    /// Tensors for every operation. No name has two shapes in them, so that one file serves all.
    const TENSORS: &[(&str, &[usize])] = &[
        ("q", &[1, 3, 2, 4]),
        ("k", &[1, 5, 1, 4]),
        ("v", &[1, 5, 1, 4]),
        ("alibi_slopes", &[2]),
        ("x", &[2, 4]),
        ("w1", &[2, 2, 2]),
        ("w2", &[2, 2, 2]),
        ("a", &[1, 2, 5]),
        ("b", &[1, 2, 5]),
        ("h0", &[1, 2]),
    ];

    /// Operations whose tensors are in [`TENSORS`].
    const TRIED: &[&str] = &["attention", "monarch", "linear-scan"];

    fn whole() -> Vec<u8> {
        let zeros = [0_u8; 256];
        let views = TENSORS.iter().map(|&(name, shape)| {
            let bytes = &zeros[..shape.iter().product::<usize>() * 4];
            (name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("bytes fill the shape"))
        });
        safetensors::serialize(views, None).expect("a file")
    }

    fn operations(bytes: &[u8]) -> Vec<Result<Box<dyn Operation>, Failure>> {
        let operation = |name: &&str| {
            let line = Line::try_parse_from(["run", name]);
            let op = line.unwrap_or_else(|error| panic!("{name}: {error}")).op;
            op.operation(&TensorFile::parse("in", bytes, "")?)
        };
        TRIED.iter().map(operation).collect()
    }

    /// What is taken from a damaged file is an operation that can be computed, or an error of exit code 2.
    #[test]
    fn damaged_files_give_whole_operations_or_none() {
        let whole = whole();
        assert!(operations(&whole).iter().all(Result::is_ok));
        let header = 8 + usize::from(whole[0]) + 256 * usize::from(whole[1]);
        let mut random = StdRng::seed_from_u64(1);
        let mut taken = [0; 2];
        for round in 0..20_000 {
            let mut bytes = whole.clone();
            if round % 3 == 0 {
                bytes.truncate(random.random_range(0..bytes.len()));
            } else {
                for _ in 0..=(round % 2) {
                    let place = random.random_range(0..header);
                    bytes[place] =
                        if round % 2 == 0 { random.random_range(b' '..b'~') } else { random.random() };
                }
            }
            for operation in operations(&bytes) {
                taken[usize::from(operation.is_ok())] += 1;
                match operation {
                    Ok(operation) => {
                        assert!(operation.plans(&tilewise::caps::WEBGPU_BASELINE).is_ok(), "{operation}");
                    }
                    Err(failure) => assert!(!failure.to_string().is_empty()),
                }
            }
        }
        assert!(taken.iter().all(|&count| count > 500), "refused and taken: {taken:?}");
    }
}
