//! The acceptance grid of the butterfly product and its gradients.

use std::fmt;

use crate::oracle::{butterfly, butterfly_backward};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, download, poisoned, rounded, upload,
};
use crate::{
    Butterfly, ButterflyBackward, ButterflyGradients, ButterflyInputs, ButterflySpec, DType, Element, Error,
    Gpu, by_dtype,
};

/// A product and its gradients.
pub(super) struct Product(ButterflySpec);

/// Rows below, at and past the tiles of the plans, every option by itself and with others, and every storage.
pub(super) fn cases(grid: Grid) -> Vec<Product> {
    let new = |batch, n| ButterflySpec::new(DType::F32, batch, n);
    if grid == Grid::Thin {
        // Software adapters spend their time compiling: each choice of a plan meets one case or two, and each type many.
        let specs = [
            new(7, 2).nblocks(3).n_in(5),
            new(33, 8).nstacks(3).n_in(6),
            new(97, 16).increasing_stride().nblocks(2).transposed(),
            new(9, 512).complex().nblocks(3).increasing_stride(),
            new(10, 4096).nblocks(3).increasing_stride(),
            new(1, 1 << 14).increasing_stride(),
            new(33, 8).entry(8).nblocks(2),
            new(5, 4).entry(3).complex().transposed(),
            new(1, 64).complex(),
        ];
        let typed = |(i, spec)| Product(ButterflySpec { dtype: DType::ALL[i % 3], ..spec });
        return specs.into_iter().enumerate().map(typed).collect();
    }
    let mut specs = vec![
        new(1, 2),
        new(7, 2).nblocks(3).n_in(5),
        new(1, 4).complex().increasing_stride(),
        new(33, 8).nstacks(3).n_in(6),
        new(97, 16).increasing_stride().nblocks(2).transposed(),
        new(5, 64).increasing_stride(),
        new(3, 32).nstacks(2).nblocks(3).n_in(27),
        new(2, 128).complex().nblocks(2).transposed(),
        new(1025, 32).complex().nblocks(3).increasing_stride(),
        new(97, 512).nblocks(3),
        new(9, 512).complex().nblocks(3).increasing_stride(),
        new(10, 4096).nblocks(3).increasing_stride(),
        new(3, 4096).complex().nblocks(3),
        // Blocks of entries, by fours and not.
        new(7, 2).entry(3),
        new(33, 8).entry(8).nblocks(2),
        new(5, 16).entry(5).complex().increasing_stride().transposed(),
        new(3, 64).entry(32).nstacks(2),
        new(97, 4).entry(16).complex().nblocks(2).n_in(61),
        // More than any tile holds, in both directions.
        new(1, 1 << 15).increasing_stride().nblocks(2),
        new(2, 1 << 14).complex(),
    ];
    for (batch, n) in [(10, 4096), (8192, 512)] {
        for spec in [new(batch, n).nblocks(3), new(batch, n).nblocks(3).complex()] {
            specs.extend([spec, spec.increasing_stride(), spec.transposed()]);
        }
    }
    for bit in 1..=12 {
        specs.push(new(33, 1 << bit).nblocks(2).n_in((1 << bit) + 3));
        specs.push(new(5, 1 << bit).complex().increasing_stride().nstacks(2));
    }
    specs.push(new(1, 1 << 19));
    specs.push(new(2, 1 << 17).complex().increasing_stride().nblocks(3));
    let typed = |spec: ButterflySpec| DType::ALL.map(|dtype| Product(ButterflySpec { dtype, ..spec }));
    // The twiddle of a million nodes is more than many adapters bind at once, and in complex f32 more than a buffer.
    specs.push(new(1, 1 << 20));
    let largest = ButterflySpec { dtype: DType::F16, ..new(1, 1 << 20).complex() };
    specs.into_iter().flat_map(typed).chain([Product(largest)]).collect()
}

impl Clone for Product {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Case for Product {
    fn dtype(&self) -> DType {
        self.0.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.0.dtype, T => Box::pin(run::<T>(gpu, self.0)))
    }
}

/// Twice the plain error, and a few units in the last place of the largest value beside it: a narrow product is a small
/// sample of roundings, whose maximum is luck.
pub(super) fn tolerance(reference: &[f64]) -> Tolerance {
    let largest = reference.iter().fold(0.0, |max: f64, y| max.max(y.abs()));
    Tolerance { multiple: 2.0, atol: 4.0 * f64::from(f32::EPSILON) * largest }
}

async fn run<T: Element>(gpu: &Gpu, spec: ButterflySpec) -> Result<Vec<Outcome>, Error> {
    let mut inputs = Inputs::new(spec.n as u64);
    let mut given =
        |shape: &[usize], deviation| rounded::<T>(&inputs.normal(shape.iter().product(), deviation));
    let (x_shape, twiddle_shape, y_shape) = (spec.x_shape(), spec.twiddle_shape(), spec.y_shape());
    let x = given(&x_shape, 1.0);
    // Weights that keep the variance of a row: a sum has 2 · entry terms, of two numbers each where they are complex.
    let terms = (2 * spec.entry * spec.parts()) as f64;
    let twiddle = given(&twiddle_shape, terms.powf(-0.5));
    let dy = given(&y_shape, 1.0);
    let (reference, plain) = both(spec.dtype, |precision| {
        let gradients = butterfly_backward(&spec, precision, &x, &twiddle, &dy);
        (butterfly(&spec, precision, &x, &twiddle), gradients)
    });

    let y = poisoned::<T>(gpu, &y_shape)?;
    let gradients =
        ButterflyGradients { dx: poisoned::<T>(gpu, &x_shape)?, dtwiddle: poisoned(gpu, &twiddle_shape)? };
    let forward = Butterfly::new(gpu, spec)?;
    let backward = ButterflyBackward::new(gpu, spec)?;
    let (x, twiddle, dy) = (
        upload::<T>(gpu, &x_shape, &x)?,
        upload::<T>(gpu, &twiddle_shape, &twiddle)?,
        upload::<T>(gpu, &y_shape, &dy)?,
    );
    let mut encoder = gpu.encoder();
    let inputs = ButterflyInputs { x: &x, twiddle: &twiddle };
    forward.encode(&mut encoder, inputs, &y)?;
    backward.encode(&mut encoder, inputs, &dy, &gradients)?;
    gpu.submit(encoder)?;
    let (y, dx, dtwiddle) =
        (download(&y).await?, download(&gradients.dx).await?, download(&gradients.dtwiddle).await?);
    let ((y_reference, reference), (y_plain, plain)) = (reference, plain);
    let outcome = |tensor, ours: &[f64], reference: &[f64], plain: &[f64]| {
        Outcome::new(tensor, ours, reference, plain, tolerance(reference))
    };
    Ok(vec![
        outcome("y", &y, &y_reference, &y_plain),
        outcome("dx", &dx, &reference.dx, &plain.dx),
        outcome("dtwiddle", &dtwiddle, &reference.dtwiddle, &plain.dtwiddle),
    ])
}
