//! Plans of sums along the columns of a batch: the gradient of a bias.

use super::outer::SUM_LANES;
use crate::caps::Caps;
use crate::plan::{Footprint, check_binding, check_turns};
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
    /// How the rows are stored.
    pub rows: Storage,
    /// How the parts are.
    pub part: Storage,
    /// How the result is.
    pub outputs: Storage,
}

/// Workgroups that occupy a large GPU.
const FULL: usize = 512;

/// Rows below which a part costs more than it gains.
const LEAST_ROWS: usize = 64;

/// Invocations of a workgroup, four columns each.
pub(crate) const COLUMN_LANES: u32 = 64;

impl ColumnSumsPlan {
    pub(super) fn new(dtype: DType, [rows, width]: [usize; 2], caps: &Caps) -> Result<Self, PlanError> {
        let across = width.div_ceil(4 * COLUMN_LANES as usize);
        let parts = FULL.div_ceil(across).min(rows.div_ceil(LEAST_ROWS));
        let part_rows = rows.div_ceil(parts);
        let parts = rows.div_ceil(part_rows);
        check_binding("the parts of the bias's gradient", parts * width, DType::F32, caps)?;
        check_turns("a bias's gradient", part_rows.max(parts) as u64, caps)?;
        let storage = |dtype| Storage::new(dtype, caps.f16, width.is_multiple_of(4));
        Ok(Self {
            part_rows: part_rows as u32,
            parts: parts as u32,
            rows: storage(dtype),
            part: storage(DType::F32),
            outputs: storage(dtype),
        })
    }

    /// Elements of the scratch for rows of that width.
    pub(crate) fn scratch_elements(&self, width: usize) -> usize {
        self.parts as usize * width
    }

    pub(super) fn footprints() -> [Footprint; 2] {
        [("butterfly/column_sums", COLUMN_LANES), ("butterfly/sum_parts", SUM_LANES)]
            .map(|(kernel, lanes)| Footprint { kernel, lanes, workgroup_bytes: 0, storage_buffers: 2 })
    }
}
