//! Which blocks of a block-sparse matrix are there.

use std::ops::Range;
use std::sync::Arc;

use crate::SpecError;
use crate::spec::{at_least_one, elements, wrong};

/// The sides that a block may have.
const SIDES: [usize; 4] = [8, 16, 32, 64];

/// Which blocks of a block-sparse matrix are there, with the index lists that its products follow: built and checked
/// once, shared by clones. The blocks are numbered along the rows of blocks; a tensor of them is (blocks, side, side).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BlockPattern {
    side: usize,
    rows: usize,
    columns: usize,
    lists: Arc<Lists>,
}

#[derive(PartialEq, Eq, Hash)]
struct Lists {
    /// Row and column of each block.
    places: Vec<[u32; 2]>,
    /// The first block of each row, and past the last.
    rows: Vec<u32>,
    /// The first entry of each column in `by_column`, and past the last.
    columns: Vec<u32>,
    /// The blocks, column after column.
    by_column: Vec<u32>,
}

impl BlockPattern {
    /// A matrix of `rows` × `columns` blocks of that side, those that `mask` has true, row by row.
    ///
    /// Fails if the side is none of 8, 16, 32 and 64, if the mask is empty, has another length, or has no block.
    pub fn new(side: usize, [rows, columns]: [usize; 2], mask: &[bool]) -> Result<Self, SpecError> {
        if !SIDES.contains(&side) {
            return Err(wrong("the side of a block", &side, "8, 16, 32 or 64"));
        }
        at_least_one(&[("rows of blocks", rows), ("columns of blocks", columns)])?;
        if mask.len() != elements("the mask", &[rows, columns])? {
            return Err(wrong("the length of the mask", &mask.len(), format!("{rows} × {columns}")));
        }
        let places: Vec<[u32; 2]> = (0..mask.len())
            .filter(|&at| mask[at])
            .map(|at| [(at / columns) as u32, (at % columns) as u32])
            .collect();
        if places.is_empty() {
            return Err(wrong("the number of blocks in the mask", &0, "at least 1"));
        }
        elements("the blocks", &[places.len(), side, side])?;
        let mut by_column: Vec<u32> = (0..places.len() as u32).collect();
        // A stable sort: within a column, rows stay in order.
        by_column.sort_by_key(|&block| places[block as usize][1]);
        let starts = |lines: usize, axis: usize| {
            let mut starts = vec![0; lines + 1];
            for place in &places {
                starts[place[axis] as usize + 1] += 1;
            }
            for line in 0..lines {
                starts[line + 1] += starts[line];
            }
            starts
        };
        let lists = Lists { rows: starts(rows, 0), columns: starts(columns, 1), places, by_column };
        Ok(Self { side, rows, columns, lists: Arc::new(lists) })
    }

    /// The side of a block.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Rows of blocks.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of blocks.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.lists.places.len()
    }

    /// Row and column of each block, in the order of the tensor.
    pub fn places(&self) -> &[[u32; 2]] {
        &self.lists.places
    }

    /// The blocks of a row of blocks.
    pub fn in_row(&self, row: usize) -> Range<usize> {
        self.lists.rows[row] as usize..self.lists.rows[row + 1] as usize
    }

    /// The blocks of a column of blocks.
    pub fn in_column(&self, column: usize) -> &[u32] {
        &self.lists.by_column[self.lists.columns[column] as usize..self.lists.columns[column + 1] as usize]
    }

    /// The most blocks of any row and of any column.
    pub fn most(&self) -> [usize; 2] {
        let most =
            |starts: &[u32]| starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0) as usize;
        [most(&self.lists.rows), most(&self.lists.columns)]
    }

    /// Shape of a tensor of the blocks: (blocks, side, side).
    pub fn shape(&self) -> [usize; 3] {
        [self.blocks(), self.side, self.side]
    }

    /// Fails unless a matrix of that size has exactly these rows and columns of blocks; the last may overhang it.
    pub(super) fn check(&self, size: [usize; 2]) -> Result<(), SpecError> {
        at_least_one(&[("rows of the matrix", size[0]), ("columns of the matrix", size[1])])?;
        let (rows, columns) = (size[0].div_ceil(self.side), size[1].div_ceil(self.side));
        let expected = |count: usize, size: usize| format!("{count}: {size} in blocks of {}", self.side);
        if self.rows != rows {
            return Err(wrong("rows of blocks in the mask", &self.rows, expected(rows, size[0])));
        }
        if self.columns != columns {
            return Err(wrong("columns of blocks in the mask", &self.columns, expected(columns, size[1])));
        }
        Ok(())
    }

    /// For kernels that run over columns of blocks: where the list of each begins, and where the last ends; then row
    /// and number of each block. `transposed`: over rows, with the columns.
    pub(crate) fn product_lists(&self, transposed: bool) -> Vec<u32> {
        let Lists { places, rows, columns, by_column } = &*self.lists;
        let entry = |block: u32, axis: usize| [places[block as usize][axis], block];
        let mut lists = if transposed { rows.clone() } else { columns.clone() };
        if transposed {
            lists.extend((0..places.len() as u32).flat_map(|block| entry(block, 1)));
        } else {
            lists.extend(by_column.iter().flat_map(|&block| entry(block, 0)));
        }
        lists
    }

    /// For kernels that run over rows of blocks: where each begins, and where the last ends; then [`places`](Self::places).
    pub(crate) fn row_lists(&self) -> Vec<u32> {
        [&self.lists.rows, self.lists.places.as_flattened()].concat()
    }
}

impl std::fmt::Debug for BlockPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { side, rows, columns, .. } = self;
        write!(f, "BlockPattern({} of {rows} × {columns} blocks of {side})", self.blocks())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for BlockPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("BlockPattern", 4)?;
        fields.serialize_field("side", &self.side)?;
        fields.serialize_field("rows", &self.rows)?;
        fields.serialize_field("columns", &self.columns)?;
        fields.serialize_field("blocks", &self.blocks())?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_by_hand() {
        // x . x
        // . . x
        let mask = BlockPattern::new(8, [2, 3], &[true, false, true, false, false, true]).unwrap();
        assert_eq!(mask.places(), [[0, 0], [0, 2], [1, 2]]);
        assert_eq!((mask.in_row(0), mask.in_row(1)), (0..2, 2..3));
        assert_eq!([0, 1, 2].map(|column| mask.in_column(column).to_vec()), [vec![0], vec![], vec![1, 2]]);
        assert_eq!(mask.most(), [2, 2]);
        assert_eq!(mask.product_lists(false), [0, 1, 1, 3, 0, 0, 0, 1, 1, 2]);
        assert_eq!(mask.product_lists(true), [0, 2, 3, 0, 0, 2, 1, 2, 2]);
        assert_eq!(mask.row_lists(), [0, 2, 3, 0, 0, 0, 2, 1, 2]);
    }

    #[test]
    fn masks_that_make_no_sense_are_refused_with_numbers() {
        let refused =
            |side, sizes, mask: &[bool]| BlockPattern::new(side, sizes, mask).unwrap_err().to_string();
        assert_eq!(refused(24, [1, 1], &[true]), "the side of a block is 24, expected 8, 16, 32 or 64");
        assert_eq!(refused(16, [0, 1], &[]), "rows of blocks is 0, expected at least 1");
        assert_eq!(refused(16, [2, 2], &[true]), "the length of the mask is 1, expected 2 × 2");
        assert_eq!(
            refused(16, [1, 2], &[false; 2]),
            "the number of blocks in the mask is 0, expected at least 1"
        );
        let mask = BlockPattern::new(16, [2, 3], &[true; 6]).unwrap();
        assert!(mask.check([17, 33]).is_ok() && mask.check([32, 48]).is_ok());
        let error = mask.check([16, 48]).unwrap_err().to_string();
        assert_eq!(error, "rows of blocks in the mask is 2, expected 1: 16 in blocks of 16");
        let huge = BlockPattern::new(8, [usize::MAX, 2], &[true]).unwrap_err().to_string();
        assert!(huge.contains("has too many elements"), "{huge}");
    }
}
