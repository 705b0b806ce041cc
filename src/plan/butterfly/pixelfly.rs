//! Plans of the Pixelfly layer.

use std::fmt;

use super::block_sparse::{SparseProductPlan, check_lists};
use super::column_sums::ColumnSumsPlan;
use super::outer::{OuterPlan, Rows};
use super::product_tile::ProductTile;
use crate::caps::Caps;
use crate::plan::{Bound, Footprint, Plan, SliceSumPlan, check_binding, check_caps, check_turns};
use crate::shader::Storage;
use crate::{DType, PixelflySpec, PlanError};

/// How the tensors of a layer are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PixelflyStorage {
    /// `x` and its gradient.
    pub x: Storage,
    /// The blocks.
    pub w: Storage,
    /// The first factor of the low rank.
    pub u: Storage,
    /// The second; `y` and the bias too, whose rows are as long.
    pub y: Storage,
    /// `x U`, and what belongs to it in the backward pass, in f32.
    pub h: Storage,
}

/// How to run a [`PixelflySpec`]: `x U` into f32 scratch, then both products into one set of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PixelflyPlan {
    /// `x U`.
    pub low: ProductTile,
    /// The blocks, and the rest of the low-rank product.
    pub product: SparseProductPlan,
    /// Whether a bias is added.
    pub bias: bool,
    /// How tensors are stored.
    pub storage: PixelflyStorage,
    /// What kept the tile from being larger.
    pub bound: Bound,
}

/// How to compute the gradients of a [`PixelflySpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PixelflyBackwardPlan {
    /// `h = x U`, again.
    pub low: ProductTile,
    /// `dh = dy Vᵀ`, short of the gate.
    pub low_gradient: ProductTile,
    /// `dx`, from the blocks and from `dh Uᵀ`.
    pub dx: SparseProductPlan,
    /// The gradient of the blocks, from `dy` and `x`.
    pub dw: OuterPlan,
    /// The gradient of `U`, from `x` and `dh`.
    pub du: OuterPlan,
    /// The gradient of `V`, from `h` and `dy`.
    pub dv: OuterPlan,
    /// The gradient of the bias, if there is one.
    pub bias: Option<ColumnSumsPlan>,
    /// Whether the gate is learned.
    pub gate: bool,
    /// How tensors are stored.
    pub storage: PixelflyStorage,
    /// What kept the tile of `dx` from being larger.
    pub bound: Bound,
}

/// Invocations of the dot products in the gradient of a gate.
pub(crate) const DOT_LANES: u32 = 64;

/// Elements of a dot product that a workgroup takes.
pub(crate) const DOT_ELEMENTS: usize = 16 << 10;

fn storage(spec: &PixelflySpec, caps: &Caps) -> PixelflyStorage {
    let by_rows_of = |dtype, row: usize| Storage::new(dtype, caps.f16, row.is_multiple_of(4));
    let [out, r#in] = spec.size;
    PixelflyStorage {
        x: by_rows_of(spec.dtype, r#in),
        w: by_rows_of(spec.dtype, spec.mask.side()),
        u: by_rows_of(spec.dtype, spec.rank),
        y: by_rows_of(spec.dtype, out),
        h: by_rows_of(DType::F32, spec.rank),
    }
}

/// Fails if the spec is wrong or one of its tensors exceeds a binding.
fn check(spec: &PixelflySpec, caps: &Caps) -> Result<(), PlanError> {
    spec.check()?;
    check_caps("a Pixelfly layer", caps)?;
    check_lists(&spec.mask, caps)?;
    let [out, r#in] = spec.size;
    check_binding("x", spec.batch * r#in, spec.dtype, caps)?;
    check_binding("w", spec.mask.shape().iter().product(), spec.dtype, caps)?;
    check_binding("u", r#in * spec.rank, spec.dtype, caps)?;
    check_binding("v", spec.rank * out, spec.dtype, caps)?;
    check_binding("y", spec.batch * out, spec.dtype, caps)?;
    check_binding("x U", spec.batch * spec.rank, DType::F32, caps)
}

/// A dense product to `rank` outputs, as a factor of one block.
fn low(
    spec: &PixelflySpec,
    inputs: usize,
    turned: bool,
    operands: [Storage; 2],
    caps: &Caps,
) -> Result<ProductTile, PlanError> {
    let (tile, _) = ProductTile::diagonal(spec.batch, [1, spec.rank, inputs], turned, operands, caps);
    check_turns("a low-rank product", tile.turns(inputs), caps)?;
    Ok(tile)
}

impl PixelflyPlan {
    /// Plans a layer. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &PixelflySpec, caps: &Caps) -> Result<Self, PlanError> {
        check(spec, caps)?;
        let turned = [false, true, false];
        let (product, bound) =
            SparseProductPlan::with_low_rank(&spec.mask, spec.batch, spec.rank, turned, caps)?;
        let storage = storage(spec, caps);
        let low = low(spec, spec.size[1], true, [storage.x, storage.u], caps)?;
        Ok(Self { low, product, bias: spec.bias, storage, bound })
    }
}

impl Plan for PixelflyPlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![
            self.low.footprint("butterfly/block_diagonal", 3),
            self.product.footprint(if self.bias { 8 } else { 7 }),
        ]
    }
}

impl fmt::Display for PixelflyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, product, storage, bound, .. } = self;
        write!(f, "x U: {low} | blocks and low rank: {product}; x {}; y {}; {bound}", storage.x, storage.y)
    }
}

impl PixelflyBackwardPlan {
    /// Plans the gradients. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &PixelflySpec, caps: &Caps) -> Result<Self, PlanError> {
        check(spec, caps)?;
        let ([out, r#in], rank) = (spec.size, spec.rank);
        let (dx, bound) = SparseProductPlan::with_low_rank(&spec.mask, spec.batch, rank, [false; 3], caps)?;
        let PixelflyStorage { x, u, y, h, .. } = storage(spec, caps);
        let outer = |name, shape, sides| {
            let held = Rows::Blocked { turned: [false; 2], sides };
            OuterPlan::new(name, spec.dtype, spec.batch, shape, held, true, caps).map(|(plan, _)| plan)
        };
        let plan = Self {
            low: low(spec, r#in, true, [x, u], caps)?,
            low_gradient: low(spec, out, false, [y, y], caps)?,
            dx,
            dw: outer("dw", spec.mask.shape(), [y, x])?,
            du: outer("du", [1, r#in, rank], [x, h])?,
            dv: outer("dv", [1, rank, out], [h, y])?,
            bias: spec.bias.then(|| ColumnSumsPlan::new(spec.dtype, [spec.batch, out], caps)).transpose()?,
            gate: spec.gate,
            storage: storage(spec, caps),
            bound,
        };
        check_turns("a gate's gradient", plan.dots(spec).iter().sum::<usize>() as u64, caps)?;
        Ok(plan)
    }

    /// Workgroups of the two dot products in the gate's gradient.
    pub(crate) fn dots(&self, spec: &PixelflySpec) -> [usize; 2] {
        let blocks = self.dw.scratch_elements(spec.mask.shape().iter().product());
        [blocks, spec.batch * spec.rank].map(|elements| elements.div_ceil(DOT_ELEMENTS))
    }

    /// Elements of the scratch that every sum over the batch goes through.
    pub(crate) fn scratch_elements(&self, spec: &PixelflySpec) -> usize {
        let [out, r#in] = spec.size;
        let sums = [
            self.dw.scratch_elements(spec.mask.shape().iter().product()),
            self.du.scratch_elements(r#in * spec.rank),
            self.dv.scratch_elements(spec.rank * out),
            self.bias.map_or(0, |bias| bias.scratch_elements(out)),
        ];
        sums.into_iter().max().unwrap_or(0)
    }
}

impl Plan for PixelflyBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let mut footprints =
            [self.low, self.low_gradient].map(|tile| tile.footprint("butterfly/block_diagonal", 3)).to_vec();
        footprints.push(self.dx.footprint(7));
        for (outer, listed) in [(&self.dw, true), (&self.du, false), (&self.dv, false)] {
            let [products, sum] = outer.footprints(listed).try_into().expect("sums go through scratch");
            footprints.extend([products, Footprint { storage_buffers: 3, ..sum }]);
        }
        if self.bias.is_some() {
            footprints.extend(ColumnSumsPlan::footprints());
        }
        if self.gate {
            let dot = |kernel, lanes, workgroup_bytes, storage_buffers| Footprint {
                kernel,
                lanes,
                workgroup_bytes,
                storage_buffers,
            };
            let of_blocks = dot("butterfly/dot_parts", DOT_LANES, 4 * DOT_LANES, 3);
            footprints.extend([of_blocks, of_blocks, SliceSumPlan::footprint()]);
        }
        footprints
    }
}

impl fmt::Display for PixelflyBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, low_gradient, dx, dw, du, dv, storage, bound, .. } = self;
        write!(f, "x U again: {low} | dy Vᵀ: {low_gradient} | dx: {dx} | dw: {dw} | du: {du} | dv: {dv}; ")?;
        write!(f, "x {}; y {}; {bound}", storage.x, storage.y)
    }
}
