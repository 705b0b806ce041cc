//! The tiles of attention on matrix units.

use super::AttentionStructure;
use crate::caps::{Bytes, Caps, MatrixUnits};
use crate::shader::Format;

/// How a workgroup multiplies tiles of queries by tiles of keys on matrix units: `attention/matrix_tile.wgsl`. For the
/// gradients of keys and values, rows are keys and columns queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MatrixTile {
    /// The matrices.
    pub units: MatrixUnits,
    /// Subgroups of a workgroup.
    pub subgroups: u32,
    /// Rows of a subgroup, queries as a rule: as many as it has lanes, or half as many, of two lanes each.
    pub subgroup_rows: u32,
    /// Columns of a tile, keys as a rule.
    pub columns: u32,
    /// Width of a query and a key, in whole matrices.
    pub key_columns: u32,
    /// Width of a value, in whole matrices.
    pub value_columns: u32,
    /// What the tile is for.
    pub pass: MatrixPass,
}

/// Which pass goes over a tile: each takes notes of its own in workgroup memory, and turns of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum MatrixPass {
    /// Outputs.
    Forward {
        /// Whether subgroups bring them to a new measure together, and not each when it must.
        together: bool,
    },
    /// Gradients.
    Backward,
}

/// Width of a query and a value together from which on heads are wide, and a subgroup takes as many queries as it has lanes:
/// what it loads of a tile serves more of them. Of narrow heads it takes half as many, since then two workgroups fit beside
/// one another, and one computes while the other waits. Both as measured on an NVIDIA H100, whose workgroups share 48 KiB.
const WIDE_COLUMNS: u32 = 192;

/// Subgroups of a workgroup, at most.
const SUBGROUPS: [u32; 4] = [8, 4, 2, 1];

/// Keys of a tile: with 32, fewer workgroups fit beside one another, which costs more than it saves (NVIDIA H100).
const COLUMNS: u32 = 16;

/// Numbers of a lane's share of queries and outputs that stay in registers beside the rest.
const REGISTERS: u32 = 192;

impl MatrixTile {
    /// The tile for so many rows, if the adapter has matrix units for how queries, keys and values are stored.
    pub(super) fn choose(structure: &AttentionStructure, rows: usize, caps: &Caps) -> Option<Self> {
        let base = Self::smallest(structure, caps)?;
        let Self { units, key_columns, value_columns, .. } = base;
        let full = units.subgroup_lanes;
        let half = (full / 2).max(units.side);
        let wide = key_columns + value_columns >= WIDE_COLUMNS;
        let heights = if wide { &[full, half][..] } else { &[half] };
        let sizes =
            SUBGROUPS.into_iter().flat_map(|subgroups| heights.iter().map(move |&rows| (subgroups, rows)));
        sizes
            .map(|(subgroups, subgroup_rows)| Self {
                subgroups,
                subgroup_rows,
                columns: COLUMNS,
                pass: MatrixPass::Forward { together: caps.joint_barriers },
                ..base
            })
            .find(|tile| tile.is_filled(rows) && tile.fits(tile.key_columns / 2 + tile.value_columns, caps))
    }

    /// The tile for gradients of so many rows, `held` numbers of each of which stay in registers: of as many rows of a
    /// subgroup as columns.
    pub(super) fn square(
        structure: &AttentionStructure,
        rows: usize,
        held: u32,
        caps: &Caps,
    ) -> Option<Self> {
        let base = Self::smallest(structure, caps)?;
        let tiles = SUBGROUPS.map(|subgroups| Self { subgroups, ..base });
        tiles.into_iter().find(|tile| tile.is_filled(rows) && tile.fits(held, caps))
    }

    /// A subgroup with one matrix of rows and one of columns. Other storages than f16 would lose range.
    fn smallest(structure: &AttentionStructure, caps: &Caps) -> Option<Self> {
        let units = caps.matrix_units()?;
        let side = units.side;
        let cached = structure.cache.map(|cache| [cache.keys, cache.values]).into_iter().flatten();
        let mut read = [structure.key_storage, structure.value_storage].into_iter().chain(cached);
        // A row has one lane or two.
        let high = units.subgroup_lanes / side;
        if !read.all(|storage| storage.format == Format::F16 && storage.vectors) || !matches!(high, 1 | 2) {
            return None;
        }
        let [key_columns, value_columns] =
            [structure.head_dim, structure.value_dim].map(|width| width.next_multiple_of(side));
        let (subgroup_rows, columns) = (side, side);
        Some(Self {
            units,
            subgroups: 1,
            subgroup_rows,
            columns,
            key_columns,
            value_columns,
            pass: MatrixPass::Backward,
        })
    }

    /// Whether so many rows fill half of a tile and more.
    fn is_filled(&self, rows: usize) -> bool {
        rows * 2 > self.rows() as usize
    }

    /// Whether the adapter has the room, where so many numbers of each row stay in registers.
    fn fits(&self, held: u32, caps: &Caps) -> bool {
        held * self.subgroup_rows / self.units.subgroup_lanes <= REGISTERS
            && self.lanes() <= caps.workgroup_lanes
            && self.workgroup_bytes() <= caps.workgroup_bytes
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        self.subgroups * self.units.subgroup_lanes
    }

    /// Rows of a tile.
    pub fn rows(&self) -> u32 {
        self.subgroups * self.subgroup_rows
    }

    /// Bytes of workgroup memory. Rows are padded by eight f16, or four f32.
    pub fn workgroup_bytes(&self) -> u32 {
        let staged = self.columns * (self.key_columns + 8 + self.value_columns + 8) * 2;
        let exchanged = self.rows() * ((self.columns + 8) * 2 + (self.columns + 4) * 4);
        let noted = match self.pass {
            MatrixPass::Forward { together } => 16 + if together { 16 } else { 0 },
            MatrixPass::Backward => 16 + self.columns * 4,
        };
        staged + exchanged + noted
    }

    /// Lanes of a row.
    pub(crate) fn row_lanes(&self) -> u32 {
        self.units.subgroup_lanes / self.subgroup_rows
    }

    /// Fours of rows of that width that a lane stages of a tile of keys.
    pub(crate) fn staged_fours(&self, width: u32) -> u32 {
        (self.columns * width / 4).div_ceil(self.lanes())
    }

    /// Turns that the loops of a lane take over a tile, at most, where a block of four scores takes so many of its own.
    pub(super) fn turns(&self, block_turns: u32) -> u32 {
        let fours = self.columns / 4;
        if self.pass == MatrixPass::Backward {
            return 1 + fours * (1 + block_turns);
        }
        let scores = fours * (3 + block_turns);
        // In the end, what was left out of values, for each matrix of outputs.
        let wild = fours * (1 + 5 * self.key_columns / 4 + 4 * (1 + self.units.side / 4) + block_turns);
        let outputs = self.value_columns / self.units.side;
        let faded = self.value_columns / 4;
        1 + scores + faded + outputs * (1 + wild)
    }

    /// Turns that they take once, before and after all tiles.
    pub(super) fn outer_turns(&self) -> u32 {
        (self.key_columns + self.value_columns) / 4
    }

    /// The tile in words, and what the memory is for.
    pub(super) fn explain(&self) -> String {
        let Self { units: MatrixUnits { side, .. }, subgroups, subgroup_rows, .. } = self;
        let lanes = if self.row_lanes() == 1 { "a lane" } else { "two lanes" };
        let bytes = Bytes(self.workgroup_bytes().into());
        format!(
            "{subgroups} subgroups of {subgroup_rows} rows of {lanes} each, matrices of {side} × {side}, {bytes} of \
             workgroup memory"
        )
    }
}
