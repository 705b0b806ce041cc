//! Measuring linear scans.

use super::sample::{Answer, ROUNDING, pick, rows};
use crate::baseline::{
    SequentialLinearScan, SequentialLinearScanBackward, UnfusedLinearScan, UnfusedLinearScanBackward,
};
use crate::bench::measure::{Bench, centred, compare, fetch, refused, spread, uniform};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Trainable, Yardstick, workload};
use crate::oracle;
use crate::verify::{Inputs, Outcome, both, poisoned};
use crate::{
    DType, Element, Error, LinearScan, LinearScanBackward, LinearScanBackwardInputs, LinearScanGradients,
    LinearScanInputs, LinearScanOutputs, LinearScanSpec, Tensor, by_dtype,
};

/// A loop over more steps than this takes a large GPU seconds, since one lane waits for every load.
const SEQUENTIAL_STEPS: usize = 1 << 20;

/// One long row, which only chunks can spread over an adapter; rows enough to fill it, as channels of a model do; and
/// many short ones.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<LinearScanSpec> {
    use DType::{Bf16, F16, F32};
    let (channels, row) = match scale {
        Scale::Software => (64, 1_000_000),
        Scale::Modest => (512, 4_000_000),
        Scale::Large => (4096, 10_000_000),
    };
    let mut suite = vec![LinearScanSpec::new(F32, 1, 1, row)];
    suite.extend([F32, F16].map(|dtype| LinearScanSpec::new(dtype, 1, channels, 8192)));
    if depth == Depth::Quick {
        return suite;
    }
    suite.push(LinearScanSpec::new(Bf16, 1, channels, 8192));
    suite.push(LinearScanSpec::new(F16, 1, 1, row));
    suite.push(LinearScanSpec::new(F32, 8, channels, 1024));
    suite.push(LinearScanSpec::new(F32, 1, channels / 64, 8192 * 64));
    suite
}

/// A real scan with about that many elements of `a`.
pub(super) fn of_length(scale: Scale, length: usize) -> LinearScanSpec {
    let elements: usize = match scale {
        Scale::Software => 1 << 16,
        Scale::Modest => 1 << 22,
        Scale::Large => 1 << 25,
    };
    LinearScanSpec::new(DType::F32, 1, (elements / length).max(1), length)
}

workload!(
    LinearScanSpec,
    Scan,
    forward,
    fn case(&self) -> String {
        // The longest row is as long as the adapter likes.
        let size = if self.rows() == 1 { "one row".to_owned() } else { format!("length {}", self.length) };
        format!("linear scan {}, {size}", self.dtype)
    }
);

impl Trainable for LinearScanSpec {
    /// A multiply-add for each step of the scan back, and a product with the state before it.
    fn backward_flops(&self) -> f64 {
        self.flops() / 2.0 * 3.0
    }

    /// `a`, `h` and `dh` in, `da` and `db` out.
    fn backward_least_bytes(&self) -> u64 {
        self.least_bytes() / 3 * 5
    }

    fn contend_backward<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(backward::<T>(bench, *self)))
    }
}

async fn forward<T: Element>(
    bench: &Bench<'_>,
    spec: &LinearScanSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = LinearScan::new(gpu, *spec)?;
    let count = spec.shape().iter().product();
    let mut inputs = Inputs::new(1);
    // Decays near 1 remember for long, which is what makes a wrong carry visible.
    let a: Vec<T> = uniform(&mut inputs, count, 0.9, 1.0);
    let b: Vec<T> = centred(&mut inputs, count, 1.0);
    let sample = Sample::new(spec, &a, &b);
    let (a, b) = (Tensor::from_slice(gpu, &spec.shape(), &a)?, Tensor::from_slice(gpu, &spec.shape(), &b)?);
    let initial = vec![0.5; spec.rows()];
    let initial = spec.initial.then(|| Tensor::from_slice(gpu, &spec.state_shape(), &initial)).transpose()?;
    let inputs = LinearScanInputs { a: &a, b: &b, initial: initial.as_ref() };
    let outputs = || -> Result<LinearScanOutputs<T>, Error> {
        Ok(LinearScanOutputs { h: poisoned(gpu, &spec.shape())?, last: poisoned(gpu, &spec.state_shape())? })
    };
    let check = async |outputs: &LinearScanOutputs<T>| -> Result<Vec<Outcome>, Error> {
        Ok(vec![sample.check_h(fetch(&outputs.h).await?)])
    };

    let race = bench.race(outputs, check);
    let figures = race.fused(fused.plan(), |encoder, outputs| fused.encode(encoder, inputs, outputs)).await?;
    let unfused = race.against(
        "unfused",
        || UnfusedLinearScan::new(gpu, *spec),
        |it, encoder, outputs, scratch| it.encode(encoder, inputs, outputs, scratch),
    );
    let sequential = race.against(
        "sequential",
        || SequentialLinearScan::new(gpu, *spec),
        |it, encoder, outputs, ()| it.encode(encoder, inputs, outputs),
    );
    Ok((figures, vec![unfused.await?, in_time(spec, sequential).await?]))
}

/// A loop, unless it has more steps than end soon.
async fn in_time(
    spec: &LinearScanSpec,
    sequential: impl Future<Output = Result<Yardstick, Error>>,
) -> Result<Yardstick, Error> {
    if spec.length <= SEQUENTIAL_STEPS {
        return sequential.await;
    }
    let reason =
        format!("{} steps a lane would take too long: up to {SEQUENTIAL_STEPS} are timed", spec.length);
    Ok(refused("sequential", reason))
}

/// Rows begin with 0.
async fn backward<T: Element>(
    bench: &Bench<'_>,
    spec: LinearScanSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let spec = LinearScanSpec { initial: false, ..spec };
    let fused = LinearScanBackward::new(gpu, spec)?;
    let count = spec.shape().iter().product();
    let mut random = Inputs::new(1);
    let host_a: Vec<T> = uniform(&mut random, count, 0.9, 1.0);
    let [h, host_dh] = [(); 2].map(|()| centred::<T>(&mut random, count, 1.0));
    let rows = rows(spec.rows(), spec.length);
    let [sample_a, sample_h, sample_dh] = [&host_a, &h, &host_dh].map(|of| pick(of, spec.length, &rows));
    let alone = LinearScanSpec { batch: 1, channels: rows.len(), ..spec };
    let answer = Answer::of::<T>(ROUNDING, |precision| {
        oracle::linear_scan_backward(&alone, precision, (&sample_a, &sample_h), None, &sample_dh).da
    });
    let upload = |values: &[T]| Tensor::from_slice(gpu, &spec.shape(), values);
    // Any states will do: no gradient asks where they come from.
    let (a, h, dh) = (upload(&host_a)?, upload(&h)?, upload(&host_dh)?);
    let inputs = LinearScanBackwardInputs { a: &a, h: &h, initial: None, dh: &dh };
    let gradients = || -> Result<LinearScanGradients<T>, Error> {
        let rows = || poisoned(gpu, &spec.shape());
        Ok(LinearScanGradients { da: rows()?, db: rows()?, dinitial: poisoned(gpu, &spec.state_shape())? })
    };
    let check = async |found: &LinearScanGradients<T>| -> Result<Vec<Outcome>, Error> {
        let (values, whole) = fetch(&found.da).await?;
        Ok(vec![answer.check("da", &pick(&values, spec.length, &rows), whole)])
    };
    let race = bench.race(gradients, check);
    let figures = race.fused(fused.plan(), |encoder, found| fused.encode(encoder, inputs, found)).await?;
    let unfused = race.against(
        "unfused",
        || UnfusedLinearScanBackward::new(gpu, spec),
        |it, encoder, found, scratch| it.encode(encoder, inputs, found, scratch),
    );
    let sequential = race.against(
        "sequential",
        || SequentialLinearScanBackward::new(gpu, spec),
        |it, encoder, found, ()| it.encode(encoder, inputs, found),
    );
    Ok((figures, vec![unfused.await?, in_time(&spec, sequential).await?]))
}

/// The oracle's answer for some rows.
struct Sample {
    rows: Vec<usize>,
    length: usize,
    reference: Vec<f64>,
    plain: Vec<f64>,
}

impl Sample {
    fn new<T: Element>(spec: &LinearScanSpec, a: &[T], b: &[T]) -> Self {
        let rows = spread(spec.rows(), 8);
        let (a, b) = (pick(a, spec.length, &rows), pick(b, spec.length, &rows));
        let initial = spec.initial.then(|| vec![0.5; rows.len()]);
        let alone = LinearScanSpec { batch: 1, channels: rows.len(), ..*spec };
        let (reference, plain) = both(spec.dtype, |precision| {
            oracle::linear_scan(&alone, precision, &a, &b, initial.as_deref()).h
        });
        Self { rows, length: spec.length, reference, plain }
    }

    fn check_h<T: Element>(&self, (h, whole): (Vec<T>, bool)) -> Outcome {
        compare("h", (pick(&h, self.length, &self.rows), whole), &self.reference, &self.plain)
    }
}
