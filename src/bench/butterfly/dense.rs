//! Measuring dense products: the yardstick of every structured one, and their measure of what the adapter can multiply.

use crate::baseline::{Matmul, MatmulPath, MatmulPlan, MatmulSpec};
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, compare, fetch, spread};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Workload, Yardstick};
use crate::verify::{Family, Inputs, Outcome, both, poisoned};
use crate::{DType, Element, Error, Tensor, by_dtype};

/// Square products.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<MatmulSpec> {
    let square = |dtype, side| MatmulSpec::new(dtype, side, side, side);
    let sides: &[(DType, usize)] = match (depth, scale) {
        (Depth::Quick, _) => &[],
        (_, Scale::Software) => &[(DType::F32, 256), (DType::F16, 256)],
        (_, Scale::Modest) => &[(DType::F32, 1024), (DType::F16, 1024)],
        (_, Scale::Large) => &[(DType::F32, 4096), (DType::F16, 4096), (DType::F16, 8192)],
    };
    sides.iter().map(|&(dtype, side)| square(dtype, side)).collect()
}

impl Workload for MatmulSpec {
    fn family(&self) -> Family {
        Family::Butterfly
    }

    fn dtype(&self) -> DType {
        self.c.dtype
    }

    fn flops(&self) -> f64 {
        self.flops()
    }

    fn least_bytes(&self) -> u64 {
        self.least_bytes()
    }

    fn case(&self) -> String {
        format!("matmul {}, {} × {} × {}", self.c.dtype, self.m, self.n, self.k)
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype(), T => Box::pin(measure::<T>(bench, *self)))
    }
}

/// Contiguous products of one element type, as [`suite`] has them.
async fn measure<T: Element>(
    bench: &Bench<'_>,
    spec: MatmulSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let MatmulSpec { m, n, k, .. } = spec;
    let mut inputs = Inputs::new(1);
    let a: Vec<T> = centred(&mut inputs, m * k, 1.0);
    // Weights that keep the variance of a row.
    let b: Vec<T> = centred(&mut inputs, k * n, (k as f64).powf(-0.5));
    let rows = spread(m, 4);
    let row = |row: usize| a[row * k..(row + 1) * k].iter().map(|value| value.to_f64());
    let column = |column: usize| (0..k).map(move |i| i * n + column);
    let (reference, plain) = both(T::DTYPE, |precision| {
        let places = rows.iter().flat_map(|&i| (0..n).map(move |j| (i, j)));
        let dot = |(i, j)| precision.dot(row(i).zip(column(j).map(|at| b[at].to_f64())));
        places.map(|place| precision.store(dot(place))).collect::<Vec<f64>>()
    });
    let (device_a, device_b) = (Tensor::from_slice(gpu, &[m, k], &a)?, Tensor::from_slice(gpu, &[k, n], &b)?);
    let contend = async |name, plan| {
        let product = Matmul::with_plan(gpu, spec, plan)?;
        bench
            .contend(
                name,
                product.plan(),
                || poisoned::<T>(gpu, &[m, n]),
                |encoder, c| product.encode(encoder, &device_a, &device_b, c),
                async |c: &Tensor<T>| -> Result<Vec<Outcome>, Error> {
                    let (c, whole) = fetch(c).await?;
                    let picked = rows.iter().flat_map(|&row| &c[row * n..(row + 1) * n]);
                    let picked = picked.map(|value| value.to_f64()).collect();
                    Ok(vec![compare("c", (picked, whole), &reference, &plain)])
                },
            )
            .await
    };
    let best = MatmulPlan::new(&spec, gpu.caps())?;
    let figures = contend("dense", best).await?;
    let yardsticks = match best.path {
        MatmulPath::Lanes { .. } => vec![],
        MatmulPath::Matrices { .. } => vec![
            Bench::yardstick("lane by lane", async || {
                contend("lane by lane", MatmulPlan::on_lanes(&spec, gpu.caps())?).await
            })
            .await?,
        ],
    };
    Ok((figures, yardsticks))
}
