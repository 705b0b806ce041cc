//! Measuring butterfly linear layers.

use super::dense_yardstick::{dense, pick};
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, compare, fetch, spread};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Workload, Yardstick};
use crate::oracle;
use crate::verify::{Family, Inputs, both, poisoned};
use crate::{
    ButterflyLinear, ButterflyLinearInputs, ButterflyLinearSpec, DType, Element, Error, LinearSpec, Tensor,
    by_dtype,
};

/// Layers with a bias: a square one, and those of an MLP that widens fourfold and narrows again, of a width that is no
/// power of two.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<ButterflyLinearSpec> {
    if depth == Depth::Quick {
        return vec![];
    }
    let rows = match scale {
        Scale::Software => 128,
        Scale::Modest => 1024,
        Scale::Large => 8192,
    };
    let widths = [(1024, 1024), (768, 3072), (3072, 768)];
    let spec = |dtype| widths.map(|(inputs, outputs)| ButterflyLinearSpec::new(dtype, rows, inputs, outputs));
    [DType::F32, DType::F16].into_iter().flat_map(spec).collect()
}

impl Workload for ButterflyLinearSpec {
    fn family(&self) -> Family {
        Family::Butterfly
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn flops(&self) -> f64 {
        LinearSpec::flops(self)
    }

    fn least_bytes(&self) -> u64 {
        let rows = self.batch * (self.in_features + self.out_features);
        ((rows + self.parameters()) * self.dtype.bytes()) as u64
    }

    fn case(&self) -> String {
        format!("{} {}, {} → {}", self.kind(), self.dtype, self.in_features, self.out_features)
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(measure::<T>(bench, self)))
    }
}

/// Beside it the dense product, which is spared the bias.
async fn measure<T: Element>(
    bench: &Bench<'_>,
    spec: &ButterflyLinearSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let layer = ButterflyLinear::new(gpu, *spec)?;
    let (twiddle, bias) = spec.initial_weights(1);
    let [twiddle, bias] =
        [twiddle, bias].map(|values| values.into_iter().map(T::from_f64).collect::<Vec<_>>());
    let x: Vec<T> = centred(&mut Inputs::new(1), spec.batch * spec.in_features, 1.0);
    let device_x = Tensor::from_slice(gpu, &spec.x_shape(), &x)?;
    let device_twiddle = Tensor::from_slice(gpu, &spec.product().twiddle_shape(), &twiddle)?;
    let device_bias = spec.bias.then(|| Tensor::from_slice(gpu, &[spec.out_features], &bias)).transpose()?;
    let given = ButterflyLinearInputs { x: &device_x, twiddle: &device_twiddle, bias: device_bias.as_ref() };
    let rows = spread(spec.batch, 4);
    let x_rows = pick(&x, spec.in_features, &rows);
    let sample = ButterflyLinearSpec { batch: rows.len(), ..*spec };
    let [twiddle, bias] =
        [twiddle, bias].map(|values| values.into_iter().map(Element::to_f64).collect::<Vec<_>>());
    let bias = spec.bias.then_some(bias.as_slice());
    let (reference, plain) =
        both(spec.dtype, |precision| oracle::butterfly_linear(&sample, precision, &x_rows, &twiddle, bias));
    let figures = bench
        .contend(
            "fused",
            layer.plan(),
            || poisoned::<T>(gpu, &spec.y_shape()),
            |encoder, y| layer.encode(encoder, given, y),
            async |y| {
                let (y, whole) = fetch(y).await?;
                Ok(vec![compare("y", (pick(&y, spec.out_features, &rows), whole), &reference, &plain)])
            },
        )
        .await?;
    let size = [spec.batch, spec.in_features, spec.out_features];
    Ok((figures, dense(bench, size, &device_x, (&rows, &x_rows)).await?.into_iter().collect()))
}
