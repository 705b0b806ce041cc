//! Oracles of the attention family.

mod backward;
mod cache;
mod dropout;
mod merge;
mod mods;

pub use backward::{AttentionGradientsResult, attention_backward};
pub use cache::{Tables, append, cached_attention, rotate};
pub use dropout::{kept, philox};
pub use merge::merge;
pub use mods::{HostMods, Place};

use crate::oracle::Precision;
use crate::{Alibi, AttentionSpec, CuSeqlens, Span};

/// What attention takes; layouts as in [`AttentionSpec`].
#[derive(Clone, Copy, Debug)]
pub struct AttentionGiven<'a> {
    /// Queries.
    pub q: &'a [f64],
    /// Keys.
    pub k: &'a [f64],
    /// Values.
    pub v: &'a [f64],
    /// ALiBi slopes, if the spec has them.
    pub alibi: Option<&'a [f64]>,
    /// Sinks, if the spec has them.
    pub sinks: Option<&'a [f64]>,
    /// Where sequences begin and end, if the spec packs them.
    pub cu_seqlens: Option<CuSeqlens<'a>>,
    /// The seed of the dropout.
    pub seed: u64,
    /// What mods do.
    pub mods: Option<&'a HostMods>,
}

/// What attention computes; layouts as in [`AttentionSpec`].
#[derive(Clone, Debug)]
pub struct AttentionResult {
    /// Weighted sums of the values.
    pub o: Vec<f64>,
    /// Log-sum-exp of the scores, `-inf` where a query sees no key.
    pub lse: Vec<f64>,
    /// The weights of the values, dropout and its factor included: (batch, heads, `q_len`, `k_len`), or (heads, `total_q`,
    /// `k_len`) where sequences are packed.
    pub probabilities: Vec<f64>,
}

impl<'a> AttentionGiven<'a> {
    /// Queries, keys and values, with nothing that is optional.
    pub fn new(q: &'a [f64], k: &'a [f64], v: &'a [f64]) -> Self {
        Self { q, k, v, alibi: None, sinks: None, cu_seqlens: None, seed: 0, mods: None }
    }
}

/// Attention to queries, keys, values and slopes alone.
pub fn attention(
    spec: &AttentionSpec,
    precision: Precision,
    q: &[f64],
    k: &[f64],
    v: &[f64],
    alibi: Option<&[f64]>,
) -> AttentionResult {
    attention_of(spec, precision, &AttentionGiven { alibi, ..AttentionGiven::new(q, k, v) })
}

/// Attention one query at a time: its scores, their softmax, and the weighted sum of the values.
///
/// A plain implementation keeps three tensors in memory: the scores, rounded after each step that changes them, the
/// probabilities, and the output. The softmax between them is f32 arithmetic, as is the log-sum-exp.
pub fn attention_of(
    spec: &AttentionSpec,
    precision: Precision,
    given: &AttentionGiven<'_>,
) -> AttentionResult {
    let mut o = vec![0.0; spec.o_shape().iter().product()];
    let mut lse = vec![f64::NEG_INFINITY; spec.rows()];
    let mut probabilities = vec![0.0; spec.rows() * spec.k_len];
    for query in queries(spec, given) {
        let weights = query.weights(precision);
        lse[query.sum] = weights.log_sum;
        for (weight, j) in weights.dropped.iter().zip(query.first..) {
            probabilities[query.sum * spec.k_len + j] = *weight;
        }
        for (c, o) in row_mut(&mut o, query.row, spec.value_dim).iter_mut().enumerate() {
            let column = (query.first..query.end).map(|j| query.value(j)[c]);
            *o = precision.store(precision.dot(weights.dropped.iter().copied().zip(column)));
        }
    }
    AttentionResult { o, lse, probabilities }
}

/// One query of one head, with the keys that it sees.
struct Query<'a> {
    spec: &'a AttentionSpec,
    given: &'a AttentionGiven<'a>,
    span: Span,
    batch: usize,
    head: usize,
    /// Its number in its sequence.
    i: usize,
    /// The first key that it sees, and the one after the last.
    first: usize,
    end: usize,
    /// Its row in tensors of queries.
    row: usize,
    /// Its place among log-sum-exps.
    sum: usize,
}

/// The weights of the keys that a query sees.
struct Weights {
    /// Scores after the softcap, before biases.
    capped: Vec<f64>,
    /// Scores after biases, before mods.
    biased: Vec<f64>,
    /// The softmax.
    softmax: Vec<f64>,
    /// Which are kept.
    kept: Vec<bool>,
    /// Those that multiply the values: 0 where dropped.
    dropped: Vec<f64>,
    log_sum: f64,
}

/// Every query of every head.
fn queries<'a>(spec: &'a AttentionSpec, given: &'a AttentionGiven<'a>) -> impl Iterator<Item = Query<'a>> {
    let spans = spec.spans(given.cu_seqlens).expect("sums that describe the spec's sequences");
    let heads = move |(batch, span): (usize, Span)| (0..spec.heads).map(move |head| (batch, span, head));
    spans.into_iter().enumerate().flat_map(heads).flat_map(move |(batch, span, head)| {
        (0..span.q_len).map(move |i| {
            let (first, end) = spec.keys_seen_of((span.q_len, span.k_len), i);
            let sum = match spec.packed {
                None => (batch * spec.heads + head) * spec.q_len + i,
                Some(packed) => head * packed.total_q + span.q_start + i,
            };
            let row = (span.q_start + i) * spec.heads + head;
            Query { spec, given, span, batch, head, i, first, end, row, sum }
        })
    })
}

impl<'a> Query<'a> {
    /// The row of a key in tensors of keys.
    fn key_row(&self, j: usize) -> usize {
        let kv_head = self.head / (self.spec.heads / self.spec.kv_heads);
        (self.span.k_start + j) * self.spec.kv_heads + kv_head
    }

    fn query(&self) -> &'a [f64] {
        row(self.given.q, self.row, self.spec.head_dim)
    }

    fn key(&self, j: usize) -> &'a [f64] {
        row(self.given.k, self.key_row(j), self.spec.head_dim)
    }

    fn value(&self, j: usize) -> &'a [f64] {
        row(self.given.v, self.key_row(j), self.spec.value_dim)
    }

    /// The place of its slope.
    fn slope(&self) -> Option<usize> {
        match self.spec.alibi {
            Alibi::None => None,
            Alibi::PerHead => Some(self.head),
            Alibi::PerBatchHead => Some(self.batch * self.spec.heads + self.head),
        }
    }

    /// From the key at which it stands to another.
    fn distance(&self, j: usize) -> f64 {
        let position = self.i as f64 + self.span.k_len as f64 - self.span.q_len as f64;
        (position - j as f64).abs()
    }

    /// Where it and a key are, for mods.
    fn place(&self, j: usize) -> Place {
        [self.batch, self.head, self.i, j]
    }

    /// Whether mods show it the key.
    fn shows(&self, j: usize) -> bool {
        self.given.mods.is_none_or(|mods| mods.shows(self.place(j)))
    }

    /// Scale, softcap, ALiBi and mods, in that order, then the softmax, then dropout.
    fn weights(&self, precision: Precision) -> Weights {
        let spec = self.spec;
        let capped = (self.first..self.end).map(|j| {
            let dot = precision.dot(self.query().iter().copied().zip(self.key(j).iter().copied()));
            let score = precision.store(dot * f64::from(spec.scale_or_default()));
            let cap = |cap: f64| precision.store(cap * (score / cap).tanh());
            spec.softcap.map_or(score, |softcap| cap(softcap.into()))
        });
        let capped: Vec<_> = capped.collect();
        let slope = self.slope().and_then(|at| Some(self.given.alibi?[at]));
        let bias = |(capped, j): (&f64, usize)| {
            slope.map_or(*capped, |slope| precision.store(capped - slope * self.distance(j)))
        };
        let biased: Vec<_> = capped.iter().zip(self.first..).map(bias).collect();
        let change = |(score, j): (&f64, usize)| match self.given.mods {
            _ if !self.shows(j) => f64::NEG_INFINITY,
            Some(mods) => precision.store(mods.change(*score, self.place(j))),
            None => *score,
        };
        let scores: Vec<_> = biased.iter().zip(self.first..).map(change).collect();
        let sink = if spec.sinks { self.given.sinks.map(|sinks| sinks[self.head]) } else { None };
        let (softmax, log_sum) = softmax(precision, &scores, sink);
        let kept: Vec<_> = (self.first..self.end)
            .map(|j| kept(spec, self.given.seed, [self.batch, self.head, self.i, j]))
            .collect();
        let keep = |(weight, kept): (&f64, &bool)| {
            if *kept { precision.store(weight * spec.keep_factor()) } else { 0.0 }
        };
        let dropped = softmax.iter().zip(&kept).map(keep).collect();
        Weights { capped, biased, softmax, kept, dropped, log_sum }
    }
}

/// Probabilities and log-sum-exp of scores, minus infinity where hidden, and a sink, which has no value.
fn softmax(precision: Precision, scores: &[f64], sink: Option<f64>) -> (Vec<f64>, f64) {
    let max = scores.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return (vec![0.0; scores.len()], max);
    }
    let exps: Vec<_> = scores.iter().map(|score| precision.sum((score - max).exp())).collect();
    let sunk = sink.map_or(0.0, |sink| precision.sum((sink - max).exp()));
    let sum = exps.iter().fold(sunk, |sum, exp| precision.sum(sum + exp));
    let probabilities = exps.iter().map(|exp| precision.store(precision.sum(exp / sum))).collect();
    (probabilities, precision.sum(max + precision.sum(sum.ln())))
}

fn row(tensor: &[f64], index: usize, width: usize) -> &[f64] {
    &tensor[index * width..(index + 1) * width]
}

fn row_mut(tensor: &mut [f64], index: usize, width: usize) -> &mut [f64] {
    &mut tensor[index * width..(index + 1) * width]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    fn exact(
        spec: &AttentionSpec,
        q: &[f64],
        k: &[f64],
        v: &[f64],
        alibi: Option<&[f64]>,
    ) -> AttentionResult {
        spec.check().expect("a valid spec");
        attention(spec, Precision::Exact, q, k, v, alibi)
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let close =
                if expected.is_finite() { (found - expected).abs() < 1e-7 } else { found.is_infinite() };
            assert!(close, "{found} against {expected}");
        }
    }

    /// One head of width 1: with q = 1 the scores are the keys, and e^(ln w) makes them weights.
    fn weights(weights: &[f64]) -> Vec<f64> {
        weights.iter().map(|weight| weight.ln()).collect()
    }

    #[test]
    fn values_are_averaged_by_weight() {
        let spec = AttentionSpec::new(DType::F32, 1, (1, 3), 1, 1).value_dim(2);
        let v = [4.0, 0.0, 8.0, 4.0, 0.0, 2.0];
        let result = exact(&spec, &[1.0], &weights(&[1.0, 2.0, 5.0]), &v, None);
        close(&result.o, &[20.0 / 8.0, 18.0 / 8.0]);
        close(&result.lse, &[8.0_f64.ln()]);
        // A scale of 2 squares the weights.
        let result = exact(&spec.scale(2.0), &[1.0], &weights(&[1.0, 2.0, 5.0]), &v, None);
        close(&result.o, &[36.0 / 30.0, 66.0 / 30.0]);
        close(&result.lse, &[30.0_f64.ln()]);
    }

    #[test]
    fn masks_follow_the_bottom_right_corner() {
        // Uniform weights: an output is the mean of the values seen.
        let spec = AttentionSpec::new(DType::F32, 1, (3, 2), 1, 1).causal();
        let result = exact(&spec, &[0.0; 3], &[0.0; 2], &[2.0, 4.0], None);
        close(&result.o, &[0.0, 2.0, 3.0]);
        close(&result.lse, &[f64::NEG_INFINITY, 0.0, 2.0_f64.ln()]);
        let spec = AttentionSpec::new(DType::F32, 1, (2, 4), 1, 1).window(Some(1), Some(0));
        let result = exact(&spec, &[0.0; 2], &[0.0; 4], &[1.0, 2.0, 4.0, 8.0], None);
        close(&result.o, &[3.0, 6.0]);
    }

    #[test]
    fn softcap_comes_after_the_scale_and_before_alibi() {
        let spec = AttentionSpec::new(DType::F32, 2, (1, 2), 1, 1).scale(0.5).softcap(3.0);
        let (q, k, v) = ([2.0, 2.0], [0.0, 5.0, 0.0, 5.0], [0.0, 1.0, 0.0, 1.0]);
        let capped = 3.0 * (5.0_f64 / 3.0).tanh();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        close(&exact(&spec, &q, &k, &v, None).o, &[sigmoid(capped); 2]);
        // The query stands at key 1, so key 0 is one away.
        let spec = spec.alibi(Alibi::PerBatchHead);
        close(
            &exact(&spec, &q, &k, &v, Some(&[0.25, 0.75])).o,
            &[sigmoid(capped + 0.25), sigmoid(capped + 0.75)],
        );
    }

    #[test]
    fn mods_come_after_the_scale_and_hide_keys() {
        let spec = AttentionSpec::new(DType::F32, 1, (2, 3), 1, 1).scale(1.0);
        // Doubled scores: weights 1, 2 and 5 become 1, 4 and 25, and key 2 is hidden from query 0.
        let mods = HostMods::new()
            .score(|s, _| 2.0 * s, |d, _, _| 2.0 * d)
            .mask(|[_, _, i, j]| i == 1 && j == 1 || i == 0 && j < 2);
        let (k, v) = (weights(&[1.0, 2.0, 5.0]), [3.0, 8.0, 100.0]);
        let with = |mods| {
            let given = AttentionGiven { mods: Some(mods), ..AttentionGiven::new(&[1.0, 0.0], &k, &v) };
            attention_of(&spec, Precision::Exact, &given)
        };
        let result = with(&mods);
        close(&result.o, &[(3.0 + 4.0 * 8.0) / 5.0, 8.0]);
        close(&result.lse, &[5.0_f64.ln(), 0.0]);
        let result = with(&HostMods::new().mask(|[_, _, i, _]| i == 1));
        close(&result.o[..1], &[0.0]);
        close(&result.lse[..1], &[f64::NEG_INFINITY]);
    }

    #[test]
    fn query_heads_share_key_heads_in_order() {
        let spec = AttentionSpec::new(DType::F32, 1, (1, 1), 4, 1).kv_heads(2);
        close(&exact(&spec, &[0.0; 4], &[0.0; 2], &[3.0, 7.0], None).o, &[3.0, 3.0, 7.0, 7.0]);
    }

    #[test]
    fn the_plain_computation_rounds_what_it_stores() {
        let spec = AttentionSpec::new(DType::F16, 1, (1, 2), 1, 1);
        let plain = Precision::Stored(DType::F16);
        let result = attention(&spec, plain, &[1.0], &[0.0, 0.0001], &[1.0, 1.0], None);
        let score = f64::from(half::f16::from_f64(0.0001));
        close(&result.lse, &[f64::from((1.0 + score.exp()).ln() as f32)]);
        assert_eq!(result.o, [f64::from(half::f16::from_f64(result.o[0]))]);
    }

    #[test]
    fn a_sink_takes_weight_and_gives_none() {
        let spec = AttentionSpec::new(DType::F32, 1, (1, 2), 1, 1).sinks();
        let (k, v) = (weights(&[1.0, 2.0]), [4.0, 8.0]);
        let sinks = weights(&[5.0]);
        let given = AttentionGiven { sinks: Some(&sinks), ..AttentionGiven::new(&[1.0], &k, &v) };
        let result = attention_of(&spec, Precision::Exact, &given);
        close(&result.o, &[20.0 / 8.0]);
        close(&result.lse, &[8.0_f64.ln()]);
        close(&result.probabilities, &[1.0 / 8.0, 2.0 / 8.0]);
    }

    #[test]
    fn packed_sequences_see_only_their_own_keys() {
        let spec = AttentionSpec::new(DType::F32, 3, (2, 2), 1, 1).packed(3, 3);
        let cu_seqlens = Some(CuSeqlens { q: &[0, 2, 2, 3], k: &[0, 1, 3, 3] });
        let given = AttentionGiven::new(&[0.0; 3], &[0.0; 3], &[2.0, 4.0, 6.0]);
        let result = attention_of(&spec, Precision::Exact, &AttentionGiven { cu_seqlens, ..given });
        // The second sequence has no query, the third no key.
        close(&result.o, &[2.0, 2.0, 0.0]);
        close(&result.lse, &[0.0, 0.0, f64::NEG_INFINITY]);
        close(&result.probabilities, &[1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_kept_makes_up_for_what_is_dropped() {
        let spec = AttentionSpec::new(DType::F32, 1, (1, 16), 1, 1).dropout(0.5);
        let given = AttentionGiven { seed: 3, ..AttentionGiven::new(&[0.0], &[0.0; 16], &[1.0; 16]) };
        let result = attention_of(&spec, Precision::Exact, &given);
        let kept = (0..16).filter(|&j| kept(&spec, 3, [0, 0, 0, j])).count();
        assert!(kept > 0 && kept < 16);
        close(&result.o, &[kept as f64 / 8.0]);
        close(&result.lse, &[16.0_f64.ln()]);
    }
}
