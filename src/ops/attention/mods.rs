//! Mods made real: their tables of tiles to visit, and what kernels are linked with and bind for them.

use std::sync::{Arc, Mutex, PoisonError};

use super::params::{TaskParams, Works};
use crate::kernel::{Kernel, params};
use crate::ops::Scratch;
use crate::plan::{AttentionStructure, ModsStructure, VISIT_LANES, VisitTable, block_words};
use crate::shader::snippet::{Bound, Buffer, Word};
use crate::shader::{Linker, Shader, ShaderError};
use crate::spec::Parts;
use crate::{AttentionSpec, Error, Gpu, Mods, PlanError, Tensor};

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
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn check_mods(gpu: &Gpu, mods: &Mods) -> Result<(), Error> {
    pollster::block_on(gpu.check_mods(mods))
}

/// In a browser nothing can be waited for: who wants the compiler's words calls [`Gpu::check_mods`] before.
#[cfg(target_arch = "wasm32")]
pub(super) fn check_mods(_gpu: &Gpu, mods: &Mods) -> Result<(), Error> {
    Ok(mods.check()?)
}

/// The storage buffer of `attention/visit_table`, behind which everything lies that is bound together with it.
const TABLE: &str = "visit_table";

/// What a kernel with tiles of so many queries and keys is linked with for the mods. Modules that bind a buffer are linked
/// in the order of [`Call::bound`], after those of other options.
///
/// `gradients` asks for those of the scores.
pub(super) fn modded(
    linker: Linker,
    attention: &AttentionStructure,
    mods: &Mods,
    tile: (u32, u32),
    gradients: bool,
) -> Result<Linker, ShaderError> {
    let structure = &attention.mods;
    let blocks = structure.cuts_blocks(tile);
    let masked = structure.asks(tile);
    let linker = mask(linker, masked, blocks);
    let linker = match (structure.scores, gradients) {
        (false, _) => linker.module("attention/scores_plain"),
        (true, false) => linker.module("attention/scores_modified"),
        (true, true) => linker.module("attention/scores_modified").module("attention/scores_modified_bwd"),
    };
    if !structure.scores && !masked {
        return Ok(linker);
    }
    let parts = Parts {
        scores: structure.scores,
        gradients: structure.scores && gradients,
        blocks,
        sequences: attention.sequences_among_mods(),
    };
    Ok(linker
        .module("attention/lengths")
        .snippets(mods.linked(parts, bound(structure, structure.has_table()))?))
}

/// Which tiles a kernel visits: those of a table, or `all` within the range of positions.
pub(super) fn visiting(linker: Linker, structure: &ModsStructure, all: &'static str) -> Linker {
    linker.module(if structure.has_table() { "attention/visit_table" } else { all })
}

/// Whether and how keys are hidden beyond their position.
fn mask(linker: Linker, masked: bool, blocks: bool) -> Linker {
    if !masked {
        return linker.module("attention/shows_all");
    }
    let blocks = if blocks { "attention/blocks_masked" } else { "attention/blocks_all" };
    linker.module("attention/shows_masked").module(blocks)
}

fn bound(structure: &ModsStructure, declared: bool) -> Bound {
    if structure.together { Bound::Together { name: TABLE, declared } } else { Bound::Singly }
}

/// The shaders that make a table of tiles to visit, if mods hide keys.
pub(super) fn visit_shaders(
    structure: &ModsStructure,
    mods: &Mods,
    table: Option<&VisitTable>,
) -> Result<Vec<Shader>, ShaderError> {
    let Some(table) = table.filter(|_| structure.finds_table()) else { return Ok(vec![]) };
    let linker = Linker::new("attention/visit_classes")
        .module("attention/params")
        .module("attention/task")
        .module("attention/sequences_dense")
        .module("attention/mask")
        .module("attention/lengths");
    let parts = Parts { blocks: structure.block.is_some(), ..Parts::default() };
    let classes = mask(linker, true, parts.blocks)
        .set("ROWS", table.tile.0)
        .set("COLUMNS", table.tile.1)
        .set("LANES", VISIT_LANES)
        .set("BY_HEAD", structure.apart.1)
        .set("BY_KEYS", table.by_keys)
        .snippets(mods.linked(parts, bound(structure, false))?)
        .link()?;
    let lists = Linker::new("attention/visit_lists").set("LANES", VISIT_LANES).link()?;
    Ok(vec![classes, lists])
}

/// The mods of an operation.
#[derive(Clone, Debug)]
pub(super) struct ModsOp {
    structure: ModsStructure,
    /// Whether the table of packed sequences is bound together with the buffers.
    sequences: bool,
    buffers: Vec<Buffer>,
    mask_buffers: Vec<Buffer>,
    /// The mask of blocks, for kernels that ask it about elements.
    blocks: Option<Tensor<u32>>,
    visits: Visits,
    /// What is bound together, kept from call to call while it is large enough.
    together: Arc<Mutex<Option<Tensor<u32>>>>,
}

/// Where the table of tiles to visit comes from.
#[derive(Clone, Debug)]
enum Visits {
    /// There is none: every tile within the range of positions is visited.
    All,
    /// From a mask of blocks, once.
    Given(Tensor<u32>),
    /// From mods that hide keys, at each call, since their buffers may hold something new.
    Found { table: VisitTable, kernels: Box<[Kernel; 2]>, scratch: Scratch },
}

impl ModsOp {
    /// Takes the kernels of [`visit_shaders`] off the front.
    pub fn new(
        gpu: &Gpu,
        spec: &AttentionSpec,
        (attention, mods): (&AttentionStructure, &Mods),
        table: Option<VisitTable>,
        kernels: &mut Vec<Kernel>,
    ) -> Result<Self, Error> {
        let structure = &attention.mods;
        let upload = |words: Vec<u32>| Tensor::from_slice(gpu, &[words.len()], &words);
        let visits = match (table, &mods.blocks) {
            (Some(table), _) if structure.finds_table() => {
                let kernels: Vec<_> = kernels.drain(..2).collect();
                let kernels = kernels.try_into().expect("a table is made by two kernels");
                Visits::Found { table, kernels: Box::new(kernels), scratch: Scratch::default() }
            }
            (Some(table), Some(mask)) => Visits::Given(upload(table.of_blocks(spec, mask))?),
            _ => Visits::All,
        };
        Ok(Self {
            structure: *structure,
            sequences: attention.sequences_among_mods(),
            buffers: mods.buffers(),
            mask_buffers: mods.mask_buffers(),
            blocks: mods.blocks.as_ref().map(block_words).map(upload).transpose()?,
            visits,
            together: Arc::default(),
        })
    }

    /// Fails unless these are the buffers that the mods read, and no others.
    pub fn check(&self, gpu: &Gpu, tables: &[(&str, Table<'_>)]) -> Result<(), Error> {
        for (name, table) in tables {
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
        match self.buffers.iter().find(|buffer| given(tables, buffer).is_none()) {
            Some(absent) => Err(Error::Buffer { name: absent.name.clone(), problem: "is missing".into() }),
            None => Ok(()),
        }
    }

    /// Records what makes the table of tiles to visit, and what brings buffers together, before the kernels that need
    /// them. The tables have passed their check; `params` are those of any of the kernels, and `works` are its tiles.
    pub fn encode<'a>(
        &'a self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        tables: &[(&str, Table<'a>)],
        params: TaskParams,
        works: &Works,
    ) -> Result<Call<'a>, Error> {
        let given = self.buffers.iter().filter_map(|buffer| given(tables, buffer)).collect();
        let mut call = Call { gpu: gpu.clone(), op: self, given, table: None, together: None };
        let words = match &self.visits {
            Visits::All => 0,
            Visits::Given(table) => table.len(),
            Visits::Found { table, .. } => table.words(),
        };
        if self.structure.together {
            call.together = Some(self.bring_together(gpu, encoder, &call.given, words, works)?);
        }
        let whole = call.together.as_ref().map(|together| together.buffer.clone());
        match &self.visits {
            Visits::All => {}
            Visits::Given(table) => {
                if let Some(whole) = &whole {
                    encoder.copy_buffer_to_buffer(table.buffer(), 0, whole, 0, 4 * words as u64);
                }
                call.table = Some(whole.unwrap_or_else(|| table.buffer().clone()));
            }
            Visits::Found { table, kernels, scratch } => {
                let shapes = [&[table.classes()], &[if whole.is_some() { 0 } else { words }]];
                let made = scratch.tensors(gpu, &[shapes[0], shapes[1]])?;
                let classes = made[0].buffer();
                let visits = whole.unwrap_or_else(|| made[1].buffer().clone());
                let masks = call.read(self.structure.block.is_some(), false, &self.mask_buffers, true)?;
                let buffers: Vec<_> = std::iter::once(classes).chain(&masks).collect();
                let params = TaskParams { groups: table.classes() as u32, ..params };
                kernels[0].dispatch(gpu, encoder, &params, &buffers)?;
                kernels[1].dispatch(gpu, encoder, &lists_params(table), &[classes, &visits])?;
                call.table = Some(visits);
            }
        }
        Ok(call)
    }

    /// One buffer with room for a table of that many words, the mask of blocks, the table of packed sequences and the given
    /// buffers, which are copied.
    fn bring_together(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        given: &[&wgpu::Buffer],
        table_words: usize,
        works: &Works,
    ) -> Result<Together, Error> {
        let sequences = works.bound().filter(|_| self.sequences);
        let own = self.blocks.iter().map(Tensor::buffer).chain(sequences);
        let sources = own.chain(given.iter().copied());
        // A buffer of the caller's may end within a word.
        let sources: Vec<_> = sources.map(|source| (source, source.size() / 4 * 4)).collect();
        let bytes = 4 * table_words as u64 + sources.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let limit = gpu.caps().binding_bytes.min(gpu.caps().buffer_bytes);
        if bytes > limit {
            let tensor = "the buffers of the mods, bound together";
            return Err(PlanError::Binding { tensor, bytes, limit }.into());
        }
        let mut kept = self.together.lock().unwrap_or_else(PoisonError::into_inner);
        let tensor = match kept.take().filter(|tensor| tensor.buffer().size() >= bytes) {
            Some(tensor) => tensor,
            None => Tensor::zeros(gpu, &[(bytes / 4) as usize])?,
        };
        let buffer = tensor.buffer().clone();
        *kept = Some(tensor);
        let mut first = 4 * table_words as u64;
        let mut places = Vec::new();
        for (source, bytes) in sources {
            encoder.copy_buffer_to_buffer(source, 0, &buffer, first, bytes);
            places.push([(first / 4) as u32, (bytes / 4) as u32, 0, 0]);
            first += bytes;
        }
        Ok(Together { buffer, places })
    }
}

/// The buffer given under that name.
fn given<'a>(tables: &[(&str, Table<'a>)], buffer: &Buffer) -> Option<&'a wgpu::Buffer> {
    let named = tables.iter().find(|(name, _)| *name == buffer.name);
    named.map(|(_, table)| table.buffer())
}

fn lists_params(table: &VisitTable) -> ListsParams {
    let (batch_rows, head_rows) = table.steps();
    let keys = table.tiles.1 as u32;
    let (row_step, column_step) = if table.by_keys { (1, keys) } else { (keys, 1) };
    let lists = table.lists() as u32;
    ListsParams {
        groups: lists.div_ceil(VISIT_LANES),
        lists,
        rows: table.rows() as u32,
        columns: table.columns() as u32,
        row_step,
        column_step,
        batch_rows,
        head_rows,
    }
}

/// Buffers in one, with the place and the length of each: the mask of blocks and the table of packed sequences, if they are
/// there, and what is given.
struct Together {
    buffer: wgpu::Buffer,
    places: Vec<[u32; 4]>,
}

/// The mods at one call.
pub(super) struct Call<'a> {
    gpu: Gpu,
    op: &'a ModsOp,
    /// The buffers given, in the order of the op's.
    given: Vec<&'a wgpu::Buffer>,
    table: Option<wgpu::Buffer>,
    together: Option<Together>,
}

impl Call<'_> {
    /// The buffers that a kernel with such tiles binds for the mods, after its own and those of other options.
    pub fn bound(&self, tile: (u32, u32)) -> Result<Vec<wgpu::Buffer>, Error> {
        let ModsOp { structure, sequences, buffers, .. } = self.op;
        let read = self.read(structure.cuts_blocks(tile), *sequences, buffers, self.table.is_none())?;
        Ok(self.table.iter().cloned().chain(read).collect())
    }

    /// What is bound for the functions that read the mask of blocks, if `blocks`, the table of packed sequences, if
    /// `sequences`, and buffers. `declared` says that the buffer which holds them all is bound for them too.
    fn read(
        &self,
        blocks: bool,
        sequences: bool,
        buffers: &[Buffer],
        declared: bool,
    ) -> Result<Vec<wgpu::Buffer>, Error> {
        let own = self.op.blocks.as_ref().filter(|_| blocks);
        let places =
            buffers.iter().filter_map(|buffer| self.op.buffers.iter().position(|b| b.name == buffer.name));
        let Some(Together { buffer, places: all }) = &self.together else {
            let read = own.map(Tensor::buffer).into_iter().chain(places.map(|place| self.given[place]));
            return Ok(read.cloned().collect());
        };
        let table = usize::from(self.op.blocks.is_some());
        let first = table + usize::from(self.op.sequences);
        let own = own.map(|_| all[0]).into_iter().chain(sequences.then(|| all[table]));
        let places: Vec<_> = own.chain(places.map(|place| all[first + place])).collect();
        if places.is_empty() {
            return Ok(vec![]);
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some("places of the mods' buffers"),
            size: 16 * places.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let uniform = self.gpu.guard("mods", || {
            let uniform = self.gpu.device().create_buffer(&descriptor);
            self.gpu.queue().write_buffer(&uniform, 0, bytemuck::cast_slice(&places));
            uniform
        })?;
        Ok(declared.then(|| buffer.clone()).into_iter().chain([uniform]).collect())
    }
}
