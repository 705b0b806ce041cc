//! A batched, strided matrix product.

use std::fmt;

use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::ops::matrix_product;
use crate::plan::{Bound, Footprint, MatrixProduct, Plan, Summed, check_binding, check_turns};
use crate::shader::{Shader, ShaderError, Storage, Words};
use crate::spec::elements;
use crate::{Caps, DType, Element, Error, Gpu, PlanError, SpecError, Tensor};

/// How a matrix operand lies in its tensor: distances are in elements, columns are adjacent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Operand {
    /// How elements are stored.
    pub dtype: DType,
    /// Distance between products of different outer index.
    pub outer: usize,
    /// Distance between products of different inner index.
    pub inner: usize,
    /// Distance between rows.
    pub row: usize,
}

impl Operand {
    /// An operand with these distances.
    pub fn new(dtype: DType, [outer, inner, row]: [usize; 3]) -> Self {
        Self { dtype, outer, inner, row }
    }
}

/// `C = scale A B` for each of `outer × inner` products; `A` is (m, k), `B` (k, n), `C` (m, n).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MatmulSpec {
    /// Products: outer and inner count.
    pub batch: [usize; 2],
    /// Rows of `A` and `C`.
    pub m: usize,
    /// Columns of `B` and `C`.
    pub n: usize,
    /// Columns of `A` and rows of `B`.
    pub k: usize,
    /// Where `A` lies.
    pub a: Operand,
    /// Where `B` lies.
    pub b: Operand,
    /// Whether `B` is stored as (n, k).
    pub b_transposed: bool,
    /// Consecutive inner indices that read the same `B`, as query heads do.
    pub b_share: usize,
    /// Where `C` lies.
    pub c: Operand,
    /// Factor of the result.
    pub scale: f32,
}

impl MatmulSpec {
    /// Contiguous matrices, one product.
    pub fn new(dtype: DType, m: usize, n: usize, k: usize) -> Self {
        Self {
            batch: [1, 1],
            m,
            n,
            k,
            a: Operand::new(dtype, [0, 0, k]),
            b: Operand::new(dtype, [0, 0, n]),
            b_transposed: false,
            b_share: 1,
            c: Operand::new(dtype, [0, 0, n]),
            scale: 1.0,
        }
    }

    /// Takes `B` stored as (n, k), contiguous.
    #[must_use]
    pub fn b_transposed(self) -> Self {
        Self { b: Operand { row: self.k, ..self.b }, b_transposed: true, ..self }
    }

    /// Floating-point operations, a multiply and an add each.
    pub fn flops(&self) -> f64 {
        [self.batch[0], self.batch[1], self.m, self.n, self.k]
            .iter()
            .map(|&size| size as f64)
            .product::<f64>()
            * 2.0
    }

    /// Bytes that must move at least: both factors in, the product out.
    pub fn least_bytes(&self) -> u64 {
        let [outer, inner] = self.batch;
        let bytes = |operand: Operand, count: usize| (count * operand.dtype.bytes()) as u64;
        bytes(self.a, outer * inner * self.m * self.k)
            + bytes(self.b, outer * inner.div_ceil(self.b_share) * self.k * self.n)
            + bytes(self.c, outer * inner * self.m * self.n)
    }

    /// Elements from the start of each tensor to the end of its last product.
    fn extents(&self) -> Result<[(&'static str, Operand, usize); 3], SpecError> {
        let (b_rows, b_columns) = if self.b_transposed { (self.n, self.k) } else { (self.k, self.n) };
        let extent = |name, operand: Operand, share: usize, rows: usize, columns: usize| {
            let steps = [
                (self.batch[0] - 1, operand.outer),
                ((self.batch[1] - 1) / share, operand.inner),
                (rows - 1, operand.row),
            ];
            let extent = steps.iter().try_fold(columns, |sum, &(count, distance)| {
                count.checked_mul(distance).and_then(|product| product.checked_add(sum))
            });
            let extent = extent.filter(|&extent| i32::try_from(extent).is_ok());
            let shape = vec![self.batch[0], self.batch[1], rows, columns];
            extent.map(|extent| (name, operand, extent)).ok_or(SpecError::Elements { tensor: name, shape })
        };
        Ok([
            extent("A", self.a, 1, self.m, self.k)?,
            extent("B", self.b, self.b_share, b_rows, b_columns)?,
            extent("C", self.c, 1, self.m, self.n)?,
        ])
    }

    /// Fails if a size is 0, `b_share` is more than the inner count, or an operand has too many elements, be they its
    /// own or the distances that it leaves between them.
    pub fn check(&self) -> Result<(), SpecError> {
        let Self { batch: [outer, inner], m, n, k, b_share, .. } = *self;
        let wrong = |name, found: usize, expected: String| {
            Err(SpecError::Value { name, found: found.to_string(), expected })
        };
        for (name, size) in [("outer", outer), ("inner", inner), ("m", m), ("n", n), ("k", k)] {
            if size == 0 {
                return wrong(name, size, "at least 1".to_owned());
            }
        }
        if b_share == 0 || b_share > inner {
            return wrong("b_share", b_share, format!("1 to the inner count, {inner}"));
        }
        // Distances may be 0, so that these are not bounded by the extents. The tiles of C count the workgroups.
        elements("A", &[outer, inner, m, k])?;
        elements("B", &[outer, inner.div_ceil(b_share), k, n])?;
        elements("C", &[outer, inner, m, n])?;
        for (name, operand) in
            [("a distance in A", self.a), ("a distance in B", self.b), ("a distance in C", self.c)]
        {
            for distance in [operand.outer, operand.inner, operand.row] {
                if u32::try_from(distance).is_err() {
                    return wrong(name, distance, format!("at most {}", u32::MAX));
                }
            }
        }
        self.extents().map(drop)
    }
}

impl fmt::Display for MatmulSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch: [outer, inner], m, n, k, c, b_transposed, .. } = self;
        write!(f, "matmul {} ", c.dtype)?;
        if outer * inner != 1 {
            write!(f, "{} of ", outer * inner)?;
        }
        write!(f, "{m} × {n} × {k}{}", if *b_transposed { ", transposed" } else { "" })
    }
}

/// How to run a [`MatmulSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MatmulPlan {
    /// Rows, columns and summed steps that a workgroup stages at a time.
    pub tile: [u32; 3],
    /// What multiplies.
    pub path: MatmulPath,
    /// Whether `B` is stored as (n, k).
    pub b_transposed: bool,
    /// How `A`, `B` and `C` are stored.
    pub storage: [Storage; 3],
    /// What kept the tile from being larger.
    pub bound: Bound,
}

/// What multiplies the elements of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum MatmulPath {
    /// Each lane, with f32 multiply-adds.
    Lanes {
        /// Rows and columns of `C` that a lane keeps in registers.
        lane: [u32; 2],
    },
    /// Matrix units.
    Matrices(MatrixProduct),
}

/// Workgroups below which a smaller tile occupies an adapter better.
const FULL: usize = 32;

impl MatmulPlan {
    /// Plans a product, on matrix units where the adapter has them for f16. Fails if the spec is wrong, an operand exceeds
    /// a binding or no tile fits the adapter.
    pub fn new(spec: &MatmulSpec, caps: &Caps) -> Result<Self, PlanError> {
        let on_lanes = Self::on_lanes(spec, caps)?;
        Ok(on_lanes.on_matrices(spec, caps).unwrap_or(on_lanes))
    }

    /// Plans a product with f32 multiply-adds alone. Fails like [`new`](Self::new).
    pub fn on_lanes(spec: &MatmulSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        for (name, operand, extent) in spec.extents()? {
            check_binding(name, extent, operand.dtype, caps)?;
        }
        let b_columns = if spec.b_transposed { spec.k } else { spec.n };
        let storage = |operand: Operand, columns: usize| {
            let distances = [operand.outer, operand.inner, operand.row, columns];
            Storage::new(operand.dtype, caps.f16, distances.iter().all(|distance| distance.is_multiple_of(4)))
        };
        let (tile, bound) = tile(spec, caps);
        let plan = Self {
            tile,
            path: MatmulPath::Lanes { lane: [lane_side(tile[0]), lane_side(tile[1])] },
            b_transposed: spec.b_transposed,
            storage: [storage(spec.a, spec.k), storage(spec.b, b_columns), storage(spec.c, spec.n)],
            bound,
        };
        if plan.workgroup_bytes() > caps.workgroup_bytes {
            return Err(PlanError::TooSmall {
                kernel: KERNEL,
                resource: "bytes of workgroup memory",
                needed: u64::from(plan.workgroup_bytes()),
                limit: u64::from(caps.workgroup_bytes),
            });
        }
        check_turns(KERNEL, plan.turns(spec), caps)?;
        Ok(plan)
    }

    /// The same product on matrix units, if the adapter has them for these operands and the problem fills their tiles.
    fn on_matrices(&self, spec: &MatmulSpec, caps: &Caps) -> Option<Self> {
        let [a, b, _] = self.storage;
        let (sizes, summed) = ([spec.m, spec.n], Summed::Steps(spec.k));
        let turned = [false, spec.b_transposed];
        let tile = MatrixProduct::choose(spec.batch[0] * spec.batch[1], sizes, summed, turned, [a, b], caps)?;
        let path = MatmulPath::Matrices(tile);
        let plan =
            Self { tile: [tile.lines(), tile.outputs(), tile.steps], path, bound: Bound::Registers, ..*self };
        check_turns(KERNEL, plan.turns(spec), caps).is_ok().then_some(plan)
    }

    /// Turns that the loops of a lane take.
    fn turns(&self, spec: &MatmulSpec) -> u64 {
        match self.path {
            MatmulPath::Lanes { .. } => {
                let [m, n, k] = self.tile;
                let staged = (m * k / 16).div_ceil(self.lanes()) + (n * k / 16).div_ceil(self.lanes());
                spec.k.div_ceil(k as usize) as u64 * u64::from(1 + staged + k)
            }
            MatmulPath::Matrices(tile) => tile.turns(spec.k),
        }
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        match self.path {
            MatmulPath::Lanes { lane } => self.tile[0] / lane[0] * (self.tile[1] / lane[1]),
            MatmulPath::Matrices(tile) => tile.lanes(),
        }
    }

    fn workgroup_bytes(&self) -> u32 {
        match self.path {
            MatmulPath::Lanes { .. } => tile_bytes(self.tile),
            MatmulPath::Matrices(tile) => tile.workgroup_bytes(),
        }
    }

    fn kernel(&self) -> &'static str {
        match self.path {
            MatmulPath::Lanes { .. } => KERNEL,
            MatmulPath::Matrices(_) => matrix_product::KERNEL,
        }
    }

    /// Tiles along the rows and the columns of one product.
    fn tiles(&self, spec: &MatmulSpec) -> [usize; 2] {
        [spec.m.div_ceil(self.tile[0] as usize), spec.n.div_ceil(self.tile[1] as usize)]
    }
}

const KERNEL: &str = "baseline/matmul";

/// The summed dimension of a tile and its two sides, in f32.
fn tile_bytes([m, n, k]: [u32; 3]) -> u32 {
    4 * k * (m + n)
}

/// Eight, where the tile leaves a workgroup 64 lanes at least: each value read from workgroup memory is then used eight
/// times. With sides of up to 128 a workgroup has 256 lanes at most.
fn lane_side(tile_side: u32) -> u32 {
    if tile_side >= 64 { 8 } else { 4 }
}

/// The largest tile that the problem fills and the adapter holds.
fn tile(spec: &MatmulSpec, caps: &Caps) -> ([u32; 3], Bound) {
    let side = |size: usize| size.min(128).next_power_of_two().max(32) as u32;
    let mut tile = [side(spec.m), side(spec.n), 16];
    let mut bound = if tile[0] * tile[1] == 128 * 128 { Bound::Registers } else { Bound::Problem };
    let products = spec.batch[0] * spec.batch[1];
    let groups =
        |tile: [u32; 3]| products * spec.m.div_ceil(tile[0] as usize) * spec.n.div_ceil(tile[1] as usize);
    let lanes = |tile: [u32; 3]| tile[0] / lane_side(tile[0]) * (tile[1] / lane_side(tile[1]));
    loop {
        let next = if tile[0] >= tile[1] {
            [tile[0] / 2, tile[1], tile[2]]
        } else {
            [tile[0], tile[1] / 2, tile[2]]
        };
        if next[0] < 32 {
            break;
        }
        if tile_bytes(tile) > caps.workgroup_bytes {
            bound = Bound::WorkgroupMemory(caps.workgroup_bytes);
        } else if lanes(tile) > caps.workgroup_lanes {
            bound = Bound::Lanes(caps.workgroup_lanes);
        } else if groups(tile) < FULL {
            bound = Bound::Problem;
        } else {
            break;
        }
        tile = next;
    }
    // A deeper tile has fewer barriers, where it leaves memory for a second workgroup beside it.
    let deep = [tile[0], tile[1], 32];
    if spec.k > 16 && 2 * tile_bytes(deep) <= caps.workgroup_bytes {
        tile = deep;
    }
    (tile, bound)
}

impl Plan for MatmulPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let workgroup_bytes = self.workgroup_bytes();
        vec![Footprint { kernel: self.kernel(), lanes: self.lanes(), workgroup_bytes, storage_buffers: 3 }]
    }
}

impl fmt::Display for MatmulPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([m, n, k], [a, b, c]) = (self.tile, self.storage);
        match self.path {
            MatmulPath::Lanes { lane: [lane_m, lane_n] } => {
                write!(f, "tile {m} × {n} × {k}, {} lanes of {lane_m} × {lane_n}, ", self.lanes())?;
            }
            MatmulPath::Matrices(tile) => write!(f, "{tile}, ")?,
        }
        if a == b && b == c {
            write!(f, "{a}")?;
        } else {
            write!(f, "{a} · {b} → {c}")?;
        }
        write!(f, "; {}", self.bound)
    }
}

params! {
    /// `baseline/matmul`.
    MatmulParams {
        m: u32, n: u32, k: u32, tiles_m: u32, tiles_n: u32, inner: u32,
        a_outer: u32, a_inner: u32, a_row: u32,
        b_outer: u32, b_inner: u32, b_row: u32, b_share: u32,
        c_outer: u32, c_inner: u32, c_row: u32,
        scale: f32,
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &MatmulPlan) -> Result<Vec<Shader>, ShaderError> {
    let ([m, n, k], [a, b, c]) = (plan.tile, plan.storage);
    let linker = yardstick(plan.kernel()).module("baseline/matmul_operands");
    let linker = match plan.path {
        MatmulPath::Lanes { lane } => linker
            .set("TILE_LINES", m)
            .set("TILE_OUTPUTS", n)
            .set("TILE_STEPS", k)
            .set("RIGHT_TURNED", plan.b_transposed)
            .set("LANE_M", lane[0])
            .set("LANE_N", lane[1]),
        MatmulPath::Matrices(tile) => {
            let operands: [Words; 2] = [&[("tensor", "a")], &[("tensor", "b")]];
            matrix_product::tiled(linker, &tile, operands).module("baseline/matmul_halves")
        }
    };
    Ok(vec![linker.tensor("a", a).tensor("b", b).tensor("c", c).link()?])
}

/// A batched, strided matrix product, tiled through workgroup memory and registers.
#[derive(Clone, Debug)]
pub struct Matmul {
    gpu: Gpu,
    spec: MatmulSpec,
    plan: MatmulPlan,
    kernel: Kernel,
}

impl Matmul {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: MatmulSpec) -> Result<Self, Error> {
        Self::with_plan(gpu, spec, MatmulPlan::new(&spec, gpu.caps())?)
    }

    /// Compiles what a plan of the spec needs: another than the best, for comparison.
    pub fn with_plan(gpu: &Gpu, spec: MatmulSpec, plan: MatmulPlan) -> Result<Self, Error> {
        let [kernel] = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &MatmulPlan {
        &self.plan
    }

    /// Records the product. Fails if a tensor has another element type than the spec or ends before its operand.
    pub fn encode<A: Element, B: Element, C: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        a: &Tensor<A>,
        b: &Tensor<B>,
        c: &Tensor<C>,
    ) -> Result<(), Error> {
        let found = [(A::DTYPE, a.shape()), (B::DTYPE, b.shape()), (C::DTYPE, c.shape())];
        for ((tensor, operand, extent), (dtype, shape)) in self.spec.extents()?.into_iter().zip(found) {
            if dtype != operand.dtype {
                return Err(Error::DType { tensor, found: dtype, expected: operand.dtype });
            }
            let held = shape.iter().product();
            if held < extent {
                return Err(Error::Length { shape: shape.to_vec(), found: held, expected: extent });
            }
        }
        let buffers = [a.buffer(), b.buffer(), c.buffer()];
        self.kernel.dispatch(&self.gpu, encoder, &self.params(), &buffers)
    }

    fn params(&self) -> MatmulParams {
        let MatmulSpec { batch, m, n, k, a, b, b_share, c, scale, .. } = self.spec;
        let [tiles_m, tiles_n] = self.plan.tiles(&self.spec);
        MatmulParams {
            groups: (batch[0] * batch[1] * tiles_m * tiles_n) as u32,
            m: m as u32,
            n: n as u32,
            k: k as u32,
            tiles_m: tiles_m as u32,
            tiles_n: tiles_n as u32,
            inner: batch[1] as u32,
            a_outer: a.outer as u32,
            a_inner: a.inner as u32,
            a_row: a.row as u32,
            b_outer: b.outer as u32,
            b_inner: b.inner as u32,
            b_row: b.row as u32,
            b_share: b_share as u32,
            c_outer: c.outer as u32,
            c_inner: c.inner as u32,
            c_row: c.row as u32,
            scale,
        }
    }
}
