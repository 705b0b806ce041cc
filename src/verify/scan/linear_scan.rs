//! The acceptance grid of the linear scan.

use super::share;
use crate::oracle::{Precision, linear_scan, linear_scan_backward};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, download, largest_error, poisoned, rounded,
    upload,
};
use crate::{
    DType, Element, Error, Gpu, LinearScan, LinearScanBackward, LinearScanBackwardInputs,
    LinearScanGradients, LinearScanInputs, LinearScanOutputs, LinearScanSpec, by_dtype,
};

/// Lengths around the tile and chunk sizes of the plans, and lengths that are a multiple of nothing.
pub(super) fn cases(grid: Grid) -> Vec<LinearScanSpec> {
    let lengths: &[usize] = match grid {
        Grid::Thin => &[1, 2, 31, 32, 97, 255, 1025, 8000, 33_753, 127_323],
        Grid::Full => &[
            1, 2, 3, 4, 5, 31, 32, 33, 64, 97, 128, 203, 255, 256, 257, 512, 1023, 1024, 1025, 2047, 2048,
            2049, 4096, 8000, 8192, 16_323, 16_384, 32_768, 33_753, 65_536, 127_323,
        ],
    };
    let of_length = |&length: &usize| {
        // One row, so that long lengths are cut into chunks; many short rows, so that each has a workgroup.
        let rows: &[(usize, usize)] =
            if length > 2000 { &[(1, 1), (2, 3)] } else { &[(1, 1), (2, 3), (3, 400)] };
        rows.iter().flat_map(move |&(batch, channels)| {
            DType::ALL.map(|dtype| LinearScanSpec::new(dtype, batch, channels, length))
        })
    };
    let odd = |(i, spec): (usize, LinearScanSpec)| LinearScanSpec {
        complex: i % 4 == 2,
        initial: i % 2 == 1,
        reverse: i % 5 == 3,
        // Before a single step there is nothing but the initial state.
        exclusive: i % 7 > 4 && spec.length > 1,
        ..spec
    };
    let grid = lengths.iter().flat_map(of_length).enumerate().map(odd);
    // A million steps of one row in the thin grid too: the carries alone are more than a tile.
    grid.chain([LinearScanSpec::new(DType::F32, 1, 1, 10_000_000).initial()]).collect()
}

/// Twice the sequential scan's error, and a unit in the last place of the largest state beside it: short rows are a
/// small sample of roundings, whose maximum is luck.
fn tolerance(states: &[f64]) -> Tolerance {
    share(states, f32::EPSILON.into())
}

impl Case for LinearScanSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, *self)))
    }
}

/// Pairs of sizes as complex numbers of the first size, each with an angle of its own.
fn turn(pairs: &mut [f64]) {
    for pair in pairs.chunks_exact_mut(2) {
        let (sin, cos) = (60.0 * pair[1]).sin_cos();
        [pair[0], pair[1]] = [pair[0] * cos, pair[0] * sin];
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: LinearScanSpec) -> Result<Vec<Outcome>, Error> {
    let count = spec.rows() * spec.length * spec.parts();
    let mut inputs = Inputs::new(count as u64);
    // Decays near 1 remember for long, which is what makes a wrong carry visible.
    let mut a = inputs.uniform(count, 0.9, 1.0);
    if spec.complex {
        turn(&mut a);
    }
    let a = rounded::<T>(&a);
    let b = rounded::<T>(&inputs.normal(count, 1.0));
    let initial = rounded::<f32>(&inputs.normal(spec.rows() * spec.parts(), 3.0));
    let initial = spec.initial.then_some(initial.as_slice());
    let (reference, plain) = both(spec.dtype, |precision| linear_scan(&spec, precision, &a, &b, initial));
    let tolerance = tolerance(&reference.h);
    // The last states are a few of all states, so their error is judged by that of all, in the f32 they are kept in.
    let in_f32 = linear_scan(&spec, Precision::Stored(DType::F32), &a, &b, initial).h;
    let in_f32 = largest_error(&in_f32, &reference.h);

    let given = initial.map(|initial| upload::<f32>(gpu, &spec.state_shape(), initial)).transpose()?;
    let outputs = LinearScanOutputs {
        h: poisoned::<T>(gpu, &spec.shape())?,
        last: poisoned::<f32>(gpu, &spec.state_shape())?,
    };
    let scan = LinearScan::new(gpu, spec)?;
    let mut encoder = gpu.encoder();
    let host_a = a;
    let (a, b) = (upload::<T>(gpu, &spec.shape(), &host_a)?, upload::<T>(gpu, &spec.shape(), &b)?);
    scan.encode(&mut encoder, LinearScanInputs { a: &a, b: &b, initial: given.as_ref() }, &outputs)?;
    gpu.submit(encoder)?;
    let (h, last) = (download(&outputs.h).await?, download(&outputs.last).await?);
    let last_tolerance = Tolerance { atol: tolerance.atol + 2.0 * in_f32, multiple: 0.0 };
    let mut outcomes = vec![
        Outcome::new("h", &h, &reference.h, &plain.h, tolerance),
        Outcome::new("last", &last, &reference.last, &plain.last, last_tolerance),
    ];

    // The backward pass takes the states as the forward pass stored them, so that its errors are its own.
    let dh = rounded::<T>(&inputs.normal(count, 1.0));
    let (reference, plain) =
        both(spec.dtype, |precision| linear_scan_backward(&spec, precision, (&host_a, &h), initial, &dh));
    let gradients = LinearScanGradients {
        da: poisoned::<T>(gpu, &spec.shape())?,
        db: poisoned::<T>(gpu, &spec.shape())?,
        dinitial: poisoned::<f32>(gpu, &spec.state_shape())?,
    };
    let dh = upload::<T>(gpu, &spec.shape(), &dh)?;
    let inputs = LinearScanBackwardInputs { a: &a, h: &outputs.h, initial: given.as_ref(), dh: &dh };
    let mut encoder = gpu.encoder();
    LinearScanBackward::new(gpu, spec)?.encode(&mut encoder, inputs, &gradients)?;
    gpu.submit(encoder)?;
    let found = [download(&gradients.da).await?, download(&gradients.db).await?];
    let [da, db] = [(&found[0], &reference.da, &plain.da), (&found[1], &reference.db, &plain.db)];
    for (name, (ours, reference, plain)) in [("da", da), ("db", db)] {
        // A single step from 0 has no use for its factor.
        if reference.iter().any(|value| *value != 0.0) {
            outcomes.push(Outcome::new(name, ours, reference, plain, self::tolerance(reference)));
        }
    }
    let dinitial = download(&gradients.dinitial).await?;
    let of_db = Tolerance { atol: self::tolerance(&reference.db).atol * 8.0 + in_f32, multiple: 2.0 };
    outcomes.push(Outcome::new("dinitial", &dinitial, &reference.dinitial, &plain.dinitial, of_db));
    Ok(outcomes)
}
