//! Measuring butterfly products.

use super::dense_yardstick::{dense, pick, rows_beside_dense};
use crate::baseline::UnfusedButterfly;
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, compare, fetch, spread, wide};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Workload, Yardstick};
use crate::oracle;
use crate::verify::{Family, Inputs, Outcome, both, poisoned};
use crate::{Butterfly, ButterflyInputs, ButterflySpec, DType, Element, Error, Tensor, by_dtype};

/// One block in place of a square dense layer: every width whose crossing with dense is of interest, at rows that fill the
/// adapter and, where these are too many for a dense product, at those that are not.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<ButterflySpec> {
    let most = match scale {
        Scale::Software => 256,
        Scale::Modest => 1024,
        Scale::Large => 8192,
    };
    let spec = |dtype, rows, n| ButterflySpec::new(dtype, rows, n).increasing_stride();
    if depth == Depth::Quick {
        return vec![spec(DType::F32, most, 1024)];
    }
    let mut suite = Vec::new();
    for dtype in [DType::F32, DType::F16] {
        for n in (8..=14).map(|bits| 1 << bits) {
            let rows = rows_beside_dense(scale, most, n);
            suite.push(spec(dtype, rows, n));
            if rows < most && scale != Scale::Software {
                suite.push(spec(dtype, most, n));
            }
        }
    }
    suite
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
    let (x_row, y_row) = (x.len() / spec.batch, spec.nstacks * spec.width() * spec.parts());
    let x_rows = pick(&x, x_row, &rows);
    let twiddle = wide(&twiddle);
    let (reference, plain) =
        both(spec.dtype, |precision| oracle::butterfly(&sample, precision, &x_rows, &twiddle));
    let check = async |y: &Tensor<T>, reference: &[f64], plain: &[f64]| -> Result<Vec<Outcome>, Error> {
        let (y, whole) = fetch(y).await?;
        Ok(vec![compare("y", (pick(&y, y_row, &rows), whole), reference, plain)])
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
    if !spec.complex && spec.nstacks == 1 {
        let size = [spec.batch, spec.n_in, spec.width()];
        yardsticks.extend(dense(bench, size, &device_x, (&rows, &x_rows)).await?);
    }
    Ok((figures, yardsticks))
}
