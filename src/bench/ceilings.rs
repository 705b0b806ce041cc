//! What an adapter can do at all, measured with kernels that do nothing else.

use std::fmt;
use std::time::Duration;

use half::f16;

use super::{Ceilings, FILES};
use crate::caps::MatrixUnits;
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

params! {
    /// `bench/matrix`.
    MatrixParams { rounds: u32 }
}

/// Vectors of four f32 that a lane copies.
const ITEMS: u32 = 4;

/// Multiply-adds of a lane in a round: twelve chains of 16.
const CHAINS: u32 = 12;
const STEPS: u32 = 16;

/// Products of matrices of a subgroup in a round: eight chains of eight.
const MATRIX_CHAINS: u32 = 8;
const MATRIX_STEPS: u32 = 8;

/// How to measure an adapter's ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CeilingsPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// The matrix units, and subgroups of a workgroup that keeps them busy.
    pub matrices: Option<(MatrixUnits, u32)>,
}

impl CeilingsPlan {
    /// As many lanes as the adapter has, and no more than fill a large GPU evenly.
    pub fn new(caps: &Caps) -> Self {
        let lanes = 256.min(caps.workgroup_lanes);
        let subgroups = |units: MatrixUnits| (units, (lanes / units.subgroup_lanes).clamp(1, 4));
        Self { lanes, matrices: caps.matrix_units().map(subgroups) }
    }
}

impl Plan for CeilingsPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel =
            |kernel, lanes, storage_buffers| Footprint { kernel, lanes, workgroup_bytes: 0, storage_buffers };
        let matrices = self
            .matrices
            .iter()
            .map(|(units, subgroups)| kernel("bench/matrix", units.subgroup_lanes * subgroups, 2));
        [kernel("bench/copy", self.lanes, 2), kernel("bench/fma", self.lanes, 1)]
            .into_iter()
            .chain(matrices)
            .collect()
    }
}

impl fmt::Display for CeilingsPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copies by {ITEMS} vectors a lane, {CHAINS} chains of multiply-adds")?;
        if let Some((units, subgroups)) = self.matrices {
            let side = units.side;
            write!(f, ", {subgroups} × {MATRIX_CHAINS} chains of matrices of {side} × {side}")?;
        }
        write!(f, "; {} lanes", self.lanes)
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &CeilingsPlan) -> Result<Vec<Shader>, ShaderError> {
    let copy = Linker::among(FILES, "bench/copy").set("ITEMS", ITEMS).set("LANES", plan.lanes);
    let fma = Linker::among(FILES, "bench/fma").set("STEPS", STEPS).set("LANES", plan.lanes);
    let matrix = plan.matrices.map(|(units, subgroups)| {
        Linker::among(FILES, "bench/matrix")
            .module("common/lane_subgroup")
            .module(if units.side == 16 { "common/matrix_16" } else { "common/matrix_8" })
            .set("SUBGROUPS", subgroups)
            .set("SUBGROUP_LANES", units.subgroup_lanes)
            .set("CHAINS", MATRIX_CHAINS)
            .set("STEPS", MATRIX_STEPS)
            .each("c", MATRIX_CHAINS)
    });
    [copy, fma].into_iter().chain(matrix).map(Linker::link).collect()
}

/// A run this long drowns what it takes to start one.
const LONG_ENOUGH: Duration = Duration::from_millis(5);

/// Measures the ceilings: copies and chains of multiply-adds, made larger until a run is long enough to trust, and what it
/// takes to start next to nothing.
pub async fn ceilings(gpu: &Gpu, effort: Effort) -> Result<Ceilings, Error> {
    let plan = CeilingsPlan::new(gpu.caps());
    let kernels = crate::kernel::compile(gpu, &shaders(&plan)?)?;
    let [copy, fma, matrix @ ..] = &kernels[..] else { unreachable!("a plan has two kernels at least") };
    let matrix_flops_per_second = match (plan.matrices, matrix) {
        (Some((units, subgroups)), [kernel]) => {
            Some(matrix_flops_per_second(gpu, kernel, units, subgroups, effort).await?)
        }
        _ => None,
    };
    let (submission_seconds, dispatch_seconds) = overhead(gpu, copy, effort).await?;
    Ok(Ceilings {
        copy_bytes_per_second: copy_bytes_per_second(gpu, copy, plan.lanes, effort).await?,
        fma_flops_per_second: fma_flops_per_second(gpu, fma, plan.lanes, effort).await?,
        matrix_flops_per_second,
        submission_seconds: Some(submission_seconds),
        dispatch_seconds: Some(dispatch_seconds),
    })
}

/// One run to see how long it takes.
const TRIAL: Effort = Effort::fixed(Duration::ZERO, 1, Duration::ZERO);

/// What it takes to submit one small kernel and wait for it, on the host's clock; and what each further one adds that waits
/// for the one before, on the clock that counts.
async fn overhead(gpu: &Gpu, copy: &Kernel, effort: Effort) -> Result<(f64, f64), Error> {
    const FURTHER: usize = 64;
    let [source, target] = [Tensor::<f32>::zeros(gpu, &[4])?, Tensor::<f32>::zeros(gpu, &[4])?];
    let params = CopyParams { groups: 1, vectors: 1 };
    let run = |count: usize| {
        let buffers = [source.buffer(), target.buffer()];
        move |encoder: &mut _| (0..count).try_for_each(|_| copy.dispatch(gpu, encoder, &params, &buffers))
    };
    let one = timing::measure(gpu, effort, run(1)).await?;
    let many = timing::measure(gpu, effort, run(1 + FURTHER)).await?;
    let further = many.median().saturating_sub(one.median()).as_secs_f64() / FURTHER as f64;
    Ok((one.wall.median.as_secs_f64(), further))
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
        let once = timing::measure(gpu, TRIAL, run).await?.median();
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
        let once = timing::measure(gpu, TRIAL, run).await?.median();
        if once >= LONG_ENOUGH || rounds >= 1 << 16 {
            let seconds = timing::measure(gpu, effort, run).await?.median().as_secs_f64();
            let fmas = [groups, lanes, rounds, CHAINS, STEPS].map(f64::from).iter().product::<f64>();
            return Ok(2.0 * fmas / seconds.max(1e-9));
        }
        rounds *= 2;
    }
}

async fn matrix_flops_per_second(
    gpu: &Gpu,
    kernel: &Kernel,
    MatrixUnits { side, .. }: MatrixUnits,
    subgroups: u32,
    effort: Effort,
) -> Result<f64, Error> {
    let (groups, square) = (1024, side * side);
    // Small enough that no sum overflows, however many are added.
    let factors: Vec<_> =
        (0..MATRIX_CHAINS * square).map(|i| f16::from_f64(f64::from(i % 7) / 4096.0)).collect();
    let factors = Tensor::from_slice(gpu, &[factors.len()], &factors)?;
    let results = Tensor::<f32>::zeros(gpu, &[(groups * subgroups * MATRIX_CHAINS * square) as usize])?;
    let most = gpu.caps().loop_turns.map_or(1 << 16, |turns| turns / (MATRIX_STEPS + 1));
    let mut rounds = 1;
    loop {
        let params = MatrixParams { groups, rounds };
        let run =
            |encoder: &mut _| kernel.dispatch(gpu, encoder, &params, &[factors.buffer(), results.buffer()]);
        let once = timing::measure(gpu, TRIAL, run).await?.median();
        if once >= LONG_ENOUGH || 2 * rounds > most {
            let seconds = timing::measure(gpu, effort, run).await?.median().as_secs_f64();
            let products = [groups, subgroups, rounds, MATRIX_CHAINS, MATRIX_STEPS].map(f64::from);
            let flops = 2.0 * f64::from(side).powi(3) * products.iter().product::<f64>();
            return Ok(flops / seconds.max(1e-9));
        }
        rounds *= 2;
    }
}
