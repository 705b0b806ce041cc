//! The acceptance grid of running sums and maxima, and their gradients.

use crate::oracle::{associative_scan, associative_scan_backward};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, download, poisoned, rounded, upload,
};
use crate::{
    AssociativeOperator, AssociativeScan, AssociativeScanBackward, AssociativeScanBackwardInputs,
    AssociativeScanGradients, AssociativeScanInputs, AssociativeScanOutputs, AssociativeScanSpec, DType,
    Element, Error, Gpu, by_dtype,
};

/// Rows of one pass and of three phases, every operator with every option.
pub(super) fn cases(grid: Grid) -> Vec<AssociativeScanSpec> {
    let sizes: &[(usize, usize, usize)] = match grid {
        Grid::Thin => &[(1, 1, 1), (2, 3, 97), (113, 1, 203), (1, 2, 1025), (1, 1, 33_753)],
        Grid::Full => &[
            (1, 1, 1),
            (1, 1, 2),
            (2, 3, 32),
            (2, 3, 97),
            (113, 1, 203),
            (3, 400, 256),
            (1, 2, 1025),
            (1, 1, 8192),
            (1, 1, 33_753),
            (2, 2, 127_323),
            (1, 1, 1_000_000),
        ],
    };
    let mut cases = Vec::new();
    for (i, &(batch, channels, length)) in sizes.iter().enumerate() {
        for (j, dtype) in DType::ALL.into_iter().enumerate() {
            for (k, operator) in AssociativeOperator::ALL.into_iter().enumerate() {
                let options = if grid == Grid::Full {
                    0..8
                } else {
                    (3 * i + 2 * j + k) % 8..(3 * i + 2 * j + k) % 8 + 1
                };
                for bits in options {
                    let on = |bit: usize| bits >> bit & 1 == 1;
                    cases.push(AssociativeScanSpec {
                        initial: on(0),
                        reverse: on(1),
                        // Before a single step there is nothing but the initial value.
                        exclusive: on(2) && length > 1,
                        ..AssociativeScanSpec::new(dtype, operator, batch, channels, length)
                    });
                }
            }
        }
    }
    cases
}

impl Case for AssociativeScanSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype, T => Box::pin(run::<T>(gpu, *self)))
    }
}

/// Twice the plain error, and what the order of a sum's terms may do to it: a few units of its largest term.
fn tolerance(values: &[f64]) -> Tolerance {
    let finite = values.iter().filter(|value| value.abs() < 6e4);
    let largest = finite.fold(0.0, |max: f64, value| max.max(value.abs()));
    Tolerance { multiple: 2.0, atol: 4.0 * f64::from(f32::EPSILON) * largest }
}

async fn run<T: Element>(gpu: &Gpu, spec: AssociativeScanSpec) -> Result<Vec<Outcome>, Error> {
    let count = spec.rows() * spec.length;
    let mut inputs = Inputs::new(count as u64);
    let mut x = inputs.normal(count, 1.0);
    if spec.operator == AssociativeOperator::Max {
        // Steps that rise, so that maxima are set along the whole row, and in steps of a half, so that many are equal.
        for (i, x) in x.iter_mut().enumerate() {
            let t = i % spec.length;
            let taken = if spec.reverse { spec.length - 1 - t } else { t };
            *x = (2.0 * *x + 40.0 * taken as f64 / spec.length as f64).round() / 2.0 + 0.25;
        }
    }
    let x = rounded::<T>(&x);
    // A value that every type has, so that it compares as it is stored.
    let initial: Vec<f64> =
        inputs.normal(spec.rows(), 1.0).iter().map(|x| (4.0 * x).round() / 4.0 + 0.125).collect();
    let initial = spec.initial.then_some(initial.as_slice());
    let (reference, plain) = both(spec.dtype, |precision| associative_scan(&spec, precision, &x, initial));

    let given = initial.map(|initial| upload::<f32>(gpu, &spec.state_shape(), initial)).transpose()?;
    let outputs = AssociativeScanOutputs {
        y: poisoned::<T>(gpu, &spec.shape())?,
        last: poisoned::<f32>(gpu, &spec.state_shape())?,
    };
    let dy = rounded::<T>(&inputs.normal(count, 1.0));
    let gradients = AssociativeScanGradients {
        dx: poisoned::<T>(gpu, &spec.shape())?,
        dinitial: poisoned::<f32>(gpu, &spec.state_shape())?,
    };
    let [device_x, device_dy] = [&x, &dy].map(|values| upload::<T>(gpu, &spec.shape(), values));
    let (device_x, device_dy) = (device_x?, device_dy?);
    let given = AssociativeScanInputs { x: &device_x, initial: given.as_ref() };
    let mut encoder = gpu.encoder();
    AssociativeScan::new(gpu, spec)?.encode(&mut encoder, given, &outputs)?;
    let backward = AssociativeScanBackwardInputs { given, y: &outputs.y, dy: &device_dy };
    AssociativeScanBackward::new(gpu, spec)?.encode(&mut encoder, backward, &gradients)?;
    gpu.submit(encoder)?;

    let (slopes, plain_slopes) =
        both(spec.dtype, |precision| associative_scan_backward(&spec, precision, &x, initial, &dy));
    let (y, last) = (download(&outputs.y).await?, download(&outputs.last).await?);
    let (dx, dinitial) = (download(&gradients.dx).await?, download(&gradients.dinitial).await?);
    // A maximum that a step set leaves nothing for the initial value: its gradient is compared beside the others.
    let whole = |dx: Vec<f64>, dinitial: Vec<f64>| [dx, dinitial].concat();
    let (slopes, plain_slopes) =
        (whole(slopes.dx, slopes.dinitial), whole(plain_slopes.dx, plain_slopes.dinitial));
    Ok(vec![
        Outcome::new("y", &y, &reference.y, &plain.y, tolerance(&reference.y)),
        Outcome::new("last", &last, &reference.last, &plain.last, tolerance(&reference.y)),
        Outcome::new("dx, dinitial", &whole(dx, dinitial), &slopes, &plain_slopes, tolerance(&slopes)),
    ])
}
