//! Checking and timing a workload.

use std::fmt;

use super::{Ceilings, Figures, Measured, Report, Workload, Yardstick};
use crate::baseline::Baseline;
use crate::timing::{self, Effort};
use crate::verify::{Inputs, Outcome, Tolerance};
use crate::{Element, Error, Gpu, Tensor};

/// Checks and times a workload, fused and by every yardstick.
///
/// Fails if a fused kernel cannot run here, or if any implementation computes something wrong.
pub async fn measure(
    gpu: &Gpu,
    workload: &dyn Workload,
    effort: Effort,
    ceilings: &Ceilings,
) -> Result<Report, Error> {
    let (fused, yardsticks) = workload.contend(&Bench { gpu, workload, effort, ceilings }).await?;
    Ok(Report {
        family: workload.family(),
        workload: workload.to_string(),
        case: workload.case(),
        pass: workload.pass(),
        #[cfg(feature = "serde")]
        spec: workload.fields(),
        dtype: workload.dtype(),
        flops: workload.flops(),
        least_bytes: workload.least_bytes(),
        kind: workload.kind(),
        width: workload.width(),
        length: workload.length(),
        fused,
        yardsticks,
    })
}

/// What every implementation of a workload is measured with.
pub struct Bench<'a> {
    pub(super) gpu: &'a Gpu,
    workload: &'a dyn Workload,
    effort: Effort,
    pub(super) ceilings: &'a Ceilings,
}

impl Bench<'_> {
    /// Runs an implementation once, checks its answer and its memory, then times it. `prepare` allocates outputs and
    /// scratch, whose memory is counted; `record` encodes one run; `check` compares the outputs with the oracle.
    pub(super) async fn contend<S>(
        &self,
        name: &'static str,
        plan: &impl fmt::Display,
        prepare: impl FnOnce() -> Result<S, Error>,
        record: impl Fn(&mut wgpu::CommandEncoder, &S) -> Result<(), Error>,
        check: impl AsyncFnOnce(&S) -> Result<Vec<Outcome>, Error>,
    ) -> Result<Figures, Error> {
        let memory = self.gpu.memory();
        memory.reset_peak();
        let live = memory.live();
        let state = prepare()?;
        let mut encoder = self.gpu.encoder();
        record(&mut encoder, &state)?;
        self.gpu.submit(encoder)?;
        self.gpu.done().await?;
        let peak_bytes = memory.peak() - live;
        for outcome in check(&state).await? {
            if !outcome.passed() {
                let what = format!("{}, {name}", self.workload);
                let Outcome { tensor, error, allowed, .. } = outcome;
                return Err(Error::Wrong { what, tensor, error, allowed });
            }
        }
        let timing = timing::measure(self.gpu, self.effort, |encoder| record(encoder, &state)).await?;
        let (flops, bytes) = (self.workload.flops(), self.workload.least_bytes());
        let seconds = timing.median().as_secs_f64().max(1e-9);
        let mut figures = Figures {
            plan: plan.to_string(),
            timing,
            peak_bytes,
            flops_per_second: flops / seconds,
            bytes_per_second: bytes as f64 / seconds,
            copy_fraction: 0.0,
            ceiling_fraction: 0.0,
        };
        figures.hold_against(self.ceilings, self.workload.dtype(), flops, bytes);
        Ok(figures)
    }

    /// What is to answer alike, in tensors that `outputs` allocates and `check` compares with the oracle.
    pub(super) fn race<O, F, C>(&self, outputs: F, check: C) -> Race<'_, F, C>
    where
        F: Fn() -> Result<O, Error>,
        C: AsyncFn(&O) -> Result<Vec<Outcome>, Error>,
    {
        Race { bench: self, outputs, check }
    }

    /// A yardstick that may be more than the adapter holds: that is a result. A wrong answer is a failure.
    pub(super) async fn yardstick(
        name: &'static str,
        figures: impl AsyncFnOnce() -> Result<Figures, Error>,
    ) -> Result<Yardstick, Error> {
        let measured = match figures().await {
            Ok(figures) => Measured::Figures(Box::new(figures)),
            Err(refused @ (Error::Plan(_) | Error::Allocation { .. })) => {
                Measured::Refused(refused.to_string())
            }
            Err(error) => return Err(error),
        };
        Ok(Yardstick { name: name.to_owned(), measured })
    }
}

/// Implementations of a workload that answer alike: the fused kernels, and yardsticks beside them.
pub(super) struct Race<'a, F, C> {
    bench: &'a Bench<'a>,
    outputs: F,
    check: C,
}

impl<O, F, C> Race<'_, F, C>
where
    F: Fn() -> Result<O, Error>,
    C: AsyncFn(&O) -> Result<Vec<Outcome>, Error>,
{
    /// The fused kernels.
    pub async fn fused(
        &self,
        plan: &impl fmt::Display,
        record: impl Fn(&mut wgpu::CommandEncoder, &O) -> Result<(), Error>,
    ) -> Result<Figures, Error> {
        self.bench.contend("fused", plan, &self.outputs, record, &self.check).await
    }

    /// A yardstick.
    pub async fn against<B: Baseline>(
        &self,
        name: &'static str,
        baseline: impl FnOnce() -> Result<B, Error>,
        record: impl Fn(&B, &mut wgpu::CommandEncoder, &O, &B::Scratch) -> Result<(), Error>,
    ) -> Result<Yardstick, Error> {
        Bench::yardstick(name, async || {
            let baseline = baseline()?;
            self.bench
                .contend(
                    name,
                    &baseline.plan(),
                    || Ok(((self.outputs)()?, baseline.scratch()?)),
                    |encoder, (found, scratch)| record(&baseline, encoder, found, scratch),
                    async |(found, _)| (self.check)(found).await,
                )
                .await
        })
        .await
    }
}

/// A yardstick that is not run, and why.
pub(super) fn refused(name: &str, reason: String) -> Yardstick {
    Yardstick { name: name.to_owned(), measured: Measured::Refused(reason) }
}

/// Uniform values of mean 0 and the given deviation: as good as normal ones for timing, and much faster to make.
pub(super) fn centred<T: Element>(inputs: &mut Inputs, count: usize, deviation: f64) -> Vec<T> {
    let side = deviation * 3_f64.sqrt();
    uniform(inputs, count, -side, side)
}

pub(super) fn uniform<T: Element>(inputs: &mut Inputs, count: usize, low: f64, high: f64) -> Vec<T> {
    // Without all of them in f64: weights of wide layers would be more than a page's memory holds.
    inputs.uniforms(low, high).take(count).map(T::from_f64).collect()
}

/// Values as an oracle takes them.
pub(super) fn wide<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// The host's copy of an output. An element that nobody wrote is still NaN, wherever it is.
pub(super) async fn fetch<T: Element>(tensor: &Tensor<T>) -> Result<(Vec<T>, bool), Error> {
    let values = tensor.read().await?;
    let whole = !values.iter().any(|value| value.to_f64().is_nan());
    Ok((values, whole))
}

/// A sample is compared like an acceptance case, with a little more room: a sample's largest rounding is luck.
pub(super) fn compare(
    tensor: &'static str,
    (ours, whole): (Vec<f64>, bool),
    reference: &[f64],
    plain: &[f64],
) -> Outcome {
    let largest = reference.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    let tolerance = Tolerance { multiple: 3.0, atol: 4.0 * f64::from(f32::EPSILON) * largest };
    let outcome = Outcome::new(tensor, &ours, reference, plain, tolerance);
    if whole { outcome } else { Outcome { error: f64::NAN, ..outcome } }
}

/// Up to `count` of `total` indices, spread evenly, the first and the last among them.
pub(super) fn spread(total: usize, count: usize) -> Vec<usize> {
    let count = count.min(total);
    (0..count).map(|i| if count == 1 { total - 1 } else { i * (total - 1) / (count - 1) }).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn spreads_keep_both_ends() {
        assert_eq!(spread(10, 4), [0, 3, 6, 9]);
        assert_eq!(spread(2, 4), [0, 1]);
        assert_eq!(spread(7, 1), [6]);
        assert!(spread(0, 4).is_empty());
    }
}
