//! The acceptance grid of state-space duality: results, states, and every gradient.

use super::share;
use crate::oracle::{SsdValues, ssd, ssd_backward};
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{
    DType, Element, Error, Gpu, Sequences, Skip, Ssd, SsdBackward, SsdGradients, SsdInputs,
    SsdOutputGradients, SsdOutputs, SsdSpec, Tensor, by_dtype,
};

/// Chunks of all sizes, lengths that are no multiple of them, widths by fours and by ones, within a tile and over
/// several, and every option with and without the others.
pub(super) fn cases(grid: Grid) -> Vec<SsdSpec> {
    use DType::{Bf16, F16, F32};
    let every_option = |spec: SsdSpec| {
        let spec = spec.initial().skip(Skip::PerChannel).gated();
        spec.dt_bias().dt_softplus().dt_limits(0.02, 0.5)
    };
    // Few shapes of kernels, since each takes a software adapter's compiler a while; many sizes.
    let odd = |dtype, length| every_option(SsdSpec::new(dtype, 1, length, (4, 13), 7).groups(2)).chunk(64);
    let mut cases = vec![
        SsdSpec::new(F32, 1, 128, (2, 16), 16).chunk(32).initial().skip(Skip::PerHead),
        SsdSpec::new(F32, 2, 75, (4, 8), 16).groups(2).chunk(16).skip(Skip::PerHead),
        SsdSpec::new(F32, 1, 300, (2, 64), 128).chunk(256),
        odd(F32, 1),
        odd(F32, 97).chunk(33),
        odd(F32, 203),
        odd(F32, 97).sequences(Sequences::Packed(vec![0, 1, 34, 34, 97])),
        odd(F32, 113).sequences(Sequences::Indexed(indices(113))),
        SsdSpec { batch: 2, ..odd(F16, 97) },
        odd(Bf16, 97),
    ];
    if grid == Grid::Full {
        for dtype in DType::ALL {
            for chunk in [16, 32, 64, 128, 255, 256] {
                for length in [1, 97, 203, 1025] {
                    // Of a head there is one gradient of its decay: few would be a small sample.
                    let spec = SsdSpec::new(dtype, 1, length, (16, 8), 16).chunk(chunk);
                    // A single step from 0 has nothing that could decay.
                    cases.push(SsdSpec { initial: length == 1, ..spec.clone() });
                    cases.push(every_option(SsdSpec { head_dim: 65, state_dim: 33, ..spec }));
                }
            }
        }
    }
    cases
}

/// A few sequences, none of which begins where a chunk would.
fn indices(length: usize) -> Vec<i64> {
    (0..).map(|t| t / 31).take(length).collect()
}

impl Case for SsdSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype, T => Box::pin(run::<T>(gpu, self)))
    }
}

/// Twice the error of the plain recurrence, and a few units in the last place of the largest value beside it: few
/// elements are a small sample of roundings, and WGSL lets the last digits of an exponential be wrong.
pub(super) fn outcome(tensor: &'static str, ours: &[f64], reference: &[f64], plain: &[f64]) -> Outcome {
    Outcome::new(tensor, ours, reference, plain, share(reference, 4.0 * f64::from(f32::EPSILON)))
}

/// Inputs as the device sees them.
struct Host {
    x: Vec<f64>,
    dt: Vec<f64>,
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    d: Option<Vec<f64>>,
    z: Option<Vec<f64>>,
    dt_bias: Option<Vec<f64>>,
    initial: Option<Vec<f64>>,
}

impl Host {
    fn new<T: Element>(spec: &SsdSpec) -> Self {
        let mut inputs = Inputs::new((spec.length * spec.heads) as u64);
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let mut normal = |shape: &[usize]| rounded::<T>(&inputs.normal(count(shape), 1.0));
        let (x, b, c) = (normal(&spec.x_shape()), normal(&spec.b_shape()), normal(&spec.b_shape()));
        let z = spec.gated.then(|| normal(&spec.x_shape()));
        let dt = normal(&spec.dt_shape());
        let dt = if spec.dt_softplus {
            rounded::<T>(&dt.iter().map(|dt| dt - 2.0).collect::<Vec<_>>())
        } else {
            rounded::<T>(&dt.iter().map(|dt| 0.1 * dt.abs() + 1e-3).collect::<Vec<_>>())
        };
        let heads = |values: Vec<f64>| rounded::<f32>(&values);
        Self {
            x,
            dt,
            a: heads(inputs.uniform(spec.heads, -8.0, -0.5)),
            b,
            c,
            d: (spec.skip != Skip::None).then(|| heads(inputs.normal(count(&spec.d_shape()), 1.0))),
            z,
            dt_bias: spec.dt_bias.then(|| heads(inputs.normal(spec.heads, 0.5))),
            initial: spec.initial.then(|| heads(inputs.normal(count(&spec.state_shape()), 1.0))),
        }
    }

    fn values(&self) -> SsdValues<'_> {
        SsdValues {
            x: &self.x,
            dt: &self.dt,
            a: &self.a,
            b: &self.b,
            c: &self.c,
            d: self.d.as_deref(),
            z: self.z.as_deref(),
            dt_bias: self.dt_bias.as_deref(),
            initial: self.initial.as_deref(),
        }
    }
}

/// The same on the device.
struct Device<T> {
    x: Tensor<T>,
    dt: Tensor<T>,
    a: Tensor<f32>,
    b: Tensor<T>,
    c: Tensor<T>,
    d: Option<Tensor<f32>>,
    z: Option<Tensor<T>>,
    dt_bias: Option<Tensor<f32>>,
    initial: Option<Tensor<f32>>,
}

impl<T: Element> Device<T> {
    fn new(gpu: &Gpu, spec: &SsdSpec, host: &Host) -> Result<Self, Error> {
        let of_heads = |values: &Option<Vec<f64>>, shape: &[usize]| {
            values.as_ref().map(|values| upload::<f32>(gpu, shape, values)).transpose()
        };
        Ok(Self {
            x: upload(gpu, &spec.x_shape(), &host.x)?,
            dt: upload(gpu, &spec.dt_shape(), &host.dt)?,
            a: upload(gpu, &spec.head_shape(), &host.a)?,
            b: upload(gpu, &spec.b_shape(), &host.b)?,
            c: upload(gpu, &spec.b_shape(), &host.c)?,
            d: of_heads(&host.d, &spec.d_shape())?,
            z: host.z.as_ref().map(|z| upload(gpu, &spec.x_shape(), z)).transpose()?,
            dt_bias: of_heads(&host.dt_bias, &spec.head_shape())?,
            initial: of_heads(&host.initial, &spec.state_shape())?,
        })
    }

    fn inputs(&self) -> SsdInputs<'_, T> {
        SsdInputs {
            x: &self.x,
            dt: &self.dt,
            a: &self.a,
            b: &self.b,
            c: &self.c,
            d: self.d.as_ref(),
            z: self.z.as_ref(),
            dt_bias: self.dt_bias.as_ref(),
            initial: self.initial.as_ref(),
        }
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: &SsdSpec) -> Result<Vec<Outcome>, Error> {
    let host = Host::new::<T>(spec);
    let device = Device::<T>::new(gpu, spec, &host)?;
    let mut outcomes = forward(gpu, spec, &host, &device).await?;
    outcomes.extend(backward(gpu, spec, &host, &device).await?);
    Ok(outcomes)
}

async fn forward<T: Element>(
    gpu: &Gpu,
    spec: &SsdSpec,
    host: &Host,
    device: &Device<T>,
) -> Result<Vec<Outcome>, Error> {
    let (reference, plain) = both(spec.dtype, |precision| ssd(spec, precision, &host.values()));
    let outputs = SsdOutputs {
        out: poisoned::<T>(gpu, &spec.x_shape())?,
        last: poisoned::<f32>(gpu, &spec.state_shape())?,
    };
    let mut encoder = gpu.encoder();
    Ssd::new(gpu, spec.clone())?.encode(&mut encoder, device.inputs(), &outputs)?;
    gpu.submit(encoder)?;
    Ok(vec![
        outcome("out", &download(&outputs.out).await?, &reference.out, &plain.out),
        outcome("last", &download(&outputs.last).await?, &reference.last, &plain.last),
    ])
}

async fn backward<T: Element>(
    gpu: &Gpu,
    spec: &SsdSpec,
    host: &Host,
    device: &Device<T>,
) -> Result<Vec<Outcome>, Error> {
    let mut inputs = Inputs::new(spec.tokens() as u64);
    let dout = rounded::<T>(&inputs.normal(host.x.len(), 1.0));
    // Half of the cases go on from the last states: those that begin with given ones.
    let dlast = spec.initial.then(|| inputs.normal(spec.state_shape().iter().product(), 1.0));
    let dlast = dlast.map(|dlast| rounded::<f32>(&dlast));
    let (reference, plain) =
        both(spec.dtype, |precision| ssd_backward(spec, precision, &host.values(), &dout, dlast.as_deref()));

    let dout = upload::<T>(gpu, &spec.x_shape(), &dout)?;
    let dlast = dlast.map(|dlast| upload::<f32>(gpu, &spec.state_shape(), &dlast)).transpose()?;
    let heads = || poisoned::<f32>(gpu, &spec.head_shape());
    let x = || poisoned::<T>(gpu, &spec.x_shape());
    let ours = SsdGradients {
        x: x()?,
        dt: poisoned::<T>(gpu, &spec.dt_shape())?,
        a: heads()?,
        b: poisoned::<T>(gpu, &spec.b_shape())?,
        c: poisoned::<T>(gpu, &spec.b_shape())?,
        d: host.d.as_ref().map(|_| poisoned::<f32>(gpu, &spec.d_shape())).transpose()?,
        z: host.z.as_ref().map(|_| x()).transpose()?,
        dt_bias: host.dt_bias.as_ref().map(|_| heads()).transpose()?,
        initial: poisoned::<f32>(gpu, &spec.state_shape())?,
    };
    let mut encoder = gpu.encoder();
    let of = SsdOutputGradients { out: &dout, last: dlast.as_ref() };
    SsdBackward::new(gpu, spec.clone())?.encode(&mut encoder, device.inputs(), of, &ours)?;
    gpu.submit(encoder)?;

    let mut outcomes = vec![
        outcome("dx", &download(&ours.x).await?, &reference.x, &plain.x),
        outcome("ddt", &download(&ours.dt).await?, &reference.dt, &plain.dt),
        outcome("da", &download(&ours.a).await?, &reference.a, &plain.a),
        outcome("db", &download(&ours.b).await?, &reference.b, &plain.b),
        outcome("dc", &download(&ours.c).await?, &reference.c, &plain.c),
        outcome("dinitial", &download(&ours.initial).await?, &reference.initial, &plain.initial),
    ];
    if let (Some(ours), Some(reference), Some(plain)) = (ours.d, reference.d, plain.d) {
        outcomes.push(outcome("dd", &download(&ours).await?, &reference, &plain));
    }
    if let (Some(ours), Some(reference), Some(plain)) = (ours.z, reference.z, plain.z) {
        outcomes.push(outcome("dz", &download(&ours).await?, &reference, &plain));
    }
    if let (Some(ours), Some(reference), Some(plain)) = (ours.dt_bias, reference.dt_bias, plain.dt_bias) {
        outcomes.push(outcome("ddt_bias", &download(&ours).await?, &reference, &plain));
    }
    Ok(outcomes)
}
