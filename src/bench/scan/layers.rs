//! Measuring layers beside the yardsticks of their parts, one after the other.

use super::sample::{Answer, EXPONENTIALS, columns, pick, rows};
use super::{long_conv, selective_scan, ssd};
use crate::baseline::{
    Parts, SequentialConv1d, SequentialLongConv, SequentialRecurrence, UnfusedConv1d, UnfusedLongConv,
    UnfusedRecurrence, UnfusedSsd,
};
use crate::bench::measure::{Bench, centred, fetch};
use crate::bench::suite::Scale;
use crate::bench::{Figures, Yardstick, workload};
use crate::oracle::{self, Conv1dTensors, LongConvOperands, Precision};
use crate::plan::{ChunkedPlan, Conv1dPlan, LongConvPlan, SelectiveScanPlan};
use crate::verify::{Inputs, Outcome, poisoned};
use crate::{
    Conv1dInputs, Conv1dOutputs, Conv1dSpec, Element, Error, Gpu, Hyena, HyenaInputs, HyenaSpec,
    LongConvInputs, Mamba, Mamba2, Mamba2Inputs, Mamba2Spec, MambaInputs, MambaOutputs, MambaSpec,
    Projection, SelectiveScanInputs, SelectiveScanOutputs, SsdInputs, SsdOutputs, Tensor,
};

/// The core of a Mamba block over the scan that is measured by itself.
pub(super) fn mamba_of_length(scale: Scale, length: usize) -> MambaSpec {
    let scan = selective_scan::of_length(scale, length);
    MambaSpec { scan, width: 4, conv_bias: true }
}

/// The core of a Mamba-2 block over the recurrence that is measured by itself, and a gate.
pub(super) fn mamba2_of_length(scale: Scale, length: usize) -> Mamba2Spec {
    Mamba2Spec { ssd: ssd::of_length(scale, length).gated(), width: 4, conv_bias: true }
}

/// Hyena's operator over the long convolution that is measured by itself.
pub(super) fn hyena_of_length(scale: Scale, length: usize) -> HyenaSpec {
    let long = long_conv::of_length(scale, length);
    HyenaSpec::new(long.dtype, long.batch, long.channels, length)
}

workload!(MambaSpec.scan, Scan, mamba);

workload!(Mamba2Spec.ssd, Scan, mamba2);

workload!(HyenaSpec, Scan, hyena);

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

async fn mamba<T: Element>(bench: &Bench<'_>, &spec: &MambaSpec) -> Result<(Figures, Vec<Yardstick>), Error> {
    let (gpu, scan, conv) = (bench.gpu, spec.scan, spec.conv());
    let fused = Mamba::new(gpu, spec)?;
    let (of_conv, of_scan) =
        (Conv1dPlan::new(&conv, gpu.caps())?, SelectiveScanPlan::new(&scan, gpu.caps())?);
    let plan = format!("{of_conv}; then {of_scan}");
    let given = selective_scan::Given::<T>::new(gpu, &scan)?;
    let sample = &given.sample;
    let short = Short::<T>::new(gpu, &mut Inputs::new(2), &conv, &sample.channels)?;
    let alone = MambaSpec { scan: sample.alone, ..spec };
    let answer = Answer::of::<T>(EXPONENTIALS, |precision| {
        oracle::mamba(&alone, precision, short.tensors(), sample.tensors()).0.out
    });
    // In place of `u` comes what the convolution gave.
    let of_scan = given.inputs(&scan);
    let SelectiveScanInputs { delta, a, b, c, skip, z, delta_bias, initial, .. } = of_scan;
    let inputs = MambaInputs {
        x: &short.x,
        weight: &short.weight,
        bias: Some(&short.bias),
        conv_initial: None,
        delta,
        a,
        b,
        c,
        skip,
        z,
        delta_bias,
        initial,
    };
    let outputs = || -> Result<MambaOutputs<T>, Error> {
        Ok(MambaOutputs {
            out: poisoned(gpu, &scan.shape())?,
            conv_last: poisoned(gpu, &conv.state_shape())?,
            last: poisoned(gpu, &scan.state_shape())?,
        })
    };
    let check = async |found: &MambaOutputs<T>| -> Result<Vec<Outcome>, Error> {
        Ok(vec![sample.check(&answer, "out", &found.out).await?])
    };
    let race = bench.race(outputs, check);
    let figures = race.fused(&plan, |encoder, found| fused.encode(encoder, inputs, found)).await?;
    let between = || between::<T>(gpu, &conv);
    let results =
        |found: &MambaOutputs<T>| SelectiveScanOutputs { out: found.out.clone(), last: found.last.clone() };
    let unfused = race.against(
        "unfused",
        || {
            let parts = (UnfusedConv1d::new(gpu, conv)?, UnfusedRecurrence::selective_scan(gpu, &scan)?);
            Ok(Parts { parts, between })
        },
        |Parts { parts: (first, second), .. }, encoder, found, (convolved, (sums, scratch))| {
            first.encode(encoder, short.inputs(), convolved, sums)?;
            let inputs = SelectiveScanInputs { u: &convolved.y, ..of_scan };
            second.encode_selective_scan(encoder, &scan, inputs, (&results(found), scratch))
        },
    );
    let sequential = race.against(
        "sequential",
        || {
            let parts = (SequentialConv1d::new(gpu, conv)?, SequentialRecurrence::selective_scan(gpu, scan)?);
            Ok(Parts { parts, between })
        },
        |Parts { parts: (first, second), .. }, encoder, found, (convolved, ((), scratch))| {
            first.encode(encoder, short.inputs(), convolved)?;
            let inputs = SelectiveScanInputs { u: &convolved.y, ..of_scan };
            second.encode_selective_scan(encoder, &scan, inputs, (&results(found), scratch))
        },
    );
    Ok((figures, vec![unfused.await?, sequential.await?]))
}

/// What the core of a Mamba-2 block convolves, and the parts of it for yardsticks that take each by itself.
struct Mixed<T> {
    xbc: Tensor<T>,
    weight: Tensor<f32>,
    bias: Tensor<f32>,
    /// `x`, `B` and `C`, with their taps and biases.
    parts: [Tensor<T>; 3],
    of_channels: [[Tensor<f32>; 2]; 3],
    /// The sample's: the input, the taps and the biases.
    host: [Vec<f64>; 3],
}

impl<T: Element> Mixed<T> {
    fn new(gpu: &Gpu, spec: &Mamba2Spec, sample: &ssd::Sample) -> Result<Self, Error> {
        let (conv, mut random) = (spec.conv(), Inputs::new(2));
        let width = conv.channels;
        let xbc: Vec<T> = centred(&mut random, conv.rows() * conv.length, 1.0);
        let weight: Vec<f32> = centred(&mut random, width * conv.width, 0.5);
        let bias: Vec<f32> = centred(&mut random, width, 0.5);
        let [of_x, of_b, of_c] = spec.parts();
        let part = |first: usize, count: usize| -> Result<_, Error> {
            let values: Vec<T> =
                xbc.chunks_exact(width).flat_map(|row| &row[first..first + count]).copied().collect();
            let tensor = Tensor::from_slice(gpu, &conv.shape_of(count), &values)?;
            let taps = &weight[first * conv.width..][..count * conv.width];
            let taps = Tensor::from_slice(gpu, &[count, conv.width], taps)?;
            let biases = Tensor::from_slice(gpu, &[count], &bias[first..first + count])?;
            Ok((tensor, [taps, biases]))
        };
        let [x, b, c] = [part(0, of_x)?, part(of_x, of_b)?, part(of_x + of_b, of_c)?];
        let behind = |first: usize| sample.states.iter().map(move |state| first + state);
        let which: Vec<usize> =
            sample.channels.iter().copied().chain(behind(of_x)).chain(behind(of_x + of_b)).collect();
        Ok(Self {
            host: [
                columns(&xbc, width, conv.length, &which),
                pick(&weight, conv.width, &which),
                pick(&bias, 1, &which),
            ],
            xbc: Tensor::from_slice(gpu, &conv.shape(), &xbc)?,
            weight: Tensor::from_slice(gpu, &conv.weight_shape(), &weight)?,
            bias: Tensor::from_slice(gpu, &conv.bias_shape(), &bias)?,
            parts: [x.0, b.0, c.0],
            of_channels: [x.1, b.1, c.1],
        })
    }

    fn tensors(&self) -> Conv1dTensors<'_> {
        let [x, weight, bias] = &self.host;
        Conv1dTensors { x, weight, bias: Some(bias), sequences: None, initial: None }
    }

    fn part(&self, i: usize) -> Conv1dInputs<'_, T> {
        let (x, [weight, bias]) = (&self.parts[i], &self.of_channels[i]);
        Conv1dInputs { bias: Some(bias), ..Conv1dInputs::new(x, weight) }
    }
}

async fn mamba2<T: Element>(
    bench: &Bench<'_>,
    spec: &Mamba2Spec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let (gpu, recurrence, conv) = (bench.gpu, &spec.ssd, spec.conv());
    let fused = Mamba2::new(gpu, spec.clone())?;
    let (of_conv, of_ssd) = (Conv1dPlan::new(&conv, gpu.caps())?, ChunkedPlan::ssd(recurrence, gpu.caps())?);
    let plan = format!("{of_conv}, in three parts; then {of_ssd}");
    let given = ssd::Given::<T>::new(gpu, recurrence)?;
    let sample = &given.sample;
    let mixed = Mixed::<T>::new(gpu, spec, sample)?;
    let alone = Mamba2Spec { ssd: sample.alone.clone(), ..spec.clone() };
    let answer = Answer::of::<T>(EXPONENTIALS, |precision| {
        oracle::mamba2(&alone, precision, mixed.tensors(), &sample.values()).0.out
    });
    // In place of `x`, `b` and `c` comes what the convolution gave.
    let of_ssd = given.inputs(recurrence);
    let SsdInputs { dt, a, d, z, dt_bias, initial, .. } = of_ssd;
    let inputs = Mamba2Inputs {
        xbc: &mixed.xbc,
        weight: &mixed.weight,
        bias: Some(&mixed.bias),
        conv_initial: None,
        dt,
        a,
        d,
        z,
        dt_bias,
        initial,
    };
    let outputs = || -> Result<MambaOutputs<T>, Error> {
        Ok(MambaOutputs {
            out: poisoned(gpu, &recurrence.x_shape())?,
            conv_last: poisoned(gpu, &conv.state_shape())?,
            last: poisoned(gpu, &recurrence.state_shape())?,
        })
    };
    let check = async |found: &MambaOutputs<T>| sample.check(&answer, "out", &found.out).await;
    let race = bench.race(outputs, check);
    let figures = race.fused(&plan, |encoder, found| fused.encode(encoder, inputs, found)).await?;
    let convs = spec.parts().map(|channels| Conv1dSpec { channels, ..conv });
    // What the convolutions give, and the same as the recurrence takes it.
    let between = || -> Result<_, Error> {
        let [x, b, c] = [between::<T>(gpu, &convs[0])?, between(gpu, &convs[1])?, between(gpu, &convs[2])?];
        let shaped =
            |of: &Conv1dOutputs<T>, shape: &[usize]| Tensor::from_buffer(gpu, of.y.buffer().clone(), shape);
        let (x_shape, b_shape) = (recurrence.x_shape(), recurrence.b_shape());
        let views = [shaped(&x, &x_shape)?, shaped(&b, &b_shape)?, shaped(&c, &b_shape)?];
        Ok(([x, b, c], views))
    };
    let results = |found: &MambaOutputs<T>| SsdOutputs { out: found.out.clone(), last: found.last.clone() };
    let unfused = race.against(
        "unfused",
        || {
            let convolutions = (UnfusedConv1d::new(gpu, convs[0])?, UnfusedConv1d::new(gpu, convs[1])?);
            Ok(Parts { parts: (convolutions, UnfusedSsd::new(gpu, recurrence.clone())?), between })
        },
        |Parts { parts: ((wide, narrow), second), .. }, encoder, found, ((convolved, views), scratch)| {
            let ((wide_sums, sums), scratch) = scratch;
            wide.encode(encoder, mixed.part(0), &convolved[0], wide_sums)?;
            narrow.encode(encoder, mixed.part(1), &convolved[1], sums)?;
            narrow.encode(encoder, mixed.part(2), &convolved[2], sums)?;
            let [x, b, c] = views;
            second.encode(encoder, SsdInputs { x, b, c, ..of_ssd }, &results(found), scratch)
        },
    );
    let sequential = race.against(
        "sequential",
        || {
            let convolutions = (SequentialConv1d::new(gpu, convs[0])?, SequentialConv1d::new(gpu, convs[1])?);
            Ok(Parts { parts: (convolutions, SequentialRecurrence::ssd(gpu, recurrence)?), between })
        },
        |Parts { parts: ((wide, narrow), second), .. }, encoder, found, ((convolved, views), scratch)| {
            wide.encode(encoder, mixed.part(0), &convolved[0])?;
            narrow.encode(encoder, mixed.part(1), &convolved[1])?;
            narrow.encode(encoder, mixed.part(2), &convolved[2])?;
            let [x, b, c] = views;
            let inputs = SsdInputs { x, b, c, ..of_ssd };
            second.encode_ssd(encoder, recurrence, inputs, (&results(found), &scratch.1))
        },
    );
    Ok((figures, vec![unfused.await?, sequential.await?]))
}

async fn hyena<T: Element>(bench: &Bench<'_>, &spec: &HyenaSpec) -> Result<(Figures, Vec<Yardstick>), Error> {
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
    let race = bench.race(outputs, checked);
    let figures = race.fused(&plan, |encoder, y| fused.encode(encoder, inputs, y)).await?;
    let unfused = race.against(
        "unfused",
        || {
            let parts = (UnfusedConv1d::new(gpu, short)?, UnfusedLongConv::new(gpu, long)?);
            Ok(Parts { parts, between: three })
        },
        |Parts { parts: (first, second), .. }, encoder, y, (convolved, (sums, scratch))| {
            for (one, to) in qkv.iter().zip(convolved) {
                first.encode(encoder, one.inputs(), to, sums)?;
            }
            let [q, k, v] = convolved.each_ref().map(|one| &one.y);
            let inputs = LongConvInputs { u: v, k: &filter, skip: Some(&skip), pre: Some(k), post: Some(q) };
            second.encode(encoder, inputs, y, scratch)
        },
    );
    let sequential = race.against(
        "sequential",
        || {
            let parts = (SequentialConv1d::new(gpu, short)?, SequentialLongConv::new(gpu, long)?);
            Ok(Parts { parts, between: three })
        },
        |Parts { parts: (first, second), .. }, encoder, y, (convolved, _)| {
            for (one, to) in qkv.iter().zip(convolved) {
                first.encode(encoder, one.inputs(), to)?;
            }
            let [q, k, v] = convolved.each_ref().map(|one| &one.y);
            let inputs = LongConvInputs { u: v, k: &filter, skip: Some(&skip), pre: Some(k), post: Some(q) };
            second.encode(encoder, inputs, y)
        },
    );
    Ok((figures, vec![unfused.await?, long_conv::in_time(bench, &long, sequential).await?]))
}
