//! Measuring Monarch products.

use super::dense_yardstick::{dense, pick, rows_beside_dense};
use crate::baseline::UnfusedMonarch;
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, compare, fetch, spread};
use crate::bench::suite::Scale;
use crate::bench::{Depth, Figures, Workload, Yardstick};
use crate::oracle;
use crate::verify::{Family, Inputs, Outcome, both, poisoned};
use crate::{DType, Element, Error, LinearSpec, Monarch, MonarchInputs, MonarchSpec, Tensor, by_dtype};

/// Square products in place of dense layers, from a width where these are cheap to one where they are not, and one that
/// widens fourfold, as the first layer of an MLP does.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<MonarchSpec> {
    use DType::{Bf16, F16, F32};
    let rows = match scale {
        Scale::Software => 512,
        Scale::Modest => 2048,
        Scale::Large => 8192,
    };
    let mut suite = vec![MonarchSpec::square(F32, rows, 32), MonarchSpec::square(F16, rows, 32)];
    suite.push(MonarchSpec::square(F32, rows / 4, 64));
    if depth == Depth::Quick {
        return suite;
    }
    suite.extend([MonarchSpec::square(F16, rows / 4, 64), MonarchSpec::square(Bf16, rows, 32)]);
    suite.push(MonarchSpec::new(F32, rows / 4, [32, 64, 32], [64, 64, 32]));
    for dtype in [F32, F16] {
        let square = |blocks: usize| {
            MonarchSpec::square(dtype, rows_beside_dense(scale, rows, blocks * blocks), blocks)
        };
        let large = (scale == Scale::Large).then(|| MonarchSpec::square(dtype, rows, 128));
        for spec in [16, 32, 64, 128].map(square).into_iter().chain(large) {
            if !suite.contains(&spec) {
                suite.push(spec);
            }
        }
    }
    suite
}

impl Workload for MonarchSpec {
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
        (self.n_in() == self.n_out()).then(|| self.n_in())
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend(&self, bench: &Bench<'_>) -> Result<(Figures, Vec<Yardstick>), Error> {
        by_dtype!(self.dtype, T => measure::<T>(bench, self))
    }
}

fn measure<T: Element>(bench: &Bench<'_>, spec: &MonarchSpec) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = Monarch::new(gpu, *spec)?;
    let mut inputs = Inputs::new(1);
    let mut given = |shape: &[usize], deviation| -> Result<(Vec<T>, Tensor<T>), Error> {
        let host = centred(&mut inputs, shape.iter().product(), deviation);
        let device = Tensor::from_slice(gpu, shape, &host)?;
        Ok((host, device))
    };
    let (x, device_x) = given(&[spec.batch, spec.n_in()], 1.0)?;
    // Weights that keep the variance of a row.
    let (w1, device_w1) = given(&spec.w1, (spec.w1[2] as f64).powf(-0.5))?;
    let (w2, device_w2) = given(&spec.w2, (spec.w2[2] as f64).powf(-0.5))?;
    let inputs = MonarchInputs { x: &device_x, w1: &device_w1, w2: &device_w2 };
    let rows = spread(spec.batch, 4);
    let x_rows = pick(&x, spec.n_in(), &rows);
    let sample = MonarchSpec { batch: rows.len(), ..*spec };
    let (w1, w2) = (wide(&w1), wide(&w2));
    let (reference, plain) =
        both(spec.dtype, |precision| oracle::monarch(&sample, precision, &x_rows, &w1, &w2));
    let out = [spec.batch, spec.n_out()];
    let check = |y: &Tensor<T>, reference: &[f64], plain: &[f64]| -> Result<Vec<Outcome>, Error> {
        let (y, whole) = fetch(y)?;
        Ok(vec![compare("y", (pick(&y, spec.n_out(), &rows), whole), reference, plain)])
    };

    let figures = bench.contend(
        "fused",
        fused.plan(),
        || poisoned(gpu, &out),
        |encoder, y| fused.encode(encoder, inputs, y),
        |y| check(y, &reference, &plain),
    )?;
    let unfused = Bench::yardstick("unfused", || {
        let unfused = UnfusedMonarch::new(gpu, *spec)?;
        bench.contend(
            "unfused",
            unfused.plan(),
            || Ok((poisoned(gpu, &out)?, unfused.scratch()?)),
            |encoder, (y, scratch)| unfused.encode(encoder, inputs, y, scratch),
            |(y, _)| check(y, &reference, &plain),
        )
    })?;
    let size = [spec.batch, spec.n_in(), spec.n_out()];
    let dense = dense(bench, size, &device_x, (&rows, &x_rows))?;
    Ok((figures, [unfused].into_iter().chain(dense).collect()))
}

fn wide<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}
