//! What an adapter can do at all, measured with kernels that do nothing else.

use std::time::Duration;

use super::Ceilings;
use crate::kernel::{Kernel, params};
use crate::shader::{Linker, Shader};
use crate::timing::{self, Effort};
use crate::{Error, Gpu, Tensor};

params! {
    /// `bench/copy`.
    CopyParams { vectors: u32 }
}

params! {
    /// `bench/fma`.
    FmaParams { rounds: u32, factor: f32, term: f32 }
}

const LANES: u32 = 256;

/// Vectors of four f32 that a lane copies.
const ITEMS: u32 = 4;

/// Multiply-adds of a lane in a round: twelve chains of 16.
const FMAS: u32 = 12;
const STEPS: u32 = 16;

/// A run this long drowns what it takes to start one.
const LONG_ENOUGH: Duration = Duration::from_millis(5);

/// Measures the ceilings: copies and chains of multiply-adds, made larger until a run is long enough to trust.
pub fn ceilings(gpu: &Gpu, effort: Effort) -> Result<Ceilings, Error> {
    Ok(Ceilings {
        copy_bytes_per_second: copy_bytes_per_second(gpu, effort)?,
        fma_flops_per_second: fma_flops_per_second(gpu, effort)?,
    })
}

/// One run to see how long it takes.
fn trial(effort: Effort) -> Effort {
    Effort { warm_up: 1, runs: 1, ..effort }
}

fn kernel(gpu: &Gpu, shader: &Shader) -> Result<Kernel, Error> {
    gpu.kernel(shader)
}

fn copy_bytes_per_second(gpu: &Gpu, effort: Effort) -> Result<f64, Error> {
    let lanes = LANES.min(gpu.caps().workgroup_lanes);
    let copy = kernel(gpu, &Linker::new("bench/copy").set("LANES", lanes).set("ITEMS", ITEMS).link()?)?;
    let limit = gpu.caps().binding_bytes.min(gpu.caps().buffer_bytes).min(1 << 30);
    // More than the caches of any processor that runs a software adapter, and of most GPUs.
    let mut bytes = limit.min(64 << 20);
    loop {
        let count = bytes as usize / 4;
        let [source, target] = [Tensor::<f32>::zeros(gpu, &[count])?, Tensor::<f32>::zeros(gpu, &[count])?];
        let vectors = (count / 4) as u32;
        let params = CopyParams { groups: vectors.div_ceil(lanes * ITEMS), vectors };
        let run = |encoder: &mut _| copy.dispatch(gpu, encoder, &params, &[source.buffer(), target.buffer()]);
        let once = timing::measure(gpu, trial(effort), run)?.median();
        if once >= LONG_ENOUGH || 2 * bytes > limit {
            let seconds = timing::measure(gpu, effort, run)?.median().as_secs_f64();
            return Ok(f64::from(vectors) * 32.0 / seconds.max(1e-9));
        }
        bytes *= 2;
    }
}

fn fma_flops_per_second(gpu: &Gpu, effort: Effort) -> Result<f64, Error> {
    let lanes = LANES.min(gpu.caps().workgroup_lanes);
    let fma = kernel(gpu, &Linker::new("bench/fma").set("LANES", lanes).set("STEPS", STEPS).link()?)?;
    // Several times the workgroups that the largest GPUs run at once, so that the last few do not count.
    let groups = 8192;
    let results = Tensor::<f32>::zeros(gpu, &[(groups * lanes) as usize])?;
    let mut rounds = 4;
    loop {
        // A fixed point at 1, which the chains approach and never leave: no value becomes infinite or subnormal.
        let params = FmaParams { groups, rounds, factor: 0.999, term: 0.001 };
        let run = |encoder: &mut _| fma.dispatch(gpu, encoder, &params, &[results.buffer()]);
        let once = timing::measure(gpu, trial(effort), run)?.median();
        if once >= LONG_ENOUGH || rounds >= 1 << 16 {
            let seconds = timing::measure(gpu, effort, run)?.median().as_secs_f64();
            let fmas = [groups, lanes, rounds, FMAS, STEPS].map(f64::from).iter().product::<f64>();
            return Ok(2.0 * fmas / seconds.max(1e-9));
        }
        rounds *= 2;
    }
}
