//! The acceptance grid of the Monarch product.

use super::tolerance;
use crate::oracle::monarch;
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{DType, Element, Error, Gpu, Monarch, MonarchInputs, MonarchSpec, by_dtype};

/// Shapes of w1 and w2 that are small, odd, or thin in one direction.
const SMALL: &[([usize; 3], [usize; 3])] = &[
    ([1, 1, 1], [1, 1, 1]),
    ([1, 5, 3], [5, 2, 1]),
    ([7, 1, 9], [1, 3, 7]),
    ([4, 4, 4], [4, 4, 4]),
    ([3, 5, 7], [5, 2, 3]),
    ([3, 5, 7], [3, 9, 5]),
    ([4, 12, 9], [6, 10, 8]),
    ([16, 4, 33], [4, 65, 16]),
    ([24, 16, 16], [48, 4, 8]),
];

/// Powers of two, and the 768 of vision and language models.
const LARGE: &[([usize; 3], [usize; 3])] = &[
    ([32, 32, 32], [32, 32, 32]),
    ([8, 192, 96], [24, 16, 64]),
    ([64, 64, 64], [64, 64, 64]),
    ([4, 256, 256], [256, 4, 4]),
    ([2, 70, 130], [10, 129, 14]),
];

/// Fourier transforms of n = s0 s1 points have blocks of these sizes.
const TRANSFORMS: &[(usize, usize)] =
    &[(3, 5), (3, 9), (6, 6), (6, 7), (6, 8), (5, 17), (12, 14), (14, 14), (16, 32)];

/// Sizes below, at and past the tiles of the plans, batches that fill no tile, and every storage.
pub(super) fn cases(grid: Grid) -> Vec<MonarchSpec> {
    let transforms = TRANSFORMS.iter().map(|&(s0, s1)| ([s0, s1, s1], [s1, s0, s0]));
    let mut cases = Vec::new();
    match grid {
        Grid::Full => {
            let small: Vec<_> = SMALL.iter().copied().chain(transforms).collect();
            product(&mut cases, &small, &[1, 7, 33, 97, 2000]);
            product(&mut cases, LARGE, &[1, 7, 33, 97]);
            // Many workgroups, and a width that no adapter fuses.
            product(&mut cases, &[([128; 3], [128; 3])], &[5]);
            product(&mut cases, &[([4; 3], [4; 3])], &[100_000]);
        }
        Grid::Thin => {
            // Software adapters spend their time compiling: each shape meets one batch, and each batch many shapes.
            let batch = |i: usize| [7, 97, 1, 33][i % 4];
            for (i, &shape) in SMALL.iter().chain(LARGE).enumerate() {
                product(&mut cases, &[shape], &[batch(i)]);
            }
            for (i, (w1, w2)) in transforms.enumerate() {
                cases.push(MonarchSpec::new(DType::ALL[i % 3], batch(i), w1, w2));
            }
            product(&mut cases, &[([4; 3], [4; 3])], &[2000]);
            // As many elements as matrix units take in two passes, where there are any.
            product(&mut cases, &[([32; 3], [32; 3])], &[1030]);
        }
    }
    cases
}

fn product(cases: &mut Vec<MonarchSpec>, shapes: &[([usize; 3], [usize; 3])], batches: &[usize]) {
    for &(w1, w2) in shapes {
        for &batch in batches {
            cases.extend(DType::ALL.map(|dtype| MonarchSpec::new(dtype, batch, w1, w2)));
        }
    }
}

impl Case for MonarchSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, *self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: MonarchSpec) -> Result<Vec<Outcome>, Error> {
    let mut inputs = Inputs::new(spec.n_mid() as u64);
    let [_, _, p] = spec.w1;
    let [_, _, r] = spec.w2;
    let x = rounded::<T>(&inputs.normal(spec.batch * spec.n_in(), 1.0));
    // Weights as a layer would begin with: they keep the size of what passes through.
    let w1 = rounded::<T>(&inputs.normal(spec.w1.iter().product(), 1.0 / (p as f64).sqrt()));
    let w2 = rounded::<T>(&inputs.normal(spec.w2.iter().product(), 1.0 / (r as f64).sqrt()));
    let (reference, plain) = both(spec.dtype, |precision| monarch(&spec, precision, &x, &w1, &w2));

    let y = poisoned::<T>(gpu, &[spec.batch, spec.n_out()])?;
    let product = Monarch::new(gpu, spec)?;
    let (x, w1, w2) = (
        upload::<T>(gpu, &[spec.batch, spec.n_in()], &x)?,
        upload::<T>(gpu, &spec.w1, &w1)?,
        upload::<T>(gpu, &spec.w2, &w2)?,
    );
    let mut encoder = gpu.encoder();
    product.encode(&mut encoder, MonarchInputs { x: &x, w1: &w1, w2: &w2 }, &y)?;
    gpu.submit(encoder)?;
    let y = download(&y).await?;
    Ok(vec![Outcome::new("y", &y, &reference, &plain, tolerance(&reference))])
}
