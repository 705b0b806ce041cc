//! The acceptance grid of the selective scan and its gradients.

use super::share;
use crate::oracle::{SelectiveScanTensors, selective_scan, selective_scan_backward};
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{
    CoefficientGradient, CoefficientTensor, Coefficients, DType, Element, Error, Gpu, SelectiveScan,
    SelectiveScanBackward, SelectiveScanGradients, SelectiveScanInputs, SelectiveScanOutputs,
    SelectiveScanSpec, Tensor, by_dtype,
};

/// Lengths from one step to many chunks, states from one to more than a lane takes, and every option.
pub(super) fn cases(grid: Grid) -> Vec<SelectiveScanSpec> {
    use Coefficients::{PerChannel, PerGroup, PerStep};
    let sizes: &[(usize, usize, usize, usize)] = match grid {
        Grid::Thin => &[(1, 2, 1, 4), (2, 6, 130, 8), (1, 34, 97, 16), (1, 2, 1025, 16)],
        Grid::Full => &[
            (1, 2, 1, 4),
            (3, 2, 2, 1),
            (2, 6, 61, 3),
            (2, 4, 128, 8),
            (2, 6, 130, 8),
            (1, 34, 97, 16),
            (2, 64, 256, 16),
            (2, 4, 512, 8),
            (1, 6, 1024, 16),
            (1, 2, 1025, 64),
            (1, 4, 2048, 16),
            (2, 24, 4096, 8),
            (1, 2, 4096, 256),
        ],
    };
    let forms = [
        (PerStep, PerStep),
        (PerGroup(2), PerGroup(2)),
        (PerChannel, PerStep),
        (PerStep, PerChannel),
        (PerChannel, PerChannel),
    ];
    let mut cases = Vec::new();
    for (i, &(batch, channels, length, states)) in sizes.iter().enumerate() {
        for (j, dtype) in DType::ALL.into_iter().enumerate() {
            let each = if grid == Grid::Full { 0..forms.len() } else { (i + j) % 5..(i + j) % 5 + 1 };
            for form in each {
                let spec = SelectiveScanSpec::new(dtype, batch, channels, length, states);
                let on = |bit: usize| (i + 2 * j + 3 * form) >> bit & 1 == 1;
                cases.push(SelectiveScanSpec {
                    complex: (i + j + form) % 3 == 2,
                    skip: on(0),
                    gated: on(1),
                    delta_bias: !on(0),
                    delta_softplus: !on(2) || !on(0),
                    // After a single step from 0, the gradient of A is 0 and checks nothing.
                    initial: on(2) || length == 1,
                    ..spec.coefficients(forms[form].0, forms[form].1)
                });
            }
        }
    }
    let all = |dtype| {
        let spec = SelectiveScanSpec::new(dtype, 2, 6, 130, 8).skip().gated().delta_bias().delta_softplus();
        spec.initial().coefficients(PerGroup(2), PerGroup(2))
    };
    cases.extend(DType::ALL.map(all));
    cases.extend(DType::ALL.map(|dtype| all(dtype).complex()));
    cases
}

impl Case for SelectiveScanSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype, T => Box::pin(run::<T>(gpu, *self)))
    }
}

/// The tensors of a scan as the device sees them, in f64.
struct Host {
    u: Vec<f64>,
    delta: Vec<f64>,
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    skip: Vec<f64>,
    z: Vec<f64>,
    bias: Vec<f64>,
    initial: Vec<f64>,
    dout: Vec<f64>,
}

impl Host {
    fn new<T: Element>(spec: &SelectiveScanSpec) -> Self {
        let steps = spec.shape().iter().product::<usize>();
        let mut inputs = Inputs::new((steps * spec.state_dim) as u64);
        let parts = spec.parts();
        // Real parts that decay, whichever step size the softplus gives; imaginary ones that turn.
        let mut a = inputs.uniform(spec.channels * spec.state_dim * parts, -1.5, -0.2);
        a.iter_mut().skip(1).step_by(2).filter(|_| spec.complex).for_each(|im| *im *= -2.0);
        let delta = inputs.uniform(steps, if spec.delta_softplus { -3.0 } else { 0.0 }, 0.5);
        let mut normal = |count: usize| inputs.normal(count, 1.0);
        let coefficient = |values: Vec<f64>, varies: bool| {
            if varies { rounded::<T>(&values) } else { rounded::<f32>(&values) }
        };
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        Self {
            u: rounded::<T>(&normal(steps)),
            delta: rounded::<T>(&delta),
            a: rounded::<f32>(&a),
            b: coefficient(normal(count(&spec.b_shape())), spec.b.vary()),
            c: coefficient(normal(count(&spec.c_shape())), spec.c.vary()),
            skip: rounded::<f32>(&normal(spec.channels)),
            z: rounded::<T>(&normal(steps)),
            bias: rounded::<f32>(&normal(spec.channels).iter().map(|x| 0.1 * x.abs()).collect::<Vec<_>>()),
            initial: rounded::<f32>(&normal(spec.rows() * parts)),
            dout: rounded::<T>(&normal(steps)),
        }
    }

    fn tensors(&self, spec: &SelectiveScanSpec) -> SelectiveScanTensors<'_> {
        SelectiveScanTensors {
            u: &self.u,
            delta: &self.delta,
            a: &self.a,
            b: &self.b,
            c: &self.c,
            skip: spec.skip.then_some(&self.skip),
            z: spec.gated.then_some(&self.z),
            delta_bias: spec.delta_bias.then_some(&self.bias),
            initial: spec.initial.then_some(&self.initial),
        }
    }
}

/// A coefficient tensor on the device, in either type.
enum Uploaded<T> {
    PerChannel(Tensor<f32>),
    PerStep(Tensor<T>),
}

impl<T: Element> Uploaded<T> {
    fn new(gpu: &Gpu, varies: bool, shape: &[usize], values: &[f64]) -> Result<Self, Error> {
        Ok(if varies {
            Self::PerStep(upload(gpu, shape, values)?)
        } else {
            Self::PerChannel(upload(gpu, shape, values)?)
        })
    }

    fn tensor(&self) -> CoefficientTensor<'_, T> {
        match self {
            Self::PerChannel(tensor) => CoefficientTensor::PerChannel(tensor),
            Self::PerStep(tensor) => CoefficientTensor::PerStep(tensor),
        }
    }
}

fn poisoned_coefficients<T: Element>(
    gpu: &Gpu,
    varies: bool,
    shape: &[usize],
) -> Result<CoefficientGradient<T>, Error> {
    Ok(if varies {
        CoefficientGradient::PerStep(poisoned(gpu, shape)?)
    } else {
        CoefficientGradient::PerChannel(poisoned(gpu, shape)?)
    })
}

async fn download_coefficients<T: Element>(gradient: &CoefficientGradient<T>) -> Result<Vec<f64>, Error> {
    match gradient {
        CoefficientGradient::PerChannel(tensor) => download(tensor).await,
        CoefficientGradient::PerStep(tensor) => download(tensor).await,
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: SelectiveScanSpec) -> Result<Vec<Outcome>, Error> {
    let host = Host::new::<T>(&spec);
    let tensors = host.tensors(&spec);
    let (reference, plain) = both(spec.dtype, |precision| selective_scan(&spec, precision, tensors));
    let (slopes, plain_slopes) =
        both(spec.dtype, |precision| selective_scan_backward(&spec, precision, tensors, &host.dout));

    let shape = spec.shape();
    let channels = spec.channel_shape();
    let in_f32 =
        |on: bool, shape: &[usize], values: &[f64]| on.then(|| upload::<f32>(gpu, shape, values)).transpose();
    let (u, delta) = (upload::<T>(gpu, &shape, &host.u)?, upload::<T>(gpu, &shape, &host.delta)?);
    let a = upload::<f32>(gpu, &spec.a_shape(), &host.a)?;
    let b = Uploaded::<T>::new(gpu, spec.b.vary(), &spec.b_shape(), &host.b)?;
    let c = Uploaded::<T>::new(gpu, spec.c.vary(), &spec.c_shape(), &host.c)?;
    let z = spec.gated.then(|| upload::<T>(gpu, &shape, &host.z)).transpose()?;
    let skip = in_f32(spec.skip, &channels, &host.skip)?;
    let bias = in_f32(spec.delta_bias, &channels, &host.bias)?;
    let initial = in_f32(spec.initial, &spec.state_shape(), &host.initial)?;
    let inputs = SelectiveScanInputs {
        u: &u,
        delta: &delta,
        a: &a,
        b: b.tensor(),
        c: c.tensor(),
        skip: skip.as_ref(),
        z: z.as_ref(),
        delta_bias: bias.as_ref(),
        initial: initial.as_ref(),
    };
    let outputs =
        SelectiveScanOutputs::<T> { out: poisoned(gpu, &shape)?, last: poisoned(gpu, &spec.state_shape())? };
    let optional = |on: bool, shape: &[usize]| on.then(|| poisoned::<f32>(gpu, shape)).transpose();
    let found = SelectiveScanGradients::<T> {
        du: poisoned(gpu, &shape)?,
        ddelta: poisoned(gpu, &shape)?,
        da: poisoned(gpu, &spec.a_shape())?,
        db: poisoned_coefficients(gpu, spec.b.vary(), &spec.b_shape())?,
        dc: poisoned_coefficients(gpu, spec.c.vary(), &spec.c_shape())?,
        dskip: optional(spec.skip, &channels)?,
        dz: spec.gated.then(|| poisoned(gpu, &shape)).transpose()?,
        ddelta_bias: optional(spec.delta_bias, &channels)?,
        dinitial: optional(spec.initial, &spec.state_shape())?,
    };
    let mut encoder = gpu.encoder();
    SelectiveScan::new(gpu, spec)?.encode(&mut encoder, inputs, &outputs)?;
    let dout = upload::<T>(gpu, &shape, &host.dout)?;
    SelectiveScanBackward::new(gpu, spec)?.encode(&mut encoder, inputs, &dout, &found)?;
    gpu.submit(encoder)?;

    let mut outcomes = vec![
        compare("out", &download(&outputs.out).await?, &reference.out, &plain.out, 1.0),
        compare("last", &download(&outputs.last).await?, &reference.last, &plain.last, 1.0),
        compare("du", &download(&found.du).await?, &slopes.du, &plain_slopes.du, 2.0),
        compare("ddelta", &download(&found.ddelta).await?, &slopes.ddelta, &plain_slopes.ddelta, 2.0),
        compare("dA", &download(&found.da).await?, &slopes.da, &plain_slopes.da, 2.0),
        compare("dB", &download_coefficients(&found.db).await?, &slopes.db, &plain_slopes.db, 2.0),
        compare("dC", &download_coefficients(&found.dc).await?, &slopes.dc, &plain_slopes.dc, 2.0),
    ];
    if let Some(dskip) = &found.dskip {
        outcomes.push(compare("dD", &download(dskip).await?, &slopes.dskip, &plain_slopes.dskip, 2.0));
    }
    if let Some(dz) = &found.dz {
        outcomes.push(compare("dz", &download(dz).await?, &slopes.dz, &plain_slopes.dz, 2.0));
    }
    if let Some(bias) = &found.ddelta_bias {
        let (reference, plain) = (&slopes.ddelta_bias, &plain_slopes.ddelta_bias);
        outcomes.push(compare("ddelta_bias", &download(bias).await?, reference, plain, 2.0));
    }
    if let Some(initial) = &found.dinitial {
        let (reference, plain) = (&slopes.dinitial, &plain_slopes.dinitial);
        outcomes.push(compare("dinitial", &download(initial).await?, reference, plain, 2.0));
    }
    Ok(outcomes)
}

/// What exponentials may do to a state, as a share of the largest value. WGSL lets one be wrong by 3 + 2|x| units in the
/// last place, where x is some −0.05 here: `A` is at most −0.2 and step sizes about a quarter. So slow a state is a sum of
/// terms that are 1 / (1 − exp(−0.05)) = 20 steps old on average, and each has gone through as many exponentials, which
/// may all be wrong to the same side: by 20 × 3.1 units, or 64.
pub(super) const EXPONENTIALS: f64 = 64.0 * f32::EPSILON as f64;

/// Twice the plain error, and `leeway` times what exponentials may do: once for what states alone make, twice for what
/// they make together with their gradients, which go through the same exponentials. It is a seventieth of the 6e-4 that
/// are asked for.
pub(super) fn compare(
    tensor: &'static str,
    ours: &[f64],
    reference: &[f64],
    plain: &[f64],
    leeway: f64,
) -> Outcome {
    Outcome::new(tensor, ours, reference, plain, share(reference, leeway * EXPONENTIALS))
}
