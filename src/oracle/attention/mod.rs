//! Oracles of the attention family.

mod mods;

pub use mods::{HostMods, Place};

use crate::oracle::Precision;
use crate::{Alibi, AttentionSpec};

/// What attention computes; layouts as in [`AttentionSpec`].
#[derive(Clone, Debug)]
pub struct AttentionResult {
    /// Weighted sums of the values.
    pub o: Vec<f64>,
    /// Log-sum-exp of the scores, `-inf` where a query sees no key.
    pub lse: Vec<f64>,
}

/// Attention one query at a time: its scores, their softmax, and the weighted sum of the values.
///
/// A plain implementation keeps three tensors in memory: the scores, rounded after each step that changes them, the
/// probabilities, and the output. The softmax between them is f32 arithmetic, as is the log-sum-exp.
pub fn attention(
    spec: &AttentionSpec,
    precision: Precision,
    q: &[f64],
    k: &[f64],
    v: &[f64],
    alibi: Option<&[f64]>,
) -> AttentionResult {
    attention_with_mods(spec, precision, q, k, v, alibi, &HostMods::default())
}

/// Attention with the user's changes of scores, which a plain implementation stores too, and masks.
pub fn attention_with_mods(
    spec: &AttentionSpec,
    precision: Precision,
    q: &[f64],
    k: &[f64],
    v: &[f64],
    alibi: Option<&[f64]>,
    mods: &HostMods,
) -> AttentionResult {
    let mut o = vec![0.0; spec.o_shape().iter().product()];
    let mut lse = vec![f64::NEG_INFINITY; spec.lse_shape().iter().product()];
    for batch in 0..spec.batch {
        for head in 0..spec.heads {
            let kv_head = head / (spec.heads / spec.kv_heads);
            let slope = alibi.and_then(|slopes| match spec.alibi {
                Alibi::None => None,
                Alibi::PerHead => Some(slopes[head]),
                Alibi::PerBatchHead => Some(slopes[batch * spec.heads + head]),
            });
            let key = |j| row(k, (batch * spec.k_len + j) * spec.kv_heads + kv_head, spec.head_dim);
            let value = |j| row(v, (batch * spec.k_len + j) * spec.kv_heads + kv_head, spec.value_dim);
            for i in 0..spec.q_len {
                let (first, end) = spec.keys_seen(i);
                let keys: Vec<_> = (first..end).filter(|&j| mods.shows([batch, head, i, j])).collect();
                if keys.is_empty() {
                    continue;
                }
                let query_row = (batch * spec.q_len + i) * spec.heads + head;
                let query = row(q, query_row, spec.head_dim);
                let scores = keys.iter().map(|&j| {
                    let dot = precision.dot(query.iter().copied().zip(key(j).iter().copied()));
                    let score = change_score(spec, precision, dot, slope, (i, j));
                    precision.store(mods.change(score, [batch, head, i, j]))
                });
                let (probabilities, log_sum) = softmax(precision, &scores.collect::<Vec<_>>());
                lse[(batch * spec.heads + head) * spec.q_len + i] = log_sum;
                for (c, o) in row_mut(&mut o, query_row, spec.value_dim).iter_mut().enumerate() {
                    let column = keys.iter().map(|&j| value(j)[c]);
                    *o = precision.store(precision.dot(probabilities.iter().copied().zip(column)));
                }
            }
        }
    }
    AttentionResult { o, lse }
}

/// Scale, softcap and ALiBi, in that order.
fn change_score(
    spec: &AttentionSpec,
    precision: Precision,
    dot: f64,
    slope: Option<f64>,
    (i, j): (usize, usize),
) -> f64 {
    let mut score = precision.store(dot * f64::from(spec.scale_or_default()));
    if let Some(cap) = spec.softcap.map(f64::from) {
        score = precision.store(cap * (score / cap).tanh());
    }
    if let Some(slope) = slope {
        let distance = (i as f64 + spec.k_len as f64 - spec.q_len as f64 - j as f64).abs();
        score = precision.store(score - slope * distance);
    }
    score
}

/// Probabilities and log-sum-exp of at least one score.
fn softmax(precision: Precision, scores: &[f64]) -> (Vec<f64>, f64) {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<_> = scores.iter().map(|score| precision.sum((score - max).exp())).collect();
    let sum = exps.iter().fold(0.0, |sum, exp| precision.sum(sum + exp));
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
        // Squared scores: weights 1, 4 and 25 become e^(ln² w), and key 2 is hidden from query 0.
        let mods = HostMods::new()
            .score(|s, _| 2.0 * s, |d, _, _| 2.0 * d)
            .mask(|[_, _, i, j]| i == 1 && j == 1 || i == 0 && j < 2);
        let (k, v) = (weights(&[1.0, 2.0, 5.0]), [3.0, 8.0, 100.0]);
        let result = attention_with_mods(&spec, Precision::Exact, &[1.0, 0.0], &k, &v, None, &mods);
        close(&result.o, &[(3.0 + 4.0 * 8.0) / 5.0, 8.0]);
        close(&result.lse, &[5.0_f64.ln(), 0.0]);
        let dead = HostMods::new().mask(|[_, _, i, _]| i == 1);
        let result = attention_with_mods(&spec, Precision::Exact, &[1.0, 0.0], &k, &v, None, &dead);
        assert!(result.o[0] == 0.0 && result.lse[0] == f64::NEG_INFINITY);
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
}
