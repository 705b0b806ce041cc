//! Measuring butterfly products.

use crate::baseline::{Matmul, MatmulSpec, UnfusedButterfly};
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, compare, fetch, spread};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Workload, Yardstick};
use crate::oracle;
use crate::verify::{Family, Inputs, Outcome, both, poisoned};
use crate::{Butterfly, ButterflyInputs, ButterflySpec, DType, Element, Error, Tensor, by_dtype};

/// The most that a dense yardstick may compute, in seconds at the ceiling: it is there for scale, not to be waited for.
const DENSE_SECONDS: f64 = 0.03;

/// One block in place of a square dense layer: every width whose crossing with dense is of interest.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<ButterflySpec> {
    use DType::{F16, F32};
    let (rows, widths): (usize, &[usize]) = match (scale, depth) {
        (Scale::Software, Depth::Quick) => (256, &[1024]),
        (Scale::Software, Depth::Standard) => (256, &[256, 1024, 4096]),
        (Scale::Modest, Depth::Quick) => (1024, &[1024]),
        (_, Depth::Quick) => (8192, &[1024]),
        (Scale::Modest, _) => (1024, &[256, 512, 1024, 2048, 4096, 8192, 16_384]),
        (Scale::Large, _) => (8192, &[256, 512, 1024, 2048, 4096, 8192, 16_384]),
    };
    let types: &[DType] = if depth == Depth::Quick { &[F32] } else { &[F32, F16] };
    let spec = |dtype| widths.iter().map(move |&n| ButterflySpec::new(dtype, rows, n).increasing_stride());
    types.iter().copied().flat_map(spec).collect()
}

impl Workload for ButterflySpec {
    fn family(&self) -> Family {
        Family::Butterfly
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn flops(&self) -> f64 {
        self.flops()
    }

    fn least_bytes(&self) -> u64 {
        self.least_bytes()
    }

    fn width(&self) -> Option<usize> {
        let square = self.n_in == self.width() && self.nstacks == 1;
        square.then_some(self.n_in)
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(measure::<T>(bench, self)))
    }
}

async fn measure<T: Element>(
    bench: &Bench<'_>,
    spec: &ButterflySpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = Butterfly::new(gpu, *spec)?;
    let mut inputs = Inputs::new(1);
    let x: Vec<T> = centred(&mut inputs, spec.x_shape().iter().product(), 1.0);
    // Weights that keep the variance of a row.
    let terms = (2 * spec.entry * spec.parts()) as f64;
    let twiddle: Vec<T> = centred(&mut inputs, spec.parameters(), terms.powf(-0.5));
    let device_x = Tensor::from_slice(gpu, &spec.x_shape(), &x)?;
    let device_twiddle = Tensor::from_slice(gpu, &spec.twiddle_shape(), &twiddle)?;
    let given = ButterflyInputs { x: &device_x, twiddle: &device_twiddle };
    let rows = spread(spec.batch, 4);
    let sample = ButterflySpec { batch: rows.len(), ..*spec };
    let x_rows = pick(&x, &rows);
    let twiddle: Vec<f64> = twiddle.iter().map(|value| value.to_f64()).collect();
    let (reference, plain) =
        both(spec.dtype, |precision| oracle::butterfly(&sample, precision, &x_rows, &twiddle));
    let check = async |y: &Tensor<T>, reference: &[f64], plain: &[f64]| -> Result<Vec<Outcome>, Error> {
        let (y, whole) = fetch(y).await?;
        Ok(vec![compare("y", (pick(&y, &rows), whole), reference, plain)])
    };

    let figures = bench
        .contend(
            "fused",
            fused.plan(),
            || poisoned(gpu, &spec.y_shape()),
            |encoder, y| fused.encode(encoder, given, y),
            async |y| check(y, &reference, &plain).await,
        )
        .await?;
    let mut yardsticks = vec![
        Bench::yardstick("unfused", async || {
            let unfused = UnfusedButterfly::new(gpu, *spec)?;
            bench
                .contend(
                    "unfused",
                    unfused.plan(),
                    || Ok((poisoned(gpu, &spec.y_shape())?, unfused.scratch()?)),
                    |encoder, (y, scratch)| unfused.encode(encoder, given, y, scratch),
                    async |(y, _)| check(y, &reference, &plain).await,
                )
                .await
        })
        .await?,
    ];
    let dense = MatmulSpec::new(spec.dtype, spec.batch, spec.width(), spec.n_in).b_transposed();
    let square = !spec.complex && spec.nstacks == 1;
    if square && bench.ceilings.floor(dense.flops(), 0) < DENSE_SECONDS {
        yardsticks.push(
            Bench::yardstick("dense", async || {
                let product = Matmul::new(gpu, dense)?;
                let weight: Vec<T> =
                    centred(&mut inputs, spec.width() * spec.n_in, (spec.n_in as f64).powf(-0.5));
                let device = Tensor::from_slice(gpu, &[spec.width(), spec.n_in], &weight)?;
                let (reference, plain) = both(spec.dtype, |precision| {
                    let value = |x: &[f64], weight: &[T]| {
                        let pairs = x.iter().copied().zip(weight.iter().map(|value| value.to_f64()));
                        precision.store(precision.dot(pairs))
                    };
                    let row = |x| weight.chunks_exact(spec.n_in).map(move |weight| value(x, weight));
                    x_rows.chunks_exact(spec.n_in).flat_map(row).collect::<Vec<f64>>()
                });
                bench
                    .contend(
                        "dense",
                        product.plan(),
                        || poisoned(gpu, &spec.y_shape()),
                        |encoder, y| product.encode(encoder, &device_x, &device, y),
                        async |y| check(y, &reference, &plain).await,
                    )
                    .await
            })
            .await?,
        );
    }
    Ok((figures, yardsticks))
}

/// Some rows of a batch, the last among them.
fn pick<T: Element>(values: &[T], rows: &[usize]) -> Vec<f64> {
    let width = values.len() / rows.last().map_or(1, |last| last + 1);
    rows.iter().flat_map(|row| &values[row * width..(row + 1) * width]).map(|value| value.to_f64()).collect()
}
