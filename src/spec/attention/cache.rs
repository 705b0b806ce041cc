//! Caches of keys and values, and where sequences lie in them.

use std::fmt;

use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// A cache of the keys and values of many sequences that grow.
///
/// It consists of blocks of equal length: slots, each of which holds one sequence, or pages, of which a sequence takes as
/// many as it needs, in any order (paged attention, Kwon et al. 2023). Tensors: `k` (blocks, `block_len`, `kv_heads`,
/// `head_dim`) and `v` (blocks, `block_len`, `kv_heads`, `value_dim`) in `dtype`, or in 8-bit integers with a scale for each
/// head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CacheSpec {
    /// Storage of what is appended and attended with, and of the cache unless it is quantised.
    pub dtype: DType,
    /// Slots or pages.
    pub blocks: usize,
    /// Keys of a slot or of a page.
    pub block_len: usize,
    /// Whether blocks are pages.
    pub paged: bool,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a key, 1 to 256.
    pub head_dim: usize,
    /// Width of a value, 1 to 256.
    pub value_dim: usize,
    /// Whether keys and values are kept in 8-bit integers.
    pub int8: bool,
}

impl CacheSpec {
    /// A cache of `slots` sequences with room for `len` keys each, and values as wide as keys.
    pub fn slots(dtype: DType, slots: usize, len: usize, kv_heads: usize, head_dim: usize) -> Self {
        let value_dim = head_dim;
        Self {
            dtype,
            blocks: slots,
            block_len: len,
            paged: false,
            kv_heads,
            head_dim,
            value_dim,
            int8: false,
        }
    }

    /// A cache of pages with room for `page_len` keys each, and values as wide as keys.
    pub fn pages(dtype: DType, pages: usize, page_len: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self { paged: true, ..Self::slots(dtype, pages, page_len, kv_heads, head_dim) }
    }

    /// Gives values another width than keys.
    #[must_use]
    pub fn value_dim(self, value_dim: usize) -> Self {
        Self { value_dim, ..self }
    }

    /// Keeps keys and values in 8-bit integers.
    #[must_use]
    pub fn int8(self) -> Self {
        Self { int8: true, ..self }
    }

    /// Shape of the keys.
    pub fn k_shape(&self) -> [usize; 4] {
        [self.blocks, self.block_len, self.kv_heads, self.head_dim]
    }

    /// Shape of the values.
    pub fn v_shape(&self) -> [usize; 4] {
        [self.blocks, self.block_len, self.kv_heads, self.value_dim]
    }

    /// Bytes of an element of the cache.
    pub fn element_bytes(&self) -> usize {
        if self.int8 { 1 } else { self.dtype.bytes() }
    }

    /// Fails if a size is 0 or too large.
    pub fn check(&self) -> Result<(), SpecError> {
        let (blocks, block_len) =
            if self.paged { ("pages", "the keys of a page") } else { ("slots", "the keys of a slot") };
        at_least_one(&[
            (blocks, self.blocks),
            (block_len, self.block_len),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("value_dim", self.value_dim),
        ])?;
        super::check_dims(self.head_dim, self.value_dim)?;
        elements("the cache of keys", &self.k_shape())?;
        elements("the cache of values", &self.v_shape()).map(drop)
    }
}

impl fmt::Display for CacheSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { blocks, block_len, paged, int8, .. } = self;
        let blocks_are = if *paged { "pages" } else { "slots" };
        let stored = if *int8 { " in i8" } else { "" };
        write!(f, "{blocks} {blocks_are} of {block_len} keys{stored}")
    }
}

/// Which keys of a cache belong to the sequences of a batch, after the new ones of this step have been appended.
///
/// Counts and indices are those of the host: it knows them, since it made them, and what points outside the cache is
/// refused before anything runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheView {
    /// Keys of each sequence, the padding on its left included.
    pub lengths: Vec<u32>,
    /// Which slot each sequence lies in; without it, the slot of its own number.
    pub slots: Option<Vec<u32>>,
    /// Keys at the beginning of each sequence that nobody sees; without it, none.
    pub left_pad: Option<Vec<u32>>,
    /// The pages of each sequence, in the order of its keys, in a table (batch, `max_pages`). Entries that no key of the
    /// sequence's length falls into are not read.
    pub block_table: Option<Vec<u32>>,
}

impl CacheView {
    /// Sequences of these lengths, in slots of their own numbers.
    pub fn new(lengths: impl Into<Vec<u32>>) -> Self {
        Self { lengths: lengths.into(), slots: None, left_pad: None, block_table: None }
    }

    /// Says which slots they lie in.
    #[must_use]
    pub fn slots(self, slots: impl Into<Vec<u32>>) -> Self {
        Self { slots: Some(slots.into()), ..self }
    }

    /// Says how much padding they have on their left.
    #[must_use]
    pub fn left_pad(self, left_pad: impl Into<Vec<u32>>) -> Self {
        Self { left_pad: Some(left_pad.into()), ..self }
    }

    /// Says which pages they consist of, in a table (batch, `max_pages`).
    #[must_use]
    pub fn block_table(self, table: impl Into<Vec<u32>>) -> Self {
        Self { block_table: Some(table.into()), ..self }
    }

    /// Sequences.
    pub fn batch(&self) -> usize {
        self.lengths.len()
    }

    /// Keys of the longest sequence.
    pub fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0) as usize
    }

    /// Pages of a sequence in the block table.
    pub(crate) fn max_pages(&self) -> usize {
        self.block_table.as_ref().map_or(0, |table| table.len() / self.batch().max(1))
    }

    /// Padding on the left of a sequence.
    pub(crate) fn pad(&self, sequence: usize) -> usize {
        self.left_pad.as_ref().map_or(0, |pad| pad[sequence] as usize)
    }

    /// Where the keys of a sequence begin: counted in keys of the cache, or in keys of the whole block table.
    pub(crate) fn start(&self, spec: &CacheSpec, sequence: usize) -> usize {
        let blocks = if spec.paged {
            sequence * self.max_pages()
        } else {
            self.slots.as_ref().map_or(sequence, |slots| slots[sequence] as usize)
        };
        blocks * spec.block_len
    }

    /// Which key of the cache is key `key` of a sequence, counted over all blocks. The view must have passed
    /// [`check`](Self::check).
    pub fn key(&self, spec: &CacheSpec, sequence: usize, key: usize) -> usize {
        let place = self.start(spec, sequence) + key;
        match &self.block_table {
            None => place,
            Some(table) => table[place / spec.block_len] as usize * spec.block_len + place % spec.block_len,
        }
    }

    /// Fails unless everything lies in the cache, and each sequence has room for `new` keys at its end.
    pub fn check(&self, spec: &CacheSpec, new: usize) -> Result<(), SpecError> {
        let batch = self.batch();
        let per_sequence = |name, list: &Option<Vec<u32>>| match list {
            Some(list) if list.len() != batch => {
                Err(wrong(name, &list.len(), format!("{batch}, one for each of the lengths")))
            }
            _ => Ok(()),
        };
        if batch == 0 {
            return Err(wrong("the number of sequences", &0, "at least 1"));
        }
        per_sequence("the number of slots", &self.slots)?;
        per_sequence("the number of left paddings", &self.left_pad)?;
        if self.slots.is_some() && spec.paged {
            return Err(wrong("slots", &"given", "none for a paged cache, whose block table says all"));
        }
        match (&self.block_table, spec.paged) {
            (None, true) => return Err(wrong("the block table", &"missing", "one for a paged cache")),
            (Some(_), false) => return Err(wrong("the block table", &"given", "none for a cache of slots")),
            (Some(table), true) if table.is_empty() || !table.len().is_multiple_of(batch) => {
                let expected = format!("a multiple of the {batch} sequences, as many pages for each");
                return Err(wrong("the length of the block table", &table.len(), expected));
            }
            // Its keys are counted like elements.
            (Some(table), true) => drop(elements("the block table", &[table.len(), spec.block_len])?),
            (None, false) => {}
        }
        (0..batch).try_for_each(|sequence| self.check_sequence(spec, new, sequence))?;
        self.check_apart(spec, new)
    }

    fn check_sequence(&self, spec: &CacheSpec, new: usize, sequence: usize) -> Result<(), SpecError> {
        let of = |value: usize| format!("{value} for sequence {sequence}");
        let length = self.lengths[sequence] as usize;
        let (room, whose) = match &self.block_table {
            Some(_) => {
                let pages = self.max_pages();
                (pages * spec.block_len, format!("{pages} pages of {}", spec.block_len))
            }
            None => (spec.block_len, "a slot".to_owned()),
        };
        if length > room {
            return Err(wrong("the length", &of(length), format!("at most {room}, the keys of {whose}")));
        }
        let pad = self.pad(sequence);
        if pad > length {
            return Err(wrong("the left padding", &of(pad), format!("at most {length}, its length")));
        }
        if length - pad < new {
            let expected = format!("at least {}, its {new} new keys and its padding of {pad}", new + pad);
            return Err(wrong("the length", &of(length), expected));
        }
        if let Some(slot) = self.slots.as_ref().map(|slots| slots[sequence] as usize)
            && slot >= spec.blocks
        {
            return Err(wrong(
                "the slot",
                &of(slot),
                format!("below {}, the slots of the cache", spec.blocks),
            ));
        }
        if self.slots.is_none() && !spec.paged && sequence >= spec.blocks {
            let (batch, slots) = (self.batch(), spec.blocks);
            return Err(wrong("the number of sequences", &batch, format!("at most {slots}, one a slot")));
        }
        let Some(table) = &self.block_table else { return Ok(()) };
        let pages = &table[sequence * self.max_pages()..][..length.div_ceil(spec.block_len)];
        match pages.iter().position(|&page| page as usize >= spec.blocks) {
            Some(at) => {
                let found = format!("{}, page {at} of sequence {sequence}", pages[at]);
                let expected = format!("below {}, the pages of the cache", spec.blocks);
                Err(wrong("an index of the block table", &found, expected))
            }
            None => Ok(()),
        }
    }

    /// Fails if two sequences would write the same key.
    fn check_apart(&self, spec: &CacheSpec, new: usize) -> Result<(), SpecError> {
        let keys = (0..self.batch()).flat_map(|sequence| {
            let length = self.lengths[sequence] as usize;
            (length - new..length).map(move |key| (self.key(spec, sequence, key), sequence))
        });
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => {
                let [(key, first), (_, second)] = [pair[0], pair[1]];
                let found = format!("key {} of block {}", key % spec.block_len, key / spec.block_len);
                let found = format!("{found} for sequences {first} and {second}");
                Err(wrong("where a new key goes", &found, "a place for each"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_through_slots_and_pages() {
        let slots = CacheSpec::slots(DType::F32, 4, 10, 1, 8);
        let view = CacheView::new([7, 10]).slots([3, 1]).left_pad([2, 0]);
        assert_eq!(view.check(&slots, 1), Ok(()));
        assert_eq!((view.key(&slots, 0, 5), view.key(&slots, 1, 9)), (35, 19));
        let pages = CacheSpec::pages(DType::F32, 6, 3, 1, 8);
        // The second entry of sequence 0 is past its length, and points nowhere.
        let view = CacheView::new([3, 5]).block_table([4, 99, 0, 5]);
        assert_eq!(view.check(&pages, 2), Ok(()));
        assert_eq!([view.key(&pages, 0, 2), view.key(&pages, 1, 2), view.key(&pages, 1, 4)], [14, 2, 16]);
    }

    #[test]
    fn what_lies_outside_the_cache_is_refused_with_numbers() {
        let slots = CacheSpec::slots(DType::F32, 4, 10, 1, 8);
        let pages = CacheSpec::pages(DType::F32, 6, 3, 1, 8);
        let errors = [
            (
                CacheView::new([11]),
                slots,
                "the length is 11 for sequence 0, expected at most 10, the keys of a slot",
            ),
            (CacheView::new([1; 5]), slots, "the number of sequences is 5, expected at most 4, one a slot"),
            (
                CacheView::new([1, 1]).slots([0, 4]),
                slots,
                "the slot is 4 for sequence 1, expected below 4, the slots of the cache",
            ),
            (
                CacheView::new([1, 1]).slots([0]),
                slots,
                "the number of slots is 1, expected 2, one for each of the lengths",
            ),
            (
                CacheView::new([3]).left_pad([4]),
                slots,
                "the left padding is 4 for sequence 0, expected at most 3, its length",
            ),
            (
                CacheView::new([3]).left_pad([3]),
                slots,
                "the length is 3 for sequence 0, expected at least 4, its 1 new keys and its padding of 3",
            ),
            (CacheView::new([3, 4]).slots([2, 2]), slots, ""),
            (
                CacheView::new([3, 3]).slots([2, 2]),
                slots,
                "where a new key goes is key 2 of block 2 for sequences 0 and 1, expected a place for each",
            ),
            (CacheView::new([]), slots, "the number of sequences is 0, expected at least 1"),
            (
                CacheView::new([3]).block_table([0]),
                slots,
                "the block table is given, expected none for a cache of slots",
            ),
            (CacheView::new([3]), pages, "the block table is missing, expected one for a paged cache"),
            (
                CacheView::new([3, 3]).block_table([0, 1, 2]),
                pages,
                "the length of the block table is 3, expected a multiple of the 2 sequences, as many pages for each",
            ),
            (
                CacheView::new([7]).block_table([0, 1]),
                pages,
                "the length is 7 for sequence 0, expected at most 6, the keys of 2 pages of 3",
            ),
            (
                CacheView::new([1, 4]).block_table([0, 9, 1, 6]),
                pages,
                "an index of the block table is 6, page 1 of sequence 1, expected below 6, the pages of the cache",
            ),
        ];
        for (view, spec, expected) in errors {
            let found = view.check(&spec, 1).map_or_else(|error| error.to_string(), |()| String::new());
            assert_eq!(found, expected);
        }
    }
}
