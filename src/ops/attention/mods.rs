//! Mods made real: their tables of tiles to visit, and what kernels are linked with and bind for them.

use super::AttentionInputs;
use super::params::TaskParams;
use crate::kernel::{Kernel, params};
use crate::ops::Scratch;
use crate::plan::{ModsStructure, VISIT_LANES, VisitTable, block_words};
use crate::shader::snippet::{Buffer, Word};
use crate::shader::{Linker, Shader, ShaderError};
use crate::{AttentionSpec, Element, Error, Gpu, Mods, Tensor};

params! {
    /// `attention/visit_lists`.
    ListsParams {
        lists: u32,
        rows: u32,
        columns: u32,
        row_step: u32,
        column_step: u32,
        batch_rows: u32,
        head_rows: u32,
    }
}

/// A buffer for mods, which read its elements in order, whatever its shape.
#[derive(Clone, Copy, Debug)]
pub enum Table<'a> {
    /// Of f32.
    F32(&'a Tensor<f32>),
    /// Of u32.
    U32(&'a Tensor<u32>),
    /// Of i32.
    I32(&'a Tensor<i32>),
}

impl<'a> From<&'a Tensor<f32>> for Table<'a> {
    fn from(tensor: &'a Tensor<f32>) -> Self {
        Self::F32(tensor)
    }
}

impl<'a> From<&'a Tensor<u32>> for Table<'a> {
    fn from(tensor: &'a Tensor<u32>) -> Self {
        Self::U32(tensor)
    }
}

impl<'a> From<&'a Tensor<i32>> for Table<'a> {
    fn from(tensor: &'a Tensor<i32>) -> Self {
        Self::I32(tensor)
    }
}

impl<'a> Table<'a> {
    fn word(self) -> Word {
        match self {
            Self::F32(_) => Word::F32,
            Self::U32(_) => Word::U32,
            Self::I32(_) => Word::I32,
        }
    }

    fn buffer(self) -> &'a wgpu::Buffer {
        match self {
            Self::F32(tensor) => tensor.buffer(),
            Self::U32(tensor) => tensor.buffer(),
            Self::I32(tensor) => tensor.buffer(),
        }
    }

    fn expect_here(self, gpu: &Gpu) -> Result<(), Error> {
        const NAME: &str = "a buffer of the mods";
        match self {
            Self::F32(tensor) => tensor.expect_here(gpu, NAME),
            Self::U32(tensor) => tensor.expect_here(gpu, NAME),
            Self::I32(tensor) => tensor.expect_here(gpu, NAME),
        }
    }
}

impl Gpu {
    /// Fails if mods are not valid, in the words of the shader compiler and with the line of the user's own text.
    ///
    /// Operations with mods do this themselves, except in a browser, where only waiting tells what the compiler says.
    pub async fn check_mods(&self, mods: &Mods) -> Result<(), Error> {
        mods.check()?;
        for (snippet, scope) in mods.snippets() {
            if let Some((line, message)) = self.complaint(&snippet.name, &snippet.alone(scope)).await? {
                return Err(snippet.compile_error(line, &message).into());
            }
        }
        Ok(())
    }
}

/// [`Gpu::check_mods`] where that can be waited for.
pub(super) fn check_mods(gpu: &Gpu, mods: &Mods) -> Result<(), Error> {
    #[cfg(not(target_arch = "wasm32"))]
    return pollster::block_on(gpu.check_mods(mods));
    #[cfg(target_arch = "wasm32")]
    return Ok(mods.check()?);
}

/// What a kernel with tiles of so many queries and keys is linked with for the mods.
///
/// Modules that bind a buffer are linked in the order of [`ModsOp::bound`], the mods' own buffers last.
pub(super) fn modded(
    linker: Linker,
    structure: &ModsStructure,
    mods: &Mods,
    tile: (u32, u32),
    backward: bool,
) -> Result<Linker, ShaderError> {
    let table = structure.has_table();
    let cut = structure.cuts_blocks(tile);
    let linker = linker.module(if table { "attention/visit_table" } else { "attention/visit_all" });
    let linker = masked(linker, structure.masks || cut, cut);
    let linker = match (structure.scores, backward) {
        (false, _) => linker.module("attention/scores_plain"),
        (true, false) => linker.module("attention/scores_modified"),
        (true, true) => linker.module("attention/scores_modified").module("attention/scores_modified_bwd"),
    };
    if !structure.scores && !structure.masks && !cut {
        return Ok(linker);
    }
    Ok(linker.module("attention/lengths").snippets(mods.linked(backward, false)?))
}

/// Whether and how keys are hidden beyond their position.
fn masked(linker: Linker, masked: bool, blocks: bool) -> Linker {
    if !masked {
        return linker.module("attention/shows_all");
    }
    let blocks = if blocks { "attention/blocks_masked" } else { "attention/blocks_all" };
    linker.module("attention/shows_masked").module(blocks)
}

/// The shaders that make a table of tiles to visit, if mods hide keys.
pub(super) fn visit_shaders(
    structure: &ModsStructure,
    mods: &Mods,
    table: &VisitTable,
) -> Result<Vec<Shader>, ShaderError> {
    if !structure.masks {
        return Ok(vec![]);
    }
    let linker = Linker::new("attention/visit_classes")
        .module("attention/params")
        .module("attention/task")
        .module("attention/sequences_dense")
        .module("attention/mask");
    let classes = masked(linker, true, structure.block.is_some())
        .module("attention/lengths")
        .set("ROWS", table.tile.0)
        .set("COLUMNS", table.tile.1)
        .set("LANES", VISIT_LANES)
        .set("BY_HEAD", structure.by_head)
        .snippets(mods.linked(false, true)?)
        .link()?;
    let lists = Linker::new("attention/visit_lists").set("LANES", VISIT_LANES).link()?;
    Ok(vec![classes, lists])
}

/// The mods of an operation.
#[derive(Clone, Debug)]
pub(super) struct ModsOp {
    structure: ModsStructure,
    buffers: Vec<Buffer>,
    mask_buffers: Vec<Buffer>,
    /// The mask of blocks, for kernels that ask it about elements.
    blocks: Option<Tensor<u32>>,
}

impl ModsOp {
    pub fn new(gpu: &Gpu, structure: ModsStructure, mods: &Mods) -> Result<Self, Error> {
        let words = mods.blocks.as_ref().map(block_words);
        let blocks = words.map(|words| Tensor::from_slice(gpu, &[words.len()], &words)).transpose()?;
        Ok(Self { structure, buffers: mods.buffers(), mask_buffers: mods.mask_buffers(), blocks })
    }

    /// Fails unless the inputs hold the buffers that the mods read, and no others.
    pub fn check<T: Element>(&self, gpu: &Gpu, inputs: &AttentionInputs<'_, T>) -> Result<(), Error> {
        for (name, table) in inputs.tables {
            let fail = |problem: String| Err(Error::Buffer { name: (*name).to_owned(), problem });
            table.expect_here(gpu)?;
            match self.buffers.iter().find(|buffer| buffer.name == *name) {
                None => return fail("is given, but no mod reads it".into()),
                Some(buffer) if buffer.word != table.word() => {
                    return fail(format!("holds {}, expected {}", table.word(), buffer.word));
                }
                Some(_) => {}
            }
        }
        match self.buffers.iter().find(|buffer| given(inputs, buffer).is_none()) {
            Some(absent) => Err(Error::Buffer { name: absent.name.clone(), problem: "is missing".into() }),
            None => Ok(()),
        }
    }

    /// The buffers that a kernel with such tiles binds for the mods, after its own and those of other options.
    pub fn bound<'a, T>(
        &'a self,
        inputs: &AttentionInputs<'a, T>,
        tile: (u32, u32),
        table: Option<&'a wgpu::Buffer>,
    ) -> Vec<&'a wgpu::Buffer> {
        let blocks = self.blocks.as_ref().filter(|_| self.structure.cuts_blocks(tile)).map(Tensor::buffer);
        let read = self.buffers.iter().filter_map(|buffer| given(inputs, buffer));
        table.into_iter().chain(blocks).chain(read).collect()
    }
}

/// The input of that name.
fn given<'a, T>(inputs: &AttentionInputs<'a, T>, buffer: &Buffer) -> Option<&'a wgpu::Buffer> {
    let named = inputs.tables.iter().find(|(name, _)| *name == buffer.name);
    named.map(|(_, table)| table.buffer())
}

/// A table of tiles to visit on the device.
#[derive(Clone, Debug)]
pub(super) enum Visits {
    /// There is none: every tile within the range of positions is visited.
    All,
    /// From a mask of blocks, once.
    Given(Tensor<u32>),
    /// From mods that hide keys, at each call, since their buffers may hold something new.
    Found { spec: AttentionSpec, table: VisitTable, kernels: Box<[Kernel; 2]>, scratch: Scratch },
}

impl Visits {
    /// `kernels` are those of [`visit_shaders`].
    pub fn new(
        gpu: &Gpu,
        spec: &AttentionSpec,
        mods: &Mods,
        table: Option<VisitTable>,
        kernels: &[Kernel],
    ) -> Result<Self, Error> {
        Ok(match (table, kernels, &mods.blocks) {
            (Some(table), [classes, lists], _) => Self::Found {
                spec: *spec,
                table,
                kernels: Box::new([classes.clone(), lists.clone()]),
                scratch: Scratch::default(),
            },
            (Some(table), _, Some(mask)) => {
                let words = table.of_blocks(spec, mask);
                Self::Given(Tensor::from_slice(gpu, &[words.len()], &words)?)
            }
            _ => Self::All,
        })
    }

    /// Records what makes the table, where that depends on the inputs.
    pub fn encode<'a, T>(
        &'a self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        op: &ModsOp,
        inputs: &AttentionInputs<'_, T>,
    ) -> Result<Option<&'a wgpu::Buffer>, Error> {
        let (spec, table, kernels, scratch) = match self {
            Self::All => return Ok(None),
            Self::Given(table) => return Ok(Some(table.buffer())),
            Self::Found { spec, table, kernels, scratch } => (spec, table, kernels, scratch),
        };
        let made = scratch.tensors(gpu, &[&[table.classes()], &[table.words()]])?;
        let (classes, visits) = (made[0].buffer(), made[1].buffer());
        let masks = op.mask_buffers.iter().filter_map(|buffer| given(inputs, buffer));
        let buffers: Vec<_> =
            std::iter::once(classes).chain(op.blocks.as_ref().map(Tensor::buffer)).chain(masks).collect();
        let params = TaskParams::new(spec, (spec.q_len, spec.heads), table.tile.0, 1);
        let params = TaskParams { groups: table.classes() as u32, ..params };
        kernels[0].dispatch(gpu, encoder, &params, &buffers)?;

        let (batch_rows, head_rows) = table.steps();
        let keys = table.tiles.1 as u32;
        let (row_step, column_step) = if table.by_keys { (1, keys) } else { (keys, 1) };
        let lists = table.lists() as u32;
        let params = ListsParams {
            groups: lists.div_ceil(VISIT_LANES),
            lists,
            rows: table.rows() as u32,
            columns: table.columns() as u32,
            row_step,
            column_step,
            batch_rows,
            head_rows,
        };
        kernels[1].dispatch(gpu, encoder, &params, &[classes, visits])?;
        Ok(Some(visits))
    }
}
