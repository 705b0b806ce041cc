//! Oracles of caches: appending, turning rows, and attention to what sequences hold.

use super::{AttentionGiven, AttentionResult, attention_of};
use crate::oracle::Precision;
use crate::{
    Alibi, AppendSpec, AttentionSpec, CacheSpec, CacheView, CachedAttentionSpec, Rotary, RotaryPairs,
    RotateSpec,
};

/// Cosines and sines, as in [`Rotary`].
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// Cosines.
    pub cos: &'a [f64],
    /// Sines.
    pub sin: &'a [f64],
}

/// One row turned by its position.
fn turn(rotary: &Rotary, precision: Precision, tables: Tables<'_>, position: usize, row: &[f64]) -> Vec<f64> {
    let mut turned = row.to_vec();
    let pairs = rotary.dim / 2;
    for pair in 0..pairs {
        let (first, second) = match rotary.pairs {
            RotaryPairs::Half => (pair, pair + pairs),
            RotaryPairs::Interleaved => (2 * pair, 2 * pair + 1),
        };
        let (cos, sin) = (tables.cos[position * pairs + pair], tables.sin[position * pairs + pair]);
        let (a, b) = (row[first], row[second]);
        turned[first] = precision.store(precision.dot([(a, cos), (-b, sin)].into_iter()));
        turned[second] = precision.store(precision.dot([(b, cos), (a, sin)].into_iter()));
    }
    turned
}

/// Rows turned by their positions; `positions` are those of each batch's first row.
pub fn rotate(
    spec: &RotateSpec,
    precision: Precision,
    x: &[f64],
    tables: Tables<'_>,
    positions: &[u32],
) -> Vec<f64> {
    let turned = x.chunks_exact(spec.head_dim).enumerate().flat_map(|(row, values)| {
        let (i, batch) = (row / spec.heads % spec.len, row / spec.heads / spec.len);
        let position = positions[batch] as usize + if spec.in_place { 0 } else { i };
        turn(&spec.rotary, precision, tables, position, values)
    });
    turned.collect()
}

/// New keys and values written into a cache, unless it is quantised.
pub fn append(
    spec: &AppendSpec,
    precision: Precision,
    view: &CacheView,
    tables: Option<Tables<'_>>,
    (k, v): (&[f64], &[f64]),
    (k_cache, v_cache): (&mut [f64], &mut [f64]),
) {
    let CacheSpec { kv_heads, head_dim, value_dim, .. } = spec.cache;
    for (new, (batch, i)) in
        (0..spec.batch).flat_map(|batch| (0..spec.len).map(move |i| (batch, i))).enumerate()
    {
        let position = view.lengths[batch] as usize - spec.len + i;
        let key = view.key(&spec.cache, batch, position);
        for head in 0..kv_heads {
            let (from, to) = (new * kv_heads + head, key * kv_heads + head);
            let row = &k[from * head_dim..][..head_dim];
            let row = match (spec.rotary, tables) {
                (Some(rotary), Some(tables)) => turn(&rotary, precision, tables, position, row),
                _ => row.to_vec(),
            };
            k_cache[to * head_dim..][..head_dim].copy_from_slice(&row);
            v_cache[to * value_dim..][..value_dim].copy_from_slice(&v[from * value_dim..][..value_dim]);
        }
    }
}

/// Attention to what the sequences of a batch hold in a cache: each is a problem of its own, with its own number of keys.
/// The keys and values given are those of the cache. Probabilities are left out: they have no common shape.
pub fn cached_attention(
    CachedAttentionSpec { attention: spec, cache }: &CachedAttentionSpec,
    precision: Precision,
    given: &AttentionGiven<'_>,
    view: &CacheView,
) -> AttentionResult {
    let mut result = AttentionResult { o: vec![], lse: vec![], probabilities: vec![] };
    for sequence in 0..spec.batch {
        let (pad, length) = (view.pad(sequence), view.lengths[sequence] as usize);
        let keys = || (pad..length).map(|key| view.key(cache, sequence, key));
        let rows = |tensor: &[f64], width: usize| -> Vec<f64> {
            let width = spec.kv_heads * width;
            keys().flat_map(|key| tensor[key * width..][..width].to_vec()).collect()
        };
        let (k, v) = (rows(given.k, spec.head_dim), rows(given.v, spec.value_dim));
        let alone = AttentionSpec { batch: 1, k_len: length - pad, ..*spec };
        let width = spec.q_len * spec.heads * spec.head_dim;
        let alibi = given.alibi.map(|slopes| match spec.alibi {
            Alibi::PerBatchHead => &slopes[sequence * spec.heads..][..spec.heads],
            _ => slopes,
        });
        let own = AttentionGiven::new(&given.q[sequence * width..][..width], &k, &v);
        let mods = given.mods.map(|mods| mods.of_batch(sequence));
        let own = AttentionGiven { alibi, sinks: given.sinks, mods: mods.as_ref(), ..own };
        let alone = attention_of(&alone, precision, &own);
        result.o.extend(alone.o);
        result.lse.extend(alone.lse);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn pairs_turn_by_their_angles() {
        // A quarter turn and a half turn: (a, b) becomes (-b, a) and (-a, -b).
        let (cos, sin) = ([1.0, 1.0, 0.0, -1.0], [0.0, 0.0, 1.0, 0.0]);
        let tables = Tables { cos: &cos, sin: &sin };
        let spec = |pairs| RotateSpec::new(DType::F32, 1, 2, 1, 5, Rotary::new(4, pairs, 2));
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let turned =
            |spec: RotateSpec, first| rotate(&spec, Precision::Exact, &x, tables, &[first])[5..].to_vec();
        assert_eq!(turned(spec(RotaryPairs::Half), 0), [-3.0, -2.0, 1.0, -4.0, 5.0]);
        assert_eq!(turned(spec(RotaryPairs::Interleaved), 0), [-2.0, 1.0, -3.0, -4.0, 5.0]);
        assert_eq!(turned(spec(RotaryPairs::Half).in_place(), 0), x[..5]);
    }

    #[test]
    fn new_keys_follow_those_of_their_sequence_and_are_seen() {
        let cache = CacheSpec::pages(DType::F32, 3, 2, 1, 1);
        let view = CacheView::new([3]).block_table([2, 0]).left_pad([1]);
        let spec = AppendSpec::new(cache, 1, 1);
        let (mut k, mut v) = ([0.0, 9.0, 9.0, 9.0, 9.0, 2_f64.ln()], [0.0, 0.0, 0.0, 0.0, 100.0, 6.0]);
        append(&spec, Precision::Exact, &view, None, (&[0.0], &[3.0]), (&mut k, &mut v));
        assert_eq!((k[0], v[0]), (0.0, 3.0), "key 2 is the first of page 0");
        // Key 0 is padding; keys 1 and 2 weigh 2 and 1.
        let attend = AttentionSpec::new(DType::F32, 1, (1, 4), 1, 1).causal();
        let attend = CachedAttentionSpec::new(attend, cache);
        let given = AttentionGiven::new(&[1.0], &k, &v);
        let result = cached_attention(&attend, Precision::Exact, &given, &view);
        assert!((result.o[0] - 5.0).abs() < 1e-12, "{result:?}");
    }
}
