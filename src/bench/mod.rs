//! What a kernel costs on this adapter: fused beside unfused, beside what the adapter can do at all.
//!
//! A [`Workload`] is a spec with a size worth timing; [`suite`] chooses some for an adapter from its measured
//! [`Ceilings`]. [`measure`] checks every answer against the oracle before it times it, so that a [`Report`] never
//! holds the speed of a wrong result.

mod attention;
mod backward;
mod butterfly;
mod ceilings;
mod measure;
mod scan;
mod suite;

pub use attention::{Attempt, Reach, Seconds, longest};
pub use backward::{Backward, Trainable};
pub use ceilings::{CeilingsPlan, ceilings, shaders};
pub use measure::{Bench, measure};
pub use suite::suite;

use std::fmt;
use std::pin::Pin;

use crate::shader::{Files, files};
use crate::timing::Timing;
use crate::verify::Family;
use crate::{Bytes, DType, Error};

/// The shader files of this module alone.
pub const FILES: Files = files!["bench/copy", "bench/fma",];

/// What this adapter can do at all, measured on it with two kernels that do nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ceilings {
    /// Copying a buffer too large for caches: bytes read and bytes written, each second.
    pub copy_bytes_per_second: f64,
    /// f32 multiply-adds in registers: two operations each, each second. Matrix units are not part of it.
    pub fma_flops_per_second: f64,
}

impl Ceilings {
    /// The least time in seconds for that much arithmetic and traffic, whichever takes longer.
    pub fn floor(&self, flops: f64, bytes: u64) -> f64 {
        (flops / self.fma_flops_per_second).max(bytes as f64 / self.copy_bytes_per_second)
    }
}

impl fmt::Display for Ceilings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copy_bytes_per_second: copy, fma_flops_per_second: fma } = self;
        write!(f, "copy {:.1} GB/s, f32 multiply-add {:.1} GFLOP/s", copy / 1e9, fma / 1e9)
    }
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

    /// What it is one of, whatever its size: the first word of its name, and more where that is not enough.
    fn kind(&self) -> String {
        self.to_string().split_whitespace().next().unwrap_or_default().to_owned()
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The few that show what fusing gains.
    Quick,
    /// Those that a comparison of adapters needs: every shape of interest.
    Standard,
}

/// What one implementation of a workload costs.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Figures {
    /// How it runs here: the plan's own words.
    pub plan: String,
    /// How long it takes.
    pub timing: Timing,
    /// The most memory it takes at once beyond the inputs: outputs and scratch, in bytes.
    pub peak_bytes: u64,
    /// [`Workload::flops`] each second.
    pub flops_per_second: f64,
    /// [`Workload::least_bytes`] each second.
    pub bytes_per_second: f64,
    /// [`bytes_per_second`](Self::bytes_per_second) over what copying reaches: how near a workload is that only reads.
    pub copy_fraction: f64,
    /// The least time that the ceilings allow, over the time taken. Above 1 where caches hold the whole workload,
    /// or matrix units do the arithmetic.
    pub ceiling_fraction: f64,
}

/// A yardstick's figures, or why it cannot run on this adapter.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Measured {
    /// It ran, and its answer is right.
    Figures(Figures),
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
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Yardstick {
    /// Which: `unfused`, `dense`, `sequential`.
    pub name: &'static str,
    /// What it costs.
    pub measured: Measured,
}

/// A workload measured.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Report {
    /// The family.
    pub family: Family,
    /// The workload, in words.
    pub workload: String,
    /// [`Workload::fields`].
    #[cfg(feature = "serde")]
    pub spec: serde_json::Value,
    /// The element type of its tensors.
    pub dtype: DType,
    /// [`Workload::flops`].
    pub flops: f64,
    /// [`Workload::least_bytes`].
    pub least_bytes: u64,
    /// [`Workload::kind`].
    pub kind: String,
    /// [`Workload::width`].
    pub width: Option<usize>,
    /// [`Workload::length`].
    pub length: Option<usize>,
    /// The fused kernels of this library.
    pub fused: Figures,
    /// What they are measured against: the unfused version first, others of interest after it.
    pub yardsticks: Vec<Yardstick>,
}

impl Report {
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
        self.over(self.yardsticks.first()?.name)
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

/// The fields of a spec, for [`Workload::fields`].
#[cfg(feature = "serde")]
fn fields(spec: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(spec).expect("a spec is plain data")
}
