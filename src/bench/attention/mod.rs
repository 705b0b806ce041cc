//! Measuring workloads of the attention family.

mod backward;
mod cached;
mod longest;
mod mods;

pub use longest::{Attempt, Reach, Seconds, longest};

use crate::baseline::UnfusedAttention;
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, compare, fetch, spread, wide};
use crate::bench::suite::{Scale, boxed};
use crate::bench::{Contest, Depth, Figures, Workload, Yardstick};
use crate::oracle::{self, AttentionGiven, AttentionResult};
use crate::verify::{Family, Inputs, Outcome, both, poisoned};
use crate::{
    Alibi, Attention, AttentionInputs, AttentionOutputs, AttentionSpec, DType, Element, Error, Gpu,
    SpecError, Tensor, by_dtype,
};

/// The same inputs on the host and on the device.
struct Given<T> {
    host: [Vec<T>; 3],
    device: [Tensor<T>; 3],
}

impl<T: Element> Given<T> {
    fn new(gpu: &Gpu, spec: &AttentionSpec) -> Result<Self, Error> {
        let mut inputs = Inputs::new(1);
        let host = [spec.q_shape(), spec.k_shape(), spec.v_shape()]
            .map(|shape| (centred(&mut inputs, shape.iter().product(), 1.0), shape));
        let [q, k, v] =
            [&host[0], &host[1], &host[2]].map(|(values, shape)| Tensor::from_slice(gpu, shape, values));
        Ok(Self { device: [q?, k?, v?], host: host.map(|(values, _)| values) })
    }

    fn inputs(&self) -> AttentionInputs<'_, T> {
        let [q, k, v] = &self.device;
        AttentionInputs::new(q, k, v)
    }
}

pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<Box<dyn Workload>> {
    let mut suite = boxed(forward_suite(scale, depth));
    if depth >= Depth::Standard {
        suite.extend(boxed(decoding_suite(scale)));
    }
    suite.extend(boxed(cached::suite(scale, depth)));
    suite.extend(boxed(backward::suite(scale, depth)));
    suite.extend(boxed(mods::suite(scale, depth)));
    suite
}

/// 2048 keys are where a table of scores begins to hurt. A large GPU also gets the lengths of published tables, with
/// 16,384 tokens and a hidden size of 2048.
fn forward_suite(scale: Scale, depth: Depth) -> Vec<AttentionSpec> {
    use DType::{Bf16, F16, F32};
    let square =
        |dtype, batch, length, heads, dim| AttentionSpec::new(dtype, batch, (length, length), heads, dim);
    let (batch, heads) = match scale {
        Scale::Software => (1, 1),
        Scale::Modest => (1, 8),
        Scale::Large => (2, 32),
    };
    let long = |dtype| square(dtype, batch, 2048, heads, 64);
    let mut suite = vec![long(F32), long(F32).causal(), long(F16)];
    if depth == Depth::Quick {
        return suite;
    }
    suite.extend([long(F16).causal(), long(Bf16), square(F32, batch, 512, 8 * heads, 64)]);
    suite.push(square(F16, batch, 1024, heads, 128));
    // One new token against a cache, four query heads to a key head.
    let cached = if scale == Scale::Large { 65_536 } else { 16_384 };
    suite.push(AttentionSpec::new(F16, batch, (1, cached), 4 * heads, 64).kv_heads(heads));
    if scale == Scale::Large {
        for (length, dim) in [(1024, 64), (4096, 64), (4096, 128), (16_384, 128)] {
            let spec = square(F16, 16_384 / length, length, 2048 / dim, dim);
            suite.extend([spec, spec.causal()]);
        }
    }
    suite
}

/// One new token against long caches: with as many query heads as key heads, and with eight times as many, whose caches are
/// as large.
fn decoding_suite(scale: Scale) -> impl Iterator<Item = AttentionSpec> {
    let (kv_heads, lengths): (usize, &[usize]) = match scale {
        Scale::Software => (1, &[16_384]),
        Scale::Modest => (2, &[16_384, 131_072]),
        Scale::Large => (8, &[16_384, 131_072]),
    };
    let of_length = move |&keys: &usize| {
        [1, 8].map(|group| {
            AttentionSpec::new(DType::F16, 1, (1, keys), group * kv_heads, 128).kv_heads(kv_heads)
        })
    };
    lengths.iter().flat_map(of_length)
}

impl Workload for AttentionSpec {
    fn family(&self) -> Family {
        Family::Attention
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
        Some(self.k_len)
    }

    /// Batches and heads only fill the adapter; how many heads share a key head matters.
    fn case(&self) -> String {
        let Self { dtype, q_len, k_len, head_dim, .. } = self;
        let keys = if q_len == k_len { String::new() } else { format!(" × {k_len}") };
        let group = self.heads / self.kv_heads;
        let shared = if group > 1 { format!(", {group} heads a key head") } else { String::new() };
        let causal = if self.causal { ", causal" } else { "" };
        format!("attention {dtype} s {q_len}{keys} d {head_dim}{shared}{causal}")
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(measure::<T>(bench, self)))
    }
}

async fn measure<T: Element>(
    bench: &Bench<'_>,
    spec: &AttentionSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    if spec.alibi != Alibi::None {
        let (found, expected) = (format!("{:?}", spec.alibi), "none in a benchmark".to_owned());
        return Err(SpecError::Value { name: "alibi", found, expected }.into());
    }
    let gpu = bench.gpu;
    let fused = Attention::new(gpu, *spec)?;
    let given = Given::<T>::new(gpu, spec)?;
    let sample = Sample::new(spec, &given.host);
    let figures = contend(bench, "fused", &fused, given.inputs(), spec, &sample).await?;
    let unfused = Bench::yardstick("unfused", async || {
        let unfused = UnfusedAttention::new(gpu, *spec)?;
        bench
            .contend(
                "unfused",
                unfused.plan(),
                || Ok((poisoned(gpu, &spec.o_shape())?, unfused.scratch()?)),
                |encoder, (o, scratch)| unfused.encode(encoder, given.inputs(), o, scratch),
                async |(o, _)| Ok(vec![sample.check_o(fetch(o).await?)]),
            )
            .await
    })
    .await?;
    Ok((figures, vec![unfused]))
}

/// Measures an attention, whose sampled outputs must be the oracle's.
async fn contend<T: Element>(
    bench: &Bench<'_>,
    name: &'static str,
    op: &Attention,
    inputs: AttentionInputs<'_, T>,
    spec: &AttentionSpec,
    sample: &Sample,
) -> Result<Figures, Error> {
    let outputs = || {
        Ok(AttentionOutputs {
            o: poisoned::<T>(bench.gpu, &spec.o_shape())?,
            lse: poisoned::<f32>(bench.gpu, &spec.lse_shape())?,
        })
    };
    bench
        .contend(
            name,
            op.plan(),
            outputs,
            |encoder, outputs| op.encode(encoder, inputs, outputs),
            async |outputs| {
                Ok(vec![
                    sample.check_o(fetch(&outputs.o).await?),
                    sample.check_lse(fetch(&outputs.lse).await?),
                ])
            },
        )
        .await
}

/// One query of one head as a problem of its own: the keys that it sees are all the keys there are, and no mask is left.
struct Alone {
    spec: AttentionSpec,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
}

impl Alone {
    fn new<T: Element>(spec: &AttentionSpec, host: [&[T]; 3], query: [usize; 3]) -> Self {
        let (first, end) = spec.keys_seen(query[2]);
        Self::seeing(spec, host, query, &(first..end).collect::<Vec<_>>())
    }

    /// Where the query sees these keys.
    fn seeing<T: Element>(
        spec: &AttentionSpec,
        [q, k, v]: [&[T]; 3],
        [batch, head, i]: [usize; 3],
        seen: &[usize],
    ) -> Self {
        let kv_head = head / (spec.heads / spec.kv_heads);
        let rows = |values: &[T], width: usize| {
            let row = |j| ((batch * spec.k_len + j) * spec.kv_heads + kv_head) * width;
            seen.iter().flat_map(|&j| wide(&values[row(j)..row(j) + width])).collect::<Vec<_>>()
        };
        let query = ((batch * spec.q_len + i) * spec.heads + head) * spec.head_dim;
        let alone = AttentionSpec {
            value_dim: spec.value_dim,
            softcap: spec.softcap,
            ..AttentionSpec::new(spec.dtype, 1, (1, seen.len()), 1, spec.head_dim)
        };
        Self {
            spec: alone.scale(spec.scale_or_default()),
            q: wide(&q[query..query + spec.head_dim]),
            k: rows(k, spec.head_dim),
            v: rows(v, spec.value_dim),
        }
    }

    /// The gradient of the query alone, exactly and plainly.
    fn both_dq(&self, d_o: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let given = AttentionGiven::new(&self.q, &self.k, &self.v);
        both(self.spec.dtype, |precision| oracle::attention_backward(&self.spec, precision, &given, d_o).dq)
    }

    /// Exactly and plainly.
    fn both(&self) -> (AttentionResult, AttentionResult) {
        both(self.spec.dtype, |precision| {
            oracle::attention(&self.spec, precision, &self.q, &self.k, &self.v, None)
        })
    }
}

/// How many elements of keys the sampled queries of a workload look at, about: as many as an oracle meets in a second or two.
const SAMPLED: usize = 1 << 25;

/// The oracle's answer for some queries of some heads: 24, or 4 where their keys are very many.
struct Sample {
    spec: AttentionSpec,
    /// Batch, head and query of each.
    queries: Vec<[usize; 3]>,
    reference: Vec<AttentionResult>,
    plain: Vec<AttentionResult>,
    /// Gradients of the queries, exactly and plainly, where they are asked for.
    gradients: Vec<(Vec<f64>, Vec<f64>)>,
}

impl Sample {
    fn new<T: Element>(spec: &AttentionSpec, host: &[Vec<T>; 3]) -> Self {
        Self::of(spec, host, |i| {
            let (first, end) = spec.keys_seen(i);
            (first..end).collect()
        })
    }

    /// Where each query sees these keys.
    fn of<T: Element>(
        spec: &AttentionSpec,
        [q, k, v]: &[Vec<T>; 3],
        seen: impl Fn(usize) -> Vec<usize>,
    ) -> Self {
        let total = spec.batch * spec.heads * spec.q_len;
        let count = (SAMPLED / (spec.k_len * spec.head_dim)).clamp(4, 24);
        let place = |i| [i / spec.q_len / spec.heads, i / spec.q_len % spec.heads, i % spec.q_len];
        let queries: Vec<_> = spread(total, count).into_iter().map(place).collect();
        let (reference, plain) = queries
            .iter()
            .map(|&query| Alone::seeing(spec, [q, k, v], query, &seen(query[2])).both())
            .unzip();
        Self { spec: *spec, queries, reference, plain, gradients: vec![] }
    }

    /// With the gradients of the queries too.
    fn with_gradients<T: Element>(spec: &AttentionSpec, host: &[Vec<T>; 3], d_o: &[T]) -> Self {
        let sample = Self::new(spec, host);
        let [q, k, v] = host;
        let gradient = |&[batch, head, i]: &[usize; 3]| {
            let row = ((batch * spec.q_len + i) * spec.heads + head) * spec.value_dim;
            let d_o = wide(&d_o[row..row + spec.value_dim]);
            Alone::new(spec, [q, k, v], [batch, head, i]).both_dq(&d_o)
        };
        let gradients = sample.queries.iter().map(gradient).collect();
        Self { gradients, ..sample }
    }

    fn check_dq<T: Element>(&self, (dq, whole): (Vec<T>, bool)) -> Outcome {
        let spec = &self.spec;
        let ours = self.queries.iter().flat_map(|&[batch, head, i]| {
            let row = ((batch * spec.q_len + i) * spec.heads + head) * spec.head_dim;
            dq[row..row + spec.head_dim].iter().map(|value| value.to_f64())
        });
        let (reference, plain): (Vec<_>, Vec<_>) = self.gradients.iter().cloned().unzip();
        compare("dq", (ours.collect(), whole), &reference.concat(), &plain.concat())
    }

    fn check_o<T: Element>(&self, (o, whole): (Vec<T>, bool)) -> Outcome {
        let spec = &self.spec;
        let ours = self.queries.iter().flat_map(|&[batch, head, i]| {
            let row = ((batch * spec.q_len + i) * spec.heads + head) * spec.value_dim;
            o[row..row + spec.value_dim].iter().map(|value| value.to_f64())
        });
        let all = |results: &[AttentionResult]| {
            results.iter().flat_map(|result| result.o.iter().copied()).collect::<Vec<_>>()
        };
        compare("o", (ours.collect(), whole), &all(&self.reference), &all(&self.plain))
    }

    fn check_lse(&self, (lse, whole): (Vec<f32>, bool)) -> Outcome {
        let spec = &self.spec;
        let place = |&[batch, head, i]: &[usize; 3]| (batch * spec.heads + head) * spec.q_len + i;
        let ours = self.queries.iter().map(|query| f64::from(lse[place(query)])).collect();
        let all =
            |results: &[AttentionResult]| results.iter().map(|result| result.lse[0]).collect::<Vec<_>>();
        compare("lse", (ours, whole), &all(&self.reference), &all(&self.plain))
    }
}
