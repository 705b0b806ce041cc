//! What an adapter can do at all, measured with kernels that do nothing else.

use std::fmt;
use std::time::Duration;

use super::{Ceilings, FILES};
use crate::kernel::{Kernel, params};
use crate::plan::{Footprint, Plan};
use crate::shader::{Linker, Shader, ShaderError};
use crate::timing::{self, Effort};
use crate::{Caps, Error, Gpu, Tensor};

params! {
    /// `bench/copy`.
    CopyParams { vectors: u32 }
}

params! {
    /// `bench/fma`.
    FmaParams { rounds: u32, factor: f32, term: f32 }
}

/// Vectors of four f32 that a lane copies.
const ITEMS: u32 = 4;

/// Multiply-adds of a lane in a round: twelve chains of 16.
const CHAINS: u32 = 12;
const STEPS: u32 = 16;

/// How to measure an adapter's ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CeilingsPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
}

impl CeilingsPlan {
    /// As many lanes as the adapter has, and no more than fill a large GPU evenly.
    pub fn new(caps: &Caps) -> Self {
        Self { lanes: 256.min(caps.workgroup_lanes) }
    }
}

impl Plan for CeilingsPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        vec![kernel("bench/copy", 2), kernel("bench/fma", 1)]
    }
}

impl fmt::Display for CeilingsPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copies by {ITEMS} vectors a lane, {CHAINS} chains of multiply-adds; {} lanes", self.lanes)
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &CeilingsPlan) -> Result<Vec<Shader>, ShaderError> {
    let copy = Linker::among(FILES, "bench/copy").set("ITEMS", ITEMS);
    let fma = Linker::among(FILES, "bench/fma").set("STEPS", STEPS);
    [copy, fma].into_iter().map(|linker| linker.set("LANES", plan.lanes).link()).collect()
}

/// A run this long drowns what it takes to start one.
const LONG_ENOUGH: Duration = Duration::from_millis(5);

/// Measures the ceilings: copies and chains of multiply-adds, made larger until a run is long enough to trust.
pub async fn ceilings(gpu: &Gpu, effort: Effort) -> Result<Ceilings, Error> {
    let plan = CeilingsPlan::new(gpu.caps());
    let [copy, fma] = crate::kernel::compile_array(gpu, &shaders(&plan)?)?;
    Ok(Ceilings {
        copy_bytes_per_second: copy_bytes_per_second(gpu, &copy, plan.lanes, effort).await?,
        fma_flops_per_second: fma_flops_per_second(gpu, &fma, plan.lanes, effort).await?,
    })
}

/// One run to see how long it takes.
fn trial(effort: Effort) -> Effort {
    Effort { warm_up: Duration::ZERO, runs: 1, ..effort }
}

async fn copy_bytes_per_second(gpu: &Gpu, copy: &Kernel, lanes: u32, effort: Effort) -> Result<f64, Error> {
    let limit = gpu.caps().binding_bytes.min(gpu.caps().buffer_bytes).min(1 << 30);
    // More than the caches of any processor that runs a software adapter, and of most GPUs.
    let mut bytes = limit.min(64 << 20);
    loop {
        let count = bytes as usize / 4;
        let [source, target] = [Tensor::<f32>::zeros(gpu, &[count])?, Tensor::<f32>::zeros(gpu, &[count])?];
        let vectors = (count / 4) as u32;
        let params = CopyParams { groups: vectors.div_ceil(lanes * ITEMS), vectors };
        let run = |encoder: &mut _| copy.dispatch(gpu, encoder, &params, &[source.buffer(), target.buffer()]);
        let once = timing::measure(gpu, trial(effort), run).await?.median();
        if once >= LONG_ENOUGH || 2 * bytes > limit {
            let seconds = timing::measure(gpu, effort, run).await?.median().as_secs_f64();
            return Ok(f64::from(vectors) * 32.0 / seconds.max(1e-9));
        }
        bytes *= 2;
    }
}

async fn fma_flops_per_second(gpu: &Gpu, fma: &Kernel, lanes: u32, effort: Effort) -> Result<f64, Error> {
    // Several times the workgroups that the largest GPUs run at once, so that the last few do not count.
    let groups = 8192;
    let results = Tensor::<f32>::zeros(gpu, &[(groups * lanes) as usize])?;
    let mut rounds = 4;
    loop {
        // A fixed point at 1, which the chains approach and never leave: no value becomes infinite or subnormal.
        let params = FmaParams { groups, rounds, factor: 0.999, term: 0.001 };
        let run = |encoder: &mut _| fma.dispatch(gpu, encoder, &params, &[results.buffer()]);
        let once = timing::measure(gpu, trial(effort), run).await?.median();
        if once >= LONG_ENOUGH || rounds >= 1 << 16 {
            let seconds = timing::measure(gpu, effort, run).await?.median().as_secs_f64();
            let fmas = [groups, lanes, rounds, CHAINS, STEPS].map(f64::from).iter().product::<f64>();
            return Ok(2.0 * fmas / seconds.max(1e-9));
        }
        rounds *= 2;
    }
}
