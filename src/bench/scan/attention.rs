//! Measuring linear attention, the delta rule and their gradients.

use super::sample::{Answer, EXPONENTIALS, columns, rows};
use crate::baseline::{
    PlainRecurrenceBackward, PlainWay, SequentialAttention, UnfusedDeltaRule, UnfusedRecurrence,
};
use crate::bench::measure::{Bench, centred, fetch, uniform};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Figures, Trainable, Yardstick, workload};
use crate::oracle::{
    DeltaRuleValues, LinearAttentionValues, delta_rule, delta_rule_backward, linear_attention,
    linear_attention_backward,
};
use crate::verify::{Inputs, Outcome, poisoned};
use crate::{
    DType, DeltaRule, DeltaRuleBackward, DeltaRuleGradients, DeltaRuleInputs, DeltaRuleSpec, Element, Error,
    Gate, Gpu, LinearAttention, LinearAttentionBackward, LinearAttentionGradients, LinearAttentionInputs,
    LinearAttentionOutputGradients, LinearAttentionOutputs, LinearAttentionSpec, Tensor, by_dtype,
};

/// Batch, heads and elements of keys and values, with about as many elements of values as suit an adapter.
fn sizes(scale: Scale, length: usize) -> [usize; 3] {
    let (elements, heads, dim) = match scale {
        Scale::Software => (1 << 14, 2, 16),
        Scale::Modest => (1 << 20, 8, 64),
        Scale::Large => (1 << 24, 32, 64),
    };
    let batch = (elements / heads / dim / length).max(1);
    [batch, (elements / batch / dim / length).max(1), dim]
}

/// Gated linear attention, whose keys decay element by element.
pub(super) fn gla_of_length(scale: Scale, length: usize) -> LinearAttentionSpec {
    let [batch, heads, dim] = sizes(scale, length);
    LinearAttentionSpec::new(DType::F16, batch, length, heads, (dim, dim), Gate::PerKey)
}

/// Retention: a decay for each head.
pub(super) fn retention_of_length(scale: Scale, length: usize) -> LinearAttentionSpec {
    LinearAttentionSpec { gate: Gate::Constant, ..gla_of_length(scale, length) }
}

/// The gated delta rule.
pub(super) fn delta_of_length(scale: Scale, length: usize) -> DeltaRuleSpec {
    let [batch, heads, dim] = sizes(scale, length);
    DeltaRuleSpec::new(DType::F16, batch, length, heads, (dim, dim)).gated()
}

workload!(LinearAttentionSpec, Scan, linear);

workload!(DeltaRuleSpec, Scan, delta);

impl Trainable for LinearAttentionSpec {
    /// The states again, and for each a multiply-add of its own gradient and one for each of `q`, `k`, `v` and its decay.
    fn backward_flops(&self) -> f64 {
        self.flops() / 5.0 * 13.0
    }

    /// Everything but the result in, and as much out; and the result's gradient in.
    fn backward_least_bytes(&self) -> u64 {
        let row = (self.v_shape().iter().product::<usize>() * self.dtype.bytes()) as u64;
        2 * self.least_bytes() - row
    }

    fn contend_backward<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(linear_backward::<T>(bench, self)))
    }
}

impl Trainable for DeltaRuleSpec {
    /// The states again, and for each two multiply-adds of its own gradient, two for `k`, and one for each of `q`, `v` and
    /// its decay.
    fn backward_flops(&self) -> f64 {
        self.flops() / 7.0 * 19.0
    }

    /// Everything but the result in, and as much out; and the result's gradient in.
    fn backward_least_bytes(&self) -> u64 {
        let row = (self.v_shape().iter().product::<usize>() * self.dtype.bytes()) as u64;
        2 * self.least_bytes() - row
    }

    fn contend_backward<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(delta_backward::<T>(bench, self)))
    }
}

/// Sizes that both have.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    length: usize,
    heads: usize,
    key_dim: usize,
    value_dim: usize,
    /// Numbers of `g` for each step and head; 0 where there is one for each head.
    gates: usize,
}

/// Inputs on the device, and on the host those of a few elements of the first batch's values, each as a head of its own.
struct Given<T> {
    q: Tensor<T>,
    k: Tensor<T>,
    v: Tensor<T>,
    g: Tensor<f32>,
    beta: Tensor<f32>,
    /// The gradient of the result.
    of_result: Tensor<T>,
    sample: Sample,
}

struct Sample {
    /// Among the values of all heads.
    channels: Vec<usize>,
    width: usize,
    length: usize,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    g: Vec<f64>,
    beta: Vec<f64>,
    of_result: Vec<f64>,
}

impl<T: Element> Given<T> {
    fn new(gpu: &Gpu, batch: usize, sizes: Sizes) -> Result<Self, Error> {
        let Sizes { tokens, length, heads, key_dim, value_dim, gates } = sizes;
        let mut inputs = Inputs::new(1);
        // Keys of about unit length, as the delta rule wants them.
        let deviation = 1.0 / (key_dim as f64).sqrt();
        let [q, k] = [1.0, deviation].map(|of| centred::<T>(&mut inputs, tokens * heads * key_dim, of));
        let v: Vec<T> = centred(&mut inputs, tokens * heads * value_dim, 1.0);
        let count = if gates == 0 { heads } else { tokens * heads * gates };
        let g: Vec<f32> = uniform(&mut inputs, count, -0.1, -0.01);
        let beta: Vec<f32> = uniform(&mut inputs, tokens * heads, 0.1, 0.9);
        let of_result: Vec<T> = centred(&mut inputs, tokens * heads * value_dim, 1.0);
        let width = heads * value_dim;
        let channels = rows(width, length * key_dim);
        let of_heads: Vec<usize> = channels.iter().map(|channel| channel / value_dim).collect();
        let elements = |count: usize| -> Vec<usize> {
            of_heads.iter().flat_map(|head| (0..count).map(move |n| head * count + n)).collect()
        };
        let keys = elements(key_dim);
        let sample = Sample {
            q: columns(&q, heads * key_dim, length, &keys),
            k: columns(&k, heads * key_dim, length, &keys),
            v: columns(&v, width, length, &channels),
            g: if gates == 0 {
                columns(&g, heads, 1, &of_heads)
            } else {
                columns(&g, heads * gates, length, &elements(gates))
            },
            beta: columns(&beta, heads, length, &of_heads),
            of_result: columns(&of_result, width, length, &channels),
            channels,
            width,
            length,
        };
        let tensor = |values: &[T], dim| Tensor::from_slice(gpu, &[batch, length, heads, dim], values);
        let g_shape = match gates {
            0 => vec![heads],
            1 => vec![batch, length, heads],
            _ => vec![batch, length, heads, gates],
        };
        Ok(Self {
            q: tensor(&q, key_dim)?,
            k: tensor(&k, key_dim)?,
            v: tensor(&v, value_dim)?,
            g: Tensor::from_slice(gpu, &g_shape, &g)?,
            beta: Tensor::from_slice(gpu, &[batch, length, heads], &beta)?,
            of_result: tensor(&of_result, value_dim)?,
            sample,
        })
    }
}

impl<T: Element> Given<T> {
    /// For linear attention, with the spec and the values of the sample alone.
    fn linear(gpu: &Gpu, spec: &LinearAttentionSpec) -> Result<(Self, LinearAttentionSpec), Error> {
        let LinearAttentionSpec { batch, length, heads, key_dim, value_dim, .. } = *spec;
        let gates = match spec.gate {
            Gate::Constant => 0,
            Gate::PerStep => 1,
            Gate::PerKey => key_dim,
        };
        let sizes = Sizes { tokens: batch * length, length, heads, key_dim, value_dim, gates };
        let given = Self::new(gpu, batch, sizes)?;
        let heads = given.sample.channels.len();
        Ok((given, LinearAttentionSpec { batch: 1, heads, value_dim: 1, ..spec.clone() }))
    }

    /// For the delta rule.
    fn delta(gpu: &Gpu, spec: &DeltaRuleSpec) -> Result<(Self, DeltaRuleSpec), Error> {
        let DeltaRuleSpec { batch, length, heads, key_dim, value_dim, .. } = *spec;
        let sizes = Sizes { tokens: batch * length, length, heads, key_dim, value_dim, gates: 1 };
        let given = Self::new(gpu, batch, sizes)?;
        let heads = given.sample.channels.len();
        Ok((given, DeltaRuleSpec { batch: 1, heads, value_dim: 1, ..spec.clone() }))
    }

    fn linear_inputs(&self) -> LinearAttentionInputs<'_, T> {
        LinearAttentionInputs { q: &self.q, k: &self.k, v: &self.v, g: &self.g, initial: None }
    }

    fn delta_inputs(&self, spec: &DeltaRuleSpec) -> DeltaRuleInputs<'_, T> {
        let Self { q, k, v, beta, g, .. } = self;
        DeltaRuleInputs { q, k, v, beta, g: spec.gated.then_some(g), initial: None }
    }

    /// The gradient of the result; nothing follows from the last states.
    fn of(&self) -> LinearAttentionOutputGradients<'_, T> {
        LinearAttentionOutputGradients { o: &self.of_result, last: None }
    }
}

impl Sample {
    fn linear(&self) -> LinearAttentionValues<'_> {
        let Self { q, k, v, g, .. } = self;
        LinearAttentionValues { q, k, v, g, initial: None }
    }

    fn delta(&self, spec: &DeltaRuleSpec) -> DeltaRuleValues<'_> {
        let Self { q, k, v, beta, g, .. } = self;
        DeltaRuleValues { q, k, v, beta, g: spec.gated.then_some(g), initial: None }
    }

    /// Compares what has the shape of values.
    async fn check<T: Element>(
        &self,
        answer: &Answer,
        name: &'static str,
        tensor: &Tensor<T>,
    ) -> Result<Vec<Outcome>, Error> {
        let (values, whole) = fetch(tensor).await?;
        Ok(vec![answer.check(name, &columns(&values, self.width, self.length, &self.channels), whole)])
    }
}

fn outputs<T: Element>(
    gpu: &Gpu,
    o: [usize; 4],
    last: [usize; 4],
) -> Result<LinearAttentionOutputs<T>, Error> {
    Ok(LinearAttentionOutputs { o: poisoned(gpu, &o)?, last: poisoned(gpu, &last)? })
}

async fn linear<T: Element>(
    bench: &Bench<'_>,
    spec: &LinearAttentionSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = LinearAttention::new(gpu, spec.clone())?;
    let (given, alone) = Given::<T>::linear(gpu, spec)?;
    let (inputs, sample) = (given.linear_inputs(), &given.sample);
    let answer =
        Answer::of::<T>(EXPONENTIALS, |precision| linear_attention(&alone, precision, &sample.linear()).o);
    let outputs = || outputs::<T>(gpu, spec.v_shape(), spec.state_shape());
    let check = async |found: &LinearAttentionOutputs<T>| sample.check(&answer, "o", &found.o).await;
    let race = bench.race(outputs, check);
    let figures = race.fused(fused.plan(), |encoder, found| fused.encode(encoder, inputs, found)).await?;
    let unfused = race.against(
        "unfused",
        || UnfusedRecurrence::linear_attention(gpu, spec),
        |it, encoder, found, scratch| it.encode_linear_attention(encoder, spec, inputs, (found, scratch)),
    );
    let sequential = race.against(
        "sequential",
        || SequentialAttention::linear_attention(gpu, spec),
        |it, encoder, found, ()| it.encode_linear_attention(encoder, spec, inputs, found),
    );
    Ok((figures, vec![unfused.await?, sequential.await?]))
}

async fn linear_backward<T: Element>(
    bench: &Bench<'_>,
    spec: &LinearAttentionSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let backward = LinearAttentionBackward::new(gpu, spec.clone())?;
    let (given, alone) = Given::<T>::linear(gpu, spec)?;
    let (inputs, of, sample) = (given.linear_inputs(), given.of(), &given.sample);
    let answer = Answer::of::<T>(EXPONENTIALS, |precision| {
        linear_attention_backward(&alone, precision, &sample.linear(), &sample.of_result, None).v
    });
    let gradients = || -> Result<LinearAttentionGradients<T>, Error> {
        Ok(LinearAttentionGradients {
            q: poisoned(gpu, &spec.q_shape())?,
            k: poisoned(gpu, &spec.q_shape())?,
            v: poisoned(gpu, &spec.v_shape())?,
            g: poisoned(gpu, &spec.g_shape())?,
            initial: poisoned(gpu, &spec.state_shape())?,
        })
    };
    let check = async |found: &LinearAttentionGradients<T>| sample.check(&answer, "dv", &found.v).await;
    let race = bench.race(gradients, check);
    let figures =
        race.fused(backward.plan(), |encoder, found| backward.encode(encoder, inputs, of, found)).await?;
    let plainly = |name, way| {
        race.against(
            name,
            move || PlainRecurrenceBackward::linear_attention(gpu, spec, way),
            |it, encoder, found, scratch| {
                it.encode_linear_attention(encoder, spec, (inputs, of), (found, scratch))
            },
        )
    };
    let unfused = plainly("unfused", PlainWay::Arrays).await?;
    Ok((figures, vec![unfused, plainly("sequential", PlainWay::Loop).await?]))
}

async fn delta<T: Element>(
    bench: &Bench<'_>,
    spec: &DeltaRuleSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = DeltaRule::new(gpu, spec.clone())?;
    let (given, alone) = Given::<T>::delta(gpu, spec)?;
    let (inputs, sample) = (given.delta_inputs(spec), &given.sample);
    let answer =
        Answer::of::<T>(EXPONENTIALS, |precision| delta_rule(&alone, precision, &sample.delta(spec)).o);
    let outputs = || outputs::<T>(gpu, spec.v_shape(), spec.state_shape());
    let check = async |found: &LinearAttentionOutputs<T>| sample.check(&answer, "o", &found.o).await;
    let race = bench.race(outputs, check);
    let figures = race.fused(fused.plan(), |encoder, found| fused.encode(encoder, inputs, found)).await?;
    let unfused = race.against(
        "unfused",
        || UnfusedDeltaRule::new(gpu, spec.clone()),
        |it, encoder, found, taken| it.encode(encoder, inputs, found, taken),
    );
    let sequential = race.against(
        "sequential",
        || SequentialAttention::delta_rule(gpu, spec),
        |it, encoder, found, ()| it.encode_delta_rule(encoder, spec, inputs, found),
    );
    Ok((figures, vec![unfused.await?, sequential.await?]))
}

async fn delta_backward<T: Element>(
    bench: &Bench<'_>,
    spec: &DeltaRuleSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let backward = DeltaRuleBackward::new(gpu, spec.clone())?;
    let (given, alone) = Given::<T>::delta(gpu, spec)?;
    let (inputs, of, sample) = (given.delta_inputs(spec), given.of(), &given.sample);
    let answer = Answer::of::<T>(EXPONENTIALS, |precision| {
        delta_rule_backward(&alone, precision, &sample.delta(spec), &sample.of_result, None).v
    });
    let gradients = || -> Result<DeltaRuleGradients<T>, Error> {
        let of_steps = || poisoned(gpu, &spec.beta_shape());
        Ok(DeltaRuleGradients {
            q: poisoned(gpu, &spec.q_shape())?,
            k: poisoned(gpu, &spec.q_shape())?,
            v: poisoned(gpu, &spec.v_shape())?,
            beta: of_steps()?,
            g: spec.gated.then(of_steps).transpose()?,
            initial: poisoned(gpu, &spec.state_shape())?,
        })
    };
    let check = async |found: &DeltaRuleGradients<T>| sample.check(&answer, "dv", &found.v).await;
    let race = bench.race(gradients, check);
    let figures =
        race.fused(backward.plan(), |encoder, found| backward.encode(encoder, inputs, of, found)).await?;
    let plainly = |name, way| {
        race.against(
            name,
            move || PlainRecurrenceBackward::delta_rule(gpu, spec, way),
            |it, encoder, found, scratch| it.encode_delta_rule(encoder, spec, (inputs, of), (found, scratch)),
        )
    };
    let unfused = plainly("unfused", PlainWay::Arrays).await?;
    Ok((figures, vec![unfused, plainly("sequential", PlainWay::Loop).await?]))
}
