//! Measuring linear attention and the delta rule.

use super::sample::{Answer, EXPONENTIALS, columns, rows};
use crate::baseline::SequentialAttention;
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, fetch, uniform};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Figures, Workload, Yardstick};
use crate::oracle::{DeltaRuleValues, LinearAttentionValues, delta_rule, linear_attention};
use crate::verify::{Family, Inputs, Outcome, poisoned};
use crate::{
    DType, DeltaRule, DeltaRuleInputs, DeltaRuleSpec, Element, Error, Gate, Gpu, LinearAttention,
    LinearAttentionInputs, LinearAttentionOutputs, LinearAttentionSpec, Tensor, by_dtype,
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

impl Workload for LinearAttentionSpec {
    fn family(&self) -> Family {
        Family::Scan
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn flops(&self) -> f64 {
        self.flops()
    }

    fn least_bytes(&self) -> u64 {
        self.least_bytes()
    }

    fn length(&self) -> Option<usize> {
        Some(self.length)
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(linear::<T>(bench, self)))
    }
}

impl Workload for DeltaRuleSpec {
    fn family(&self) -> Family {
        Family::Scan
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn flops(&self) -> f64 {
        self.flops()
    }

    fn least_bytes(&self) -> u64 {
        self.least_bytes()
    }

    fn length(&self) -> Option<usize> {
        Some(self.length)
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(delta::<T>(bench, self)))
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
            sample,
        })
    }
}

impl Sample {
    async fn check<T: Element>(&self, answer: &Answer, o: &Tensor<T>) -> Result<Vec<Outcome>, Error> {
        let (values, whole) = fetch(o).await?;
        Ok(vec![answer.check("o", &columns(&values, self.width, self.length, &self.channels), whole)])
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
    let LinearAttentionSpec { batch, length, heads, key_dim, value_dim, .. } = *spec;
    let gates = match spec.gate {
        Gate::Constant => 0,
        Gate::PerStep => 1,
        Gate::PerKey => key_dim,
    };
    let sizes = Sizes { tokens: batch * length, length, heads, key_dim, value_dim, gates };
    let given = Given::<T>::new(gpu, batch, sizes)?;
    let Sample { q, k, v, g, channels, .. } = &given.sample;
    let alone = LinearAttentionSpec { batch: 1, heads: channels.len(), value_dim: 1, ..spec.clone() };
    let values = LinearAttentionValues { q, k, v, g, initial: None };
    let answer = Answer::of::<T>(EXPONENTIALS, |precision| linear_attention(&alone, precision, &values).o);
    let inputs = LinearAttentionInputs { q: &given.q, k: &given.k, v: &given.v, g: &given.g, initial: None };
    let outputs = || outputs::<T>(gpu, spec.v_shape(), spec.state_shape());
    let check = async |found: &LinearAttentionOutputs<T>| given.sample.check(&answer, &found.o).await;
    let record = |encoder: &mut _, found: &_| fused.encode(encoder, inputs, found);
    let figures = bench.contend("fused", fused.plan(), outputs, record, &check).await?;
    let sequential = Bench::yardstick("sequential", async || {
        let sequential = SequentialAttention::linear_attention(gpu, spec)?;
        let record =
            |encoder: &mut _, found: &_| sequential.encode_linear_attention(encoder, spec, inputs, found);
        bench.contend("sequential", sequential.plan(), outputs, record, &check).await
    })
    .await?;
    Ok((figures, vec![sequential]))
}

async fn delta<T: Element>(
    bench: &Bench<'_>,
    spec: &DeltaRuleSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let fused = DeltaRule::new(gpu, spec.clone())?;
    let DeltaRuleSpec { batch, length, heads, key_dim, value_dim, .. } = *spec;
    let sizes = Sizes { tokens: batch * length, length, heads, key_dim, value_dim, gates: 1 };
    let given = Given::<T>::new(gpu, batch, sizes)?;
    let Sample { q, k, v, g, beta, channels, .. } = &given.sample;
    let alone = DeltaRuleSpec { batch: 1, heads: channels.len(), value_dim: 1, ..spec.clone() };
    let values = DeltaRuleValues { q, k, v, beta, g: spec.gated.then_some(g), initial: None };
    let answer = Answer::of::<T>(EXPONENTIALS, |precision| delta_rule(&alone, precision, &values).o);
    let inputs = DeltaRuleInputs {
        q: &given.q,
        k: &given.k,
        v: &given.v,
        beta: &given.beta,
        g: spec.gated.then_some(&given.g),
        initial: None,
    };
    let outputs = || outputs::<T>(gpu, spec.v_shape(), spec.state_shape());
    let check = async |found: &LinearAttentionOutputs<T>| given.sample.check(&answer, &found.o).await;
    let record = |encoder: &mut _, found: &_| fused.encode(encoder, inputs, found);
    let figures = bench.contend("fused", fused.plan(), outputs, record, &check).await?;
    let sequential = Bench::yardstick("sequential", async || {
        let sequential = SequentialAttention::delta_rule(gpu, spec)?;
        let record = |encoder: &mut _, found: &_| sequential.encode_delta_rule(encoder, spec, inputs, found);
        bench.contend("sequential", sequential.plan(), outputs, record, &check).await
    })
    .await?;
    Ok((figures, vec![sequential]))
}
