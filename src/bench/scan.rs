//! Measuring workloads of the scan family.

use super::measure::{Bench, centred, compare, fetch, spread, uniform};
use super::{Figures, Yardstick};
use crate::baseline::{SequentialLinearScan, UnfusedLinearScan};
use crate::oracle;
use crate::verify::{Inputs, Outcome, both, poisoned};
use crate::{Element, Error, LinearScan, LinearScanInputs, LinearScanOutputs, LinearScanSpec, Tensor};

/// A loop over more steps than this takes a large GPU seconds, since one lane waits for every load.
const SEQUENTIAL_STEPS: usize = 1 << 20;

pub(super) fn measure<T: Element>(
    bench: &Bench<'_>,
    spec: &LinearScanSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = LinearScan::new(gpu, *spec)?;
    let count = spec.rows() * spec.length;
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
    let check = |outputs: &LinearScanOutputs<T>| -> Result<Vec<Outcome>, Error> {
        Ok(vec![sample.check_h(fetch(&outputs.h)?)])
    };

    let figures = bench.contend(
        "fused",
        fused.plan(),
        outputs,
        |encoder, outputs| fused.encode(encoder, inputs, outputs),
        check,
    )?;
    let unfused = Bench::yardstick("unfused", || {
        let unfused = UnfusedLinearScan::new(gpu, *spec)?;
        bench.contend(
            "unfused",
            unfused.plan(),
            || Ok((outputs()?, unfused.scratch()?)),
            |encoder, (outputs, scratch)| unfused.encode(encoder, inputs, outputs, scratch),
            |(outputs, _)| check(outputs),
        )
    })?;
    let mut yardsticks = vec![unfused];
    if spec.length <= SEQUENTIAL_STEPS {
        yardsticks.push(Bench::yardstick("sequential", || {
            let sequential = SequentialLinearScan::new(gpu, *spec)?;
            bench.contend(
                "sequential",
                sequential.plan(),
                outputs,
                |encoder, outputs| sequential.encode(encoder, inputs, outputs),
                check,
            )
        })?);
    }
    Ok((figures, yardsticks))
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

fn pick<T: Element>(values: &[T], width: usize, rows: &[usize]) -> Vec<f64> {
    let row = |row: &usize| values[row * width..(row + 1) * width].iter().map(|value| value.to_f64());
    rows.iter().flat_map(row).collect()
}
