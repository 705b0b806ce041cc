//! Measuring layers beside the yardsticks of their parts, one after the other.

use super::sample::{Answer, EXPONENTIALS, pick, rows};
use crate::baseline::{
    SequentialConv1d, SequentialLongConv, SequentialRecurrence, UnfusedConv1d, UnfusedLongConv,
    UnfusedSelectiveScan,
};
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, fetch, uniform};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Figures, Workload, Yardstick};
use crate::oracle::{self, Conv1dTensors, LongConvOperands, Precision, SelectiveScanTensors};
use crate::plan::{Conv1dPlan, LongConvPlan, SelectiveScanPlan};
use crate::verify::{Family, Inputs, Outcome, poisoned};
use crate::{
    CoefficientTensor, Conv1dInputs, Conv1dOutputs, Conv1dSpec, DType, Element, Error, Gpu, Hyena,
    HyenaInputs, HyenaSpec, LongConvInputs, Mamba, MambaInputs, MambaOutputs, MambaSpec, Projection,
    SelectiveScanInputs, SelectiveScanOutputs, Tensor, by_dtype,
};

/// The core of a Mamba block over the scan that is measured by itself.
pub(super) fn mamba_of_length(scale: Scale, length: usize) -> MambaSpec {
    let scan = super::selective_scan::of_length(scale, length);
    MambaSpec { scan, width: 4, conv_bias: true }
}

/// Hyena's operator over the long convolution that is measured by itself.
pub(super) fn hyena_of_length(scale: Scale, length: usize) -> HyenaSpec {
    let long = super::long_conv::of_length(scale, length);
    HyenaSpec::new(long.dtype, long.batch, long.channels, length)
}

impl Workload for MambaSpec {
    fn family(&self) -> Family {
        Family::Scan
    }

    fn dtype(&self) -> DType {
        self.scan.dtype
    }

    fn flops(&self) -> f64 {
        Workload::flops(&self.conv()) + self.scan.flops()
    }

    /// The scan's, of which the convolution's input takes the place of the scan's.
    fn least_bytes(&self) -> u64 {
        self.scan.least_bytes()
    }

    fn length(&self) -> Option<usize> {
        Some(self.scan.length)
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.scan.dtype, T => Box::pin(mamba::<T>(bench, *self)))
    }
}

impl Workload for HyenaSpec {
    fn family(&self) -> Family {
        Family::Scan
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn flops(&self) -> f64 {
        3.0 * Workload::flops(&self.short()) + self.long().flops()
    }

    /// The long convolution's, of which the projections take the place of what the short ones give.
    fn least_bytes(&self) -> u64 {
        self.long().least_bytes()
    }

    fn length(&self) -> Option<usize> {
        Some(self.length)
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(hyena::<T>(bench, *self)))
    }
}

/// What goes through a short convolution, on the device and of a few channels of the first batch on the host.
struct Short<T> {
    x: Tensor<T>,
    weight: Tensor<f32>,
    bias: Tensor<f32>,
    /// The input, the taps and the biases.
    host: [Vec<f64>; 3],
}

impl<T: Element> Short<T> {
    fn new(gpu: &Gpu, random: &mut Inputs, spec: &Conv1dSpec, channels: &[usize]) -> Result<Self, Error> {
        let x: Vec<T> = centred(random, spec.rows() * spec.length, 1.0);
        let weight: Vec<f32> = centred(random, spec.channels * spec.width, 0.5);
        let bias: Vec<f32> = centred(random, spec.channels, 0.5);
        Ok(Self {
            host: [
                pick(&x, spec.length, channels),
                pick(&weight, spec.width, channels),
                pick(&bias, 1, channels),
            ],
            x: Tensor::from_slice(gpu, &spec.shape(), &x)?,
            weight: Tensor::from_slice(gpu, &spec.weight_shape(), &weight)?,
            bias: Tensor::from_slice(gpu, &spec.bias_shape(), &bias)?,
        })
    }

    fn inputs(&self) -> Conv1dInputs<'_, T> {
        Conv1dInputs { bias: Some(&self.bias), ..Conv1dInputs::new(&self.x, &self.weight) }
    }

    fn tensors(&self) -> Conv1dTensors<'_> {
        let [x, weight, bias] = &self.host;
        Conv1dTensors { x, weight, bias: Some(bias), sequences: None, initial: None }
    }
}

/// What a yardstick's short convolution gives.
fn between<T: Element>(gpu: &Gpu, spec: &Conv1dSpec) -> Result<Conv1dOutputs<T>, Error> {
    Ok(Conv1dOutputs {
        y: Tensor::zeros(gpu, &spec.shape())?,
        last: Tensor::zeros(gpu, &spec.state_shape())?,
    })
}

async fn check<T: Element>(
    answer: &Answer,
    name: &'static str,
    tensor: &Tensor<T>,
    (length, channels): (usize, &[usize]),
) -> Result<Vec<Outcome>, Error> {
    let (values, whole) = fetch(tensor).await?;
    Ok(vec![answer.check(name, &pick(&values, length, channels), whole)])
}

async fn mamba<T: Element>(bench: &Bench<'_>, spec: MambaSpec) -> Result<(Figures, Vec<Yardstick>), Error> {
    let (gpu, scan, conv) = (bench.gpu, spec.scan, spec.conv());
    let fused = Mamba::new(gpu, spec)?;
    let (of_conv, of_scan) =
        (Conv1dPlan::new(&conv, gpu.caps())?, SelectiveScanPlan::new(&scan, gpu.caps())?);
    let plan = format!("{of_conv}; then {of_scan}");
    let mut random = Inputs::new(1);
    let channels = rows(scan.channels, scan.length * scan.state_dim);
    let short = Short::<T>::new(gpu, &mut random, &conv, &channels)?;
    let steps = scan.shape().iter().product();
    let delta: Vec<T> = uniform(&mut random, steps, -4.0, -1.0);
    let z: Vec<T> = centred(&mut random, steps, 1.0);
    let a: Vec<f32> = uniform(&mut random, scan.channels * scan.state_dim, -1.5, -0.2);
    let [b, c] =
        [scan.b_shape(), scan.c_shape()].map(|shape| centred::<T>(&mut random, shape.iter().product(), 1.0));
    let [skip, bias] = [(); 2].map(|()| uniform::<f32>(&mut random, scan.channels, 0.0, 0.5));
    let of_rows = |values: &[T]| pick(values, scan.length, &channels);
    let of_channels = |values: &[f32], width| pick(values, width, &channels);
    let [host_delta, host_z] = [of_rows(&delta), of_rows(&z)];
    let host_a = of_channels(&a, scan.state_dim);
    let [host_b, host_c] = [&b, &c].map(|values| pick(values, scan.state_dim * scan.length, &[0]));
    let [host_skip, host_bias] = [&skip, &bias].map(|values| of_channels(values, 1));
    let tensors = SelectiveScanTensors {
        u: &[],
        delta: &host_delta,
        a: &host_a,
        b: &host_b,
        c: &host_c,
        skip: scan.skip.then_some(&host_skip),
        z: scan.gated.then_some(&host_z),
        delta_bias: scan.delta_bias.then_some(&host_bias),
        initial: None,
    };
    let few = crate::SelectiveScanSpec { batch: 1, channels: channels.len(), ..scan };
    let alone = MambaSpec { scan: few, ..spec };
    let answer = Answer::of::<T>(EXPONENTIALS, |precision| {
        oracle::mamba(&alone, precision, short.tensors(), tensors).0.out
    });
    let upload = |values: &[T]| Tensor::from_slice(gpu, &scan.shape(), values);
    let (delta, z) = (upload(&delta)?, upload(&z)?);
    let a = Tensor::from_slice(gpu, &scan.a_shape(), &a)?;
    let b = Tensor::from_slice(gpu, &scan.b_shape(), &b)?;
    let c = Tensor::from_slice(gpu, &scan.c_shape(), &c)?;
    let skip = Tensor::from_slice(gpu, &scan.channel_shape(), &skip)?;
    let bias = Tensor::from_slice(gpu, &scan.channel_shape(), &bias)?;
    let (b, c) = (CoefficientTensor::PerStep(&b), CoefficientTensor::PerStep(&c));
    let inputs = MambaInputs {
        x: &short.x,
        weight: &short.weight,
        bias: Some(&short.bias),
        conv_initial: None,
        delta: &delta,
        a: &a,
        b,
        c,
        skip: scan.skip.then_some(&skip),
        z: scan.gated.then_some(&z),
        delta_bias: scan.delta_bias.then_some(&bias),
        initial: None,
    };
    // In place of `u` comes what a yardstick's convolution gave.
    let given = SelectiveScanInputs {
        u: &short.x,
        delta: &delta,
        a: &a,
        b,
        c,
        skip: inputs.skip,
        z: inputs.z,
        delta_bias: inputs.delta_bias,
        initial: None,
    };
    let places = (scan.length, &channels[..]);
    let outputs = || -> Result<SelectiveScanOutputs<T>, Error> {
        Ok(SelectiveScanOutputs {
            out: poisoned(gpu, &scan.shape())?,
            last: poisoned(gpu, &scan.state_shape())?,
        })
    };
    let of_block = || -> Result<MambaOutputs<T>, Error> {
        let SelectiveScanOutputs { out, last } = outputs()?;
        Ok(MambaOutputs { out, conv_last: poisoned(gpu, &conv.state_shape())?, last })
    };
    let record = |encoder: &mut _, found: &_| fused.encode(encoder, inputs, found);
    let checked = async |found: &MambaOutputs<T>| check(&answer, "out", &found.out, places).await;
    let figures = bench.contend("fused", &plan, of_block, record, checked).await?;
    let unfused = Bench::yardstick("unfused", async || {
        let (first, second) = (UnfusedConv1d::new(gpu, conv)?, UnfusedSelectiveScan::new(gpu, scan)?);
        let prepare = || Ok((outputs()?, between::<T>(gpu, &conv)?, first.scratch()?, second.scratch()?));
        let plan = format!("{}; then {}", first.plan(), second.plan());
        bench
            .contend(
                "unfused",
                &plan,
                prepare,
                |encoder, (found, convolved, sums, scratch)| {
                    first.encode(encoder, short.inputs(), convolved, sums)?;
                    second.encode(encoder, SelectiveScanInputs { u: &convolved.y, ..given }, found, scratch)
                },
                async |(found, ..)| check(&answer, "out", &found.out, places).await,
            )
            .await
    })
    .await?;
    let sequential = Bench::yardstick("sequential", async || {
        let first = SequentialConv1d::new(gpu, conv)?;
        let second = SequentialRecurrence::selective_scan(gpu, scan)?;
        let prepare = || Ok((outputs()?, between::<T>(gpu, &conv)?, second.scratch()?));
        let plan = format!("{}; then {}", first.plan(), second.plan());
        bench
            .contend(
                "sequential",
                &plan,
                prepare,
                |encoder, (found, convolved, scratch)| {
                    first.encode(encoder, short.inputs(), convolved)?;
                    let inputs = SelectiveScanInputs { u: &convolved.y, ..given };
                    second.encode_selective_scan(encoder, &scan, inputs, (found, scratch))
                },
                async |(found, ..)| check(&answer, "out", &found.out, places).await,
            )
            .await
    })
    .await?;
    Ok((figures, vec![unfused, sequential]))
}

async fn hyena<T: Element>(bench: &Bench<'_>, spec: HyenaSpec) -> Result<(Figures, Vec<Yardstick>), Error> {
    let (gpu, short, long) = (bench.gpu, spec.short(), spec.long());
    let fused = Hyena::new(gpu, spec)?;
    let (of_short, of_long) = (Conv1dPlan::new(&short, gpu.caps())?, LongConvPlan::new(&long, gpu.caps())?);
    let plan = format!("{of_short}, three times; then {of_long}");
    let mut random = Inputs::new(1);
    // Direct sums grow with the square of the length.
    let channels = rows(spec.channels, (spec.length * spec.length / 256).max(spec.length));
    let mut projection = || Short::<T>::new(gpu, &mut random, &short, &channels);
    let qkv = [projection()?, projection()?, projection()?];
    // Such filters keep the size of what passes through.
    let filter: Vec<f32> = centred(&mut random, spec.channels * spec.taps, 1.0 / (spec.taps as f64).sqrt());
    let skip: Vec<f32> = centred(&mut random, spec.channels, 1.0);
    let (k, d) = (pick(&filter, spec.taps, &channels), pick(&skip, 1, &channels));
    let alone = HyenaSpec { batch: 1, channels: channels.len(), ..spec };
    let times = crate::bench::measure::spread(spec.length, 64);
    let sampled = |values: &[f64]| -> Vec<f64> {
        let row = |row: usize| times.iter().map(move |t| values[row * spec.length + t]);
        (0..channels.len()).flat_map(row).collect()
    };
    let answer = Answer::of::<T>(EXPONENTIALS, |precision: Precision| {
        let convolved = qkv.each_ref().map(|one| oracle::conv1d(&alone.short(), precision, one.tensors()).y);
        let [q, k_gate, v] = &convolved;
        let operands = LongConvOperands { u: v, k: &k, skip: Some(&d), pre: Some(k_gate), post: Some(q) };
        let conv = oracle::LongConv::new(&alone.long(), precision, operands);
        let row = |row: usize| times.iter().map(|&t| conv.y(row, t)).collect::<Vec<_>>();
        (0..channels.len()).flat_map(row).collect()
    });
    let filter = Tensor::from_slice(gpu, &long.kernel_shape(), &filter)?;
    let skip = Tensor::from_slice(gpu, &[spec.channels], &skip)?;
    let given = qkv.each_ref().map(|Short { x, weight, bias, .. }| Projection { x, weight, bias });
    let inputs = HyenaInputs { qkv: given, filter: &filter, skip: &skip };
    let outputs = || poisoned::<T>(gpu, &spec.shape());
    let checked = async |y: &Tensor<T>| -> Result<Vec<Outcome>, Error> {
        let (values, whole) = fetch(y).await?;
        Ok(vec![answer.check("y", &sampled(&pick(&values, spec.length, &channels)), whole)])
    };
    let three = || -> Result<[Conv1dOutputs<T>; 3], Error> {
        Ok([between(gpu, &short)?, between(gpu, &short)?, between(gpu, &short)?])
    };
    let record = |encoder: &mut _, y: &_| fused.encode(encoder, inputs, y);
    let figures = bench.contend("fused", &plan, outputs, record, &checked).await?;
    let unfused = Bench::yardstick("unfused", async || {
        let (first, second) = (UnfusedConv1d::new(gpu, short)?, UnfusedLongConv::new(gpu, long)?);
        let prepare = || Ok((outputs()?, three()?, first.scratch()?, second.scratch()?));
        let plan = format!("{}, three times; then {}", first.plan(), second.plan());
        bench
            .contend(
                "unfused",
                &plan,
                prepare,
                |encoder, (y, convolved, sums, scratch)| {
                    for (one, to) in qkv.iter().zip(convolved) {
                        first.encode(encoder, one.inputs(), to, sums)?;
                    }
                    let [q, k, v] = convolved.each_ref().map(|one| &one.y);
                    let (pre, post) = (Some(k), Some(q));
                    let of_long = LongConvInputs { u: v, k: &filter, skip: Some(&skip), pre, post };
                    second.encode(encoder, of_long, y, scratch)
                },
                async |(y, ..)| checked(y).await,
            )
            .await
    })
    .await?;
    let sequential = super::long_conv::sequential(bench, &long, async || {
        let (first, second) = (SequentialConv1d::new(gpu, short)?, SequentialLongConv::new(gpu, long)?);
        let plan = format!("{}, three times; then {}", first.plan(), second.plan());
        bench
            .contend(
                "sequential",
                &plan,
                || Ok((outputs()?, three()?)),
                |encoder, (y, convolved)| {
                    for (one, to) in qkv.iter().zip(convolved) {
                        first.encode(encoder, one.inputs(), to)?;
                    }
                    let [q, k, v] = convolved.each_ref().map(|one| &one.y);
                    let (pre, post) = (Some(k), Some(q));
                    let of_long = LongConvInputs { u: v, k: &filter, skip: Some(&skip), pre, post };
                    second.encode(encoder, of_long, y)
                },
                async |(y, _)| checked(y).await,
            )
            .await
    })
    .await?;
    Ok((figures, vec![unfused, sequential]))
}
