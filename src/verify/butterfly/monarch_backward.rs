//! The acceptance grid of the gradients of the Monarch product.

use std::fmt;

use super::tolerance;
use crate::oracle::monarch_backward;
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{
    DType, Element, Error, Gpu, MonarchBackward, MonarchGradients, MonarchInputs, MonarchSpec, by_dtype,
};

/// The gradients of a product.
#[derive(Clone, Copy, Debug)]
struct Backward(MonarchSpec);

/// Shapes of w1 and w2 below, at and past the tiles: odd, thin in one direction, wide.
const SHAPES: &[([usize; 3], [usize; 3])] = &[
    ([1, 1, 1], [1, 1, 1]),
    ([3, 5, 7], [5, 2, 3]),
    ([7, 1, 9], [1, 3, 7]),
    ([4, 12, 9], [6, 10, 8]),
    ([24, 16, 16], [48, 4, 8]),
    ([2, 70, 130], [10, 129, 14]),
    ([8, 192, 96], [24, 16, 64]),
    ([32, 32, 32], [32, 32, 32]),
];

/// Batches that fill no tile, and some that are summed in parts.
pub(super) fn cases(grid: Grid) -> Vec<impl Case> {
    let case = |dtype, batch, (w1, w2)| Backward(MonarchSpec::new(dtype, batch, w1, w2));
    let mut cases = Vec::new();
    for (i, &shape) in SHAPES.iter().enumerate() {
        match grid {
            Grid::Full => {
                for dtype in DType::ALL {
                    cases.extend([1, 33, 97, 500].map(|batch| case(dtype, batch, shape)));
                }
            }
            Grid::Thin => cases.push(case(DType::ALL[i % 3], [97, 33, 200, 7][i % 4], shape)),
        }
    }
    let long = ([4, 4, 4], [4, 4, 4]);
    cases.extend(DType::ALL.map(|dtype| case(dtype, if grid == Grid::Full { 8192 } else { 1025 }, long)));
    cases
}

impl fmt::Display for Backward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, gradients", self.0)
    }
}

impl Case for Backward {
    fn dtype(&self) -> DType {
        self.0.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.0.dtype, T => Box::pin(run::<T>(gpu, self.0)))
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: MonarchSpec) -> Result<Vec<Outcome>, Error> {
    let mut inputs = Inputs::new(spec.n_mid() as u64);
    let (n_in, n_out) = ([spec.batch, spec.n_in()], [spec.batch, spec.n_out()]);
    let weights = |inputs: &mut Inputs, shape: [usize; 3]| {
        rounded::<T>(&inputs.normal(shape.iter().product(), 1.0 / (shape[2] as f64).sqrt()))
    };
    let x = rounded::<T>(&inputs.normal(n_in.iter().product(), 1.0));
    let (w1, w2) = (weights(&mut inputs, spec.w1), weights(&mut inputs, spec.w2));
    let dy = rounded::<T>(&inputs.normal(n_out.iter().product(), 1.0));
    let (reference, plain) =
        both(spec.dtype, |precision| monarch_backward(&spec, precision, &x, &w1, &w2, &dy));

    let outputs = MonarchGradients {
        dx: poisoned::<T>(gpu, &n_in)?,
        dw1: poisoned::<T>(gpu, &spec.w1)?,
        dw2: poisoned::<T>(gpu, &spec.w2)?,
    };
    let (x, dy) = (upload::<T>(gpu, &n_in, &x)?, upload::<T>(gpu, &n_out, &dy)?);
    let (w1, w2) = (upload::<T>(gpu, &spec.w1, &w1)?, upload::<T>(gpu, &spec.w2, &w2)?);
    let mut encoder = gpu.encoder();
    let inputs = MonarchInputs { x: &x, w1: &w1, w2: &w2 };
    MonarchBackward::new(gpu, spec)?.encode(&mut encoder, inputs, &dy, &outputs)?;
    gpu.submit(encoder)?;
    let compare = |name, ours: &[f64], reference: &[f64], plain: &[f64]| {
        Outcome::new(name, ours, reference, plain, tolerance(reference))
    };
    Ok(vec![
        compare("dx", &download(&outputs.dx).await?, &reference.dx, &plain.dx),
        compare("dw1", &download(&outputs.dw1).await?, &reference.dw1, &plain.dw1),
        compare("dw2", &download(&outputs.dw2).await?, &reference.dw2, &plain.dw2),
    ])
}
