//! The dense product in whose place a structured one stands.

use crate::baseline::{Matmul, MatmulSpec};
use crate::bench::Yardstick;
use crate::bench::measure::{Bench, centred, compare, fetch};
use crate::bench::suite::Scale;
use crate::verify::{Inputs, both, poisoned};
use crate::{DType, Element, Error, Tensor};

/// The most that it may compute, in seconds at the ceiling: it is there for scale, not to be waited for, and some systems
/// reset a GPU that is busy for two seconds.
const SECONDS: f64 = 0.12;

/// As many rows as a dense product of that width takes on any adapter of the scale, a power of two and `most` at most: wide
/// layers are timed at so few, so that there is something to compare them with.
pub(super) fn rows_beside_dense(scale: Scale, most: usize, width: usize) -> usize {
    let products: u64 = match scale {
        Scale::Software => 1 << 30,
        Scale::Modest => 1 << 34,
        Scale::Large => 1 << 37,
    };
    let rows = (products / (width * width) as u64).max(1);
    most.min(1 << rows.ilog2())
}

/// Rows of a tensor (rows, `width`) on the host, as f64.
pub(super) fn pick<T: Element>(values: &[T], width: usize, rows: &[usize]) -> Vec<f64> {
    let row = |row: &usize| &values[row * width..(row + 1) * width];
    rows.iter().flat_map(row).map(|value| value.to_f64()).collect()
}

/// The product of `x` (batch, `n_in`), some of whose rows are given on the host too, with a dense weight (`n_out`, `n_in`).
/// None where it would take too long, at any number of rows that was worth timing.
pub(super) async fn dense<T: Element>(
    bench: &Bench<'_>,
    [batch, n_in, n_out]: [usize; 3],
    x: &Tensor<T>,
    (rows, x_rows): (&[usize], &[f64]),
) -> Result<Option<Yardstick>, Error> {
    let gpu = bench.gpu;
    let spec = MatmulSpec::new(T::DTYPE, batch, n_out, n_in).b_transposed();
    if bench.ceilings.floor(DType::F32, spec.flops(), 0) >= SECONDS {
        return Ok(None);
    }
    let yardstick = Bench::yardstick("dense", async || {
        let product = Matmul::new(gpu, spec)?;
        // Weights that keep the variance of a row.
        let weight: Vec<T> = centred(&mut Inputs::new(7), n_out * n_in, (n_in as f64).powf(-0.5));
        let device = Tensor::from_slice(gpu, &[n_out, n_in], &weight)?;
        let (reference, plain) = both(T::DTYPE, |precision| {
            let value = |x: &[f64], weight: &[T]| {
                let pairs = x.iter().copied().zip(weight.iter().map(|value| value.to_f64()));
                precision.store(precision.dot(pairs))
            };
            let row = |x| weight.chunks_exact(n_in).map(move |weight| value(x, weight));
            x_rows.chunks_exact(n_in).flat_map(row).collect::<Vec<f64>>()
        });
        bench
            .contend(
                "dense",
                product.plan(),
                || poisoned::<T>(gpu, &[batch, n_out]),
                |encoder, y| product.encode(encoder, x, &device, y),
                async |y| {
                    let (y, whole) = fetch(y).await?;
                    Ok(vec![compare("y", (pick(&y, n_out, rows), whole), &reference, &plain)])
                },
            )
            .await
    })
    .await;
    Ok(Some(yardstick?))
}
