//! The acceptance grid of the causal depthwise convolution and its gradients.

use super::share;
use crate::oracle::{Conv1dTensors, conv1d, conv1d_backward};
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{
    Conv1d, Conv1dBackward, Conv1dGradients, Conv1dInputs, Conv1dOutputs, Conv1dSpec, DType, Element, Error,
    Gpu, SequenceIndices, by_dtype,
};

/// Every width and option at lengths around a lane's share and a workgroup's tile, and at some that are a multiple of
/// nothing.
pub(super) fn cases(grid: Grid) -> Vec<Conv1dSpec> {
    let sizes: &[(usize, usize, usize)] = match grid {
        Grid::Thin => &[(2, 3, 1), (1, 2, 3), (2, 5, 61), (1, 7, 512), (3, 70, 97), (1, 2, 2051)],
        Grid::Full => &[
            (2, 3, 1),
            (1, 1, 2),
            (1, 2, 3),
            (3, 1, 4),
            (2, 5, 7),
            (2, 2, 8),
            (2, 5, 61),
            (1, 7, 512),
            (1, 3, 513),
            (3, 70, 97),
            (113, 203, 5),
            (1, 2, 2051),
            (2, 64, 4096),
            (1, 1, 100_003),
        ],
    };
    let mut cases = Vec::new();
    for (i, &(batch, channels, length)) in sizes.iter().enumerate() {
        for (j, dtype) in DType::ALL.into_iter().enumerate() {
            // Each width needs pipelines of its own, which cost a software adapter more than the work.
            let widths = if grid == Grid::Full { 2..=4 } else { 2 + (i + j) % 3..=2 + (i + j) % 3 };
            for width in widths {
                let spec = Conv1dSpec::new(dtype, batch, channels, length, width);
                let on = |bit: usize| (i + 2 * j + 3 * width) >> bit & 1 == 1;
                cases.push(Conv1dSpec {
                    bias: on(0),
                    silu: on(1),
                    sequences: on(2),
                    initial: !on(0),
                    ..spec
                });
            }
        }
    }
    let all = Conv1dSpec::new(DType::F32, 2, 3, 129, 4).bias().silu().sequences().initial();
    cases.extend(DType::ALL.map(|dtype| Conv1dSpec { dtype, ..all }));
    cases.extend(DType::ALL.map(|dtype| Conv1dSpec { dtype, channels: 70, ..all.channels_last() }));
    for (i, &(batch, channels, length)) in sizes.iter().enumerate() {
        let spec = Conv1dSpec::new(DType::ALL[i % 3], batch, channels, length, 2 + i % 3).channels_last();
        cases.push(Conv1dSpec { bias: i % 2 == 0, silu: i % 2 == 1, initial: i % 2 == 1, ..spec });
    }
    cases.push(Conv1dSpec { channels: 64, length: 150, ..all.channels_last() });
    cases
}

impl Case for Conv1dSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype, T => Box::pin(run::<T>(gpu, *self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: Conv1dSpec) -> Result<Vec<Outcome>, Error> {
    let count = spec.rows() * spec.length;
    let mut inputs = Inputs::new((count * spec.width) as u64);
    let x = rounded::<T>(&inputs.normal(count, 1.0));
    let dy = rounded::<T>(&inputs.normal(count, 1.0));
    let weight = rounded::<f32>(&inputs.normal(spec.channels * spec.width, 1.0));
    let bias = rounded::<f32>(&inputs.normal(spec.channels, 1.0));
    let initial = rounded::<f32>(&inputs.normal(spec.rows() * (spec.width - 1), 1.0));
    // Sequences of one to seven steps, and some neighbours of equal number.
    let lots = inputs.uniform(spec.batch * spec.length, 0.0, 1.0);
    let sequences: Vec<i32> = lots
        .iter()
        .scan(0, |sequence, lot| {
            *sequence += i32::from(*lot < 0.25);
            Some(*sequence)
        })
        .collect();
    let tensors = Conv1dTensors {
        x: &x,
        weight: &weight,
        bias: spec.bias.then_some(&bias),
        sequences: spec.sequences.then_some(&sequences),
        initial: spec.initial.then_some(&initial),
    };
    let (reference, plain) = both(spec.dtype, |precision| conv1d(&spec, precision, tensors));
    let (gradients, plain_gradients) =
        both(spec.dtype, |precision| conv1d_backward(&spec, precision, tensors, &dy));

    let on_gpu =
        |on: bool, shape: &[usize], values: &[f64]| on.then(|| upload::<f32>(gpu, shape, values)).transpose();
    let x = upload::<T>(gpu, &spec.shape(), &x)?;
    let weight = upload::<f32>(gpu, &spec.weight_shape(), &weight)?;
    let bias = on_gpu(spec.bias, &spec.bias_shape(), &bias)?;
    let initial = on_gpu(spec.initial, &spec.state_shape(), &initial)?;
    let indices = SequenceIndices::new(gpu, spec.sequences_shape(), &sequences)?;
    let given = Conv1dInputs {
        x: &x,
        weight: &weight,
        bias: bias.as_ref(),
        sequences: spec.sequences.then_some(&indices),
        initial: initial.as_ref(),
    };
    let outputs =
        Conv1dOutputs::<T> { y: poisoned(gpu, &spec.shape())?, last: poisoned(gpu, &spec.state_shape())? };
    let found = Conv1dGradients::<T> {
        dx: poisoned(gpu, &spec.shape())?,
        dweight: poisoned(gpu, &spec.weight_shape())?,
        dbias: spec.bias.then(|| poisoned(gpu, &spec.bias_shape())).transpose()?,
        dinitial: spec.initial.then(|| poisoned(gpu, &spec.state_shape())).transpose()?,
    };
    let mut encoder = gpu.encoder();
    Conv1d::new(gpu, spec)?.encode(&mut encoder, given, &outputs)?;
    let dy = upload::<T>(gpu, &spec.shape(), &dy)?;
    Conv1dBackward::new(gpu, spec)?.encode(&mut encoder, given, &dy, &found)?;
    gpu.submit(encoder)?;

    let mut outcomes = vec![
        compare("y", &download(&outputs.y).await?, &reference.y, &plain.y),
        compare("last", &download(&outputs.last).await?, &reference.last, &plain.last),
        compare("dx", &download(&found.dx).await?, &gradients.dx, &plain_gradients.dx),
    ];
    // A bias may be a single sum, and by luck a small one: alone it may be off by more, and it is compared once more beside the
    // taps, which are such sums too.
    let alone = |name, [ours, reference, plain]: &[Vec<f64>; 3]| {
        Outcome::new(name, ours, reference, plain, share(reference, 2e-5))
    };
    let mut parameters = [download(&found.dweight).await?, gradients.dweight, plain_gradients.dweight];
    outcomes.push(alone("dweight", &parameters));
    if let Some(dbias) = &found.dbias {
        let biases = [download(dbias).await?, gradients.dbias, plain_gradients.dbias];
        outcomes.push(alone("dbias", &biases));
        parameters.iter_mut().zip(biases).for_each(|(all, biases)| all.extend(biases));
    }
    let [ours, reference, plain] = &parameters;
    outcomes.push(compare("dweight, dbias", ours, reference, plain));
    if let Some(dinitial) = &found.dinitial {
        let (reference, plain) = (&gradients.dinitial, &plain_gradients.dinitial);
        outcomes.push(compare("dinitial", &download(dinitial).await?, reference, plain));
    }
    Ok(outcomes)
}

/// Twice the plain error, and what silu may add. WGSL lets the exponential in it be wrong by 3 + 2|x| units in the last
/// place, of which |x| σ(x) σ(−x) (3 + 2|x|) < 2 reach the result, and the division by 2.5: with the roundings of a few
/// taps, eight units of the largest value.
fn compare(tensor: &'static str, ours: &[f64], reference: &[f64], plain: &[f64]) -> Outcome {
    Outcome::new(tensor, ours, reference, plain, share(reference, 8.0 * f64::from(f32::EPSILON)))
}
