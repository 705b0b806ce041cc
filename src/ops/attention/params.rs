//! What the kernels of the attention family are told at each call.

use std::f32::consts::LOG2_E;

use crate::kernel::params;
use crate::{Alibi, AttentionSpec, Error, Gpu, Span, Tensor};

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
        batch: u32,
        rows: u32,
        key_rows: u32,
        head_rows: u32,
        left: i32,
        right: i32,
        scale: f32,
        softcap: f32,
        slopes: u32,
        seed_low: u32,
        seed_high: u32,
        drop_below: u32,
        keep_factor: f32,
        page: u32,
        unseen: f32,
    }
}

impl TaskParams {
    /// For `works` of `heads` heads, with what they visit in so many splits.
    pub(super) fn new(
        spec: &AttentionSpec,
        works: &Works,
        (heads, splits): (usize, u32),
        seed: Option<u64>,
    ) -> Self {
        let right = if spec.causal { Some(0) } else { spec.window.right };
        let seed = seed.unwrap_or(0);
        let key_rows: usize = spec.k_shape().iter().rev().skip(1).product();
        Self {
            // No more than elements of the outputs of all splits, which fit.
            groups: works.count * heads as u32 * splits,
            works: works.count,
            splits,
            tiles: works.tiles,
            q_len: spec.q_len as u32,
            k_len: spec.k_len as u32,
            heads: spec.heads as u32,
            kv_heads: spec.kv_heads as u32,
            batch: spec.batch as u32,
            rows: spec.rows() as u32,
            key_rows: key_rows as u32,
            head_rows: spec.packed.map_or(spec.q_len, |packed| packed.total_q) as u32,
            left: side(spec.window.left),
            right: side(right),
            scale: spec.scale_or_default() * LOG2_E,
            softcap: spec.softcap.unwrap_or(1.0) * LOG2_E,
            slopes: if spec.alibi == Alibi::PerBatchHead { spec.heads as u32 } else { 0 },
            seed_low: seed as u32,
            seed_high: (seed >> 32) as u32,
            drop_below: spec.drop_below(),
            keep_factor: spec.keep_factor() as f32,
            page: 1,
            unseen: f32::NEG_INFINITY,
        }
    }
}

/// The tiles of all sequences.
#[derive(Clone, Debug)]
pub(super) struct Works {
    count: u32,
    /// Of a sequence, where all are equally long.
    tiles: u32,
    /// Where sequences lie and which tiles they have, where they are not: `attention/sequences_listed`.
    table: Option<Tensor<u32>>,
}

impl Works {
    /// Tiles of so many of a sequence's queries, of which each makes `group` rows.
    pub(super) fn of_queries(
        gpu: &Gpu,
        spec: &AttentionSpec,
        spans: &[Span],
        rows: u32,
        group: usize,
    ) -> Result<Self, Error> {
        Self::new(gpu, spec, spans, (rows, spec.q_len * group), |span| span.q_len * group)
    }

    /// Tiles of so many rows, where every sequence has as many.
    pub(super) fn even(batch: usize, length: usize, rows: u32) -> Self {
        let tiles = length.div_ceil(rows as usize) as u32;
        Self { count: batch as u32 * tiles, tiles, table: None }
    }

    /// Tiles of so many of its keys.
    pub(super) fn of_keys(gpu: &Gpu, spec: &AttentionSpec, spans: &[Span], rows: u32) -> Result<Self, Error> {
        Self::new(gpu, spec, spans, (rows, spec.k_len), |span| span.k_len)
    }

    fn new(
        gpu: &Gpu,
        spec: &AttentionSpec,
        spans: &[Span],
        (rows, longest): (u32, usize),
        length: impl Fn(&Span) -> usize,
    ) -> Result<Self, Error> {
        if spec.packed.is_none() {
            return Ok(Self::even(spec.batch, longest, rows));
        }
        let words = listed(spans, rows, length);
        let table = Tensor::from_slice(gpu, &[words.len() / 4, 4], &words)?;
        Ok(Self { count: (words.len() / 4 - spans.len()) as u32, tiles: 0, table: Some(table) })
    }

    /// What `attention/sequences_*` binds.
    pub(super) fn bound(&self) -> Option<&wgpu::Buffer> {
        self.table.as_ref().map(Tensor::buffer)
    }
}

/// Where sequences lie, and then their tiles of so many rows, of which none is for padding.
fn listed(spans: &[Span], rows: u32, length: impl Fn(&Span) -> usize) -> Vec<u32> {
    let place = |span: &Span| [span.q_start, span.q_len, span.k_start, span.k_len].map(|size| size as u32);
    let tiles = |span: &Span| length(span).div_ceil(rows as usize) as u32;
    // The last tile of a sequence comes first: under a causal mask it has the most keys to see.
    let of_span = |(batch, span): (u32, &Span)| (0..tiles(span)).rev().map(move |tile| [batch, tile, 0, 0]);
    spans.iter().map(place).chain((0..).zip(spans).flat_map(of_span)).flatten().collect()
}

/// Lengths fit an i32, and so a side that does not is as good as unbounded.
fn side(keys: Option<usize>) -> i32 {
    keys.and_then(|keys| i32::try_from(keys).ok()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    const WORKS: Works = Works { count: 1, tiles: 1, table: None };

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
                let params = TaskParams::new(&spec, &WORKS, (1, 1), None);
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
    fn packed_sequences_have_no_tiles_of_padding() {
        let lengths = [(33, 5), (0, 64), (1, 1), (16, 0)];
        let (mut spans, mut from) = (Vec::new(), (0, 0));
        for (q_len, k_len) in lengths {
            spans.push(Span { q_start: from.0, q_len, k_start: from.1, k_len });
            from = (from.0 + q_len, from.1 + k_len);
        }
        let of_queries = listed(&spans, 16, |span| span.q_len);
        assert_eq!(of_queries[4..8], [33, 0, 5, 64], "the second sequence lies behind the first");
        let tiles: Vec<_> = of_queries[16..].chunks(4).map(|work| [work[0], work[1]]).collect();
        assert_eq!(tiles, [[0, 2], [0, 1], [0, 0], [2, 0], [3, 0]]);
        let of_keys = listed(&spans, 16, |span| span.k_len);
        assert_eq!(of_keys[16..].len() / 4, 1 + 4 + 1, "none for the sequence without keys");
    }

    #[test]
    fn the_longest_lengths_do_not_overflow() {
        let longest = i32::MAX as usize;
        let spec = AttentionSpec::new(DType::F32, 1, (longest, longest), 1, 1);
        for spec in
            [spec, spec.window(Some(usize::MAX), Some(usize::MAX)), spec.window(Some(longest - 1), None)]
        {
            let params = TaskParams::new(&spec, &WORKS, (1, 1), None);
            assert_eq!(keys_seen(&params, 0), (0, i32::MAX));
            assert_eq!(keys_seen(&params, i32::MAX - 1), (0, i32::MAX));
        }
        let params = TaskParams::new(&spec.causal().window(Some(2), None), &WORKS, (1, 1), None);
        assert_eq!(keys_seen(&params, i32::MAX - 1), (i32::MAX - 3, i32::MAX));
    }
}
