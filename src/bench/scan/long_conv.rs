//! Measuring long convolutions.

use crate::baseline::{DirectLongConv, UnfusedLongConv};
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, compare, fetch, spread, wide};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Workload, Yardstick};
use crate::oracle::{LongConv as Oracle, LongConvOperands, Precision};
use crate::verify::{Family, Inputs, Outcome, poisoned};
use crate::{DType, Element, Error, LongConv, LongConvInputs, LongConvSpec, Tensor, by_dtype};

/// The work of direct sums grows with the square of the length: beyond this it takes minutes and tells nothing.
const DIRECT_SAMPLES: usize = 1 << 14;

/// A thousand to a million samples, with as many channels as make the same amount of them; a gated one as in H3.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<LongConvSpec> {
    use DType::{Bf16, F16, F32};
    let samples = match scale {
        Scale::Software => 1 << 18,
        Scale::Modest => 1 << 22,
        Scale::Large => 1 << 25,
    };
    let of_length = |dtype, batch, length: usize| {
        LongConvSpec::new(dtype, batch, (samples / batch / length).max(1), length)
    };
    let gated = |spec: LongConvSpec| spec.pre_gate().post_gate().skip();
    let mut suite =
        vec![of_length(F32, 1, 1 << 10), of_length(F32, 1, 1 << 16), gated(of_length(F16, 2, 1 << 13))];
    if depth == Depth::Quick {
        return suite;
    }
    suite.extend([
        of_length(F32, 1, 1 << 13),
        of_length(F32, 1, 1 << 20),
        gated(of_length(Bf16, 2, 1 << 11)),
    ]);
    suite
}

impl Workload for LongConvSpec {
    fn family(&self) -> Family {
        Family::Scan
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

    fn length(&self) -> Option<usize> {
        Some(self.length)
    }

    fn case(&self) -> String {
        let gates = if self.pre_gate || self.post_gate { ", gated" } else { "" };
        format!("long convolution {}, length {}{gates}", self.dtype, self.length)
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
    spec: &LongConvSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = LongConv::new(gpu, *spec)?;
    let mut random = Inputs::new(1);
    let [u, pre, post] = [(); 3].map(|()| centred::<T>(&mut random, spec.rows() * spec.length, 1.0));
    // Such kernels keep the size of what passes through.
    let deviation = 1.0 / (spec.length as f64).sqrt();
    let k: Vec<f32> = centred(&mut random, spec.channels * spec.taps, deviation);
    let skip: Vec<f32> = centred(&mut random, spec.channels, 1.0);
    let sample = Sample::new(spec, [&u, &pre, &post], &k, &skip);
    let sequences = |values: &[T]| Tensor::from_slice(gpu, &spec.shape(), values);
    let u = sequences(&u)?;
    let pre = spec.pre_gate.then(|| sequences(&pre)).transpose()?;
    let post = spec.post_gate.then(|| sequences(&post)).transpose()?;
    let k = Tensor::from_slice(gpu, &spec.kernel_shape(), &k)?;
    let skip = spec.skip.then(|| Tensor::from_slice(gpu, &[spec.channels], &skip)).transpose()?;
    let inputs = LongConvInputs { u: &u, k: &k, skip: skip.as_ref(), pre: pre.as_ref(), post: post.as_ref() };
    let outputs = || poisoned::<T>(gpu, &spec.shape());
    let check =
        async |y: &Tensor<T>| -> Result<Vec<Outcome>, Error> { Ok(vec![sample.check(fetch(y).await?)]) };

    let figures = bench
        .contend("fused", fused.plan(), outputs, |encoder, y| fused.encode(encoder, inputs, y), &check)
        .await?;
    let mut yardsticks = vec![
        Bench::yardstick("unfused", async || {
            let unfused = UnfusedLongConv::new(gpu, *spec)?;
            bench
                .contend(
                    "unfused",
                    unfused.plan(),
                    || Ok((outputs()?, unfused.scratch()?)),
                    |encoder, (y, scratch)| unfused.encode(encoder, inputs, y, scratch),
                    async |(y, _)| check(y).await,
                )
                .await
        })
        .await?,
    ];
    if spec.length <= DIRECT_SAMPLES {
        yardsticks.push(
            Bench::yardstick("direct", async || {
                let direct = DirectLongConv::new(gpu, *spec)?;
                bench
                    .contend(
                        "direct",
                        direct.plan(),
                        outputs,
                        |encoder, y| direct.encode(encoder, inputs, y),
                        &check,
                    )
                    .await
            })
            .await?,
        );
    }
    Ok((figures, yardsticks))
}

/// The oracle's answer for some samples of some sequences.
struct Sample {
    places: Vec<usize>,
    reference: Vec<f64>,
    plain: Vec<f64>,
}

impl Sample {
    fn new<T: Element>(spec: &LongConvSpec, sequences: [&[T]; 3], k: &[f32], skip: &[f32]) -> Self {
        let [u, pre, post] = sequences.map(wide);
        let [k, skip] = [k, skip].map(|values| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let operands = LongConvOperands {
            u: &u,
            k: &k,
            skip: spec.skip.then_some(skip.as_slice()),
            pre: spec.pre_gate.then_some(pre.as_slice()),
            post: spec.post_gate.then_some(post.as_slice()),
        };
        let rows = spread(spec.rows(), 4).into_iter();
        let times = spread(spec.length, 64);
        let places: Vec<_> = rows.flat_map(|row| times.iter().map(move |t| row * spec.length + t)).collect();
        let answers = |precision| -> Vec<f64> {
            let oracle = Oracle::new(spec, precision, operands);
            places.iter().map(|&place| oracle.y(place / spec.length, place % spec.length)).collect()
        };
        let (reference, plain) = (answers(Precision::Exact), answers(Precision::Stored(spec.dtype)));
        Self { places, reference, plain }
    }

    fn check<T: Element>(&self, (y, whole): (Vec<T>, bool)) -> Outcome {
        let ours = self.places.iter().map(|&place| y[place].to_f64()).collect();
        compare("y", (ours, whole), &self.reference, &self.plain)
    }
}
