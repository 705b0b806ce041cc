//! Measuring state-space duality and its gradients.

use super::sample::{Answer, ROUNDING, columns, rows};
use crate::baseline::{PlainRecurrenceBackward, PlainWay, SequentialRecurrence, UnfusedSsd};
use crate::bench::measure::{Bench, centred, fetch, uniform};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Figures, Trainable, Yardstick, workload};
use crate::oracle::{SsdValues, ssd, ssd_backward};
use crate::verify::{Inputs, Outcome, poisoned};
use crate::{
    DType, Element, Error, Gpu, Skip, Ssd, SsdBackward, SsdGradients, SsdInputs, SsdOutputGradients,
    SsdOutputs, SsdSpec, Tensor, by_dtype,
};

/// Duality as Mamba-2's blocks have it, with about that many elements of `x`.
pub(super) fn of_length(scale: Scale, length: usize) -> SsdSpec {
    let (elements, heads, head_dim, states) = match scale {
        Scale::Software => (1 << 14, 2, 16, 16),
        Scale::Modest => (1 << 20, 8, 64, 64),
        Scale::Large => (1 << 24, 32, 64, 128),
    };
    let batch = (elements / heads / head_dim / length).max(1);
    let heads = (elements / batch / head_dim / length).max(1);
    block(batch, length, heads, head_dim, states)
}

/// The sizes at which libraries are compared.
pub(super) fn of_model() -> SsdSpec {
    block(1, 16_384, 32, 64, 128)
}

fn block(batch: usize, length: usize, heads: usize, head_dim: usize, states: usize) -> SsdSpec {
    let spec = SsdSpec::new(DType::F16, batch, length, (heads, head_dim), states);
    spec.skip(Skip::PerHead).dt_bias().dt_softplus()
}

workload!(SsdSpec, Scan, forward);

impl Trainable for SsdSpec {
    /// The states again, and for each a multiply-add of its own gradient and one for each of `x`, `b`, `c` and its decay.
    fn backward_flops(&self) -> f64 {
        self.flops() / 5.0 * 13.0
    }

    /// Everything but the result in, and as much out; and the result's gradient in.
    fn backward_least_bytes(&self) -> u64 {
        let row = (self.x_shape().iter().product::<usize>() * self.dtype.bytes()) as u64;
        2 * self.least_bytes() - row
    }

    fn contend_backward<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(backward::<T>(bench, self)))
    }
}

/// Inputs on the device, and those of a few channels of the first batch on the host, each as a head of its own.
pub(super) struct Given<T> {
    x: Tensor<T>,
    dt: Tensor<T>,
    b: Tensor<T>,
    c: Tensor<T>,
    z: Tensor<T>,
    dout: Tensor<T>,
    a: Tensor<f32>,
    d: Option<Tensor<f32>>,
    bias: Tensor<f32>,
    pub sample: Sample,
}

pub(super) struct Sample {
    pub alone: SsdSpec,
    /// Among the channels of all heads.
    pub channels: Vec<usize>,
    /// Elements of their groups, among those of all.
    pub states: Vec<usize>,
    width: usize,
    x: Vec<f64>,
    dt: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    z: Vec<f64>,
    dout: Vec<f64>,
    a: Vec<f64>,
    d: Vec<f64>,
    bias: Vec<f64>,
}

impl<T: Element> Given<T> {
    pub fn new(gpu: &Gpu, spec: &SsdSpec) -> Result<Self, Error> {
        let mut inputs = Inputs::new(1);
        let wide = spec.x_shape().iter().product::<usize>();
        let [x, z, dout] = [(); 3].map(|()| centred::<T>(&mut inputs, wide, 1.0));
        let dt: Vec<T> = uniform(&mut inputs, spec.dt_shape().iter().product(), -4.0, -1.0);
        let shared = spec.b_shape().iter().product();
        let [b, c] = [(); 2].map(|()| centred::<T>(&mut inputs, shared, 1.0));
        let a: Vec<f32> = uniform(&mut inputs, spec.heads, -1.5, -0.2);
        let d: Vec<f32> = uniform(&mut inputs, spec.d_shape().iter().product(), 0.0, 0.5);
        let bias: Vec<f32> = uniform(&mut inputs, spec.heads, 0.0, 0.5);

        let width = spec.heads * spec.head_dim;
        let channels = rows(width, spec.length * spec.state_dim);
        let heads: Vec<usize> = channels.iter().map(|channel| channel / spec.head_dim).collect();
        let groups: Vec<usize> = heads.iter().map(|head| head / (spec.heads / spec.groups)).collect();
        // Each has the coefficients of its group for itself.
        let states =
            |group: &usize| (0..spec.state_dim).map(move |n| group * spec.state_dim + n).collect::<Vec<_>>();
        let states: Vec<usize> = groups.iter().flat_map(states).collect();
        let of_heads = |values: &[f32]| columns(values, spec.heads, 1, &heads);
        let of_steps = |values: &[T], width, which: &[usize]| columns(values, width, spec.length, which);
        let sample = Sample {
            alone: SsdSpec {
                batch: 1,
                heads: channels.len(),
                head_dim: 1,
                groups: channels.len(),
                ..spec.clone()
            },
            x: of_steps(&x, width, &channels),
            dt: of_steps(&dt, spec.heads, &heads),
            b: of_steps(&b, spec.groups * spec.state_dim, &states),
            c: of_steps(&c, spec.groups * spec.state_dim, &states),
            z: of_steps(&z, width, &channels),
            dout: of_steps(&dout, width, &channels),
            a: of_heads(&a),
            d: match spec.skip {
                Skip::None => vec![],
                Skip::PerHead => of_heads(&d),
                Skip::PerChannel => columns(&d, width, 1, &channels),
            },
            bias: of_heads(&bias),
            channels,
            states,
            width,
        };
        let steps = |values: &[T]| Tensor::from_slice(gpu, &spec.x_shape(), values);
        Ok(Self {
            x: steps(&x)?,
            dt: Tensor::from_slice(gpu, &spec.dt_shape(), &dt)?,
            b: Tensor::from_slice(gpu, &spec.b_shape(), &b)?,
            c: Tensor::from_slice(gpu, &spec.b_shape(), &c)?,
            z: steps(&z)?,
            dout: steps(&dout)?,
            a: Tensor::from_slice(gpu, &spec.head_shape(), &a)?,
            d: (spec.skip != Skip::None).then(|| Tensor::from_slice(gpu, &spec.d_shape(), &d)).transpose()?,
            bias: Tensor::from_slice(gpu, &spec.head_shape(), &bias)?,
            sample,
        })
    }

    pub fn inputs(&self, spec: &SsdSpec) -> SsdInputs<'_, T> {
        SsdInputs {
            x: &self.x,
            dt: &self.dt,
            a: &self.a,
            b: &self.b,
            c: &self.c,
            d: self.d.as_ref(),
            z: spec.gated.then_some(&self.z),
            dt_bias: spec.dt_bias.then_some(&self.bias),
            initial: None,
        }
    }
}

impl Sample {
    pub fn values(&self) -> SsdValues<'_> {
        SsdValues {
            x: &self.x,
            dt: &self.dt,
            a: &self.a,
            b: &self.b,
            c: &self.c,
            d: (self.alone.skip != Skip::None).then_some(&self.d),
            z: self.alone.gated.then_some(&self.z),
            dt_bias: self.alone.dt_bias.then_some(&self.bias),
            initial: None,
        }
    }

    pub async fn check<T: Element>(
        &self,
        answer: &Answer,
        name: &'static str,
        tensor: &Tensor<T>,
    ) -> Result<Vec<Outcome>, Error> {
        let (values, whole) = fetch(tensor).await?;
        let ours = columns(&values, self.width, self.alone.length, &self.channels);
        Ok(vec![answer.check(name, &ours, whole)])
    }
}

/// Rows begin with 0.
async fn forward<T: Element>(bench: &Bench<'_>, spec: &SsdSpec) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = Ssd::new(gpu, spec.clone())?;
    let given = Given::<T>::new(gpu, spec)?;
    let (inputs, sample) = (given.inputs(spec), &given.sample);
    let answer = Answer::of::<T>(ROUNDING, |precision| ssd(&sample.alone, precision, &sample.values()).out);
    let outputs = || -> Result<SsdOutputs<T>, Error> {
        Ok(SsdOutputs { out: poisoned(gpu, &spec.x_shape())?, last: poisoned(gpu, &spec.state_shape())? })
    };
    let check = async |outputs: &SsdOutputs<T>| sample.check(&answer, "out", &outputs.out).await;
    let race = bench.race(outputs, check);
    let figures = race.fused(fused.plan(), |encoder, outputs| fused.encode(encoder, inputs, outputs)).await?;
    let unfused = race.against(
        "unfused",
        || UnfusedSsd::new(gpu, spec.clone()),
        |it, encoder, outputs, scratch| it.encode(encoder, inputs, outputs, scratch),
    );
    let sequential = race.against(
        "sequential",
        || SequentialRecurrence::ssd(gpu, spec),
        |it, encoder, outputs, scratch| it.encode_ssd(encoder, spec, inputs, (outputs, scratch)),
    );
    Ok((figures, vec![unfused.await?, sequential.await?]))
}

/// The unfused yardstick goes over all states of all steps, as a composition of scans of array frameworks does: one of
/// products within chunks would do less work.
async fn backward<T: Element>(bench: &Bench<'_>, spec: &SsdSpec) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let backward = SsdBackward::new(gpu, spec.clone())?;
    let given = Given::<T>::new(gpu, spec)?;
    let (inputs, sample) = (given.inputs(spec), &given.sample);
    let slopes = |precision| ssd_backward(&sample.alone, precision, &sample.values(), &sample.dout, None);
    let answer = Answer::of::<T>(ROUNDING, |precision| slopes(precision).x);
    let gradients = || -> Result<SsdGradients<T>, Error> {
        let heads = || poisoned(gpu, &spec.head_shape());
        Ok(SsdGradients {
            x: poisoned(gpu, &spec.x_shape())?,
            dt: poisoned(gpu, &spec.dt_shape())?,
            a: heads()?,
            b: poisoned(gpu, &spec.b_shape())?,
            c: poisoned(gpu, &spec.b_shape())?,
            d: (spec.skip != Skip::None).then(|| poisoned(gpu, &spec.d_shape())).transpose()?,
            z: spec.gated.then(|| poisoned(gpu, &spec.x_shape())).transpose()?,
            dt_bias: spec.dt_bias.then(heads).transpose()?,
            initial: poisoned(gpu, &spec.state_shape())?,
        })
    };
    let of = SsdOutputGradients { out: &given.dout, last: None };
    let check = async |found: &SsdGradients<T>| sample.check(&answer, "dx", &found.x).await;
    let race = bench.race(gradients, check);
    let figures =
        race.fused(backward.plan(), |encoder, found| backward.encode(encoder, inputs, of, found)).await?;
    let plainly = |name, way| {
        race.against(
            name,
            move || PlainRecurrenceBackward::ssd(gpu, spec, way),
            |it, encoder, found, scratch| it.encode_ssd(encoder, spec, (inputs, of), (found, scratch)),
        )
    };
    let unfused = plainly("unfused", PlainWay::Arrays).await?;
    Ok((figures, vec![unfused, plainly("sequential", PlainWay::Loop).await?]))
}
