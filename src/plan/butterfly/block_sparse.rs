//! Plans of products with block-sparse matrices.

use std::fmt;

use super::block_tile::BlockTile;
use super::outer::{OuterPlan, Rows};
use super::product_tile::ProductTile;
use crate::caps::Caps;
use crate::plan::{
    Bound, Exchange, Footprint, MatrixProduct, Plan, Summed, check_binding, check_caps, check_turns,
};
use crate::shader::Storage;
use crate::{BlockPattern, BlockSoftmaxSpec, BlockSparseMode, BlockSparseSpec, DType, PlanError};

/// How to run a [`BlockSparseSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockSparsePlan {
    /// The kernel.
    pub path: BlockSparsePath,
    /// How `A`, `B` and `C` are stored.
    pub storage: [Storage; 3],
    /// What kept the tile from being larger.
    pub bound: Bound,
}

/// Which kernel runs a block-sparse product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum BlockSparsePath {
    /// DSD and DDS: a workgroup runs over the blocks of a row or column.
    Product(SparseProductPlan),
    /// SDD: a workgroup computes blocks of the result.
    Sampled {
        /// The sums.
        outer: OuterPlan,
        /// Whether `A` and `B` are stored with the summed size as their columns.
        turned: [bool; 2],
    },
}

/// How a dense matrix meets a block-sparse one: `butterfly/block_sparse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SparseProductPlan {
    /// What a workgroup takes at a time; its lines run along the dense size.
    pub tile: ProductTile,
    /// The side of a block.
    pub side: u32,
    /// Whether the inputs are stored with the dense size as their columns.
    pub inputs_turned: bool,
    /// Whether the sparse matrix is taken transposed.
    pub weights_turned: bool,
    /// Whether the outputs are stored with the dense size as their columns.
    pub outputs_turned: bool,
}

impl SparseProductPlan {
    /// For that many lines of `inputs` elements, over lists of the mask.
    fn alone(
        mask: &BlockPattern,
        [lines, inputs]: [usize; 2],
        turned: [bool; 3],
        operands: [Storage; 2],
        caps: &Caps,
    ) -> Result<(Self, Bound), PlanError> {
        let (plan, bound) = Self::with_low_rank(mask, lines, 0, turned, caps)?;
        let [inputs_turned, weights_turned, outputs_turned] = turned;
        let (side, columns) = (mask.side(), if weights_turned { mask.rows() } else { mask.columns() });
        let summed = Summed::Blocks { side, overhang: !inputs.is_multiple_of(side) };
        let turned = [inputs_turned, weights_turned];
        let tile = MatrixProduct::choose(columns, [lines, side], summed, turned, operands, caps);
        let most = mask.most()[usize::from(!weights_turned)];
        let tile =
            tile.filter(|tile| check_turns("a block-sparse product", tile.turns(most * side), caps).is_ok());
        Ok(match tile {
            Some(tile) => {
                let tile = ProductTile::Matrices(MatrixProduct { outputs_turned, ..tile });
                (Self { tile, ..plan }, Bound::Registers)
            }
            None => (plan, bound),
        })
    }

    /// For that many lines, over lists of the mask, and `rank` further steps.
    pub(super) fn with_low_rank(
        mask: &BlockPattern,
        lines: usize,
        rank: usize,
        [inputs_turned, weights_turned, outputs_turned]: [bool; 3],
        caps: &Caps,
    ) -> Result<(Self, Bound), PlanError> {
        let side = mask.side();
        let most = mask.most()[usize::from(!weights_turned)];
        let (tile, bound) = BlockTile::blocked([lines, 1, side, side], false, caps);
        let turns = tile.turns(most * side) + tile.turns(rank) + most as u64;
        check_turns("a block-sparse product", turns, caps)?;
        let tile = ProductTile::Lanes(tile);
        Ok((Self { tile, side: side as u32, inputs_turned, weights_turned, outputs_turned }, bound))
    }

    pub(super) fn footprint(&self, storage_buffers: u32) -> Footprint {
        self.tile.footprint("butterfly/block_sparse", storage_buffers)
    }
}

impl BlockSparsePlan {
    /// Plans a product. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &BlockSparseSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a block-sparse product", caps)?;
        check_lists(&spec.mask, caps)?;
        let shapes = [spec.a_shape(), spec.b_shape(), spec.c_shape()];
        for (name, shape) in ["A", "B", "C"].into_iter().zip(&shapes) {
            check_binding(name, shape.iter().product(), spec.dtype, caps)?;
        }
        // The rows of blocks are multiples of four always.
        let storage = shapes.map(|shape| {
            let row = shape.last().is_some_and(|row| row.is_multiple_of(4));
            Storage::new(spec.dtype, caps.f16, row)
        });
        let [a, b, _] = storage;
        let product = |turned: [bool; 3], operands| {
            let inputs = spec.size[usize::from(turned[1])];
            let (plan, bound) =
                SparseProductPlan::alone(&spec.mask, [spec.dense, inputs], turned, operands, caps)?;
            Ok((BlockSparsePath::Product(plan), bound))
        };
        let (path, bound) = match spec.mode {
            BlockSparseMode::Dds => product([spec.a_transposed, spec.b_transposed, false], [a, b]),
            // C = S B is Cᵀ = Bᵀ Sᵀ: the same product with turned rows, of the transposed matrix.
            BlockSparseMode::Dsd => product([!spec.b_transposed, !spec.a_transposed, true], [b, a]),
            BlockSparseMode::Sdd => {
                let turned = [!spec.a_transposed, spec.b_transposed];
                let held = Rows::Blocked { turned, sides: [a, b] };
                let outer = OuterPlan::new("C", spec.dtype, spec.dense, spec.mask.shape(), held, false, caps);
                outer.map(|(outer, bound)| (BlockSparsePath::Sampled { outer, turned }, bound))
            }
        }?;
        Ok(Self { path, storage, bound })
    }
}

impl Plan for BlockSparsePlan {
    fn footprints(&self) -> Vec<Footprint> {
        match &self.path {
            BlockSparsePath::Product(product) => vec![product.footprint(4)],
            BlockSparsePath::Sampled { outer, .. } => outer.footprints(true),
        }
    }
}

impl fmt::Display for BlockSparsePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            BlockSparsePath::Product(product) => write!(f, "block by block, {product}")?,
            BlockSparsePath::Sampled { outer, .. } => write!(f, "where there are blocks, {outer}")?,
        }
        let [a, b, c] = self.storage;
        write!(f, "; A {a}; B {b}; C {c}; {}", self.bound)
    }
}

impl fmt::Display for SparseProductPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tile)
    }
}

/// How to run a [`BlockSoftmaxSpec`] and its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockSoftmaxPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Invocations that share a row.
    pub row_lanes: u32,
    /// The side of a block.
    pub side: u32,
    /// How lanes exchange their maxima and sums.
    pub exchange: Exchange,
    /// How every tensor is stored.
    pub storage: Storage,
}

/// Lanes of a workgroup of a softmax: eight rows, which every block has, of eight lanes each, whose quads fill a line of
/// memory.
const SOFTMAX_LANES: [u32; 2] = [64, 8];

impl BlockSoftmaxPlan {
    /// Plans a softmax. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &BlockSoftmaxSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a block softmax", caps)?;
        check_lists(&spec.mask, caps)?;
        let elements = spec.mask.shape().iter().product();
        check_binding("the blocks", elements, spec.dtype, caps)?;
        let [lanes, row_lanes] = SOFTMAX_LANES;
        let side = spec.mask.side();
        let quads = (spec.mask.most()[0] * side / 4).div_ceil(row_lanes as usize);
        check_turns("a block softmax", 2 * quads as u64, caps)?;
        Ok(Self {
            lanes,
            row_lanes,
            side: side as u32,
            exchange: Exchange::choose(lanes, row_lanes, caps),
            storage: Storage::new(spec.dtype, caps.f16, true),
        })
    }

    fn footprint(&self, kernel: &'static str, storage_buffers: u32) -> Footprint {
        let workgroup_bytes = match self.exchange {
            Exchange::Workgroup => 16 * self.lanes,
            Exchange::Subgroup => 0,
        };
        Footprint { kernel, lanes: self.lanes, workgroup_bytes, storage_buffers }
    }
}

impl Plan for BlockSoftmaxPlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![
            self.footprint("butterfly/block_softmax", 3),
            self.footprint("butterfly/block_softmax_backward", 4),
        ]
    }
}

impl fmt::Display for BlockSoftmaxPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, row_lanes, side, exchange, storage } = self;
        write!(f, "{} rows a workgroup, {row_lanes} lanes each through {exchange}, ", lanes / row_lanes)?;
        write!(f, "blocks of {side}; {storage}; {}", Bound::Problem)
    }
}

/// Fails if a list of the mask cannot be bound.
pub(super) fn check_lists(mask: &BlockPattern, caps: &Caps) -> Result<(), PlanError> {
    let longest = mask.rows().max(mask.columns()) + 1 + 2 * mask.blocks();
    check_binding("the lists of the mask", longest, DType::F32, caps)
}
