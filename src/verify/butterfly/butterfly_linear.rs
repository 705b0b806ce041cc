//! The acceptance grid of the butterfly linear layer.

use crate::oracle::{butterfly_linear, butterfly_linear_backward};
use crate::verify::butterfly::product::tolerance;
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{
    ButterflyLinear, ButterflyLinearGradients, ButterflyLinearInputs, ButterflyLinearSpec, DType, Element,
    Error, Gpu, by_dtype,
};

/// Widths below, at and past powers of two on both sides, in one stack and in several, fused and in passes.
pub(super) fn cases(grid: Grid) -> Vec<ButterflyLinearSpec> {
    let new = |batch, inputs, outputs| ButterflyLinearSpec::new(DType::F32, batch, inputs, outputs);
    let mut specs = vec![
        new(3, 1, 1),
        new(97, 64, 64).nblocks(2),
        new(33, 113, 203).without_bias(),
        new(7, 100, 40).decreasing_stride(),
    ];
    if grid == Grid::Full {
        specs.extend([new(5, 768, 3072), new(1025, 3072, 768).nblocks(2), new(2, 5000, 5001)]);
    }
    let typed = |(i, spec): (usize, ButterflyLinearSpec)| match grid {
        Grid::Full => DType::ALL.map(|dtype| ButterflyLinearSpec { dtype, ..spec }).to_vec(),
        Grid::Thin => vec![ButterflyLinearSpec { dtype: DType::ALL[i % 3], ..spec }],
    };
    specs.into_iter().enumerate().flat_map(typed).collect()
}

impl Case for ButterflyLinearSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype, T => Box::pin(run::<T>(gpu, *self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: ButterflyLinearSpec) -> Result<Vec<Outcome>, Error> {
    let mut inputs = Inputs::new(spec.in_features as u64);
    let x = rounded::<T>(&inputs.normal(spec.batch * spec.in_features, 1.0));
    let dy = rounded::<T>(&inputs.normal(spec.batch * spec.out_features, 1.0));
    let (twiddle, bias) = spec.initial_weights(1);
    let (twiddle, bias) = (rounded::<T>(&twiddle), rounded::<T>(&bias));
    let (reference, plain) = both(spec.dtype, |precision| {
        let y = butterfly_linear(&spec, precision, &x, &twiddle, spec.bias.then_some(&bias));
        (y, butterfly_linear_backward(&spec, precision, &x, &twiddle, &dy))
    });

    let twiddle_shape = spec.product().twiddle_shape();
    let bias_shape = [spec.out_features];
    let y = poisoned::<T>(gpu, &spec.y_shape())?;
    let gradients = ButterflyLinearGradients {
        dx: poisoned::<T>(gpu, &spec.x_shape())?,
        dtwiddle: poisoned(gpu, &twiddle_shape)?,
        dbias: spec.bias.then(|| poisoned(gpu, &bias_shape)).transpose()?,
    };
    let layer = ButterflyLinear::new(gpu, spec)?;
    let x = upload::<T>(gpu, &spec.x_shape(), &x)?;
    let dy = upload::<T>(gpu, &spec.y_shape(), &dy)?;
    let twiddle = upload::<T>(gpu, &twiddle_shape, &twiddle)?;
    let bias = spec.bias.then(|| upload::<T>(gpu, &bias_shape, &bias)).transpose()?;
    let inputs = ButterflyLinearInputs { x: &x, twiddle: &twiddle, bias: bias.as_ref() };
    let mut encoder = gpu.encoder();
    layer.encode(&mut encoder, inputs, &y)?;
    layer.encode_backward(&mut encoder, inputs, &dy, &gradients)?;
    gpu.submit(encoder)?;

    let ((y_reference, reference), (y_plain, plain)) = (reference, plain);
    let outcome = |tensor, ours: &[f64], reference: &[f64], plain: &[f64]| {
        Outcome::new(tensor, ours, reference, plain, tolerance(reference))
    };
    let mut outcomes = vec![
        outcome("y", &download(&y).await?, &y_reference, &y_plain),
        outcome("dx", &download(&gradients.dx).await?, &reference.dx, &plain.dx),
        outcome("dtwiddle", &download(&gradients.dtwiddle).await?, &reference.dtwiddle, &plain.dtwiddle),
    ];
    if let Some(dbias) = &gradients.dbias {
        outcomes.push(outcome("dbias", &download(dbias).await?, &reference.dbias, &plain.dbias));
    }
    Ok(outcomes)
}
