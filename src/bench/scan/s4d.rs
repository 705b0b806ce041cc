//! Measuring diagonal state-space models, by themselves and in H3. What makes their kernels is no yardstick's own: the
//! unfused versions convolve with those of the fused one. The sequential ones need none.

use super::long_conv::{self, Place, Sample};
use super::sample::pick;
use crate::baseline::{Parts, SequentialLongConv, SequentialS4d, UnfusedLongConv};
use crate::bench::measure::{Bench, centred, fetch, spread};
use crate::bench::suite::Scale;
use crate::bench::{Figures, Yardstick, workload};
use crate::oracle::{LongConv as Oracle, LongConvOperands, Precision, s4d_kernel};
use crate::plan::{LongConvPlan, S4dPlan};
use crate::spec::S4dParameters;
use crate::verify::{Inputs, Outcome, poisoned};
use crate::{
    Element, Error, Gpu, H3, H3Inputs, H3Spec, LongConvInputs, LongConvSpec, S4d, S4dInputs, S4dSpec, Tensor,
};

/// Half of the states of a channel, as in the authors' models.
const PAIRS: usize = 32;

/// How far H3's shift reaches at most.
const SHIFT: usize = 64;

/// The step of all channels.
const DT: f64 = 0.01;

/// A model with a skip, of the sequences of the long convolution that is measured by itself.
pub(super) fn of_length(scale: Scale, length: usize) -> S4dSpec {
    let LongConvSpec { dtype, batch, channels, .. } = long_conv::of_length(scale, length);
    S4dSpec::new(LongConvSpec::new(dtype, batch, channels, length).skip(), PAIRS)
}

/// H3 of such sequences.
pub(super) fn h3_of_length(scale: Scale, length: usize) -> H3Spec {
    let LongConvSpec { dtype, batch, channels, .. } = long_conv::of_length(scale, length);
    H3Spec::new(dtype, [batch, channels, length], SHIFT.min(length), PAIRS)
}

workload!(S4dSpec.conv, Scan, s4d);

workload!(H3Spec, Scan, h3);

/// A few channels of the first batch, which the oracle takes.
struct Few {
    channels: Vec<usize>,
    spec: S4dSpec,
    kernel: Vec<f64>,
}

impl Few {
    fn new(spec: &S4dSpec) -> Self {
        let channels = spread(spec.conv.channels, 4);
        let conv = LongConvSpec { batch: 1, channels: channels.len(), ..spec.conv };
        let few = S4dSpec { conv, ..*spec };
        Self { channels, kernel: s4d_kernel(&few, &S4dParameters::lin(&few, DT)), spec: few }
    }

    fn rows<T: Element>(&self, values: &[T]) -> Vec<f64> {
        pick(values, self.spec.conv.length, &self.channels)
    }

    /// What the oracle has in some places.
    fn sample(&self, values: impl Fn(Precision, &[Place]) -> Vec<f64>) -> Sample {
        Sample::new(self.spec.conv.dtype, (&self.channels, self.spec.conv.length), values)
    }
}

fn sequences<T: Element>(random: &mut Inputs, spec: &LongConvSpec) -> Vec<T> {
    centred(random, spec.rows() * spec.length, 1.0)
}

async fn s4d<T: Element>(bench: &Bench<'_>, &spec: &S4dSpec) -> Result<(Figures, Vec<Yardstick>), Error> {
    let (gpu, conv) = (bench.gpu, spec.conv);
    let fused = S4d::new(gpu, spec)?;
    let plan =
        format!("{}; then {}", S4dPlan::new(&spec, gpu.caps())?, LongConvPlan::new(&conv, gpu.caps())?);
    let (few, mut random) = (Few::new(&spec), Inputs::new(1));
    let u: Vec<T> = sequences(&mut random, &conv);
    let d: Vec<f32> = centred(&mut random, conv.channels, 1.0);
    let (host_u, host_d) = (few.rows(&u), pick(&d, 1, &few.channels));
    let operands =
        LongConvOperands { u: &host_u, k: &few.kernel, skip: Some(&host_d), pre: None, post: None };
    let sample = few.sample(|precision, places| {
        let oracle = Oracle::new(&few.spec.conv, precision, operands);
        places.iter().map(|&(row, t)| oracle.y(row, t)).collect()
    });
    let modes = fused.modes(&S4dParameters::lin(&spec, DT))?;
    let u = Tensor::from_slice(gpu, &conv.shape(), &u)?;
    let d = Tensor::from_slice(gpu, &[conv.channels], &d)?;
    let inputs = S4dInputs { u: &u, modes: &modes, skip: Some(&d), pre: None, post: None };
    let outputs = || poisoned::<T>(gpu, &conv.shape());
    let check =
        async |y: &Tensor<T>| -> Result<Vec<Outcome>, Error> { Ok(vec![sample.check("y", fetch(y).await?)]) };
    let race = bench.race(outputs, check);
    let figures = race.fused(&plan, |encoder, y| fused.encode(encoder, inputs, y)).await?;
    let kernels = || Tensor::<f32>::zeros(gpu, &conv.kernel_shape());
    let unfused = race.against(
        "unfused",
        || Ok(Parts { parts: UnfusedLongConv::new(gpu, conv)?, between: kernels }),
        |Parts { parts, .. }, encoder, y, (k, scratch)| {
            fused.encode_kernel(encoder, &modes, k)?;
            let inputs = LongConvInputs { u: &u, k, skip: Some(&d), pre: None, post: None };
            parts.encode(encoder, inputs, y, scratch)
        },
    );
    let sequential = race.against(
        "sequential",
        || SequentialS4d::new(gpu, spec),
        |it, encoder, y, states| it.encode(encoder, inputs, y, states),
    );
    Ok((figures, vec![unfused.await?, sequential.await?]))
}

async fn h3<T: Element>(bench: &Bench<'_>, &spec: &H3Spec) -> Result<(Figures, Vec<Yardstick>), Error> {
    let (gpu, shift, diagonal) = (bench.gpu, spec.shift_conv(), spec.diagonal());
    let (fused, kernel) = (H3::new(gpu, spec)?, S4d::new(gpu, diagonal)?);
    let plans = [LongConvPlan::new(&shift, gpu.caps())?, LongConvPlan::new(&diagonal.conv, gpu.caps())?];
    let plan = format!("{}; then {}; then {}", plans[0], S4dPlan::new(&diagonal, gpu.caps())?, plans[1]);
    let (few, mut random) = (Few::new(&diagonal), Inputs::new(1));
    let [q, k, v] = [(); 3].map(|()| sequences::<T>(&mut random, &shift));
    let taps: Vec<f32> = centred(&mut random, spec.channels * spec.shift, 1.0 / (spec.shift as f64).sqrt());
    let [d_k, d] = [(); 2].map(|()| centred::<f32>(&mut random, spec.channels, 1.0));
    let [host_q, host_k, host_v] = [&q, &k, &v].map(|values| few.rows(values));
    let host_taps = pick(&taps, spec.shift, &few.channels);
    let [host_d_k, host_d] = [&d_k, &d].map(|values| pick(values, 1, &few.channels));
    let short = LongConvSpec { batch: 1, channels: few.channels.len(), ..shift };
    let shifting =
        LongConvOperands { u: &host_k, k: &host_taps, skip: Some(&host_d_k), pre: None, post: Some(&host_v) };
    let sample = few.sample(|precision, places| {
        let oracle = Oracle::new(&short, precision, shifting);
        let each = |i: usize| oracle.y(i / spec.length, i % spec.length);
        let shifted: Vec<f64> = (0..host_k.len()).map(each).collect();
        let skip = Some(&host_d[..]);
        let of = LongConvOperands { u: &shifted, k: &few.kernel, skip, pre: None, post: Some(&host_q) };
        let oracle = Oracle::new(&few.spec.conv, precision, of);
        places.iter().map(|&(row, t)| oracle.y(row, t)).collect()
    });
    let modes = fused.modes(&S4dParameters::lin(&diagonal, DT))?;
    let upload = |values: &[T]| Tensor::from_slice(gpu, &spec.shape(), values);
    let (q, k, v) = (upload(&q)?, upload(&k)?, upload(&v)?);
    let taps = Tensor::from_slice(gpu, &shift.kernel_shape(), &taps)?;
    let of_channels = |values: &[f32]| Tensor::from_slice(gpu, &[spec.channels], values);
    let (d_k, d) = (of_channels(&d_k)?, of_channels(&d)?);
    let inputs = H3Inputs { q: &q, k: &k, v: &v, shift: &taps, shift_skip: &d_k, modes: &modes, skip: &d };
    let shifted = LongConvInputs { u: &k, k: &taps, skip: Some(&d_k), pre: None, post: Some(&v) };
    let outputs = || poisoned::<T>(gpu, &spec.shape());
    let check = async |y: &Tensor<T>| -> Result<Vec<Outcome>, Error> {
        Ok(vec![sample.check("out", fetch(y).await?)])
    };
    let race = bench.race(outputs, check);
    let figures = race.fused(&plan, |encoder, out| fused.encode(encoder, inputs, out)).await?;
    let unfused = race.against(
        "unfused",
        || {
            let parts = (UnfusedLongConv::new(gpu, shift)?, UnfusedLongConv::new(gpu, diagonal.conv)?);
            let between =
                || Ok((between::<T>(gpu, &spec)?, Tensor::zeros(gpu, &diagonal.conv.kernel_shape())?));
            Ok(Parts { parts, between })
        },
        |Parts { parts: (first, second), .. }, encoder, out, ((u, kernels), (of_shift, scratch))| {
            first.encode(encoder, shifted, u, of_shift)?;
            kernel.encode_kernel(encoder, &modes, kernels)?;
            let inputs = LongConvInputs { u, k: kernels, skip: Some(&d), pre: None, post: Some(&q) };
            second.encode(encoder, inputs, out, scratch)
        },
    );
    let sequential = race.against(
        "sequential",
        || {
            let parts = (SequentialLongConv::new(gpu, shift)?, SequentialS4d::new(gpu, diagonal)?);
            Ok(Parts { parts, between: || between::<T>(gpu, &spec) })
        },
        |Parts { parts: (first, second), .. }, encoder, out, (u, ((), states))| {
            first.encode(encoder, shifted, u)?;
            let inputs = S4dInputs { u, modes: &modes, skip: Some(&d), pre: None, post: Some(&q) };
            second.encode(encoder, inputs, out, states)
        },
    );
    Ok((figures, vec![unfused.await?, sequential.await?]))
}

/// What a yardstick's shift gives.
fn between<T: Element>(gpu: &Gpu, spec: &H3Spec) -> Result<Tensor<T>, Error> {
    Tensor::zeros(gpu, &spec.shape())
}
