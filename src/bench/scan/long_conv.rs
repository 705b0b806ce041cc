//! Measuring long convolutions.

use super::sample::pick;
use crate::baseline::{
    DirectLongConv, SequentialLongConv, SequentialLongConvBackward, UnfusedLongConv, UnfusedLongConvBackward,
};
use crate::bench::measure::{Bench, centred, compare, fetch, refused, spread};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Trainable, Yardstick, workload};
use crate::oracle::{LongConv as Oracle, LongConvOperands, Precision};
use crate::verify::{Inputs, Outcome, both, poisoned};
use crate::{
    DType, Element, Error, Gpu, LongConv, LongConvBackward, LongConvGradients, LongConvInputs, LongConvSpec,
    Tensor, by_dtype,
};

/// The work of direct sums grows with the square of the length: beyond this it takes minutes and tells nothing.
const DIRECT_SAMPLES: usize = 1 << 14;

/// Products of a lane that takes a sequence by itself: beyond so many, a loop takes any GPU seconds, and minutes soon.
const SEQUENTIAL_PRODUCTS: f64 = 33_554_432.0;

/// Seconds that an adapter's multiply-add rate would take for the products of all lanes: a loop is a hundred times slower.
const SEQUENTIAL_SECONDS: f64 = 0.005;

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

/// A convolution with both gates and a skip, as in H3 and Hyena, of about that many samples.
pub(super) fn of_length(scale: Scale, length: usize) -> LongConvSpec {
    let samples: usize = match scale {
        Scale::Software => 1 << 14,
        Scale::Modest => 1 << 22,
        Scale::Large => 1 << 25,
    };
    let spec = LongConvSpec::new(DType::F16, 1, (samples / length).max(1), length);
    spec.pre_gate().post_gate().skip()
}

workload!(
    LongConvSpec,
    Scan,
    forward,
    fn case(&self) -> String {
        let gates = if self.pre_gate || self.post_gate { ", gated" } else { "" };
        format!("long convolution {}, length {}{gates}", self.dtype, self.length)
    }
);

impl Trainable for LongConvSpec {
    /// Transforms of kernels, sequences and gradients; and back those of sequences, of kernels, and of the result if a gate
    /// needs it.
    fn backward_flops(&self) -> f64 {
        let samples = 2.0 * self.length as f64;
        let convolutions = 2 + usize::from(self.post_gate);
        let transforms = (2 * self.channels + (1 + convolutions) * self.rows()) as f64;
        2.5 * samples * samples.log2() * transforms + 3.0 * samples * (convolutions * self.rows()) as f64
    }

    /// Everything but the result in, and as much out; and the result's gradient in.
    fn backward_least_bytes(&self) -> u64 {
        let row = (self.rows() * self.length * self.dtype.bytes()) as u64;
        2 * self.least_bytes() - row
    }

    fn contend_backward<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(backward::<T>(bench, *self)))
    }
}

/// Inputs on the device, and those of a few channels on the host.
struct Given<T> {
    u: Tensor<T>,
    pre: Option<Tensor<T>>,
    post: Option<Tensor<T>>,
    dy: Tensor<T>,
    k: Tensor<f32>,
    skip: Option<Tensor<f32>>,
    host: Host,
}

/// What an oracle takes: a few channels of every batch.
struct Host {
    alone: LongConvSpec,
    channels: Vec<usize>,
    rows: Vec<usize>,
    /// `u`, the gates, and the gradient of the result.
    sequences: [Vec<f64>; 4],
    k: Vec<f64>,
    skip: Vec<f64>,
}

impl<T: Element> Given<T> {
    fn new(gpu: &Gpu, spec: &LongConvSpec) -> Result<Self, Error> {
        let mut random = Inputs::new(1);
        let sequences = [(); 4].map(|()| centred::<T>(&mut random, spec.rows() * spec.length, 1.0));
        // Such kernels keep the size of what passes through.
        let deviation = 1.0 / (spec.length as f64).sqrt();
        let k: Vec<f32> = centred(&mut random, spec.channels * spec.taps, deviation);
        let skip: Vec<f32> = centred(&mut random, spec.channels, 1.0);
        let channels = spread(spec.channels, 4);
        let of_batch = |batch: usize| channels.iter().map(move |channel| batch * spec.channels + channel);
        let rows: Vec<_> = (0..spec.batch).flat_map(of_batch).collect();
        let upload = |values: &[T]| Tensor::from_slice(gpu, &spec.shape(), values);
        let [u, pre, post, dy] = &sequences;
        Ok(Self {
            u: upload(u)?,
            pre: spec.pre_gate.then(|| upload(pre)).transpose()?,
            post: spec.post_gate.then(|| upload(post)).transpose()?,
            dy: upload(dy)?,
            host: Host {
                alone: LongConvSpec { channels: channels.len(), ..*spec },
                sequences: sequences.each_ref().map(|values| pick(values, spec.length, &rows)),
                k: pick(&k, spec.taps, &channels),
                skip: pick(&skip, 1, &channels),
                channels,
                rows,
            },
            k: Tensor::from_slice(gpu, &spec.kernel_shape(), &k)?,
            skip: spec.skip.then(|| Tensor::from_slice(gpu, &[spec.channels], &skip)).transpose()?,
        })
    }

    fn inputs(&self) -> LongConvInputs<'_, T> {
        let Self { u, k, skip, pre, post, .. } = self;
        LongConvInputs { u, k, skip: skip.as_ref(), pre: pre.as_ref(), post: post.as_ref() }
    }
}

impl Host {
    fn operands(&self) -> LongConvOperands<'_> {
        let [u, pre, post, _] = &self.sequences;
        LongConvOperands {
            u,
            k: &self.k,
            skip: self.alone.skip.then_some(&self.skip),
            pre: self.alone.pre_gate.then_some(pre),
            post: self.alone.post_gate.then_some(post),
        }
    }

    /// Some samples of the first batch's sequences.
    fn samples(&self, value: impl Fn(&Oracle<'_>, &[Place]) -> Vec<f64>) -> Sample {
        self.sample((&self.rows[..self.channels.len()], self.alone.length), value)
    }

    /// Some lags of the kernels.
    fn lags(&self, value: impl Fn(&Oracle<'_>, &[Place]) -> Vec<f64>) -> Sample {
        self.sample((&self.channels, self.alone.taps), value)
    }

    fn sample(&self, of: (&[usize], usize), value: impl Fn(&Oracle<'_>, &[Place]) -> Vec<f64>) -> Sample {
        Sample::new(self.alone.dtype, of, |precision, places| {
            value(&Oracle::new(&self.alone, precision, self.operands()), places)
        })
    }
}

/// A row of the oracle's, and a sample in it.
pub(super) type Place = (usize, usize);

/// The oracle's answer in some places.
pub(super) struct Sample {
    /// In the device's tensor.
    places: Vec<usize>,
    reference: Vec<f64>,
    plain: Vec<f64>,
}

impl Sample {
    /// For rows of a tensor of so many samples each.
    pub fn new(
        dtype: DType,
        (rows, length): (&[usize], usize),
        values: impl Fn(Precision, &[Place]) -> Vec<f64>,
    ) -> Self {
        let times = spread(length, 64);
        let places: Vec<Place> =
            (0..rows.len()).flat_map(|row| times.iter().map(move |&t| (row, t))).collect();
        let (reference, plain) = both(dtype, |precision| values(precision, &places));
        let places = places.iter().map(|&(row, t)| rows[row] * length + t).collect();
        Self { places, reference, plain }
    }

    pub fn check<T: Element>(&self, tensor: &'static str, (values, whole): (Vec<T>, bool)) -> Outcome {
        let ours = self.places.iter().map(|&place| values[place].to_f64()).collect();
        compare(tensor, (ours, whole), &self.reference, &self.plain)
    }
}

/// A loop with a lane for each sequence, where that ends soon: its work grows with the square of the length. Beyond, it is
/// refused with the reason. Timing a part of it, and multiplying, would put a figure beside others that nobody measured, of
/// an answer that nobody checked; and fewer sequences would not help, since each lane takes as long.
pub(super) async fn in_time(
    bench: &Bench<'_>,
    spec: &LongConvSpec,
    sequential: impl Future<Output = Result<Yardstick, Error>>,
) -> Result<Yardstick, Error> {
    let products = (spec.length * spec.taps) as f64 / 2.0;
    let most = bench.ceilings.fma_flops_per_second * SEQUENTIAL_SECONDS / 2.0 / spec.rows() as f64;
    let most = most.min(SEQUENTIAL_PRODUCTS);
    if products <= most {
        return sequential.await;
    }
    let reason = format!("{products:.0} products a lane would take too long: up to {most:.0} are timed here");
    Ok(refused("sequential", reason))
}

async fn forward<T: Element>(
    bench: &Bench<'_>,
    &spec: &LongConvSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = LongConv::new(gpu, spec)?;
    let given = Given::<T>::new(gpu, &spec)?;
    let inputs = given.inputs();
    let sample = given.host.samples(|conv, places| places.iter().map(|&(row, t)| conv.y(row, t)).collect());
    let outputs = || poisoned::<T>(gpu, &spec.shape());
    let check =
        async |y: &Tensor<T>| -> Result<Vec<Outcome>, Error> { Ok(vec![sample.check("y", fetch(y).await?)]) };
    let race = bench.race(outputs, check);
    let figures = race.fused(fused.plan(), |encoder, y| fused.encode(encoder, inputs, y)).await?;
    let unfused = race.against(
        "unfused",
        || UnfusedLongConv::new(gpu, spec),
        |it, encoder, y, scratch| it.encode(encoder, inputs, y, scratch),
    );
    let sequential = race.against(
        "sequential",
        || SequentialLongConv::new(gpu, spec),
        |it, encoder, y, ()| it.encode(encoder, inputs, y),
    );
    let mut yardsticks = vec![unfused.await?, in_time(bench, &spec, sequential).await?];
    if spec.length <= DIRECT_SAMPLES {
        let direct = race.against(
            "direct",
            || DirectLongConv::new(gpu, spec),
            |it, encoder, y, ()| it.encode(encoder, inputs, y),
        );
        yardsticks.push(direct.await?);
    }
    Ok((figures, yardsticks))
}

async fn backward<T: Element>(
    bench: &Bench<'_>,
    spec: LongConvSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = LongConvBackward::new(gpu, spec)?;
    let given = Given::<T>::new(gpu, &spec)?;
    let (inputs, dy) = (given.inputs(), &given.dy);
    let [.., of_y] = &given.host.sequences;
    let du = given.host.samples(|conv, places| {
        let gradients = conv.gradients(of_y);
        places.iter().map(|&(row, t)| gradients.du(row, t)).collect()
    });
    let dk = given.host.lags(|conv, places| {
        let gradients = conv.gradients(of_y);
        places.iter().map(|&(channel, lag)| gradients.dk(channel, lag)).collect()
    });
    let gradients = || -> Result<LongConvGradients<T>, Error> {
        let sequences = || poisoned(gpu, &spec.shape());
        Ok(LongConvGradients {
            du: sequences()?,
            dk: poisoned(gpu, &spec.kernel_shape())?,
            dskip: spec.skip.then(|| poisoned(gpu, &[spec.channels])).transpose()?,
            dpre: spec.pre_gate.then(sequences).transpose()?,
            dpost: spec.post_gate.then(sequences).transpose()?,
        })
    };
    let check = async |found: &LongConvGradients<T>| -> Result<Vec<Outcome>, Error> {
        Ok(vec![du.check("du", fetch(&found.du).await?), dk.check("dk", fetch(&found.dk).await?)])
    };
    let race = bench.race(gradients, check);
    let figures = race.fused(fused.plan(), |encoder, found| fused.encode(encoder, inputs, dy, found)).await?;
    let unfused = race.against(
        "unfused",
        || UnfusedLongConvBackward::new(gpu, spec),
        |it, encoder, found, scratch| it.encode(encoder, inputs, dy, found, scratch),
    );
    let sequential = race.against(
        "sequential",
        || SequentialLongConvBackward::new(gpu, spec),
        |it, encoder, found, ()| it.encode(encoder, inputs, dy, found),
    );
    Ok((figures, vec![unfused.await?, in_time(bench, &spec, sequential).await?]))
}
