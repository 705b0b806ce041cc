//! Measuring short convolutions and their gradients.

use super::sample::{Answer, ROUNDING, pick, rows};
use crate::baseline::{SequentialConv1d, SequentialConv1dBackward, UnfusedConv1d, UnfusedConv1dBackward};
use crate::bench::measure::{Bench, centred, fetch};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Figures, Trainable, Yardstick, workload};
use crate::oracle::{Conv1dTensors, conv1d, conv1d_backward};
use crate::verify::{Inputs, Outcome, poisoned};
use crate::{
    Conv1d, Conv1dBackward, Conv1dGradients, Conv1dInputs, Conv1dOutputs, Conv1dSpec, DType, Element, Error,
    Gpu, Tensor, by_dtype,
};

/// A convolution as in front of Mamba's scans, with about that many elements of `x`.
pub(super) fn of_length(scale: Scale, length: usize) -> Conv1dSpec {
    let (elements, channels) = match scale {
        Scale::Software => (1 << 16, 16),
        Scale::Modest => (1 << 23, 512),
        Scale::Large => (1 << 25, 2048),
    };
    let batch = (elements / channels / length).max(1);
    let channels = (elements / batch / length).max(1);
    Conv1dSpec::new(DType::F16, batch, channels, length, 4).bias().silu()
}

workload!(Conv1dSpec, Scan, forward);

impl Trainable for Conv1dSpec {
    /// As much for each of the inputs and of the taps, and the sums again where silu needs them.
    fn backward_flops(&self) -> f64 {
        self.flops() * if self.silu { 3.0 } else { 2.0 }
    }

    /// `x` and `dy` in, `dx` out.
    fn backward_least_bytes(&self) -> u64 {
        self.least_bytes() / 2 * 3
    }

    fn contend_backward<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(backward::<T>(bench, *self)))
    }
}

/// Inputs on the device, and those of a few channels of the first batch on the host.
struct Given<T> {
    x: Tensor<T>,
    dy: Tensor<T>,
    weight: Tensor<f32>,
    bias: Tensor<f32>,
    alone: Conv1dSpec,
    channels: Vec<usize>,
    /// `x`, `dy`, the taps and the biases.
    sample: [Vec<f64>; 4],
}

impl<T: Element> Given<T> {
    fn new(gpu: &Gpu, spec: &Conv1dSpec) -> Result<Self, Error> {
        let mut inputs = Inputs::new(1);
        let [x, dy] = [(); 2].map(|()| centred::<T>(&mut inputs, spec.rows() * spec.length, 1.0));
        let weight: Vec<f32> = centred(&mut inputs, spec.channels * spec.width, 0.5);
        let bias: Vec<f32> = centred(&mut inputs, spec.channels, 0.5);
        let channels = rows(spec.channels, spec.length);
        let of_rows = |values: &[T]| pick(values, spec.length, &channels);
        Ok(Self {
            alone: Conv1dSpec { batch: 1, channels: channels.len(), ..*spec },
            sample: [
                of_rows(&x),
                of_rows(&dy),
                pick(&weight, spec.width, &channels),
                pick(&bias, 1, &channels),
            ],
            x: Tensor::from_slice(gpu, &spec.shape(), &x)?,
            dy: Tensor::from_slice(gpu, &spec.shape(), &dy)?,
            weight: Tensor::from_slice(gpu, &spec.weight_shape(), &weight)?,
            bias: Tensor::from_slice(gpu, &spec.bias_shape(), &bias)?,
            channels,
        })
    }

    fn inputs(&self) -> Conv1dInputs<'_, T> {
        let bias = self.alone.bias.then_some(&self.bias);
        Conv1dInputs { bias, ..Conv1dInputs::new(&self.x, &self.weight) }
    }

    fn tensors(&self) -> Conv1dTensors<'_> {
        let [x, _, weight, bias] = &self.sample;
        Conv1dTensors { x, weight, bias: self.alone.bias.then_some(bias), sequences: None, initial: None }
    }

    async fn check(
        &self,
        answer: &Answer,
        name: &'static str,
        tensor: &Tensor<T>,
    ) -> Result<Vec<Outcome>, Error> {
        let (values, whole) = fetch(tensor).await?;
        Ok(vec![answer.check(name, &pick(&values, self.alone.length, &self.channels), whole)])
    }
}

/// Rows begin after zeros.
async fn forward<T: Element>(
    bench: &Bench<'_>,
    &spec: &Conv1dSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = Conv1d::new(gpu, spec)?;
    let given = Given::<T>::new(gpu, &spec)?;
    let inputs = given.inputs();
    let answer = Answer::of::<T>(ROUNDING, |precision| conv1d(&given.alone, precision, given.tensors()).y);
    let outputs = || -> Result<Conv1dOutputs<T>, Error> {
        Ok(Conv1dOutputs { y: poisoned(gpu, &spec.shape())?, last: poisoned(gpu, &spec.state_shape())? })
    };
    let check = async |outputs: &Conv1dOutputs<T>| given.check(&answer, "y", &outputs.y).await;
    let race = bench.race(outputs, check);
    let figures = race.fused(fused.plan(), |encoder, outputs| fused.encode(encoder, inputs, outputs)).await?;
    let unfused = race.against(
        "unfused",
        || UnfusedConv1d::new(gpu, spec),
        |it, encoder, outputs, sums| it.encode(encoder, inputs, outputs, sums),
    );
    let sequential = race.against(
        "sequential",
        || SequentialConv1d::new(gpu, spec),
        |it, encoder, outputs, ()| it.encode(encoder, inputs, outputs),
    );
    Ok((figures, vec![unfused.await?, sequential.await?]))
}

async fn backward<T: Element>(
    bench: &Bench<'_>,
    spec: Conv1dSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let backward = Conv1dBackward::new(gpu, spec)?;
    let given = Given::<T>::new(gpu, &spec)?;
    let (inputs, dy) = (given.inputs(), &given.dy);
    let [_, host_dy, ..] = &given.sample;
    let answer = Answer::of::<T>(ROUNDING, |precision| {
        conv1d_backward(&given.alone, precision, given.tensors(), host_dy).dx
    });
    let gradients = || -> Result<Conv1dGradients<T>, Error> {
        Ok(Conv1dGradients {
            dx: poisoned(gpu, &spec.shape())?,
            dweight: poisoned(gpu, &spec.weight_shape())?,
            dbias: spec.bias.then(|| poisoned(gpu, &spec.bias_shape())).transpose()?,
            dinitial: None,
        })
    };
    let check = async |found: &Conv1dGradients<T>| given.check(&answer, "dx", &found.dx).await;
    let race = bench.race(gradients, check);
    let figures =
        race.fused(backward.plan(), |encoder, found| backward.encode(encoder, inputs, dy, found)).await?;
    let unfused = race.against(
        "unfused",
        || UnfusedConv1dBackward::new(gpu, spec),
        |it, encoder, found, scratch| it.encode(encoder, inputs, dy, found, scratch),
    );
    let sequential = race.against(
        "sequential",
        || SequentialConv1dBackward::new(gpu, spec),
        |it, encoder, found, parts| it.encode(encoder, inputs, dy, found, parts),
    );
    Ok((figures, vec![unfused.await?, sequential.await?]))
}
