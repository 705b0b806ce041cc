//! Mods and masks of blocks, as options of `run attention`.

use std::collections::BTreeSet;
use std::fmt;

use clap::Args;
use tilewise::{BlockMask, Gpu, Mods, Snippet, Table, Tensor, Word};

use super::List;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::TensorFile;

// The program that the user adds. Not a doc comment: clap would give it to the command.
options! {
    #[derive(Debug, Args)]
    pub struct ModOptions {
        /// WGSL that changes scores; several files apply in order
        ///
        /// It defines `fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32`, and for gradients
        /// `fn score_mod_bwd(dscore_out: f32, score: f32, b: u32, h: u32, i: u32, j: u32) -> f32`.
        #[arg(long, value_name = "FILE.wgsl")]
        score_mod: Vec<String>,
        /// WGSL that hides keys; of several files each must show a key for it to be seen
        ///
        /// It defines `fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool`.
        #[arg(long, value_name = "FILE.wgsl")]
        mask_mod: Vec<String>,
        /// A tensor in F32, U32 or I32 that mods read: NAME(index) is an element of it
        #[arg(long, value_name = "NAME")]
        buffer: Vec<String>,
        /// Queries and keys of a block of the tensor block_mask, which is 1 where a block is seen and 0 where not [default: the
        /// one size that divides the length evenly or is a power of two]
        #[arg(long, value_name = "QUERIES,KEYS")]
        block: Option<List<2>>,
    }
}

/// How many queries or keys a block has, where so many blocks make up a length: all of them for one block; for several the
/// size that divides evenly or is a power of two, if there is one such size alone.
fn block_size(what: &str, length: usize, blocks: usize) -> Result<usize, Failure> {
    if blocks <= 1 {
        return Ok(length.max(1));
    }
    let even = length.is_multiple_of(blocks).then(|| length / blocks);
    let powers = (0..usize::BITS - 1).map(|n| 1 << n).filter(|&size| length.div_ceil(size) == blocks);
    let sizes: Vec<_> = even.into_iter().chain(powers).collect::<BTreeSet<_>>().into_iter().collect();
    match sizes.as_slice() {
        [size] => Ok(*size),
        sizes => Err(Failure::input(format!(
            "block_mask has {blocks} blocks for {length} {what}: of the sizes that divide evenly or are a power of two, \
             {sizes:?} would do; it needs --block QUERIES,KEYS"
        ))),
    }
}

/// A buffer of the file on the device.
#[derive(Debug)]
pub enum Buffer {
    F32(Tensor<f32>),
    U32(Tensor<u32>),
    I32(Tensor<i32>),
}

impl Buffer {
    pub fn table(&self) -> Table<'_> {
        match self {
            Self::F32(tensor) => tensor.into(),
            Self::U32(tensor) => tensor.into(),
            Self::I32(tensor) => tensor.into(),
        }
    }
}

impl ModOptions {
    /// The mods of attention of so many queries and keys, with what they read of the file. Empty where there are none.
    pub fn mods(&self, file: &TensorFile<'_>, lengths: (usize, usize)) -> Result<Mods, Failure> {
        let words = self.buffer.iter().map(|name| Ok((name.as_str(), file.word(name)?)));
        let words: Vec<_> = words.collect::<Result<_, Failure>>()?;
        let scores =
            self.score_mod.iter().map(|path| snippet(file, path, &words)).collect::<Result<Vec<_>, _>>()?;
        let masks =
            self.mask_mod.iter().map(|path| snippet(file, path, &words)).collect::<Result<Vec<_>, _>>()?;
        let read = |name: &str| scores.iter().chain(&masks).any(|s| s.buffers.iter().any(|b| b.name == name));
        if let Some((unread, _)) = words.iter().find(|(name, _)| !read(name)) {
            return Err(Failure::input(format!("--buffer {unread}: no mod reads {unread}(index)")));
        }
        let mods = Mods { scores, masks, blocks: self.blocks(file, lengths)? };
        mods.check().map_err(tilewise::Error::from)?;
        Ok(mods)
    }

    /// The mask of blocks, whose size the option says, or the shape if only one comes into question.
    fn blocks(
        &self,
        file: &TensorFile<'_>,
        (q_len, k_len): (usize, usize),
    ) -> Result<Option<BlockMask>, Failure> {
        let mask = file.find_flags("block_mask")?;
        let (mask, size) = match (mask, self.block) {
            (None, None) => return Ok(None),
            (Some(mask), Some(List([queries, keys]))) => (mask, (queries, keys)),
            (Some(mask), None) => {
                let [.., q_blocks, k_blocks] = *mask.shape else {
                    let shape = &mask.shape;
                    return Err(Failure::input(format!(
                        "block_mask has shape {shape:?}, expected blocks of queries and blocks of keys"
                    )));
                };
                let size = (block_size("queries", q_len, q_blocks)?, block_size("keys", k_len, k_blocks)?);
                (mask, size)
            }
            (None, Some(_)) => {
                return Err(Failure::input("--block is given, but the file has no block_mask".into()));
            }
        };
        Ok(Some(BlockMask::new(size, &mask.shape, &mask.values)?))
    }

    /// The buffers on the device.
    pub fn upload(mods: &Mods, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<(String, Buffer)>, Failure> {
        let upload = |buffer: tilewise::shader::snippet::Buffer| {
            let uploaded = match buffer.word {
                Word::F32 => Buffer::F32(file.upload_words(gpu, &buffer.name)?),
                Word::U32 => Buffer::U32(file.upload_words(gpu, &buffer.name)?),
                Word::I32 => Buffer::I32(file.upload_words(gpu, &buffer.name)?),
            };
            Ok((buffer.name, uploaded))
        };
        mods.buffers().into_iter().map(upload).collect()
    }
}

/// What there is of mods, behind the name of the operation.
pub fn fmt_mods(mods: &Mods, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for snippet in mods.scores.iter().chain(&mods.masks) {
        write!(f, ", {}", snippet.name)?;
    }
    match mods.blocks.as_ref().map(BlockMask::block) {
        Some((queries, keys)) => write!(f, ", blocks of {queries} × {keys}"),
        None => Ok(()),
    }
}

/// A file's text, with those of the buffers that it mentions.
fn snippet(file: &TensorFile<'_>, path: &str, words: &[(&str, Word)]) -> Result<Snippet, Failure> {
    let source = file.text(path)?;
    let mentioned = |name: &str| {
        let mut parts = source
            .split(|letter: char| letter.is_ascii() && !letter.is_ascii_alphanumeric() && letter != '_');
        parts.any(|word| word == name)
    };
    let read: Vec<_> = words.iter().filter(|(name, _)| mentioned(name)).collect();
    let snippet = Snippet::new(path, source.clone());
    Ok(read.into_iter().fold(snippet, |snippet, (name, word)| snippet.buffer(*name, *word)))
}

#[cfg(test)]
mod tests {
    use super::block_size;

    #[test]
    fn a_size_is_taken_from_the_shape_where_only_one_comes_into_question() {
        for (length, blocks, expected) in
            [(256, 4, 64), (113, 2, 64), (40, 3, 16), (42, 7, 6), (7, 1, 7), (0, 0, 1), (6, 6, 1)]
        {
            let found = block_size("keys", length, blocks);
            assert!(matches!(found, Ok(size) if size == expected), "{length} in {blocks}: {found:?}");
        }
        for (length, blocks, words) in [
            (40, 2, "[20, 32] would do"),
            (100, 4, "[25, 32] would do"),
            (10, 9, "[] would do"),
            (10, 11, "[]"),
        ] {
            let error = block_size("keys", length, blocks).expect_err("no single size").to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
