//! What the kernels of the attention family are told at each call.

use std::f32::consts::LOG2_E;

use crate::kernel::params;
use crate::{Alibi, AttentionSpec};

params! {
    /// `attention/params`.
    TaskParams {
        works: u32,
        splits: u32,
        tiles: u32,
        q_len: u32,
        k_len: u32,
        heads: u32,
        kv_heads: u32,
        rows: u32,
        head_rows: u32,
        left: i32,
        right: i32,
        scale: f32,
        softcap: f32,
        slopes: u32,
        unseen: f32,
    }
}

impl TaskParams {
    /// For tiles of that many rows of `heads` heads of sequences of `length`.
    pub(super) fn new(
        spec: &AttentionSpec,
        (length, heads): (usize, usize),
        tile_rows: u32,
        splits: u32,
    ) -> Self {
        let tiles = length.div_ceil(tile_rows as usize);
        let works = (spec.batch * tiles) as u32;
        let right = if spec.causal { Some(0) } else { spec.window.right };
        Self {
            // No more than elements of the outputs of all splits, which fit.
            groups: works * heads as u32 * splits,
            works,
            splits,
            tiles: tiles as u32,
            q_len: spec.q_len as u32,
            k_len: spec.k_len as u32,
            heads: spec.heads as u32,
            kv_heads: spec.kv_heads as u32,
            rows: spec.lse_shape().iter().product::<usize>() as u32,
            head_rows: spec.q_len as u32,
            left: side(spec.window.left),
            right: side(right),
            scale: spec.scale_or_default() * LOG2_E,
            softcap: spec.softcap.unwrap_or(1.0) * LOG2_E,
            slopes: if spec.alibi == Alibi::PerBatchHead { spec.heads as u32 } else { 0 },
            unseen: f32::NEG_INFINITY,
        }
    }
}

/// Lengths fit an i32, and so a side that does not is as good as unbounded.
fn side(keys: Option<usize>) -> i32 {
    keys.and_then(|keys| i32::try_from(keys).ok()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    /// As in `attention/mask.wgsl`.
    fn keys_seen(params: &TaskParams, query: i32) -> (i32, i32) {
        let [q_len, k_len] = [params.q_len, params.k_len].map(u32::cast_signed);
        let position = query - q_len + k_len;
        let first = position.max(params.left) - params.left;
        let end = (position + params.right.min(q_len - 1 - query) + 1).max(0);
        (first, end)
    }

    #[test]
    fn the_range_of_keys_moves_with_the_query() {
        let lengths = [(1, 1), (1, 7), (7, 1), (5, 8), (8, 5), (6, 6)];
        let sides = [None, Some(0), Some(1), Some(3), Some(100), Some(usize::MAX)];
        let windows = || sides.iter().flat_map(|&left| sides.map(|right| (left, right)));
        for (lengths, (left, right)) in lengths.iter().flat_map(|&l| windows().map(move |w| (l, w))) {
            let spec = AttentionSpec::new(DType::F32, 1, lengths, 1, 8).window(left, right);
            for spec in [spec, spec.causal()] {
                let params = TaskParams::new(&spec, (spec.q_len, 1), 4, 1);
                for (i, query) in (0..spec.q_len).zip(0_i32..) {
                    let (first, end) = keys_seen(&params, query);
                    let (seen_first, seen_end) = spec.keys_seen(i);
                    assert_eq!(
                        (seen_first..seen_end).collect::<Vec<_>>(),
                        (first..end).map(|key| key as usize).collect::<Vec<_>>(),
                        "query {i} of {spec:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_longest_lengths_do_not_overflow() {
        let longest = i32::MAX as usize;
        let spec = AttentionSpec::new(DType::F32, 1, (longest, longest), 1, 1);
        for spec in
            [spec, spec.window(Some(usize::MAX), Some(usize::MAX)), spec.window(Some(longest - 1), None)]
        {
            let params = TaskParams::new(&spec, (longest, 1), 4, 1);
            assert_eq!(keys_seen(&params, 0), (0, i32::MAX));
            assert_eq!(keys_seen(&params, i32::MAX - 1), (0, i32::MAX));
        }
        let params = TaskParams::new(&spec.causal().window(Some(2), None), (longest, 1), 4, 1);
        assert_eq!(keys_seen(&params, i32::MAX - 1), (i32::MAX - 3, i32::MAX));
    }
}
