//! What mods ask of the kernels, and the tables of tiles that are worth a visit.

use std::fmt;

use crate::caps::Caps;
use crate::plan::{Footprint, check_binding, check_turns};
use crate::spec::elements;
use crate::{AttentionSpec, BlockMask, DType, Mods, PlanError};

/// What the mods of an attention ask of its kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(clippy::struct_excessive_bools, reason = "each is asked by itself")]
pub struct ModsStructure {
    /// Whether scores are changed.
    pub scores: bool,
    /// Whether mods hide keys.
    pub masks: bool,
    /// Whether what is hidden is asked about in every tile within the range of positions: where sequences have different
    /// lengths, and where no tile is left out. Elsewhere there is a table of tiles that are worth a visit.
    pub everywhere: bool,
    /// Queries and keys of a block, if blocks are hidden.
    pub block: Option<(u32, u32)>,
    /// Whether batches, and whether heads, see different keys.
    pub apart: (bool, bool),
    /// Buffers that the mods read.
    pub buffers: u32,
    /// Buffers that mask mods read.
    pub mask_buffers: u32,
    /// Whether the table of tiles to visit or of packed sequences, the mask of blocks and the buffers are copied into one,
    /// since the adapter binds too few.
    pub together: bool,
}

/// Lanes of the kernels that make tables.
pub const VISIT_LANES: u32 = 64;

/// Tiles are not made smaller than this for the sake of small blocks.
const LEAST_ROWS: usize = 32;

impl ModsStructure {
    pub(super) fn new(spec: &AttentionSpec, mods: &Mods) -> Self {
        Self {
            scores: !mods.scores.is_empty(),
            masks: !mods.masks.is_empty(),
            everywhere: spec.packed.is_some(),
            block: mods.blocks.as_ref().map(BlockMask::block).map(|(q, k)| (clamp(q), clamp(k))),
            apart: mods.masks_depend_on(),
            buffers: mods.buffers().len() as u32,
            mask_buffers: mods.mask_buffers().len() as u32,
            together: false,
        }
    }

    /// The same for kernels that leave no tile out.
    pub(super) fn asked_everywhere(self) -> Self {
        Self { everywhere: true, ..self }
    }

    /// Whether there is a table of tiles to visit.
    pub fn has_table(&self) -> bool {
        !self.everywhere && (self.masks || self.block.is_some())
    }

    /// Whether the GPU finds out what is worth a visit, and which of that need not be asked about.
    pub fn finds_table(&self) -> bool {
        !self.everywhere && self.masks
    }

    /// Whether a kernel with such tiles asks masks about elements.
    pub fn asks(&self, tile: (u32, u32)) -> bool {
        self.masks || self.cuts_blocks(tile)
    }

    /// Whether a kernel with tiles of so many queries and keys asks the mask of blocks about elements: some tile may lie
    /// across the edge of a block.
    pub fn cuts_blocks(&self, (queries, keys): (u32, u32)) -> bool {
        let cut = |(q, k): (u32, u32)| !q.is_multiple_of(queries) || !k.is_multiple_of(keys);
        self.block.is_some_and(|block| self.everywhere || cut(block))
    }

    /// Whether kernels read anything for them.
    pub(super) fn reads(&self) -> bool {
        self.buffers > 0 || self.block.is_some() || self.has_table()
    }

    /// Storage buffers that a kernel with such tiles binds for the mods.
    pub fn storage_buffers(&self, tile: (u32, u32)) -> u32 {
        self.bound(u32::from(self.has_table()) + u32::from(self.cuts_blocks(tile)) + self.buffers)
    }

    /// Storage buffers that finding the tiles to visit binds beside the classes.
    fn class_buffers(&self) -> u32 {
        self.bound(u32::from(self.block.is_some()) + self.mask_buffers)
    }

    fn bound(&self, buffers: u32) -> u32 {
        if self.together { buffers.min(1) } else { buffers }
    }

    /// Queries that a tile is best not taller than: a taller one would visit what only some of its rows see.
    pub(super) fn query_rows(&self, queries: usize) -> usize {
        self.block.map_or(queries, |(block, _)| queries.min((block as usize).max(LEAST_ROWS)))
    }

    /// The same of keys, where they are the rows of a tile.
    pub(super) fn key_rows(&self, keys: usize) -> usize {
        self.block.map_or(keys, |(_, block)| keys.min((block as usize).max(LEAST_ROWS)))
    }
}

impl fmt::Display for ModsStructure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scores, block, .. } = self;
        if *scores {
            write!(f, "; scores modified")?;
        }
        if let Some((queries, keys)) = block {
            write!(f, "; blocks of {queries} × {keys}")?;
        }
        match (self.masks, block) {
            (false, None) => {}
            _ if self.everywhere => write!(f, "; masks asked everywhere")?,
            (true, _) => write!(f, "; tiles to visit found by asking the masks")?,
            (false, Some(_)) => write!(f, "; tiles to visit listed beforehand")?,
        }
        if self.together { write!(f, "; their buffers bound together") } else { Ok(()) }
    }
}

/// Blocks longer than any sequence are all the same.
fn clamp(size: usize) -> u32 {
    size.min(i32::MAX as usize) as u32
}

/// A table of the tiles that each tile of rows visits: `attention/visit_table`. Rows are queries and columns keys, or the
/// other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct VisitTable {
    /// Batches with rows of their own.
    pub batches: usize,
    /// Heads with rows of their own.
    pub heads: usize,
    /// Queries and keys of a tile.
    pub tile: (u32, u32),
    /// Tiles of queries and tiles of keys.
    pub tiles: (usize, usize),
    /// Whether the rows are keys.
    pub by_keys: bool,
}

/// How much of a tile is seen, as in `attention/visit_classes`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    None,
    Some,
    All,
}

impl VisitTable {
    /// The table for kernels with such tiles, if the mods ask for one. Fails if it is more than the adapter holds.
    pub fn new(
        spec: &AttentionSpec,
        mods: &ModsStructure,
        tile: (u32, u32),
        by_keys: bool,
        caps: &Caps,
    ) -> Result<Option<Self>, PlanError> {
        if !mods.has_table() {
            return Ok(None);
        }
        let table = Self {
            batches: if mods.apart.0 { spec.batch } else { 1 },
            heads: if mods.apart.1 { spec.heads } else { 1 },
            tile,
            tiles: (spec.q_len.div_ceil(tile.0 as usize), spec.k_len.div_ceil(tile.1 as usize)),
            by_keys,
        };
        elements(
            "the table of tiles to visit",
            &[table.batches, table.heads, table.tiles.0, table.tiles.1, 3],
        )?;
        check_binding("the table of tiles to visit", table.words(), DType::F32, caps)?;
        check_turns("attention/visit_lists", table.columns() as u64, caps)?;
        Ok(Some(table))
    }

    /// Lists, over all batches and heads.
    pub fn lists(&self) -> usize {
        self.batches * self.heads * self.rows()
    }

    /// Tiles of rows.
    pub fn rows(&self) -> usize {
        if self.by_keys { self.tiles.1 } else { self.tiles.0 }
    }

    /// Tiles of columns.
    pub fn columns(&self) -> usize {
        if self.by_keys { self.tiles.0 } else { self.tiles.1 }
    }

    /// Tiles over all batches and heads.
    pub fn classes(&self) -> usize {
        self.batches * self.heads * self.tiles.0 * self.tiles.1
    }

    /// Rows from one batch to the next, and from one head to the next.
    pub fn steps(&self) -> (u32, u32) {
        let step = |all: usize, rows: usize| if all > 1 { rows as u32 } else { 0 };
        (step(self.batches, self.heads * self.rows()), step(self.heads, self.rows()))
    }

    /// Words of the table, if every tile is visited.
    pub fn words(&self) -> usize {
        2 + 2 * self.lists() + self.classes()
    }

    /// The kernels that make the table on the GPU, which mods that hide keys ask for.
    pub(super) fn footprints(mods: &ModsStructure) -> Vec<Footprint> {
        let classes = Footprint {
            kernel: "attention/visit_classes",
            lanes: VISIT_LANES,
            workgroup_bytes: 16,
            storage_buffers: 1 + mods.class_buffers(),
        };
        let lists = Footprint {
            kernel: "attention/visit_lists",
            lanes: VISIT_LANES,
            workgroup_bytes: 0,
            storage_buffers: 2,
        };
        if mods.finds_table() { vec![classes, lists] } else { vec![] }
    }

    /// The table of a mask of blocks that has passed its check.
    pub fn of_blocks(&self, spec: &AttentionSpec, mask: &BlockMask) -> Vec<u32> {
        let (by_batch, by_head) = self.steps();
        let mut table = vec![by_batch, by_head];
        let mut visits = Vec::new();
        let first = 2 + 2 * self.lists();
        for (batch, head) in
            (0..self.batches).flat_map(|batch| (0..self.heads).map(move |head| (batch, head)))
        {
            for row in 0..self.rows() {
                let start = visits.len();
                for column in 0..self.columns() {
                    let (q, k) = if self.by_keys { (column, row) } else { (row, column) };
                    let class = self.class(spec, mask, (batch, head), (q, k));
                    if class != Class::None {
                        visits.push(2 * column as u32 + u32::from(class == Class::All));
                    }
                }
                table.extend([(first + start) as u32, (visits.len() - start) as u32]);
            }
        }
        table.extend(visits);
        table
    }

    /// How much is seen of a tile of queries by a tile of keys, by position and by block.
    fn class(
        &self,
        spec: &AttentionSpec,
        mask: &BlockMask,
        (batch, head): (usize, usize),
        (q, k): (usize, usize),
    ) -> Class {
        let (queries, keys) = (self.tile.0 as usize, self.tile.1 as usize);
        let (first, last) = (q * queries, ((q + 1) * queries).min(spec.q_len) - 1);
        let (from, to) = (k * keys, (k + 1) * keys);
        // The range of keys moves with the query, and never back.
        let ((low, low_end), (high, high_end)) = (spec.keys_seen(first), spec.keys_seen(last));
        if low >= to || high_end <= from {
            return Class::None;
        }
        let (block_q, block_k) = mask.block();
        let last_key = to.min(spec.k_len) - 1;
        // Where queries are the columns, none past the end may pass for one that sees.
        let whole = !self.by_keys || (q + 1) * queries <= spec.q_len;
        let (mut some, mut all) = (false, whole && high <= from && to <= low_end);
        for q_block in first / block_q..=last / block_q {
            for k_block in from / block_k..=last_key / block_k {
                let shown = mask.shows_block(batch, head, q_block, k_block);
                some |= shown;
                all &= shown;
            }
        }
        match (some, all) {
            (false, _) => Class::None,
            (true, false) => Class::Some,
            (true, true) => Class::All,
        }
    }
}

/// A mask of blocks in the words of `attention/blocks_masked`.
pub fn block_words(mask: &BlockMask) -> Vec<u32> {
    let [_, heads, q_blocks, k_blocks] = mask.shape();
    let (by_batch, by_head) = mask.depends_on();
    let step = |differs: bool, blocks: usize| if differs { blocks as u32 } else { 0 };
    let (queries, keys) = mask.block();
    let mut words = vec![
        clamp(queries),
        clamp(keys),
        k_blocks as u32,
        step(by_head, q_blocks * k_blocks),
        step(by_batch, heads * q_blocks * k_blocks),
    ];
    let bits = mask.as_slice().chunks(32);
    words.extend(bits.map(|bits| (0..).zip(bits).fold(0, |word, (n, &bit)| word | u32::from(bit) << n)));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element that is seen is visited, `whole` is true of what it is said of, and nothing else is visited.
    fn check(spec: &AttentionSpec, mask: &BlockMask, tile: (u32, u32), by_keys: bool) -> usize {
        let mods = ModsStructure::new(spec, &Mods::new().blocks(mask.clone()));
        let table =
            VisitTable::new(spec, &mods, tile, by_keys, &crate::caps::WEBGPU_BASELINE).unwrap().unwrap();
        let words = table.of_blocks(spec, mask);
        let mut visited = 0;
        for (b, h) in (0..spec.batch).flat_map(|b| (0..spec.heads).map(move |h| (b, h))) {
            for row in 0..table.rows() {
                let list = 2 + 2 * (b * words[0] as usize + h * words[1] as usize + row);
                let visits = &words[words[list] as usize..][..words[list + 1] as usize];
                visited += visits.len();
                for column in 0..table.columns() {
                    let visit = visits.iter().find(|visit| **visit as usize / 2 == column);
                    let (q, k) = if by_keys { (column, row) } else { (row, column) };
                    let (queries, keys) = (tile.0 as usize, tile.1 as usize);
                    let seen = |i: usize, j: usize| {
                        let (first, end) = spec.keys_seen(i);
                        (first..end).contains(&j) && mask.shows(b, h, i, j)
                    };
                    let queries = q * queries..((q + 1) * queries).min(spec.q_len);
                    let pairs = queries.flat_map(|i| (k * keys..(k + 1) * keys).map(move |j| (i, j)));
                    let all: Vec<_> = pairs.map(|(i, j)| seen(i, j)).collect();
                    assert!(visit.is_some() || !all.contains(&true), "{spec}: ({q}, {k}) is left out");
                    if let Some(visit) = visit {
                        let cut = by_keys && (q + 1) * tile.0 as usize > spec.q_len;
                        assert_eq!(visit % 2 == 1, !cut && !all.contains(&false), "{spec}: ({q}, {k}) whole");
                    }
                }
            }
        }
        visited
    }

    #[test]
    fn tables_visit_what_is_seen() {
        let spec = AttentionSpec::new(DType::F32, 2, (100, 130), 2, 8);
        for spec in [spec, spec.causal(), spec.window(Some(20), Some(3)), AttentionSpec { q_len: 7, ..spec }]
        {
            for block in [(32, 32), (20, 48), (7, 5), (64, 128), (1000, 1)] {
                let mask = BlockMask::from_fn(&spec, block, |q, k| (q * 7 + k * 3) % 4 == 0).unwrap();
                for tile in [(16, 32), (4, 128), (32, 32)] {
                    check(&spec, &mask, tile, false);
                    check(&spec, &mask, tile, true);
                }
            }
        }
    }

    #[test]
    fn blocks_of_whole_tiles_are_visited_and_no_more() {
        let spec = AttentionSpec::new(DType::F32, 2, (128, 256), 2, 8);
        let shape = [2, 4, 4];
        let blocks: Vec<_> = (0..32).map(|n| n % 5 == 0).collect();
        let kept = blocks.iter().filter(|&&shown| shown).count();
        let mask = BlockMask::new((32, 64), &shape, &blocks).unwrap();
        mask.check(&spec).unwrap();
        let mods = ModsStructure::new(&spec, &Mods::new().blocks(mask.clone()));
        assert_eq!(mods.apart, (false, true));
        assert!(!mods.cuts_blocks((16, 32)) && mods.cuts_blocks((64, 32)) && mods.cuts_blocks((32, 128)));
        // Each block is four tiles, and both batches make the same visits.
        assert_eq!(check(&spec, &mask, (16, 32), false), 2 * 4 * kept);
        assert_eq!(check(&spec, &mask, (16, 32), true), 2 * 4 * kept);
        let words = block_words(&mask);
        assert_eq!(words[..5], [32, 64, 4, 16, 0]);
        assert_eq!(words[5].count_ones() as usize, kept);
    }
}
