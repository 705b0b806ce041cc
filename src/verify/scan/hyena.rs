//! The acceptance grid of Hyena's operator and its gradients.

use super::long_conv::TRANSFORMS;
use super::share;
use crate::oracle::{self, Conv1dTensors, LongConvOperands, Precision};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, download, largest_error, poisoned, rounded,
    upload,
};
use crate::{
    Conv1dGradients, DType, Element, Error, Gpu, Hyena, HyenaBackward, HyenaGradients, HyenaInputs,
    HyenaSpec, Projection, by_dtype,
};

/// Filters as long as the sequences and shorter ones.
///
/// In narrow types most of the error is that of storing what the short convolutions give, which any composition of them
/// does: of 582 results in f16, the worst is the exact operator of what was stored, rounded once. Gradients of taps are sums
/// of many such roundings, and there are few taps: over 24 draws of inputs in bf16 the largest error of 18 of them was 0.31
/// on average and the plain one 0.35, but one over the other lay between 0.4 and 2.6. Where twice the plain error is to be a
/// bound, there are many channels.
pub(super) fn cases(grid: Grid) -> Vec<HyenaSpec> {
    let spec = |dtype, length| HyenaSpec::new(dtype, 2, 3, length);
    let short = |dtype| HyenaSpec::new(dtype, 2, 24, 97);
    match grid {
        Grid::Thin => DType::ALL.map(short).to_vec(),
        Grid::Full => {
            let of_type = |dtype| {
                [spec(dtype, 1).width(2), short(dtype), spec(dtype, 784), spec(dtype, 1025).width(4).taps(64)]
            };
            DType::ALL.into_iter().flat_map(of_type).collect()
        }
    }
}

impl Case for HyenaSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, *self)))
    }
}

/// Of uniform values whose deviation is 1. Products of four normal ones have a few elements far larger than all others,
/// whose own rounding would be all that either error is.
const SIDE: f64 = 1.732;

/// Projections with their taps and biases, filter, `D` and the gradient of the result.
struct Values {
    qkv: [[Vec<f64>; 3]; 3],
    filter: Vec<f64>,
    skip: Vec<f64>,
    dy: Vec<f64>,
}

impl Values {
    fn new<T: Element>(spec: &HyenaSpec) -> Self {
        let HyenaSpec { channels, width, taps, .. } = *spec;
        let count = spec.shape().iter().product();
        let mut random = Inputs::new(count as u64);
        let qkv = [(); 3].map(|()| {
            let x = rounded::<T>(&random.uniform(count, -SIDE, SIDE));
            let weight = rounded::<f32>(&random.normal(channels * width, 0.6));
            [x, weight, rounded::<f32>(&random.normal(channels, 0.3))]
        });
        // Such filters keep the size of what passes through.
        let filter = rounded::<f32>(&random.normal(channels * taps, 1.0 / (taps as f64).sqrt()));
        let skip = rounded::<f32>(&random.normal(channels, 1.0));
        Self { qkv, filter, skip, dy: rounded::<T>(&random.uniform(count, -SIDE, SIDE)) }
    }

    /// The result, and the gradients in the order of [`NAMES`].
    fn oracle(&self, spec: &HyenaSpec, precision: Precision) -> Vec<Vec<f64>> {
        let tensors = self.qkv.each_ref().map(|[x, weight, bias]| Conv1dTensors {
            x,
            weight,
            bias: Some(bias),
            sequences: None,
            initial: None,
        });
        let [q, k, v] = tensors.map(|tensors| oracle::conv1d(&spec.short(), precision, tensors).y);
        let operands = LongConvOperands {
            u: &v,
            k: &self.filter,
            skip: Some(&self.skip),
            pre: Some(&k),
            post: Some(&q),
        };
        let long = oracle::LongConv::new(&spec.long(), precision, operands);
        let gradients = long.gradients(&self.dy);
        let each = |value: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..q.len()).map(|i| value(i / spec.length, i % spec.length)).collect()
        };
        let of_short = [
            each(&|row, t| gradients.dpost(row, t)),
            each(&|row, t| gradients.dpre(row, t)),
            each(&|row, t| gradients.du(row, t)),
        ];
        let mut results = vec![each(&|row, t| long.y(row, t))];
        for (tensors, dy) in tensors.into_iter().zip(&of_short) {
            let of_one = oracle::conv1d_backward(&spec.short(), precision, tensors, dy);
            results.extend([of_one.dx, of_one.dweight, of_one.dbias]);
        }
        let lags = spec.channels * spec.taps;
        results.push((0..lags).map(|i| gradients.dk(i / spec.taps, i % spec.taps)).collect());
        results
    }
}

const NAMES: [&str; 11] = [
    "y",
    "dq",
    "dq_weight",
    "dq_bias",
    "dk",
    "dk_weight",
    "dk_bias",
    "dv",
    "dv_weight",
    "dv_bias",
    "dfilter",
];

async fn run<T: Element>(gpu: &Gpu, spec: HyenaSpec) -> Result<Vec<Outcome>, Error> {
    let values = Values::new::<T>(&spec);
    let (short, channels) = (spec.short(), [spec.channels]);
    let mut given = Vec::new();
    for [x, weight, bias] in &values.qkv {
        let x = upload::<T>(gpu, &spec.shape(), x)?;
        let weight = upload::<f32>(gpu, &short.weight_shape(), weight)?;
        given.push((x, weight, upload::<f32>(gpu, &channels, bias)?));
    }
    let projection = |i: usize| Projection { x: &given[i].0, weight: &given[i].1, bias: &given[i].2 };
    let filter = upload::<f32>(gpu, &spec.long().kernel_shape(), &values.filter)?;
    let skip = upload::<f32>(gpu, &channels, &values.skip)?;
    let inputs =
        HyenaInputs { qkv: [projection(0), projection(1), projection(2)], filter: &filter, skip: &skip };
    let dy = upload::<T>(gpu, &spec.shape(), &values.dy)?;
    let y = poisoned::<T>(gpu, &spec.shape())?;
    let of_one = || -> Result<_, Error> {
        Ok(Conv1dGradients {
            dx: poisoned::<T>(gpu, &spec.shape())?,
            dweight: poisoned(gpu, &short.weight_shape())?,
            dbias: Some(poisoned(gpu, &channels)?),
            dinitial: None,
        })
    };
    let gradients = HyenaGradients {
        dqkv: [of_one()?, of_one()?, of_one()?],
        dfilter: poisoned(gpu, &spec.long().kernel_shape())?,
        dskip: poisoned(gpu, &channels)?,
    };
    let mut encoder = gpu.encoder();
    Hyena::new(gpu, spec)?.encode(&mut encoder, inputs, &y)?;
    HyenaBackward::new(gpu, spec)?.encode(&mut encoder, inputs, &dy, &gradients)?;
    gpu.submit(encoder)?;

    let mut ours = vec![download(&y).await?];
    for of_one in &gradients.dqkv {
        ours.extend([download(&of_one.dx).await?, download(&of_one.dweight).await?]);
        ours.push(download(of_one.dbias.as_ref().expect("there is a bias")).await?);
    }
    ours.push(download(&gradients.dfilter).await?);
    let (exact, plain) = both(spec.dtype, |precision| values.oracle(&spec, precision));
    // A channel's bias is one value, whose rounding is luck: what is fair is what its taps have.
    let beside = |i: usize| {
        let is_bias = NAMES[i].ends_with("_bias");
        if is_bias { 2.0 * largest_error(&plain[i - 1], &exact[i - 1]) } else { 0.0 }
    };
    let compared = NAMES.iter().zip(&ours).zip(exact.iter().zip(&plain));
    let mut outcomes: Vec<_> = compared
        .enumerate()
        .map(|(i, ((name, ours), (exact, plain)))| {
            // A transform, and the taps of a short convolution on either side of it.
            let tolerance = share(exact, 1.5 * TRANSFORMS);
            let tolerance = Tolerance { atol: tolerance.atol + beside(i), ..tolerance };
            Outcome::new(name, ours, exact, plain, tolerance)
        })
        .collect();
    // That of D is the filter's at lag 0.
    let at_0: Vec<_> = exact[10].iter().copied().step_by(spec.taps).collect();
    let atol = outcomes[10].allowed;
    let tolerance = Tolerance { multiple: 0.0, atol };
    outcomes.push(Outcome::new("dD", &download(&gradients.dskip).await?, &at_0, &at_0, tolerance));
    Ok(outcomes)
}
