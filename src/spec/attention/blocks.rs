//! Masks of blocks.

use crate::spec::{at_least_one, elements, wrong};
use crate::{AttentionSpec, SpecError};

/// Which blocks of keys each block of queries sees (Dao 2023, chapter 3), for all heads alike, for each head or for each
/// head of each batch.
///
/// A block is `queries × keys` of any size; the last ones may be cut short by the end of the sequence. Kernels visit tiles
/// of their own size, and a tile of which no block is seen costs nothing. Where a block is a whole number of tiles each
/// way, as with multiples of 128, that is all; where it is not, tiles across an edge are visited, and ask the mask about
/// each element.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlockMask {
    queries: usize,
    keys: usize,
    /// Batches and heads, 1 where they share a mask, and blocks of queries and of keys.
    shape: [usize; 4],
    blocks: Vec<bool>,
}

impl BlockMask {
    /// A mask of blocks of `(queries, keys)`, of shape (blocks of queries, blocks of keys), perhaps with heads, or with
    /// batches and heads, in front. Fails if the shape has another number of sizes, or `blocks` does not fill it.
    pub fn new((queries, keys): (usize, usize), shape: &[usize], blocks: &[bool]) -> Result<Self, SpecError> {
        at_least_one(&[("block_mask's block of queries", queries), ("block_mask's block of keys", keys)])?;
        let shape = match *shape {
            [q, k] => [1, 1, q, k],
            [h, q, k] => [1, h, q, k],
            [b, h, q, k] => [b, h, q, k],
            _ => return Err(wrong("block_mask", &format!("of shape {shape:?}"), "two to four sizes")),
        };
        let count = elements("block_mask", &shape)?;
        if count != blocks.len() {
            let found = format!("{} elements", blocks.len());
            return Err(wrong("block_mask", &found, format!("{count} for shape {shape:?}")));
        }
        Ok(Self { queries, keys, shape, blocks: blocks.to_vec() })
    }

    /// The mask that `shows` describes: whether a block of queries (its number) sees a block of keys, for all heads alike.
    pub fn from_fn(
        spec: &AttentionSpec,
        (queries, keys): (usize, usize),
        shows: impl Fn(usize, usize) -> bool,
    ) -> Result<Self, SpecError> {
        at_least_one(&[("block_mask's block of queries", queries), ("block_mask's block of keys", keys)])?;
        let shape = [spec.q_len.div_ceil(queries), spec.k_len.div_ceil(keys)];
        let count = elements("block_mask", &shape)?;
        let blocks: Vec<_> = (0..count).map(|n| shows(n / shape[1], n % shape[1])).collect();
        Self::new((queries, keys), &shape, &blocks)
    }

    /// Queries of a block and keys of a block.
    pub fn block(&self) -> (usize, usize) {
        (self.queries, self.keys)
    }

    /// Batches and heads, 1 where they share a mask, and blocks of queries and of keys.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The mask, row by row.
    pub fn as_slice(&self) -> &[bool] {
        &self.blocks
    }

    /// Whether the block of query `i` sees that of key `j`.
    pub fn shows(&self, b: usize, h: usize, i: usize, j: usize) -> bool {
        self.shows_block(b, h, i / self.queries, j / self.keys)
    }

    /// Whether a block of queries sees a block of keys.
    pub(crate) fn shows_block(&self, b: usize, h: usize, q_block: usize, k_block: usize) -> bool {
        let [batches, heads, q_blocks, k_blocks] = self.shape;
        let row = ((b % batches) * heads + h % heads) * q_blocks + q_block;
        self.blocks[row * k_blocks + k_block]
    }

    /// Whether it differs from batch to batch, and from head to head.
    pub(crate) fn depends_on(&self) -> (bool, bool) {
        (self.shape[0] > 1, self.shape[1] > 1)
    }

    /// Fails unless the mask has the shape that the spec's lengths and heads ask for. Packed sequences, which have lengths
    /// of their own, have no such shape.
    pub fn check(&self, spec: &AttentionSpec) -> Result<(), SpecError> {
        if spec.packed.is_some() {
            return Err(wrong("block_mask", &"given", "none where sequences are packed"));
        }
        let [batches, heads, q_blocks, k_blocks] = self.shape;
        let expected = [spec.q_len.div_ceil(self.queries), spec.k_len.div_ceil(self.keys)];
        let shared = |found: usize, all: usize| found == 1 || found == all;
        if [q_blocks, k_blocks] == expected && shared(batches, spec.batch) && shared(heads, spec.heads) {
            return Ok(());
        }
        let [q, k] = expected;
        let expected = format!(
            "[{q}, {k}] after at most {} batches and {} heads, for blocks of {} × {} in {} × {}",
            spec.batch, spec.heads, self.queries, self.keys, spec.q_len, spec.k_len
        );
        Err(wrong("block_mask", &format!("of shape {:?}", self.shape), expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn a_mask_of_the_wrong_shape_is_refused_with_numbers() {
        let spec = AttentionSpec::new(DType::F32, 2, (100, 130), 4, 8);
        let mask = |shape: &[usize]| BlockMask::new((32, 64), shape, &vec![true; shape.iter().product()]);
        for good in [&[4, 3][..], &[4, 4, 3], &[1, 4, 3], &[2, 4, 4, 3], &[2, 1, 4, 3]] {
            mask(good).unwrap().check(&spec).unwrap();
        }
        for bad in [&[3, 3][..], &[4, 2], &[2, 4, 3], &[3, 4, 4, 3]] {
            let error = mask(bad).unwrap().check(&spec).unwrap_err().to_string();
            assert!(error.contains("expected [4, 3]") && error.contains("32 × 64 in 100 × 130"), "{error}");
        }
        assert!(mask(&[12]).is_err());
        assert!(BlockMask::new((0, 64), &[4, 3], &[true; 12]).is_err());
        let error = BlockMask::new((32, 64), &[4, 3], &[true; 11]).unwrap_err().to_string();
        assert!(error.contains("11 elements") && error.contains("12"), "{error}");
    }

    #[test]
    fn blocks_are_looked_up_by_element() {
        let spec = AttentionSpec::new(DType::F32, 1, (5, 7), 2, 8);
        let mask = BlockMask::from_fn(&spec, (2, 3), |q, k| q == k).unwrap();
        assert_eq!(mask.shape(), [1, 1, 3, 3]);
        assert!(mask.shows(0, 1, 3, 5) && !mask.shows(0, 1, 3, 6) && mask.shows(0, 0, 4, 6));
        let by_head = BlockMask::new((8, 8), &[2, 1, 1], &[true, false]).unwrap();
        assert!(by_head.shows(0, 0, 4, 6) && !by_head.shows(0, 1, 4, 6));
        assert_eq!(by_head.depends_on(), (false, true));
    }
}
