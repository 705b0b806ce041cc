//! Plans of sums along the columns of a batch: the gradient of a bias.

use crate::caps::Caps;
use crate::plan::{Footprint, SliceSumPlan, check_binding, check_turns};
use crate::shader::Storage;
use crate::{DType, PlanError};

/// How to sum the rows of a batch: in parts, side by side, then the parts in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ColumnSumsPlan {
    /// Rows of a part.
    pub part_rows: u32,
    /// Parts.
    pub parts: u32,
    /// The rows of each part.
    pub rows: SliceSumPlan,
    /// The parts.
    pub sum: SliceSumPlan,
}

/// Workgroups that occupy a large GPU.
const FULL: usize = 512;

/// Rows below which a part costs more than it gains.
const LEAST_ROWS: usize = 64;

impl ColumnSumsPlan {
    pub(super) fn new(dtype: DType, [rows, width]: [usize; 2], caps: &Caps) -> Result<Self, PlanError> {
        let across = width.div_ceil(4 * SliceSumPlan::LANES as usize);
        let parts = FULL.div_ceil(across).min(rows.div_ceil(LEAST_ROWS));
        let part_rows = rows.div_ceil(parts);
        let parts = rows.div_ceil(part_rows);
        check_binding("the parts of the bias's gradient", parts * width, DType::F32, caps)?;
        check_turns("a bias's gradient", part_rows.max(parts) as u64, caps)?;
        let storage = |dtype| Storage::new(dtype, caps.f16, width.is_multiple_of(4));
        Ok(Self {
            part_rows: part_rows as u32,
            parts: parts as u32,
            rows: SliceSumPlan::alone(storage(dtype), storage(DType::F32)),
            sum: SliceSumPlan::alone(storage(DType::F32), storage(dtype)),
        })
    }

    /// Elements of the scratch for rows of that width.
    pub(crate) fn scratch_elements(&self, width: usize) -> usize {
        self.parts as usize * width
    }

    pub(super) fn footprints() -> [Footprint; 2] {
        [SliceSumPlan::footprint(); 2]
    }
}
