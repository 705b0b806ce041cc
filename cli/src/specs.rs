//! Specs from command-line options, and their plans with the operation's type forgotten.

use std::fmt;
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde::Serialize;
use tilewise::ops::shaders;
use tilewise::plan::{AttentionPlan, Footprint, LinearScanPlan, MonarchPlan, Plan};
use tilewise::shader::{Shader, ShaderError};
use tilewise::{Alibi, AttentionSpec, Caps, DType, Error, LinearScanSpec, MonarchSpec, Window};

use crate::args::dtype_parser;
use crate::failure::Failure;

/// An operation and its sizes.
#[derive(Debug, Subcommand)]
pub enum Op {
    /// Scaled dot-product attention, forward
    Attention(AttentionSizes),
    /// Monarch product: two block-diagonal factors and the permutations between them
    Monarch(MonarchSizes),
    /// Linear recurrence `h_t = a_t h_(t-1) + b_t`
    LinearScan(ScanSizes),
}

/// Options of attention that are not sizes of its tensors.
#[derive(Clone, Copy, Debug, Args)]
pub struct AttentionOptions {
    /// A query sees only keys up to its own position (aligned to the bottom-right corner)
    #[arg(long)]
    pub causal: bool,
    /// Keys a query sees before and after its position; an empty side is unbounded: 17,5 or 17, or ,5
    #[arg(long, value_name = "LEFT,RIGHT", allow_hyphen_values = true)]
    pub window: Option<Sides>,
    /// Cap scores softly at ±CAP, a positive number
    #[arg(long, value_name = "CAP", allow_hyphen_values = true)]
    pub softcap: Option<f32>,
    /// Factor of the scores [default: 1/sqrt(head dim)]
    #[arg(long, allow_hyphen_values = true)]
    pub scale: Option<f32>,
}

#[derive(Debug, Args)]
pub struct AttentionSizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Queries of a batch
    #[arg(long, default_value_t = 2048)]
    q_len: usize,
    /// Keys of a batch [default: as many as queries]
    #[arg(long)]
    k_len: Option<usize>,
    /// Query heads
    #[arg(long, default_value_t = 8)]
    heads: usize,
    /// Key and value heads; a divisor of the query heads [default: as many]
    #[arg(long)]
    kv_heads: Option<usize>,
    /// Width of a query and a key, 1 to 256
    #[arg(long, default_value_t = 64)]
    head_dim: usize,
    /// Width of a value, 1 to 256 [default: as wide as a key]
    #[arg(long)]
    value_dim: Option<usize>,
    /// Add linear biases, one slope a head
    #[arg(long)]
    alibi: bool,
    #[command(flatten)]
    options: AttentionOptions,
}

#[derive(Debug, Args)]
pub struct MonarchSizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    /// Rows of x
    #[arg(long, default_value_t = 1024)]
    batch: usize,
    /// An N × N product of square blocks; N is a square number [default: 4096]
    #[arg(long, conflicts_with_all = ["w1", "w2"])]
    n: Option<usize>,
    /// Blocks of the first factor: k blocks of q × p
    #[arg(long, value_name = "K,Q,P", requires = "w2")]
    w1: Option<Blocks>,
    /// Blocks of the second factor: l blocks of s × r, with k q = l r
    #[arg(long, value_name = "L,S,R", requires = "w1")]
    w2: Option<Blocks>,
}

#[derive(Debug, Args)]
pub struct ScanSizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Channels of a batch
    #[arg(long, default_value_t = 1024)]
    channels: usize,
    /// Steps
    #[arg(long, default_value_t = 8192)]
    length: usize,
    /// Take an initial state
    #[arg(long)]
    initial: bool,
}

/// A window as it is written: `17,5`.
#[derive(Clone, Copy, Debug)]
pub struct Sides(Window);

impl FromStr for Sides {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| match text.trim() {
            "" => Ok(None),
            number => number.parse().map(Some).map_err(|_| {
                format!(
                    "{number:?} is no number of keys; a window is LEFT,RIGHT, and an empty side is unbounded"
                )
            }),
        };
        let sides = text.split_once(',').ok_or("a window has two sides: 17,5 or 17, or ,5")?;
        Ok(Self(Window { left: side(sides.0)?, right: side(sides.1)? }))
    }
}

/// The sizes of a factor as they are written: `8,192,96`.
#[derive(Clone, Copy, Debug)]
pub struct Blocks([usize; 3]);

impl FromStr for Blocks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes: Vec<usize> = text
            .split(',')
            .map(|size| size.trim().parse().map_err(|_| format!("{size:?} is no size")))
            .collect::<Result<_, _>>()?;
        let found = sizes.len();
        sizes.try_into().map(Self).map_err(|_| format!("{found} sizes, expected 3, such as 8,192,96"))
    }
}

impl AttentionOptions {
    /// Adds the options to a spec.
    pub fn apply(self, spec: AttentionSpec) -> AttentionSpec {
        let window = self.window.map_or_else(Window::default, |sides| sides.0);
        AttentionSpec { causal: self.causal, window, softcap: self.softcap, scale: self.scale, ..spec }
    }
}

impl Op {
    /// The checked spec.
    pub fn spec(&self) -> Result<Spec, Failure> {
        let spec = match self {
            Self::Attention(sizes) => Spec::Attention(sizes.spec()),
            Self::Monarch(sizes) => Spec::Monarch(sizes.spec()?),
            Self::LinearScan(sizes) => Spec::LinearScan(sizes.spec()),
        };
        spec.check()?;
        Ok(spec)
    }
}

impl AttentionSizes {
    fn spec(&self) -> AttentionSpec {
        let lengths = (self.q_len, self.k_len.unwrap_or(self.q_len));
        let spec = AttentionSpec::new(self.dtype, self.batch, lengths, self.heads, self.head_dim)
            .kv_heads(self.kv_heads.unwrap_or(self.heads))
            .value_dim(self.value_dim.unwrap_or(self.head_dim))
            .alibi(if self.alibi { Alibi::PerHead } else { Alibi::None });
        self.options.apply(spec)
    }
}

impl MonarchSizes {
    fn spec(&self) -> Result<MonarchSpec, Failure> {
        if let (Some(w1), Some(w2)) = (self.w1, self.w2) {
            return Ok(MonarchSpec::new(self.dtype, self.batch, w1.0, w2.0));
        }
        let n = self.n.unwrap_or(4096);
        let blocks = n.isqrt();
        if blocks * blocks != n {
            return Err(Failure::Input(format!(
                "n is {n}, expected a square number such as {} or {}; for other sizes give --w1 K,Q,P and --w2 L,S,R",
                blocks * blocks,
                (blocks as u128 + 1).pow(2),
            )));
        }
        Ok(MonarchSpec::square(self.dtype, self.batch, blocks))
    }
}

impl ScanSizes {
    fn spec(&self) -> LinearScanSpec {
        let spec = LinearScanSpec::new(self.dtype, self.batch, self.channels, self.length);
        LinearScanSpec { initial: self.initial, ..spec }
    }
}

/// A spec of any operation.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Spec {
    Attention(AttentionSpec),
    Monarch(MonarchSpec),
    LinearScan(LinearScanSpec),
}

/// A plan of any operation.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// The plan in words.
    pub explanation: String,
    /// The plan's own fields.
    pub plan: serde_json::Value,
    /// What each kernel takes.
    pub kernels: Vec<Footprint>,
    /// The kernels' shaders, in the same order.
    #[serde(skip)]
    pub shaders: Vec<Shader>,
}

impl Spec {
    fn check(&self) -> Result<(), Failure> {
        Ok(match self {
            Self::Attention(spec) => spec.check(),
            Self::Monarch(spec) => spec.check(),
            Self::LinearScan(spec) => spec.check(),
        }?)
    }

    /// The element type of the main tensors.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Attention(spec) => spec.dtype,
            Self::Monarch(spec) => spec.dtype,
            Self::LinearScan(spec) => spec.dtype,
        }
    }

    /// Plans the spec, and links the plan's shaders.
    pub fn plan(&self, caps: &Caps) -> Result<Planned, Failure> {
        match self {
            Self::Attention(spec) => planned(&AttentionPlan::new(spec, caps)?, shaders::attention),
            Self::Monarch(spec) => planned(&MonarchPlan::new(spec, caps)?, shaders::monarch),
            Self::LinearScan(spec) => planned(&LinearScanPlan::new(spec, caps)?, shaders::linear_scan),
        }
    }
}

fn planned<P: Plan + Serialize>(
    plan: &P,
    shaders: impl Fn(&P) -> Result<Vec<Shader>, ShaderError>,
) -> Result<Planned, Failure> {
    Ok(Planned {
        explanation: plan.to_string(),
        plan: serde_json::to_value(plan).map_err(|error| Failure::Check(error.to_string()))?,
        kernels: plan.footprints(),
        shaders: shaders(plan).map_err(Error::from)?,
    })
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attention(spec) => {
                let (q, k, v) = (spec.q_shape(), spec.k_shape(), spec.v_shape());
                write!(f, "attention, {}: q {q:?}, k {k:?}, v {v:?}", spec.dtype)?;
                if spec.causal {
                    f.write_str(", causal")?;
                }
                if spec.window != Window::default() {
                    let side = |side: Option<usize>| side.map_or_else(String::new, |keys| keys.to_string());
                    write!(f, ", window {},{}", side(spec.window.left), side(spec.window.right))?;
                }
                if let Some(cap) = spec.softcap {
                    write!(f, ", softcap {cap}")?;
                }
                if spec.alibi != Alibi::None {
                    f.write_str(", ALiBi")?;
                }
                spec.scale.map_or(Ok(()), |scale| write!(f, ", scale {scale}"))
            }
            Self::Monarch(spec) => {
                let x = [spec.batch, spec.n_in()];
                write!(f, "monarch, {}: x {x:?}, w1 {:?}, w2 {:?}", spec.dtype, spec.w1, spec.w2)
            }
            Self::LinearScan(spec) => {
                let initial = if spec.initial { ", initial state" } else { "" };
                write!(f, "linear-scan, {}: a and b {:?}{initial}", spec.dtype, spec.shape())
            }
        }
    }
}
