//! Measuring workloads of the butterfly family.

use super::measure::{Bench, centred, compare, fetch, spread};
use super::{Figures, Yardstick};
use crate::baseline::{Dense, UnfusedMonarch};
use crate::oracle::{self, Precision};
use crate::verify::{Inputs, Outcome, both, poisoned};
use crate::{Element, Error, Monarch, MonarchInputs, MonarchSpec, Tensor};

/// The most that a dense yardstick may compute, in seconds at the ceiling: it is there for scale, not to be waited for.
const DENSE_SECONDS: f64 = 0.03;

pub(super) fn measure<T: Element>(
    bench: &Bench<'_>,
    spec: &MonarchSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
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
    let mut yardsticks = vec![unfused];
    let dense_flops =
        2.0 * [spec.batch, spec.n_in(), spec.n_out()].map(|size| size as f64).iter().product::<f64>();
    if bench.ceilings.floor(dense_flops, 0) < DENSE_SECONDS {
        yardsticks.push(Bench::yardstick("dense", || {
            let dense = Dense::new(gpu, spec)?;
            let (weight, device) = given(&[spec.n_out(), spec.n_in()], (spec.n_in() as f64).powf(-0.5))?;
            let weight = wide(&weight);
            let (reference, plain) =
                both(spec.dtype, |precision| dense_rows(precision, spec.n_in(), &x_rows, &weight));
            bench.contend(
                "dense",
                dense.plan(),
                || poisoned(gpu, &out),
                |encoder, y| dense.encode(encoder, &device_x, &device, y),
                |y| check(y, &reference, &plain),
            )
        })?);
    }
    Ok((figures, yardsticks))
}

/// Every row of `x` times every row of `weight`.
fn dense_rows(precision: Precision, width: usize, x: &[f64], weight: &[f64]) -> Vec<f64> {
    let product =
        |x: &[f64], w: &[f64]| precision.store(precision.dot(x.iter().copied().zip(w.iter().copied())));
    x.chunks_exact(width).flat_map(|x| weight.chunks_exact(width).map(move |w| product(x, w))).collect()
}

fn wide<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

fn pick<T: Element>(values: &[T], width: usize, rows: &[usize]) -> Vec<f64> {
    rows.iter().flat_map(|row| wide(&values[row * width..(row + 1) * width])).collect()
}
