//! What a kernel costs on this adapter: fused beside unfused, beside what the adapter can do at all.
//!
//! A [`Workload`] is a spec with a size worth timing; [`suite`] has some for each [`Scale`], which follows from an
//! adapter's measured [`Ceilings`] and its [`memory`]. [`measure`] checks every answer against the oracle before it times it, so that a [`Report`] never
//! holds the speed of a wrong result.

mod attention;
mod backward;
mod butterfly;
mod ceilings;
mod measure;
mod memory;
mod scan;
mod suite;

pub use attention::{Attempt, Reach, Seconds, longest};
pub use backward::{Backward, Trainable};
pub use ceilings::{CeilingsPlan, ceilings, shaders};
pub use measure::{Bench, measure};
pub use memory::memory;
pub use suite::{SUITE_VERSION, Scale, suite};

use std::fmt;
use std::pin::Pin;

use crate::shader::{Files, files};
use crate::timing::Timing;
use crate::verify::Family;
use crate::{Bytes, DType, Error};

/// The shader files of this module alone.
pub const FILES: Files = files!["bench/copy", "bench/fma", "bench/matrix",];

/// What this adapter can do at all, measured on it with kernels that do nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ceilings {
    /// Copying a buffer too large for caches: bytes read and bytes written, each second.
    pub copy_bytes_per_second: f64,
    /// f32 multiply-adds in registers: two operations each, each second. Matrix units are not part of it.
    pub fma_flops_per_second: f64,
    /// The same on matrix units, which multiply f16 and sum f32, where there are any.
    pub matrix_flops_per_second: Option<f64>,
    /// What it takes to submit one small kernel and wait for it, on the host's clock.
    pub submission_seconds: Option<f64>,
    /// What each further small kernel of a submission adds that waits for the one before.
    pub dispatch_seconds: Option<f64>,
}

impl Ceilings {
    /// Arithmetic of numbers of a type, each second: on matrix units where they take the type.
    pub fn flops_per_second(&self, dtype: DType) -> f64 {
        let matrix = self.matrix_flops_per_second.filter(|_| dtype == DType::F16);
        matrix.unwrap_or(0.0).max(self.fma_flops_per_second)
    }

    /// The better of two measurements in each respect: whatever else keeps a machine busy can only make it slower.
    #[must_use]
    pub fn or_better(self, other: Self) -> Self {
        let least = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::min);
        let most = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        Self {
            copy_bytes_per_second: self.copy_bytes_per_second.max(other.copy_bytes_per_second),
            fma_flops_per_second: self.fma_flops_per_second.max(other.fma_flops_per_second),
            matrix_flops_per_second: most(self.matrix_flops_per_second, other.matrix_flops_per_second),
            submission_seconds: least(self.submission_seconds, other.submission_seconds),
            dispatch_seconds: least(self.dispatch_seconds, other.dispatch_seconds),
        }
    }

    /// The least time in seconds for that much arithmetic and traffic, whichever takes longer (the roofline of Williams,
    /// Waterman and Patterson, 2009).
    pub fn floor(&self, dtype: DType, flops: f64, bytes: u64) -> f64 {
        (flops / self.flops_per_second(dtype)).max(bytes as f64 / self.copy_bytes_per_second)
    }
}

impl fmt::Display for Ceilings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copy_bytes_per_second: copy, fma_flops_per_second: fma, .. } = self;
        write!(f, "copy {:.1} GB/s, f32 multiply-add {:.1} GFLOP/s", copy / 1e9, fma / 1e9)?;
        if let Some(matrix) = self.matrix_flops_per_second {
            write!(f, ", f16 on matrix units {:.1} GFLOP/s", matrix / 1e9)?;
        }
        if let Some(seconds) = self.dispatch_seconds {
            write!(f, ", {:.1} µs a dispatch", seconds * 1e6)?;
        }
        Ok(())
    }
}

/// Which way a workload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Pass {
    /// Results of inputs.
    Forward,
    /// Gradients of inputs.
    Backward,
}

/// A spec to measure. Its `Display` names it.
pub trait Workload: fmt::Display {
    /// Its family.
    fn family(&self) -> Family;

    /// The element type of its tensors.
    fn dtype(&self) -> DType;

    /// Floating-point operations that the mathematics needs, a multiply and an add each.
    fn flops(&self) -> f64;

    /// Bytes that must move at least: every input once, every output once.
    fn least_bytes(&self) -> u64;

    /// Which way it goes.
    fn pass(&self) -> Pass {
        Pass::Forward
    }

    /// What it is one of, whatever its size: the words of its name before its type, and more where they are not enough.
    fn kind(&self) -> String {
        let (name, dtype) = (self.to_string(), format!(" {} ", self.dtype()));
        name.split_once(&dtype).map_or(name.as_str(), |(kind, _)| kind).to_owned()
    }

    /// What it is called on every adapter, however large it is made to fill one: its kind, its type, and the sizes that
    /// matter to how it is computed.
    fn case(&self) -> String {
        let size = match (self.width(), self.length()) {
            (Some(width), _) => format!(", n {width}"),
            (_, Some(length)) => format!(", length {length}"),
            _ => String::new(),
        };
        format!("{} {}{size}", self.kind(), self.dtype())
    }

    /// The width of the square dense layer in whose place it stands, if it does.
    fn width(&self) -> Option<usize> {
        None
    }

    /// Steps of a row, if it has any.
    fn length(&self) -> Option<usize> {
        None
    }

    /// The spec's own fields.
    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value;

    /// Checks and times the fused kernels and every yardstick; [`measure`] makes a report of it.
    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a>;
}

/// A workload on its way: the fused figures, and those of each yardstick.
pub type Contest<'a> = Pin<Box<dyn Future<Output = Result<(Figures, Vec<Yardstick>), Error>> + 'a>>;

/// How many workloads to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Depth {
    /// The few that show what fusing gains.
    Quick,
    /// Those that a comparison of adapters needs: every shape of interest.
    Standard,
    /// The few of the next larger scale too, if there is one.
    Full,
}

/// What one implementation of a workload costs.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Figures {
    /// How it runs here: the plan's own words.
    pub plan: String,
    /// How long it takes.
    pub timing: Timing,
    /// The most memory it takes at once beyond the inputs: outputs and scratch, in bytes. 0 where a peer does not tell.
    pub peak_bytes: u64,
    /// The operations of the workload, each second.
    pub flops_per_second: f64,
    /// The least bytes of the workload, each second.
    pub bytes_per_second: f64,
    /// The least bytes each second over what copying reaches: how near a workload is that only reads.
    pub copy_fraction: f64,
    /// The least time that the ceilings allow, over the time taken. Above 1 where caches hold the whole workload.
    pub ceiling_fraction: f64,
}

/// A yardstick's figures, or why it cannot run on this adapter.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Measured {
    /// It ran, and its answer is right.
    Figures(Box<Figures>),
    /// It cannot run here: what was refused, with the numbers.
    Refused(String),
}

impl Measured {
    /// The figures, if there are any.
    pub fn figures(&self) -> Option<&Figures> {
        match self {
            Self::Figures(figures) => Some(figures),
            Self::Refused(_) => None,
        }
    }
}

/// Another way to the same result.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Yardstick {
    /// Which: `unfused`, `dense`, `sequential`.
    pub name: String,
    /// What it costs.
    pub measured: Measured,
}

/// A workload measured.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// The family.
    pub family: Family,
    /// The workload, in words.
    pub workload: String,
    /// What it is called on every adapter, however large it is made to fill one.
    pub case: String,
    /// Which way it goes.
    pub pass: Pass,
    /// The fields of the spec.
    #[cfg(feature = "serde")]
    pub spec: serde_json::Value,
    /// The element type of its tensors.
    pub dtype: DType,
    /// Floating-point operations that the mathematics needs, a multiply and an add each.
    pub flops: f64,
    /// Bytes that must move at least: every input once, every output once.
    pub least_bytes: u64,
    /// What it is one of, whatever its size.
    pub kind: String,
    /// The width of the square dense layer in whose place it stands, if it does.
    pub width: Option<usize>,
    /// Steps of a row, if it has any.
    pub length: Option<usize>,
    /// The fused kernels of this library.
    pub fused: Figures,
    /// What they are measured against: the unfused version first, others of interest after it.
    pub yardsticks: Vec<Yardstick>,
}

impl Figures {
    /// What is said of a workload's time under these ceilings.
    fn hold_against(&mut self, ceilings: &Ceilings, dtype: DType, flops: f64, bytes: u64) {
        let seconds = self.timing.median().as_secs_f64().max(1e-9);
        self.copy_fraction = bytes as f64 / seconds / ceilings.copy_bytes_per_second;
        self.ceiling_fraction = ceilings.floor(dtype, flops, bytes) / seconds;
    }
}

impl Report {
    /// Says all shares anew, of other ceilings than those that were known when it was measured.
    pub fn hold_against(&mut self, ceilings: &Ceilings) {
        let Self { dtype, flops, least_bytes, fused, yardsticks, .. } = self;
        let others = yardsticks.iter_mut().filter_map(|yardstick| match &mut yardstick.measured {
            Measured::Figures(figures) => Some(&mut **figures),
            Measured::Refused(_) => None,
        });
        for figures in std::iter::once(fused).chain(others) {
            figures.hold_against(ceilings, *dtype, *flops, *least_bytes);
        }
    }

    /// The unfused version's figures, if it runs here.
    pub fn unfused(&self) -> Option<&Figures> {
        self.yardsticks.first().and_then(|yardstick| yardstick.measured.figures())
    }

    /// How many times faster fused is than the yardstick of that name, if that was measured.
    pub fn over(&self, name: &str) -> Option<f64> {
        let other = self.yardsticks.iter().find(|yardstick| yardstick.name == name)?.measured.figures()?;
        Some(other.timing.median().as_secs_f64() / self.fused.timing.median().as_secs_f64())
    }

    /// How many times faster fused is than the dense product that it stands for, if that was measured.
    pub fn over_dense(&self) -> Option<f64> {
        self.over("dense")
    }

    /// How many times faster fused is than unfused, if that runs here.
    pub fn speed_up(&self) -> Option<f64> {
        self.over(&self.yardsticks.first()?.name)
    }

    /// How many times less memory fused takes than unfused, if that runs here.
    pub fn memory_saving(&self) -> Option<f64> {
        Some(self.unfused()?.peak_bytes as f64 / self.fused.peak_bytes as f64)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.timing.median().as_secs_f64() * 1e3;
        let Self { peak_bytes, flops_per_second, bytes_per_second, ceiling_fraction, .. } = self;
        write!(
            f,
            "{milliseconds:.3} ms, {}, {:.1} GFLOP/s, {:.1} GB/s, {:.0} % of the ceiling",
            Bytes(*peak_bytes),
            flops_per_second / 1e9,
            bytes_per_second / 1e9,
            100.0 * ceiling_fraction
        )
    }
}

/// [`Workload`] of a spec that knows its `flops` and `least_bytes` itself, and has a `dtype` and a `length`, or a part that
/// has. `$contend` measures it in any type; more items take the place of the trait's.
macro_rules! workload {
    ($spec:ident $(. $part:ident)?, $family:ident, $contend:ident $(, $more:item)*) => {
        impl $crate::bench::Workload for $spec {
            fn family(&self) -> $crate::verify::Family {
                $crate::verify::Family::$family
            }

            fn dtype(&self) -> $crate::DType {
                self $(.$part)?.dtype
            }

            fn flops(&self) -> f64 {
                Self::flops(self)
            }

            fn least_bytes(&self) -> u64 {
                Self::least_bytes(self)
            }

            fn length(&self) -> Option<usize> {
                Some(self $(.$part)?.length)
            }

            #[cfg(feature = "serde")]
            fn fields(&self) -> serde_json::Value {
                $crate::bench::fields(self)
            }

            fn contend<'a>(&'a self, bench: &'a $crate::bench::Bench<'a>) -> $crate::bench::Contest<'a> {
                $crate::by_dtype!(self $(.$part)?.dtype, T => Box::pin($contend::<T>(bench, self)))
            }

            $($more)*
        }
    };
}
use workload;

/// The fields of a spec, for [`Workload::fields`].
#[cfg(feature = "serde")]
fn fields(spec: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(spec).expect("a spec is plain data")
}
