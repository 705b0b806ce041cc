//! Mods and masks of blocks, as options of `run attention`.

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
        /// Queries and keys of a block of the tensor block_mask, which is 1 where a block is seen and 0 where not
        #[arg(long, value_name = "QUERIES,KEYS")]
        block: Option<List<2>>,
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
    /// The mods, with what they read of the file. Empty where there are none.
    pub fn mods(&self, file: &TensorFile<'_>) -> Result<Mods, Failure> {
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
        let mods = Mods { scores, masks, blocks: self.blocks(file)? };
        mods.check().map_err(tilewise::Error::from)?;
        Ok(mods)
    }

    /// The mask of blocks, whose size the option says.
    fn blocks(&self, file: &TensorFile<'_>) -> Result<Option<BlockMask>, Failure> {
        let mask = file.find("block_mask")?;
        let (mask, [queries, keys]) = match (mask, self.block) {
            (None, None) => return Ok(None),
            (Some(mask), Some(List(block))) => (mask, block),
            (Some(_), None) => {
                let message = "block_mask needs --block QUERIES,KEYS: how many of each a block has";
                return Err(Failure::input(message.into()));
            }
            (None, Some(_)) => {
                return Err(Failure::input("--block is given, but the file has no block_mask".into()));
            }
        };
        let values = mask.values_f32()?;
        if let Some(odd) = values.iter().find(|value| ![0.0, 1.0].contains(*value)) {
            return Err(Failure::input(format!("block_mask holds {odd}, expected 0 and 1 alone")));
        }
        let blocks: Vec<_> = values.iter().map(|&value| value.total_cmp(&1.0).is_eq()).collect();
        Ok(Some(BlockMask::new((queries, keys), mask.shape, &blocks)?))
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
        let mut parts = source.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        parts.any(|word| word == name)
    };
    let read: Vec<_> = words.iter().filter(|(name, _)| mentioned(name)).collect();
    let snippet = Snippet::new(path, source.clone());
    Ok(read.into_iter().fold(snippet, |snippet, (name, word)| snippet.buffer(*name, *word)))
}
