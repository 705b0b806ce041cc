//! The acceptance grid of the Monarch linear layer: what it has beyond the product, which has a grid of its own.

use super::tolerance;
use crate::oracle::{bias_gradient, monarch_backward, monarch_linear};
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{
    DType, Element, Error, Gpu, MonarchGradients, MonarchInputs, MonarchLinear, MonarchLinearGradients,
    MonarchLinearSpec, MonarchSpec, by_dtype,
};

/// Fused and in two passes, by fours and by ones.
pub(super) fn cases(grid: Grid) -> Vec<MonarchLinearSpec> {
    let shapes = [([8, 16, 16], [16, 12, 8]), ([3, 5, 7], [5, 2, 3]), ([8, 192, 96], [24, 16, 64])];
    let mut cases = Vec::new();
    for (i, (w1, w2)) in shapes.into_iter().enumerate() {
        for (j, dtype) in DType::ALL.into_iter().enumerate() {
            if grid == Grid::Full || i == j {
                let product = MonarchSpec::new(dtype, [200, 33, 70][i], w1, w2);
                cases.push(MonarchLinearSpec::new(product).bias());
            }
        }
    }
    cases
}

impl Case for MonarchLinearSpec {
    fn dtype(&self) -> DType {
        self.product.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.product.dtype, T => Box::pin(run::<T>(gpu, *self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: MonarchLinearSpec) -> Result<Vec<Outcome>, Error> {
    let MonarchLinearSpec { product, .. } = spec;
    let (n_in, n_out) = ([product.batch, product.n_in()], [product.batch, product.n_out()]);
    let weights = spec.initial_weights(1);
    let [w1, w2] = [&weights.w1, &weights.w2].map(|values| rounded::<T>(values));
    let bias = weights.bias.map(|bias| rounded::<T>(&bias));
    let mut inputs = Inputs::new(product.n_mid() as u64);
    let mut normal = |shape: [usize; 2]| rounded::<T>(&inputs.normal(shape.iter().product(), 1.0));
    let (x, dy) = (normal(n_in), normal(n_out));
    let (y_reference, y_plain) =
        both(product.dtype, |precision| monarch_linear(&spec, precision, [&x, &w1, &w2], bias.as_deref()));
    let (reference, plain) =
        both(product.dtype, |precision| monarch_backward(&product, precision, &x, &w1, &w2, &dy));
    let (dbias_reference, dbias_plain) =
        both(product.dtype, |precision| bias_gradient(precision, product.n_out(), &dy));

    let y = poisoned::<T>(gpu, &n_out)?;
    let gradients = MonarchLinearGradients {
        product: MonarchGradients {
            dx: poisoned::<T>(gpu, &n_in)?,
            dw1: poisoned::<T>(gpu, &product.w1)?,
            dw2: poisoned::<T>(gpu, &product.w2)?,
        },
        dbias: spec.bias.then(|| poisoned::<T>(gpu, &[product.n_out()])).transpose()?,
    };
    let (x, dy) = (upload::<T>(gpu, &n_in, &x)?, upload::<T>(gpu, &n_out, &dy)?);
    let (w1, w2) = (upload::<T>(gpu, &product.w1, &w1)?, upload::<T>(gpu, &product.w2, &w2)?);
    let bias = bias.map(|bias| upload::<T>(gpu, &[product.n_out()], &bias)).transpose()?;
    let layer = MonarchLinear::new(gpu, spec)?;
    let given = MonarchInputs { x: &x, w1: &w1, w2: &w2 };
    let mut encoder = gpu.encoder();
    layer.encode(&mut encoder, given, bias.as_ref(), &y)?;
    layer.encode_backward(&mut encoder, given, &dy, &gradients)?;
    gpu.submit(encoder)?;
    let compare = |name, ours: &[f64], reference: &[f64], plain: &[f64]| {
        Outcome::new(name, ours, reference, plain, tolerance(reference))
    };
    let mut outcomes = vec![
        compare("y", &download(&y).await?, &y_reference, &y_plain),
        compare("dx", &download(&gradients.product.dx).await?, &reference.dx, &plain.dx),
        compare("dw1", &download(&gradients.product.dw1).await?, &reference.dw1, &plain.dw1),
        compare("dw2", &download(&gradients.product.dw2).await?, &reference.dw2, &plain.dw2),
    ];
    if let Some(dbias) = &gradients.dbias {
        outcomes.push(compare("dbias", &download(dbias).await?, &dbias_reference, &dbias_plain));
    }
    Ok(outcomes)
}
