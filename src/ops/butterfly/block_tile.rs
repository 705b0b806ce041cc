//! Kernels of block products: those that share the register tile of `butterfly/block_tile`, and that of matrix units.

use crate::kernel::{Kernel, params};
use crate::ops::matrix_product;
use crate::ops::slice_sum::{self, Slices};
use crate::plan::{BlockTile, ColumnSumsPlan, MatrixProduct, OuterPlan, ProductTile, SliceSumPlan};
use crate::shader::{Linker, Shader, ShaderError, Storage, Words};
use crate::{Error, Gpu};

params! {
    /// `butterfly/block_diagonal`.
    DiagonalParams { rows: u32, blocks: u32, height: u32, width: u32 }
}

params! {
    /// `butterfly/block_outer`.
    OuterParams {
        rows: u32, part_rows: u32, blocks: u32, height: u32, width: u32, left_width: u32, right_width: u32,
    }
}

/// A kernel with the tile's constants.
pub(super) fn tiled(kernel: &'static str, tile: &BlockTile) -> Linker {
    Linker::new(kernel)
        .module("butterfly/block")
        .module("butterfly/block_tile")
        .set("INTERLEAVED", tile.interleaved)
        .set("TILE_LINES", tile.lines)
        .set("TILE_BLOCKS", tile.blocks)
        .set("TILE_OUTPUTS", tile.outputs)
        .set("TILE_STEPS", tile.steps)
        .set("LANE_LINES", tile.lane_lines)
        .set("LANE_QUADS", tile.lane_quads)
}

/// Rows times weights.
pub(super) const WEIGHED: [Words; 2] = [&[("tensor", "inputs")], &[("tensor", "w")]];

/// Rows of one side times rows of the other.
const SIDES: [Words; 2] = [&[("tensor", "left")], &[("tensor", "right")]];

/// The kernel of matrix units with the tile's constants, for operands of these names.
pub(super) fn matrix_tiled(tile: &MatrixProduct, operands: [Words; 2]) -> Linker {
    matrix_product::tiled(Linker::new(matrix_product::KERNEL), tile, operands).module("butterfly/block")
}

/// A kernel that adds a bias stored like this to each row, or none.
pub(super) fn with_bias(linker: Linker, bias: Option<Storage>) -> Linker {
    match bias {
        Some(bias) => linker.module("butterfly/row_bias").tensor("bias", bias),
        None => linker.module("butterfly/row_no_bias"),
    }
}

/// One block-diagonal factor, or its transpose if its blocks are `turned`.
pub(super) fn block_diagonal(
    tile: &ProductTile,
    turned: bool,
    tensors: [Storage; 3],
) -> Result<Shader, ShaderError> {
    biased_block_diagonal(tile, turned, tensors, None)
}

/// [`block_diagonal`], and a bias.
pub(super) fn biased_block_diagonal(
    tile: &ProductTile,
    turned: bool,
    [inputs, w, outputs]: [Storage; 3],
    bias: Option<Storage>,
) -> Result<Shader, ShaderError> {
    let linker = match tile {
        ProductTile::Lanes(tile) => tiled("butterfly/block_diagonal", tile).set("TURNED", turned),
        ProductTile::Matrices(tile) => {
            let interleaved = tile.interleaved[0];
            let operands =
                if interleaved { "butterfly/interleaved_operands" } else { "butterfly/diagonal_operands" };
            matrix_tiled(tile, WEIGHED).module(operands)
        }
    };
    with_bias(linker, bias).tensor("inputs", inputs).tensor("w", w).tensor("outputs", outputs).link()
}

/// A factor of this shape (blocks, outputs, inputs), applied to that many rows.
pub(super) fn diagonal_params(rows: usize, shape: [usize; 3], tile: &ProductTile) -> DiagonalParams {
    // No more tiles than elements: their number does not overflow.
    let groups = tile.count([rows, shape[0], shape[1]]) as u32;
    let [blocks, height, width] = shape.map(|size| size as u32);
    let rows = rows as u32;
    DiagonalParams { groups, rows, blocks, height, width }
}

/// f32 words of scratch for that many elements between two factors.
pub(super) fn between_words(elements: usize, storage: Storage) -> usize {
    (elements * storage.bytes()).div_ceil(4)
}

/// What a sum over the batch is multiplied by.
#[derive(Clone, Copy)]
pub(super) enum Scale {
    /// One.
    None,
    /// The gate, where it is of the low-rank product, or else what the gate leaves.
    Gate { low_rank: bool },
}

/// The kernel that sums parts.
fn sum_shader(plan: SliceSumPlan, scale: Scale) -> Result<Shader, ShaderError> {
    match scale {
        Scale::None => slice_sum::shader(plan),
        Scale::Gate { low_rank } => slice_sum::scaled_shader(plan, |linker| {
            linker.module("butterfly/scale_gate").set("LOW_RANK", low_rank)
        }),
    }
}

/// The kernels of a weight's gradient: those of its plan's footprints. The blocks meet as the module says.
pub(super) fn outer(
    plan: &OuterPlan,
    pairs: &'static str,
    turned: [bool; 2],
    sides: [Storage; 2],
) -> Result<Vec<Shader>, ShaderError> {
    outer_scaled(plan, pairs, turned, sides, Scale::None)
}

/// [`outer`], scaled where it is finished from scratch.
pub(super) fn outer_scaled(
    plan: &OuterPlan,
    pairs: &'static str,
    turned: [bool; 2],
    [left, right]: [Storage; 2],
    scale: Scale,
) -> Result<Vec<Shader>, ShaderError> {
    let linker = match &plan.tile {
        ProductTile::Lanes(tile) => {
            tiled("butterfly/block_outer", tile).set("LEFT_TURNED", turned[0]).set("RIGHT_TURNED", turned[1])
        }
        ProductTile::Matrices(tile) => {
            let interleaved = tile.interleaved[0];
            let operands =
                if interleaved { "butterfly/interleaved_outer_operands" } else { "butterfly/outer_operands" };
            matrix_tiled(tile, SIDES).module(operands)
        }
    };
    let products = linker
        .module(pairs)
        .tensor("left", left)
        .tensor("right", right)
        .tensor("outputs", plan.part)
        .link()?;
    if !plan.scratch {
        return Ok(vec![products]);
    }
    Ok(vec![products, sum_shader(plan.sum(), scale)?])
}

/// What a weight's gradient is made from.
#[derive(Clone, Copy)]
pub(super) struct Outer<'a> {
    pub plan: &'a OuterPlan,
    pub kernels: &'a [Kernel],
    /// Rows that are summed over.
    pub rows: usize,
    /// Blocks, and the elements of each that come from the left and from the right.
    pub shape: [usize; 3],
    /// Elements of a row on either side.
    pub widths: [usize; 2],
}

impl Outer<'_> {
    /// Records the sums of `sides`, left and right. `lists` is what the module of the pairs reads, if it does; `parts`
    /// scratch, of which the plan says whether it is used.
    pub(super) fn encode(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        sides: [&wgpu::Buffer; 2],
        lists: Option<&wgpu::Buffer>,
        parts: &wgpu::Buffer,
        outputs: &wgpu::Buffer,
    ) -> Result<(), Error> {
        self.encode_scaled(gpu, encoder, sides, lists, parts, None, outputs)
    }

    /// [`encode`](Self::encode), with the gate that the kernels were linked for.
    #[expect(
        clippy::too_many_arguments,
        reason = "a bundle of buffers would be made and taken apart at once"
    )]
    pub(super) fn encode_scaled(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        [left, right]: [&wgpu::Buffer; 2],
        lists: Option<&wgpu::Buffer>,
        parts: &wgpu::Buffer,
        gate: Option<&wgpu::Buffer>,
        outputs: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let [blocks, height, width] = self.shape;
        let tiles = self.plan.tile.count([height, blocks, width]) as u32;
        let [blocks, height, width] = self.shape.map(|size| size as u32);
        let params = OuterParams {
            groups: tiles * self.plan.parts,
            rows: self.rows as u32,
            part_rows: self.plan.part_rows,
            blocks,
            height,
            width,
            left_width: self.widths[0] as u32,
            right_width: self.widths[1] as u32,
        };
        let first = if self.plan.scratch { parts } else { outputs };
        let buffers: Vec<_> = [left, right, first].into_iter().chain(lists).collect();
        self.kernels[0].dispatch(gpu, encoder, &params, &buffers)?;
        let [_, sum] = self.kernels else { return Ok(()) };
        let buffers: Vec<_> = [parts, outputs].into_iter().chain(gate).collect();
        let parts = Slices::one(self.plan.parts, blocks * height * width);
        sum.dispatch(gpu, encoder, &parts.params(self.plan.sum()), &buffers)
    }
}

/// The kernels of a bias's gradient.
pub(super) fn column_sums(plan: &ColumnSumsPlan) -> Result<[Shader; 2], ShaderError> {
    Ok([slice_sum::shader(plan.rows)?, slice_sum::shader(plan.sum)?])
}

/// What a bias's gradient is made from.
#[derive(Clone, Copy)]
pub(super) struct ColumnSums<'a> {
    pub plan: &'a ColumnSumsPlan,
    pub kernels: &'a [Kernel],
    pub rows: usize,
    pub width: usize,
}

impl ColumnSums<'_> {
    /// Records the sums of `rows` by way of scratch for the parts.
    pub(super) fn encode(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        rows: &wgpu::Buffer,
        parts: &wgpu::Buffer,
        outputs: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let [columns, sum] = self.kernels else { unreachable!("columns are summed by two kernels") };
        let (plan, width) = (self.plan, self.width as u32);
        let of_rows = Slices {
            sums: plan.parts,
            slices: plan.part_rows,
            all: self.rows as u32,
            from_sum: plan.part_rows * width,
            to_sum: width,
            ..Slices::one(0, width)
        };
        columns.dispatch(gpu, encoder, &of_rows.params(plan.rows), &[rows, parts])?;
        let of_parts = Slices::one(plan.parts, width);
        sum.dispatch(gpu, encoder, &of_parts.params(plan.sum), &[parts, outputs])
    }
}
