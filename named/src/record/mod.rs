//! What a benchmark leaves behind: the same JSON from the command line, from the demo page and from peers.

mod measure;
mod read;

pub use measure::{Progress, Protocol, Watcher, effort};

use serde::{Deserialize, Serialize};
use tilewise::bench::{Ceilings, Depth, Report, Scale};
use tilewise::verify::Family;
use tilewise::{Caps, Gpu};

use crate::adapter::Adapter;

/// The version of the format. A program that reads it reads all earlier ones.
pub const VERSION: u32 = 2;

/// A benchmark of tilewise, or of a peer on the same workloads, with everything that is needed to judge it later.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Record {
    /// What this file is.
    pub schema: Schema,
    /// The version of the format.
    pub version: u32,
    /// When it was finished, in UTC, as `2026-11-25T14:00:00Z`.
    pub date: String,
    /// What whoever measured wants known, such as that the machine was busy.
    pub note: Option<String>,
    /// What measured.
    pub engine: Engine,
    /// On what.
    pub adapter: Adapter,
    /// What that can do, where the engine knows.
    pub caps: Option<Caps>,
    /// Whether shaders kept the driver's own checks.
    pub shader_checks: bool,
    /// Which workloads, and how thoroughly. Records before version 2 do not say.
    pub suite: Option<Suite>,
    /// What the adapter can do at all, as measured in the same run.
    pub ceilings: Ceilings,
    /// What was measured.
    pub reports: Vec<Report>,
    /// Workloads that are more than this adapter holds.
    pub refused: Vec<Unmeasured>,
    /// Workloads that went wrong.
    pub failed: Vec<Unmeasured>,
}

/// What every record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Schema {
    /// A benchmark.
    #[serde(rename = "tilewise-benchmark")]
    Benchmark,
}

/// What measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Engine {
    /// `tilewise`, or a peer's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it runs on, with its version: `wgpu 30.0.1`.
    pub on: String,
}

/// A suite, and how thoroughly it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Suite {
    /// Figures of suites of the same version can be compared.
    pub version: u32,
    /// How many workloads.
    pub depth: Depth,
    /// For which class of adapters they are sized.
    pub scale: Scale,
    /// Bytes of memory that the adapter gave, of those that the scale asks for.
    pub memory_bytes: u64,
    /// Of which families.
    pub families: Vec<Family>,
    /// Runs went on until the 95 % interval of the median reached no further than this share of it, or time was up.
    pub within: f64,
    /// How many workloads it has.
    pub workloads: usize,
    /// Whether all of them were measured, and nobody stopped it before.
    pub complete: bool,
}

/// A workload without figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unmeasured {
    /// The workload, in words.
    pub workload: String,
    /// What it is called on every adapter.
    pub case: String,
    /// Why there are none.
    pub reason: String,
}

impl Engine {
    /// This library.
    pub fn this() -> Self {
        let [name, version] = ["tilewise", env!("CARGO_PKG_VERSION")].map(str::to_owned);
        Self { name, version, on: concat!("wgpu ", env!("WGPU_VERSION")).to_owned() }
    }
}

impl Record {
    /// A record of this GPU, in which nothing is measured yet.
    fn begin(gpu: &Gpu, ceilings: Ceilings) -> Self {
        Self {
            schema: Schema::Benchmark,
            version: VERSION,
            date: String::new(),
            note: None,
            engine: Engine::this(),
            adapter: Adapter::of(gpu),
            caps: Some(gpu.caps().clone()),
            shader_checks: gpu.shader_checks(),
            suite: None,
            ceilings,
            reports: vec![],
            refused: vec![],
            failed: vec![],
        }
    }

    /// The JSON Schema of what is written.
    #[cfg(feature = "schema")]
    pub fn json_schema() -> serde_json::Value {
        let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
        settings.into_generator().into_root_schema_for::<Self>().into()
    }

    /// Indented JSON, ended by a line break.
    pub fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
