//! The tiles of attention of few queries.

use super::tile::Products;
use crate::caps::{Bytes, Caps, Native};
use crate::plan::Exchange;

/// How a workgroup goes over keys for few rows: `attention/forward_direct.wgsl`. Keys and values are used as they are read,
/// and not staged, since no two lanes use the same word of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DirectTile {
    /// Queries, of all heads that share a key head.
    pub rows: u32,
    /// Lanes that share four keys.
    pub part_lanes: u32,
    /// Groups of them in a workgroup.
    pub column_lanes: u32,
    /// Fours of a key that a lane takes.
    pub key_fours: u32,
    /// Fours of a value.
    pub value_fours: u32,
    #[cfg_attr(feature = "serde", serde(skip))]
    native: Native,
}

/// Lanes of a workgroup: a few such workgroups fill a multiprocessor, and each is done soon.
const LANES: u32 = 128;

/// The most rows: with more, a lane's share of them leaves the registers.
const ROWS: usize = 8;

/// Fours of outputs, over all rows, that stay in a lane's registers beside keys and values.
const OUTPUT_FOURS: u32 = 32;

/// The most lanes that share a key: sixteen read 128 bytes of f16 at a time.
const PART_LANES: u32 = 16;

impl DirectTile {
    /// The tile for few rows. `None` if they are too many for it, the adapter too small, or its lanes cannot shuffle:
    /// through workgroup memory their exchanges cost more barriers than staging does.
    pub(super) fn choose(products: Products, caps: &Caps) -> Option<Self> {
        let Products { dots, widest, .. } = products;
        let lanes = LANES.min(caps.workgroup_lanes);
        // Lanes that share a key are of one subgroup.
        let wide = dots.max(widest).div_ceil(4).next_power_of_two();
        let part_lanes = wide.min(PART_LANES).min(caps.subgroups?.min).max(2);
        let fours = |width: u32| width.div_ceil(4 * part_lanes);
        let tile = Self {
            rows: products.rows.clamp(1, ROWS) as u32,
            part_lanes,
            column_lanes: lanes / part_lanes,
            key_fours: fours(dots),
            value_fours: fours(widest),
            native: Native::HERE?,
        };
        let fits = products.rows <= ROWS
            && tile.rows * tile.value_fours <= OUTPUT_FOURS
            && tile.workgroup_bytes() <= caps.workgroup_bytes;
        let shuffles = Exchange::choose(lanes, part_lanes, caps) == Exchange::Subgroup;
        (fits && shuffles && lanes.is_power_of_two()).then_some(tile)
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        self.part_lanes * self.column_lanes
    }

    /// Keys of a tile.
    pub fn columns(&self) -> u32 {
        self.column_lanes * 4
    }

    /// Fours of the queries in workgroup memory, with those past their width.
    fn query_fours(&self) -> u32 {
        self.rows * self.key_fours * self.part_lanes
    }

    /// Bytes of workgroup memory: queries, and a four from each lane at the end.
    pub fn workgroup_bytes(&self) -> u32 {
        16 * (self.query_fours() + self.lanes())
    }

    /// Turns that the loops of a lane take over a tile, at most, where a block of four scores takes so many of its own.
    pub(super) fn turns(&self, block_turns: u32) -> u32 {
        1 + self.rows * (self.part_lanes + block_turns)
    }

    /// Turns that they take once, before and after all tiles.
    pub(super) fn outer_turns(&self) -> u32 {
        self.query_fours().div_ceil(self.lanes()) + self.rows * (2 + self.value_fours) * self.column_lanes
    }

    /// The tile in words, and what the memory is for.
    pub(super) fn explain(&self) -> String {
        let bytes = Bytes(self.workgroup_bytes().into());
        format!(
            "{} lanes, {} for four keys, sums through subgroup shuffles, {bytes} of workgroup memory for queries",
            self.lanes(),
            self.part_lanes,
        )
    }
}
