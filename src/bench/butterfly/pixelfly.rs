//! Measuring Pixelfly layers.

use super::dense_yardstick::{dense, pick, rows_beside_dense};
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, compare, fetch, spread, wide};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Workload, Yardstick};
use crate::oracle::{self, PixelflyOperands};
use crate::verify::{Family, Inputs, both, poisoned};
use crate::{
    DType, Element, Error, LinearSpec, PixelflyConfig, PixelflyInputs, PixelflyLinear, PixelflySpec, Tensor,
    by_dtype,
};

/// The published configurations, with a gate and a bias: square layers, and the two of a Mixer's MLP.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<PixelflySpec> {
    if depth == Depth::Quick {
        return vec![];
    }
    let (most, squares): (usize, &[usize]) = match scale {
        Scale::Software => (128, &[1024]),
        Scale::Modest => (1024, &[1024, 4096]),
        Scale::Large => (8192, &[1024, 4096]),
    };
    let squares = squares.iter().map(|&n| ("standard", [n, n]));
    let layers: Vec<_> = squares.chain([("mixer-b", [3072, 768]), ("mixer-b", [768, 3072])]).collect();
    let spec = |dtype, name, [out, r#in]: [usize; 2]| {
        let config = PixelflyConfig::named(name).expect("a published configuration");
        let rows = rows_beside_dense(scale, most, out.max(r#in));
        PixelflySpec::new(dtype, rows, [out, r#in], &config).expect("a mask").gate().bias()
    };
    let of_type = |dtype| layers.iter().map(move |&(name, size)| spec(dtype, name, size));
    [DType::F32, DType::F16].into_iter().flat_map(of_type).collect()
}

impl Workload for PixelflySpec {
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
        self.least_bytes()
    }

    fn width(&self) -> Option<usize> {
        let [out, r#in] = self.size;
        (out == r#in).then_some(out)
    }

    fn case(&self) -> String {
        let [out, r#in] = self.size;
        format!("pixelfly {}, {} → {out}", self.dtype, r#in)
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
    spec: &PixelflySpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let layer = PixelflyLinear::new(gpu, spec.clone())?;
    let [out, r#in] = spec.size;
    let weights = spec.initial_weights(1);
    let stored = |values: &[f64]| values.iter().map(|&value| T::from_f64(value)).collect::<Vec<_>>();
    let [w, u, v] = [&weights.w, &weights.u, &weights.v].map(|values| stored(values));
    let bias = weights.bias.as_deref().map(stored);
    let gate = weights.gate.map(|gate| gate as f32);
    let x: Vec<T> = centred(&mut Inputs::new(1), spec.batch * r#in, 1.0);
    let device_x = Tensor::from_slice(gpu, &[spec.batch, r#in], &x)?;
    let device_w = Tensor::from_slice(gpu, &spec.mask.shape(), &w)?;
    let device_u = Tensor::from_slice(gpu, &spec.u_shape(), &u)?;
    let device_v = Tensor::from_slice(gpu, &spec.v_shape(), &v)?;
    let device_gate = gate.map(|gate| Tensor::from_slice(gpu, &[1], &[gate])).transpose()?;
    let device_bias = bias.as_deref().map(|bias| Tensor::from_slice(gpu, &[out], bias)).transpose()?;
    let given = PixelflyInputs {
        x: &device_x,
        w: &device_w,
        u: &device_u,
        v: &device_v,
        gate: device_gate.as_ref(),
        bias: device_bias.as_ref(),
    };
    let rows = spread(spec.batch, 4);
    let x_rows = pick(&x, r#in, &rows);
    let sample = PixelflySpec { batch: rows.len(), ..spec.clone() };
    let [w, u, v] = [&w, &u, &v].map(|values| wide(values));
    let bias = bias.as_deref().map(wide);
    let operands =
        PixelflyOperands { w: &w, u: &u, v: &v, gate: gate.map_or(0.5, f64::from), bias: bias.as_deref() };
    let (reference, plain) =
        both(spec.dtype, |precision| oracle::pixelfly(&sample, precision, &x_rows, &operands));
    let figures = bench
        .contend(
            "fused",
            layer.plan(),
            || poisoned::<T>(gpu, &[spec.batch, out]),
            |encoder, y| layer.encode(encoder, given, y),
            async |y| {
                let (y, whole) = fetch(y).await?;
                Ok(vec![compare("y", (pick(&y, out, &rows), whole), &reference, &plain)])
            },
        )
        .await?;
    let dense = dense(bench, [spec.batch, r#in, out], &device_x, (&rows, &x_rows)).await?;
    Ok((figures, dense.into_iter().collect()))
}
