//! Measuring Monarch products.

use super::dense_yardstick::{dense, pick, rows_beside_dense};
use crate::baseline::UnfusedMonarch;
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, compare, fetch, spread, wide};
use crate::bench::suite::Scale;
use crate::bench::{Backward, Contest, Depth, Figures, Trainable, Workload, Yardstick};
use crate::oracle;
use crate::verify::{Family, Inputs, Outcome, both, poisoned};
use crate::{
    DType, Element, Error, LinearSpec, Monarch, MonarchBackward, MonarchGradients, MonarchInputs,
    MonarchSpec, Tensor, by_dtype,
};

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

/// The gradients of square products, at the rows of [`suite`].
pub(super) fn backward(scale: Scale, depth: Depth) -> Vec<Backward<MonarchSpec>> {
    let (rows, squares): (usize, &[usize]) = match scale {
        Scale::Software => (128, &[32]),
        Scale::Modest => (1024, &[32, 64]),
        Scale::Large => (8192, &[32, 64, 128]),
    };
    let squares = if depth == Depth::Quick { &squares[..1] } else { squares };
    let square =
        |dtype| squares.iter().map(move |&blocks| Backward(MonarchSpec::square(dtype, rows, blocks)));
    [DType::F32, DType::F16].into_iter().flat_map(square).collect()
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

    fn case(&self) -> String {
        format!("monarch {}, {} → {}", self.dtype, self.n_in(), self.n_out())
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
    let check = async |y: &Tensor<T>, reference: &[f64], plain: &[f64]| -> Result<Vec<Outcome>, Error> {
        let (y, whole) = fetch(y).await?;
        Ok(vec![compare("y", (pick(&y, spec.n_out(), &rows), whole), reference, plain)])
    };

    let figures = bench
        .contend(
            "fused",
            fused.plan(),
            || poisoned(gpu, &out),
            |encoder, y| fused.encode(encoder, inputs, y),
            async |y| check(y, &reference, &plain).await,
        )
        .await?;
    let unfused = Bench::yardstick("unfused", async || {
        let unfused = UnfusedMonarch::new(gpu, *spec)?;
        bench
            .contend(
                "unfused",
                unfused.plan(),
                || Ok((poisoned(gpu, &out)?, unfused.scratch()?)),
                |encoder, (y, scratch)| unfused.encode(encoder, inputs, y, scratch),
                async |(y, _)| check(y, &reference, &plain).await,
            )
            .await
    })
    .await?;
    let size = [spec.batch, spec.n_in(), spec.n_out()];
    let dense = dense(bench, size, &device_x, (&rows, &x_rows)).await?;
    Ok((figures, [unfused].into_iter().chain(dense).collect()))
}

impl Trainable for MonarchSpec {
    /// For each factor its gradient and what passes through it, and the first once more for the row between them.
    fn backward_flops(&self) -> f64 {
        let first: usize = self.w1.iter().product();
        2.0 * LinearSpec::flops(self) + 2.0 * self.batch as f64 * first as f64
    }

    /// What the forward pass reads and `dy` in, and the gradients out.
    fn backward_least_bytes(&self) -> u64 {
        let rows = self.batch * (2 * self.n_in() + self.n_out());
        ((rows + 2 * self.parameters()) * self.dtype.bytes()) as u64
    }

    fn contend_backward<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(measure_backward::<T>(bench, self)))
    }
}

/// The last block of the first factor, and what the second makes of its outputs: where `l` divides `q` it is a product by
/// itself, whose gradients are those of the whole one. Otherwise the whole product.
fn last_block(spec: &MonarchSpec) -> MonarchSpec {
    let ([_, q, p], [l, s, _]) = (spec.w1, spec.w2);
    if q.is_multiple_of(l) { MonarchSpec { w1: [1, q, p], w2: [l, s, q / l], ..*spec } } else { *spec }
}

/// The last `width` columns of rows of `of` columns.
fn last_columns(values: &[f64], of: usize, width: usize) -> Vec<f64> {
    values.chunks_exact(of).flat_map(|row| &row[of - width..]).copied().collect()
}

async fn measure_backward<T: Element>(
    bench: &Bench<'_>,
    spec: &MonarchSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let backward = MonarchBackward::new(gpu, *spec)?;
    let mut inputs = Inputs::new(1);
    let mut given = |shape: &[usize], deviation| -> Result<(Vec<f64>, Tensor<T>), Error> {
        let host: Vec<T> = centred(&mut inputs, shape.iter().product(), deviation);
        Ok((wide(&host), Tensor::from_slice(gpu, shape, &host)?))
    };
    let (x, device_x) = given(&[spec.batch, spec.n_in()], 1.0)?;
    let (dy, device_dy) = given(&[spec.batch, spec.n_out()], 1.0)?;
    let (w1, device_w1) = given(&spec.w1, (spec.w1[2] as f64).powf(-0.5))?;
    let (w2, device_w2) = given(&spec.w2, (spec.w2[2] as f64).powf(-0.5))?;
    let inputs = MonarchInputs { x: &device_x, w1: &device_w1, w2: &device_w2 };
    let sample = last_block(spec);
    let first: usize = sample.w1.iter().product();
    let of_x = |x: &[f64]| last_columns(x, spec.n_in(), sample.n_in());
    let of_w1 = |w1: &[f64]| last_columns(w1, w1.len(), first);
    let of_w2 = |w2: &[f64]| last_columns(w2, spec.w2[2], sample.w2[2]);
    let (x, w1, w2) = (of_x(&x), of_w1(&w1), of_w2(&w2));
    let (reference, plain) =
        both(spec.dtype, |precision| oracle::monarch_backward(&sample, precision, &x, &w1, &w2, &dy));
    let figures = bench
        .contend(
            "fused",
            backward.plan(),
            || {
                Ok(MonarchGradients {
                    dx: poisoned::<T>(gpu, &[spec.batch, spec.n_in()])?,
                    dw1: poisoned(gpu, &spec.w1)?,
                    dw2: poisoned(gpu, &spec.w2)?,
                })
            },
            |encoder, gradients| backward.encode(encoder, inputs, &device_dy, gradients),
            async |MonarchGradients { dx, dw1, dw2 }| {
                let [(dx, dx_whole), (dw1, dw1_whole), (dw2, dw2_whole)] =
                    [fetch(dx).await?, fetch(dw1).await?, fetch(dw2).await?];
                let [dx, dw1, dw2] = [wide(&dx), wide(&dw1), wide(&dw2)];
                Ok(vec![
                    compare("dx", (of_x(&dx), dx_whole), &reference.dx, &plain.dx),
                    compare("dw1", (of_w1(&dw1), dw1_whole), &reference.dw1, &plain.dw1),
                    compare("dw2", (of_w2(&dw2), dw2_whole), &reference.dw2, &plain.dw2),
                ])
            },
        )
        .await?;
    Ok((figures, vec![]))
}
