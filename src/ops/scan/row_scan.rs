//! Scans along rows: one engine for every associative operator.

use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::plan::{Exchange, RowScanBackwardPlan, RowScanPlan, RowWindow};
use crate::shader::{Format, Linker, Shader, ShaderError, Words};
use crate::spec::{RowScan, ScanOperator};
use crate::{Error, Gpu};

params! {
    /// `scan/chunk_reduce` and `scan/chunk_scan`.
    ChunkParams { total: u32, first: u32, length: u32, chunk: u32, chunks: u32, origin: u32 }
}

params! {
    /// `scan/carry`.
    CarryParams { chunks: u32, first: u32, first_initial: u32, first_last: u32 }
}

/// The tensors of a scan and its gradients, as words for copies of the files that load and store values.
const A: Words = &[("tensor", "a")];
const B: Words = &[("tensor", "b")];
const H: Words = &[("tensor", "h")];
const X: Words = &[("tensor", "x")];
const Y: Words = &[("tensor", "y")];
const DA: Words = &[("tensor", "da")];
const DB: Words = &[("tensor", "db")];
const DX: Words = &[("tensor", "dx")];

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &RowScanPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| match plan.operator {
        ScanOperator::Affine | ScanOperator::AffineComplex => affine_linker(plan, kernel),
        ScanOperator::Sum | ScanOperator::Max => {
            loaded(row_linker(plan, kernel).module("scan/steps_single"), plan, X)
        }
    };
    let scan = linker("scan/chunk_scan").module("scan/store_states");
    phases(plan, linker("scan/chunk_reduce"), stored(scan, plan, H))
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn backward_shaders(plan: &RowScanBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let RowScanBackwardPlan { scan, operator, initial } = plan;
    match operator {
        ScanOperator::Affine | ScanOperator::AffineComplex => {
            let linker =
                |kernel| affine_linker(scan, kernel).set("BACKWARD", true).set("BEHIND", !scan.exclusive);
            let last = linker("scan/chunk_scan").module("scan/store_gradients").set("HAS_INITIAL", *initial);
            let last = stored(stored(loaded(last, scan, H), scan, DA), scan, DB);
            phases(scan, linker("scan/chunk_reduce"), last)
        }
        ScanOperator::Sum => shaders(scan),
        ScanOperator::Max => {
            let linker = |kernel| {
                let linker = row_linker(scan, kernel).module("scan/steps_records");
                loaded(loaded(linker, scan, Y), scan, B).copy("scan/value_behind", Y)
            };
            let last = linker("scan/chunk_scan").module("scan/store_records").set("HAS_INITIAL", *initial);
            phases(scan, linker("scan/chunk_reduce"), stored(loaded(last, scan, X), scan, DX))
        }
    }
}

/// What the kernels that take steps of a linear recurrence have in common.
fn affine_linker(plan: &RowScanPlan, kernel: &'static str) -> Linker {
    let linker = row_linker(plan, kernel).module("scan/steps_affine");
    loaded(loaded(linker, plan, A), plan, B).copy("scan/value_behind", A)
}

/// The phase that is always there, and those before it where rows have several chunks.
fn phases(plan: &RowScanPlan, reduce: Linker, scan: Linker) -> Result<Vec<Shader>, ShaderError> {
    let scan =
        scan.set("HAS_CARRY", plan.initial || plan.chunks > 1).set("EXCLUSIVE", plan.exclusive).link()?;
    if plan.chunks == 1 {
        return Ok(vec![scan]);
    }
    let carry = linker(plan, "scan/carry").set("HAS_INITIAL", plan.initial);
    Ok(vec![reduce.link()?, carry.link()?, scan])
}

/// What all kernels have in common.
fn linker(plan: &RowScanPlan, kernel: &'static str) -> Linker {
    let linker = Linker::new(kernel).module(match plan.operator {
        ScanOperator::Affine => "scan/affine",
        ScanOperator::AffineComplex => "scan/affine_complex",
        ScanOperator::Sum => "scan/sum",
        ScanOperator::Max => "scan/max",
    });
    let linker = match (plan.operator, plan.storage.format) {
        (ScanOperator::Max, Format::F16 | Format::F16Packed) => {
            linker.set("LOWEST", f32::from(half::f16::MIN))
        }
        (ScanOperator::Max, Format::Bf16Packed) => linker.set("LOWEST", f32::from(half::bf16::MIN)),
        _ => linker,
    };
    let linker = linker.module("scan/lane_scan").set("LANES", plan.lanes).set("ROW_LANES", plan.row_lanes);
    match plan.exchange {
        Exchange::Subgroup if plan.row_lanes < plan.lanes => {
            linker.module("common/lane_subgroup").module("scan/lanes_rows")
        }
        Exchange::Workgroup => linker.module("common/lane_workgroup").module("scan/lanes_workgroup"),
        Exchange::Subgroup => linker.module("common/lane_subgroup").module("scan/lanes_subgroup"),
    }
}

/// What the kernels that take steps have in common.
fn row_linker(plan: &RowScanPlan, kernel: &'static str) -> Linker {
    linker(plan, kernel).module("scan/row").set("ITEMS", plan.items).set("REVERSE", plan.reverse)
}

/// Adds how the values of a tensor are loaded.
fn loaded(linker: Linker, plan: &RowScanPlan, tensor: Words) -> Linker {
    let files = ["scan/load_values", "scan/load_values_complex"];
    with_values(linker, plan, files, tensor)
}

/// Adds how the values of a tensor are stored.
fn stored(linker: Linker, plan: &RowScanPlan, tensor: Words) -> Linker {
    let files = ["scan/store_values", "scan/store_values_complex"];
    with_values(linker, plan, files, tensor)
}

fn with_values(linker: Linker, plan: &RowScanPlan, files: [&'static str; 2], tensor: Words) -> Linker {
    let complex = plan.operator == ScanOperator::AffineComplex;
    linker.copy(files[usize::from(complex)], tensor).tensor(tensor[0].1, plan.storage)
}

/// A scan compiled: from steps and initial states to what is stored of each step, and to what is left after the last.
#[derive(Clone, Debug)]
pub(super) struct Phases {
    of: RowScan,
    plan: RowScanPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
}

impl Phases {
    /// Compiles a plan's shaders.
    pub fn new(gpu: &Gpu, of: RowScan, plan: RowScanPlan, shaders: &[Shader]) -> Result<Self, Error> {
        Ok(Self { of, plan, kernels: compile(gpu, shaders)?, scratch: Scratch::default() })
    }

    /// Records the phases over the buffers of the steps, from the initial states to the last. `stored` is what the last
    /// phase binds beside them.
    pub fn encode(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        steps: &[&wgpu::Buffer],
        [initial, last]: [&wgpu::Buffer; 2],
        stored: &[Stored<'_>],
    ) -> Result<(), Error> {
        let Self { of, plan, kernels, scratch } = self;
        let steps: Vec<_> = steps.iter().map(|&buffer| Stored::Values(buffer)).collect();
        // Runs a kernel window by window, with these buffers before those of the steps.
        let run = |encoder: &mut _, kernel: &Kernel, first: &[&wgpu::Buffer], stored: &[Stored<'_>]| {
            plan.windows(of).into_iter().try_for_each(|window| {
                let whole = first.iter().map(|buffer| buffer.as_entire_buffer_binding());
                let parts = steps.iter().chain(stored).map(|stored| stored.part(window));
                let params = chunk_params(of, plan, window);
                kernel.dispatch_parts(gpu, encoder, &params, whole.chain(parts).collect())
            })
        };
        match kernels.as_slice() {
            [chunk_scan] => run(encoder, chunk_scan, &[initial, last], stored),
            [chunk_reduce, carry, chunk_scan] => {
                let maps = plan.scratch_maps(of.rows);
                let (map, value) = (of.operator.map_words(), of.operator.value_words());
                let between = scratch.tensors(gpu, &[&[maps, map], &[maps, value]])?;
                let [maps, carries] = [between[0].buffer(), between[1].buffer()];
                run(encoder, chunk_reduce, &[maps], &[])?;
                let params = CarryParams {
                    groups: of.rows as u32,
                    chunks: plan.chunks,
                    first: 0,
                    first_initial: 0,
                    first_last: 0,
                };
                carry.dispatch(gpu, encoder, &params, &[maps, initial, carries, last])?;
                run(encoder, chunk_scan, &[carries, last], stored)
            }
            _ => unreachable!("a scan has one kernel or three"),
        }
    }
}

fn chunk_params(of: &RowScan, plan: &RowScanPlan, window: RowWindow) -> ChunkParams {
    ChunkParams {
        groups: (window.end - window.first).div_ceil(plan.lanes / plan.row_lanes),
        total: window.end,
        first: window.first,
        length: of.length as u32,
        chunk: plan.chunk,
        chunks: plan.chunks,
        origin: window.origin,
    }
}

/// What the last phase of a scan binds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stored<'a> {
    /// A value for each step, of which kernels bind what they take.
    Values(&'a wgpu::Buffer),
    /// One for each row.
    Rows(&'a wgpu::Buffer),
}

impl<'a> Stored<'a> {
    fn part(self, window: RowWindow) -> wgpu::BufferBinding<'a> {
        match (self, window.part) {
            (Self::Values(buffer), Some([offset, bytes])) => {
                wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(bytes) }
            }
            (Self::Values(buffer) | Self::Rows(buffer), _) => buffer.as_entire_buffer_binding(),
        }
    }
}
