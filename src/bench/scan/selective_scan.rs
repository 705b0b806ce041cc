//! Measuring selective scans and their gradients.

use super::sample::{Answer, EXPONENTIALS, pick, rows};
use crate::baseline::{PlainRecurrenceBackward, PlainWay, SequentialRecurrence, UnfusedRecurrence};
use crate::bench::measure::{Bench, centred, fetch, uniform};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Figures, Trainable, Yardstick, workload};
use crate::oracle::{SelectiveScanTensors, selective_scan, selective_scan_backward};
use crate::verify::{Inputs, Outcome, poisoned};
use crate::{
    CoefficientGradient, CoefficientTensor, DType, Element, Error, Gpu, SelectiveScan, SelectiveScanBackward,
    SelectiveScanGradients, SelectiveScanInputs, SelectiveScanOutputs, SelectiveScanSpec, Tensor, by_dtype,
};

/// A scan as Mamba's blocks have it, with about that many elements of `u`.
pub(super) fn of_length(scale: Scale, length: usize) -> SelectiveScanSpec {
    let (elements, channels, states) = match scale {
        Scale::Software => (1 << 14, 16, 4),
        Scale::Modest => (1 << 20, 512, 16),
        Scale::Large => (1 << 23, 2048, 16),
    };
    let batch = (elements / channels / length).max(1);
    let channels = (elements / batch / length).max(1);
    block(DType::F16, batch, channels, length, states)
}

/// The sizes at which libraries are compared.
pub(super) fn of_model(dtype: DType) -> SelectiveScanSpec {
    block(dtype, 1, 2048, 16_384, 16)
}

fn block(dtype: DType, batch: usize, channels: usize, length: usize, states: usize) -> SelectiveScanSpec {
    SelectiveScanSpec::new(dtype, batch, channels, length, states).skip().delta_bias().delta_softplus()
}

workload!(SelectiveScanSpec, Scan, forward);

impl Trainable for SelectiveScanSpec {
    /// The states again, and for each two multiply-adds of its own gradient and one for each of `A`, `B`, `C` and δ.
    fn backward_flops(&self) -> f64 {
        let each = if self.complex { 8.0 } else { 2.0 };
        self.flops() + 6.0 * each * (self.rows() * self.length) as f64
    }

    /// Everything but the result in, and as much out; and the result's gradient in.
    fn backward_least_bytes(&self) -> u64 {
        let row = (self.shape().iter().product::<usize>() * self.dtype.bytes()) as u64;
        2 * self.least_bytes() - row
    }

    fn contend_backward<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(backward::<T>(bench, *self)))
    }
}

/// Inputs on the device, and those of a few rows on the host.
pub(super) struct Given<T> {
    u: Tensor<T>,
    delta: Tensor<T>,
    a: Tensor<f32>,
    b: Tensor<T>,
    c: Tensor<T>,
    skip: Tensor<f32>,
    bias: Tensor<f32>,
    z: Tensor<T>,
    dout: Tensor<T>,
    pub sample: Sample,
}

/// A few channels of the first batch.
pub(super) struct Sample {
    pub alone: SelectiveScanSpec,
    pub channels: Vec<usize>,
    u: Vec<f64>,
    delta: Vec<f64>,
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    skip: Vec<f64>,
    bias: Vec<f64>,
    z: Vec<f64>,
    dout: Vec<f64>,
}

impl<T: Element> Given<T> {
    pub fn new(gpu: &Gpu, spec: &SelectiveScanSpec) -> Result<Self, Error> {
        let mut inputs = Inputs::new(1);
        let steps = spec.shape().iter().product::<usize>();
        let [u, z, dout] = [(); 3].map(|()| centred::<T>(&mut inputs, steps, 1.0));
        let delta: Vec<T> = uniform(&mut inputs, steps, -4.0, -1.0);
        let a: Vec<f32> = uniform(&mut inputs, spec.channels * spec.state_dim, -1.5, -0.2);
        let [b, c] = [spec.b_shape(), spec.c_shape()]
            .map(|shape| centred::<T>(&mut inputs, shape.iter().product(), 1.0));
        let [skip, bias] = [(); 2].map(|()| uniform::<f32>(&mut inputs, spec.channels, 0.0, 0.5));
        let channels = rows(spec.channels, spec.length * spec.state_dim);
        let of_rows = |values: &[T]| pick(values, spec.length, &channels);
        let first: &[usize] = &[0];
        let sample = Sample {
            alone: SelectiveScanSpec { batch: 1, channels: channels.len(), ..*spec },
            u: of_rows(&u),
            delta: of_rows(&delta),
            a: pick(&a, spec.state_dim, &channels),
            b: pick(&b, spec.state_dim * spec.length, first),
            c: pick(&c, spec.state_dim * spec.length, first),
            skip: pick(&skip, 1, &channels),
            bias: pick(&bias, 1, &channels),
            z: of_rows(&z),
            dout: of_rows(&dout),
            channels,
        };
        let steps = |values: &[T]| Tensor::from_slice(gpu, &spec.shape(), values);
        Ok(Self {
            u: steps(&u)?,
            delta: steps(&delta)?,
            a: Tensor::from_slice(gpu, &spec.a_shape(), &a)?,
            b: Tensor::from_slice(gpu, &spec.b_shape(), &b)?,
            c: Tensor::from_slice(gpu, &spec.c_shape(), &c)?,
            skip: Tensor::from_slice(gpu, &spec.channel_shape(), &skip)?,
            bias: Tensor::from_slice(gpu, &spec.channel_shape(), &bias)?,
            z: steps(&z)?,
            dout: steps(&dout)?,
            sample,
        })
    }

    pub fn inputs(&self, spec: &SelectiveScanSpec) -> SelectiveScanInputs<'_, T> {
        SelectiveScanInputs {
            u: &self.u,
            delta: &self.delta,
            a: &self.a,
            b: CoefficientTensor::PerStep(&self.b),
            c: CoefficientTensor::PerStep(&self.c),
            skip: spec.skip.then_some(&self.skip),
            z: spec.gated.then_some(&self.z),
            delta_bias: spec.delta_bias.then_some(&self.bias),
            initial: None,
        }
    }
}

impl Sample {
    pub fn tensors(&self) -> SelectiveScanTensors<'_> {
        let Self { alone, .. } = self;
        SelectiveScanTensors {
            u: &self.u,
            delta: &self.delta,
            a: &self.a,
            b: &self.b,
            c: &self.c,
            skip: alone.skip.then_some(&self.skip),
            z: alone.gated.then_some(&self.z),
            delta_bias: alone.delta_bias.then_some(&self.bias),
            initial: None,
        }
    }

    pub async fn check<T: Element>(
        &self,
        answer: &Answer,
        name: &'static str,
        tensor: &Tensor<T>,
    ) -> Result<Outcome, Error> {
        let (values, whole) = fetch(tensor).await?;
        Ok(answer.check(name, &pick(&values, self.alone.length, &self.channels), whole))
    }
}

/// Coefficients vary from step to step for all channels alike, and rows begin with 0.
async fn forward<T: Element>(
    bench: &Bench<'_>,
    &spec: &SelectiveScanSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = SelectiveScan::new(gpu, spec)?;
    let given = Given::<T>::new(gpu, &spec)?;
    let (inputs, sample) = (given.inputs(&spec), &given.sample);
    let answer = Answer::of::<T>(EXPONENTIALS, |precision| {
        selective_scan(&sample.alone, precision, sample.tensors()).out
    });
    let outputs = || -> Result<SelectiveScanOutputs<T>, Error> {
        Ok(SelectiveScanOutputs {
            out: poisoned(gpu, &spec.shape())?,
            last: poisoned(gpu, &spec.state_shape())?,
        })
    };
    let check = async |outputs: &SelectiveScanOutputs<T>| -> Result<Vec<Outcome>, Error> {
        Ok(vec![sample.check(&answer, "out", &outputs.out).await?])
    };
    let race = bench.race(outputs, check);
    let figures = race.fused(fused.plan(), |encoder, outputs| fused.encode(encoder, inputs, outputs)).await?;
    let unfused = race.against(
        "unfused",
        || UnfusedRecurrence::selective_scan(gpu, &spec),
        |it, encoder, outputs, scratch| it.encode_selective_scan(encoder, &spec, inputs, (outputs, scratch)),
    );
    let sequential = race.against(
        "sequential",
        || SequentialRecurrence::selective_scan(gpu, spec),
        |it, encoder, outputs, scratch| it.encode_selective_scan(encoder, &spec, inputs, (outputs, scratch)),
    );
    Ok((figures, vec![unfused.await?, sequential.await?]))
}

async fn backward<T: Element>(
    bench: &Bench<'_>,
    spec: SelectiveScanSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let backward = SelectiveScanBackward::new(gpu, spec)?;
    let given = Given::<T>::new(gpu, &spec)?;
    let (inputs, sample) = (given.inputs(&spec), &given.sample);
    let slopes =
        |precision| selective_scan_backward(&sample.alone, precision, sample.tensors(), &sample.dout);
    let answers = [
        Answer::of::<T>(EXPONENTIALS, |precision| slopes(precision).du),
        Answer::of::<T>(EXPONENTIALS, |precision| slopes(precision).ddelta),
    ];
    let gradients = || -> Result<SelectiveScanGradients<T>, Error> {
        let optional = |on: bool| on.then(|| poisoned(gpu, &spec.channel_shape())).transpose();
        Ok(SelectiveScanGradients {
            du: poisoned(gpu, &spec.shape())?,
            ddelta: poisoned(gpu, &spec.shape())?,
            da: poisoned(gpu, &spec.a_shape())?,
            db: CoefficientGradient::PerStep(poisoned(gpu, &spec.b_shape())?),
            dc: CoefficientGradient::PerStep(poisoned(gpu, &spec.c_shape())?),
            dskip: optional(spec.skip)?,
            dz: spec.gated.then(|| poisoned(gpu, &spec.shape())).transpose()?,
            ddelta_bias: optional(spec.delta_bias)?,
            dinitial: None,
        })
    };
    let check = async |found: &SelectiveScanGradients<T>| -> Result<Vec<Outcome>, Error> {
        let [du, ddelta] = &answers;
        Ok(vec![
            sample.check(du, "du", &found.du).await?,
            sample.check(ddelta, "ddelta", &found.ddelta).await?,
        ])
    };
    let (race, dout) = (bench.race(gradients, check), &given.dout);
    let figures =
        race.fused(backward.plan(), |encoder, found| backward.encode(encoder, inputs, dout, found)).await?;
    let plainly = |name, way| {
        race.against(
            name,
            move || PlainRecurrenceBackward::selective_scan(gpu, &spec, way),
            |it, encoder, found, scratch| {
                it.encode_selective_scan(encoder, &spec, (inputs, dout), (found, scratch))
            },
        )
    };
    let unfused = plainly("unfused", PlainWay::Arrays).await?;
    Ok((figures, vec![unfused, plainly("sequential", PlainWay::Loop).await?]))
}
