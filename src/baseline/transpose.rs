//! A copy that turns matrices.

use std::fmt;

use crate::baseline::yardstick;
use crate::kernel::{Kernel, params};
use crate::plan::{Footprint, Plan};
use crate::shader::{Shader, ShaderError, Storage};
use crate::{Caps, DType, Element, Error, Gpu, Tensor};

/// The side of the square tile that a workgroup turns.
const SIDE: usize = 32;

const KERNEL: &str = "baseline/transpose";

/// How to turn each of a batch of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TransposePlan {
    /// Rows and columns of what is turned.
    pub size: [usize; 2],
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// How what is turned is stored.
    pub source: Storage,
    /// How the result is stored.
    pub turned: Storage,
}

impl TransposePlan {
    /// Turns matrices of `rows × columns`, which lie one after another.
    pub fn new(dtype: DType, [rows, columns]: [usize; 2], caps: &Caps) -> Self {
        let storage = |row: usize| Storage::new(dtype, caps.f16, row.is_multiple_of(4));
        Self {
            size: [rows, columns],
            lanes: 256.min(caps.workgroup_lanes),
            source: storage(columns),
            turned: storage(rows),
        }
    }
}

impl Plan for TransposePlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![Footprint {
            kernel: KERNEL,
            lanes: self.lanes,
            workgroup_bytes: 4 * (SIDE * (SIDE + 1)) as u32,
            storage_buffers: 2,
        }]
    }
}

impl fmt::Display for TransposePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copy, {} lanes", self.lanes)
    }
}

params! {
    /// `baseline/transpose`.
    TransposeParams { rows: u32, columns: u32, tiles_rows: u32, tiles_columns: u32 }
}

/// The linked shader of a plan.
pub fn shader(plan: &TransposePlan) -> Result<Shader, ShaderError> {
    let linker = yardstick(KERNEL).set("LANES", plan.lanes);
    linker.tensor("source", plan.source).tensor("turned", plan.turned).link()
}

/// The copy.
#[derive(Clone, Debug)]
pub(super) struct Transpose {
    gpu: Gpu,
    plan: TransposePlan,
    kernel: Kernel,
}

impl Transpose {
    pub fn new(gpu: &Gpu, plan: TransposePlan) -> Result<Self, Error> {
        Ok(Self { gpu: gpu.clone(), plan, kernel: gpu.kernel(&shader(&plan)?)? })
    }

    /// Records the turning of so many matrices.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        matrices: usize,
        source: &Tensor<T>,
        turned: &Tensor<T>,
    ) -> Result<(), Error> {
        let [rows, columns] = self.plan.size;
        let tiles = [rows.div_ceil(SIDE), columns.div_ceil(SIDE)];
        let params = TransposeParams {
            groups: (matrices * tiles[0] * tiles[1]) as u32,
            rows: rows as u32,
            columns: columns as u32,
            tiles_rows: tiles[0] as u32,
            tiles_columns: tiles[1] as u32,
        };
        self.kernel.dispatch(&self.gpu, encoder, &params, &[source.buffer(), turned.buffer()])
    }
}
