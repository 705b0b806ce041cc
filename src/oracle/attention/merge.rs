//! The oracle of merges.

use crate::MergeSpec;
use crate::oracle::{AttentionResult, Precision};

/// Two parts put together, one row at a time. A plain implementation rounds the output it stores; its weights are f32.
pub fn merge(
    spec: &MergeSpec,
    precision: Precision,
    a: &AttentionResult,
    b: &AttentionResult,
) -> AttentionResult {
    let mut o = vec![0.0; a.o.len()];
    let mut lse = vec![f64::NEG_INFINITY; a.lse.len()];
    for (row, merged) in o.chunks_exact_mut(spec.value_dim).enumerate() {
        // Rows are (batch, query, head), their log-sum-exps (batch, head, query).
        let (query, head) = (row / spec.heads, row % spec.heads);
        let (batch, query) = (query / spec.q_len, query % spec.q_len);
        let at = (batch * spec.heads + head) * spec.q_len + query;
        let parts = [a, b].into_iter().filter(|part| part.lse[at] > f64::NEG_INFINITY);
        let largest = parts.clone().fold(f64::NEG_INFINITY, |max, part| max.max(part.lse[at]));
        if largest == f64::NEG_INFINITY {
            continue;
        }
        let weight = |part: &AttentionResult| precision.sum((part.lse[at] - largest).exp());
        let total = parts.clone().fold(0.0, |sum, part| precision.sum(sum + weight(part)));
        lse[at] = precision.sum(largest + precision.sum(total.ln()));
        for (column, value) in merged.iter_mut().enumerate() {
            let sum = precision
                .dot(parts.clone().map(|part| (weight(part), part.o[row * spec.value_dim + column])));
            *value = precision.store(precision.sum(sum / total));
        }
    }
    AttentionResult { o, lse, probabilities: vec![] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn parts_weigh_by_what_they_saw() {
        let spec = MergeSpec::new(DType::F32, 1, 2, 2, 1);
        // Sums of exponentials 1 and 3 for the first row, 2 and none for the second, none at all for the third.
        let none = f64::NEG_INFINITY;
        let part = |o: [f64; 4], lse: [f64; 4]| AttentionResult {
            o: o.to_vec(),
            lse: lse.to_vec(),
            probabilities: vec![],
        };
        // Rows are (query, head), log-sum-exps (head, query): the second row is head 1 of query 0.
        let a = part([8.0, 5.0, f64::NAN, 1.0], [0.0, none, 2_f64.ln(), 7.0]);
        let b = part([4.0, f64::NAN, f64::NAN, 2.0], [3_f64.ln(), none, none, 7.0]);
        let merged = merge(&spec, Precision::Exact, &a, &b);
        assert_eq!(merged.o, [5.0, 5.0, 0.0, 1.5]);
        let expected = [4_f64.ln(), none, 2_f64.ln(), 7.0 + 2_f64.ln()];
        for (found, expected) in merged.lse.iter().zip(expected) {
            let same = found.total_cmp(&expected).is_eq() || (found - expected).abs() < 1e-15;
            assert!(same, "{found} against {expected}");
        }
    }
}
