//! The tiles of the attention family.

use crate::PlanError;
use crate::caps::{Bytes, Caps};
use crate::plan::{Bound, Exchange};

/// How a workgroup multiplies a tile of rows by tiles of columns: `attention/tile.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AttentionTile {
    /// Lanes down a tile.
    pub row_lanes: u32,
    /// Lanes across a tile; each takes four columns.
    pub column_lanes: u32,
    /// Rows of a lane, in fours.
    pub row_fours: u32,
    /// How much of the width of rows and columns is staged in workgroup memory at a time for their dot products.
    pub slice: u32,
    /// Columns whose rows are staged in workgroup memory at a time for weighted sums.
    pub column_slice: u32,
    /// The widest row of a weighted sum.
    pub widest: u32,
    /// How lanes find the maximum and the sum of a row; a kernel that needs neither only knows its lanes by it.
    pub exchange: Exchange,
    /// Whether the kernel exchanges.
    pub exchanges: bool,
}

/// The lanes of a workgroup and their share of a tile: `row_lanes × column_lanes` lanes of `row_fours × 4` rows by four
/// columns.
#[derive(Clone, Copy)]
#[allow(clippy::struct_field_names, reason = "other numbers of rows and columns are beside them")]
pub(super) struct Lanes {
    pub row_lanes: u32,
    pub column_lanes: u32,
    pub row_fours: u32,
    /// The most columns of weighted sums of which a lane's share stays in registers beside its scores.
    pub sums: u32,
}

/// What a kernel multiplies.
#[derive(Clone, Copy)]
pub(super) struct Products {
    /// The kernel, for messages.
    pub kernel: &'static str,
    /// Rows of the problem: of a tile that is much taller, most would idle.
    pub rows: usize,
    /// The widest rows of dot products.
    pub dots: u32,
    /// The widest row of a weighted sum.
    pub widest: u32,
    /// Columns of all weighted sums.
    pub sums: u32,
    /// Whether lanes reduce over rows.
    pub exchanges: bool,
}

/// The largest slice of a dot product: longer ones hardly save barriers.
const SLICE: u32 = 32;

/// The first tile of a list, in order of preference, that suits the problem and fits the adapter, with what kept it from
/// being larger. The last of the list has the last word.
pub(super) fn choose(
    candidates: &[Lanes],
    products: Products,
    caps: &Caps,
) -> Result<(AttentionTile, Bound), PlanError> {
    let (last, larger) = candidates.split_last().expect("a list of tiles is not empty");
    let mut bound = Bound::Registers;
    for lanes in larger {
        bound = if lanes.too_tall(products.rows) {
            Bound::Problem
        } else if products.sums > lanes.sums {
            Bound::Registers
        } else {
            match AttentionTile::new(*lanes, products, caps) {
                Ok(tile) => return Ok((tile, bound)),
                Err(excess) => excess.bound,
            }
        };
    }
    match AttentionTile::new(*last, products, caps) {
        Ok(tile) => Ok((tile, bound)),
        Err(Excess { resource, needed, limit, .. }) => {
            let (needed, limit) = (needed.into(), limit.into());
            Err(PlanError::TooSmall { kernel: products.kernel, resource, needed, limit })
        }
    }
}

impl AttentionTile {
    /// These lanes with the largest slices that fit, or what they have too much of.
    fn new(lanes: Lanes, products: Products, caps: &Caps) -> Result<Self, Excess> {
        let Lanes { row_lanes, column_lanes, row_fours, .. } = lanes;
        let mut tile = Self {
            row_lanes,
            column_lanes,
            row_fours,
            slice: even_slice(products.dots),
            column_slice: column_lanes * 4,
            widest: products.widest,
            exchange: Exchange::choose(row_lanes * column_lanes, column_lanes, caps),
            exchanges: products.exchanges,
        };
        if tile.lanes() > caps.workgroup_lanes {
            return Err(Excess::of_lanes(tile.lanes(), caps));
        }
        // Rows of sums take the place of columns. A longer slice of them would save barriers, but the memory that it
        // adds keeps other workgroups from running beside this one, which costs more.
        while tile.column_slice > 4 && tile.sums_bytes() > tile.columns_bytes() {
            tile.column_slice /= 2;
        }
        while tile.workgroup_bytes() > caps.workgroup_bytes {
            let sums_are_larger = tile.sums_bytes() >= tile.columns_bytes();
            if sums_are_larger && tile.column_slice > 4 {
                tile.column_slice /= 2;
            } else if tile.slice > 4 {
                tile.slice = (tile.slice / 2).next_multiple_of(4);
            } else {
                return Err(Excess::of_memory(tile.workgroup_bytes(), caps));
            }
        }
        Ok(tile)
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        self.row_lanes * self.column_lanes
    }

    /// Rows of a tile.
    pub fn rows(&self) -> u32 {
        self.row_lanes * self.row_fours * 4
    }

    /// Columns of a tile.
    pub fn columns(&self) -> u32 {
        self.column_lanes * 4
    }

    /// Turns that the loops of a lane take over the dot products of one tile, at most.
    pub(super) fn dot_turns(&self, width: u32) -> u32 {
        let staged = |fours: u32| fours.div_ceil(self.lanes());
        let fours = self.slice / 4;
        let slices = width.div_ceil(self.slice);
        slices * (1 + staged(self.rows() * fours) + staged(self.columns() / 4 * fours) + fours)
    }

    /// Turns that they take over one weighted sum.
    pub(super) fn sum_turns(&self, width: u32) -> u32 {
        let staged = (self.column_slice * width.div_ceil(4)).div_ceil(self.lanes());
        self.columns() / self.column_slice * (1 + staged + self.column_slice / 4)
    }

    /// Turns that they take to reduce over the rows once.
    pub(super) fn exchange_turns(&self) -> u32 {
        self.row_fours * self.column_lanes
    }

    /// Slices of rows, and the weights of a tile, take turns in the same memory, padded by four.
    fn left_bytes(&self) -> u32 {
        self.rows() * (self.slice.max(self.columns()) + 4) * 4
    }

    /// A slice of columns, padded by four.
    fn columns_bytes(&self) -> u32 {
        self.slice * (self.columns() + 4) * 4
    }

    fn sums_bytes(&self) -> u32 {
        self.column_slice * self.widest.next_multiple_of(4) * 4
    }

    /// Bytes of workgroup memory.
    pub fn workgroup_bytes(&self) -> u32 {
        // Four f32 a lane.
        let exchanged =
            if self.exchanges && self.exchange == Exchange::Workgroup { self.lanes() * 16 } else { 0 };
        self.left_bytes() + self.columns_bytes().max(self.sums_bytes()) + exchanged
    }

    /// The tile in words, and what the memory is for.
    pub(super) fn explain(&self) -> String {
        let Self { row_fours, slice, column_slice, exchange, .. } = self;
        let bytes = Bytes(self.workgroup_bytes().into());
        let exchange = if self.exchanges { format!("rows through {exchange}, ") } else { String::new() };
        format!(
            "{} lanes of {} × 4 scores, {exchange}{bytes} of workgroup memory for slices of {slice} dimensions and \
             {column_slice} sums",
            self.lanes(),
            row_fours * 4,
        )
    }
}

impl Lanes {
    /// Whether a tile of half the rows would still hold all of them.
    fn too_tall(self, rows: usize) -> bool {
        let tile = self.row_lanes * self.row_fours * 4;
        tile > 4 && tile as usize / 2 >= rows
    }
}

/// Slices of equal length, so that the last is not mostly padding.
fn even_slice(width: u32) -> u32 {
    width.div_ceil(width.div_ceil(SLICE)).next_multiple_of(4)
}

/// A limit of the adapter that a tile exceeds.
struct Excess {
    bound: Bound,
    resource: &'static str,
    needed: u32,
    limit: u32,
}

impl Excess {
    fn of_lanes(needed: u32, caps: &Caps) -> Self {
        let limit = caps.workgroup_lanes;
        Self { bound: Bound::Lanes(limit), resource: "invocations a workgroup", needed, limit }
    }

    fn of_memory(needed: u32, caps: &Caps) -> Self {
        let limit = caps.workgroup_bytes;
        Self { bound: Bound::WorkgroupMemory(limit), resource: "bytes of workgroup memory", needed, limit }
    }
}
