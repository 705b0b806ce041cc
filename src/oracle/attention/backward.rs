//! The gradients of attention.

use super::{AttentionGiven, HostMods, queries, row, row_mut};
use crate::AttentionSpec;
use crate::oracle::Precision;

/// Gradients of what attention takes; layouts as those.
#[derive(Clone, Debug)]
pub struct AttentionGradientsResult {
    /// Of the queries.
    pub dq: Vec<f64>,
    /// Of the keys.
    pub dk: Vec<f64>,
    /// Of the values.
    pub dv: Vec<f64>,
    /// Of the ALiBi slopes.
    pub dalibi: Vec<f64>,
    /// Of the sinks.
    pub dsinks: Vec<f64>,
}

/// The gradients one query at a time, by the chain rule through each step of [`attention_of`](super::attention_of).
///
/// A plain implementation keeps the gradients of the weights and of the scores in memory, rounded like the scores, and sums
/// in f32.
pub fn attention_backward(
    spec: &AttentionSpec,
    precision: Precision,
    given: &AttentionGiven<'_>,
    d_o: &[f64],
) -> AttentionGradientsResult {
    let mut dq = vec![0.0; given.q.len()];
    let mut dk = vec![0.0; given.k.len()];
    let mut dv = vec![0.0; given.v.len()];
    let mut dalibi = vec![0.0; spec.alibi_shape().iter().product::<usize>()];
    let mut dsinks = vec![0.0; if spec.sinks { spec.heads } else { 0 }];
    let add = |sum: &mut f64, term: f64| *sum = precision.sum(*sum + precision.sum(term));
    for query in queries(spec, given) {
        let weights = query.weights(precision);
        let d_row = row(d_o, query.row, spec.value_dim);
        // Of the softmax's weights: through the values, and through dropout.
        let d_weights = (query.first..query.end).zip(&weights.kept).map(|(j, kept)| {
            let dot = precision.dot(d_row.iter().copied().zip(query.value(j).iter().copied()));
            let dot = precision.store(dot);
            if *kept { precision.store(dot * spec.keep_factor()) } else { 0.0 }
        });
        let d_weights: Vec<_> = d_weights.collect();
        // Every weight shares one sum, by which raising a score takes from the others.
        let shared = precision.dot(weights.softmax.iter().copied().zip(d_weights.iter().copied()));
        for (at, j) in (query.first..query.end).enumerate() {
            for (c, d) in d_row.iter().enumerate() {
                add(&mut dv[query.key_row(j) * spec.value_dim + c], weights.dropped[at] * d);
            }
            if !query.shows(j) {
                continue;
            }
            let d_score = precision.store(weights.softmax[at] * (d_weights[at] - shared));
            let back = |mods: &HostMods| {
                precision.store(mods.change_bwd(d_score, weights.biased[at], query.place(j)))
            };
            let d_score = given.mods.map_or(d_score, back);
            if let Some(slope) = query.slope() {
                add(&mut dalibi[slope], -d_score * query.distance(j));
            }
            let cap = |cap: f64| precision.store(d_score * (1.0 - (weights.capped[at] / cap).powi(2)));
            let d_score = spec.softcap.map_or(d_score, |softcap| cap(softcap.into()));
            let d_dot = precision.store(d_score * f64::from(spec.scale_or_default()));
            for (c, (q, k)) in query.query().iter().zip(query.key(j)).enumerate() {
                add(&mut row_mut(&mut dq, query.row, spec.head_dim)[c], d_dot * k);
                add(&mut dk[query.key_row(j) * spec.head_dim + c], d_dot * q);
            }
        }
        if let Some(sinks) = given.sinks.filter(|_| spec.sinks) {
            // A score of the softmax whose weight has no value.
            let weight = precision.sum((sinks[query.head] - weights.log_sum).exp());
            add(&mut dsinks[query.head], -weight * shared);
        }
    }
    let store = |sums: Vec<f64>| sums.into_iter().map(|sum| precision.store(sum)).collect();
    AttentionGradientsResult { dq: store(dq), dk: store(dk), dv: store(dv), dalibi, dsinks }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::attention::attention_of;
    use crate::verify::Inputs;
    use crate::{Alibi, CuSeqlens, DType};

    #[test]
    fn two_keys_by_hand() {
        // Scores 0 and ln 3: weights 1/4 and 3/4 of the values 2 and 6, so o = 5.
        let spec = AttentionSpec::new(DType::F32, 1, (1, 2), 1, 1).scale(1.0);
        let k = [0.0, 3.0_f64.ln()];
        let given = AttentionGiven::new(&[1.0], &k, &[2.0, 6.0]);
        let found = attention_backward(&spec, Precision::Exact, &given, &[8.0]);
        // Gradients of the weights are 16 and 48, their mean by weight 40.
        let d_scores = [0.25 * (16.0 - 40.0), 0.75 * (48.0 - 40.0)];
        let close = |found: &[f64], expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            for (x, y) in found.iter().zip(expected) {
                assert!((x - y).abs() < 1e-12, "{found:?} against {expected:?}");
            }
        };
        close(&found.dv, &[2.0, 6.0]);
        close(&found.dk, &d_scores);
        close(&found.dq, &[d_scores[1] * k[1]]);
    }

    /// Every gradient against the difference that a small step makes.
    #[test]
    fn gradients_are_slopes_of_the_output() {
        let dense = AttentionSpec::new(DType::F32, 2, (3, 4), 4, 2)
            .kv_heads(2)
            .value_dim(3)
            .causal()
            .softcap(1.5)
            .alibi(Alibi::PerBatchHead)
            .sinks()
            .dropout(0.3);
        let cu_seqlens = CuSeqlens { q: &[0, 1, 4], k: &[0, 3, 5] };
        for (spec, cu_seqlens) in [(dense, None), (dense.packed(4, 5), Some(cu_seqlens))] {
            check_slopes(&spec, cu_seqlens, None);
        }
        let mods = HostMods::new()
            .score(
                |s, [_, h, ..]| 0.1 * s * s * (1.0 + h as f64),
                |d, s, [_, h, ..]| 0.2 * d * s * (1.0 + h as f64),
            )
            .score(|s, [.., j]| s.sin() + 0.1 * j as f64, |d, s, _| d * s.cos())
            .mask(|[_, _, i, j]| i != 1 || j != 2);
        check_slopes(&dense, None, Some(&mods));
    }

    fn check_slopes(spec: &AttentionSpec, cu_seqlens: Option<CuSeqlens<'_>>, mods: Option<&HostMods>) {
        let mut inputs = Inputs::new(4);
        let mut tensor = |shape: &[usize]| inputs.normal(shape.iter().product(), 1.0);
        let parts = [spec.q_shape(), spec.k_shape(), spec.v_shape(), spec.alibi_shape(), vec![spec.heads]]
            .map(|shape| tensor(&shape));
        let d_o = tensor(&spec.o_shape());
        let given = |parts: &[Vec<f64>; 5]| {
            let [q, k, v, alibi, sinks] = parts.clone();
            (q, k, v, alibi, sinks)
        };
        let with = |parts: &[Vec<f64>; 5], work: &mut dyn FnMut(&AttentionGiven<'_>)| {
            let (q, k, v, alibi, sinks) = given(parts);
            let (alibi, sinks) = (Some(alibi.as_slice()), Some(sinks.as_slice()));
            work(&AttentionGiven { q: &q, k: &k, v: &v, alibi, sinks, cu_seqlens, seed: 5, mods });
        };
        let value = |parts: &[Vec<f64>; 5]| {
            let mut sum = 0.0;
            with(parts, &mut |given| {
                let o = attention_of(spec, Precision::Exact, given).o;
                sum = o.iter().zip(&d_o).map(|(o, d)| o * d).sum();
            });
            sum
        };
        let mut found = None;
        with(&parts, &mut |given| found = Some(attention_backward(spec, Precision::Exact, given, &d_o)));
        let found = found.expect("it ran");
        let gradients = [found.dq, found.dk, found.dv, found.dalibi, found.dsinks];
        let step = 1e-5;
        for (part, gradient) in gradients.iter().enumerate() {
            assert!(gradient.iter().any(|d| d.abs() > 1e-3), "part {part} has a gradient");
            for (at, expected) in gradient.iter().enumerate() {
                let moved = |by: f64| {
                    let mut parts = parts.clone();
                    parts[part][at] += by;
                    value(&parts)
                };
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                assert!((slope - expected).abs() < 1e-7, "part {part}, {at}: {slope} against {expected}");
            }
        }
    }
}
