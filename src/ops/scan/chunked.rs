//! Recurrences in chunks: the kernels that state-space duality and linear attention share, and how they follow one
//! another. Which tensors they are given, and under which names, is the concern of the operations.

use super::chunked_windows::Ends;
use crate::kernel::{Kernel, Params, params};
use crate::plan::{ChunkKernel, ChunkedBackwardPlan, ChunkedPlan, Mixed, Steps, record_words};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::spec::{Decay, Recurrence};
use crate::{Error, Gpu, Skip, Tensor};

params! {
    /// `scan/chunk_steps`.
    StepsParams { count: u32, heads: u32, low: f32, high: f32 }
}

params! {
    /// `scan/chunk_states`.
    StatesParams {
        heads: u32, b_share: u32, x_dim: u32, b_dim: u32, row_tiles: u32, column_tiles: u32, scale: f32,
    }
}

impl StatesParams {
    /// For so many records: tiles of that many lanes down and fours of columns a lane.
    pub fn new(
        records: u32,
        [heads, b_share]: [u32; 2],
        [x_dim, b_dim]: [u32; 2],
        [lanes, fours]: [u32; 2],
        scale: f32,
    ) -> Self {
        let (row_tiles, column_tiles) = (x_dim.div_ceil(4 * lanes), b_dim.div_ceil(32 * fours));
        let groups = records * row_tiles * column_tiles;
        Self { groups, heads, b_share, x_dim, b_dim, row_tiles, column_tiles, scale }
    }
}

params! {
    /// `scan/chunk_pass`.
    PassParams { count: u32, heads: u32, cells: u32, columns: u32, has_initial: u32 }
}

params! {
    /// `scan/chunk_mix`.
    MixParams {
        units: u32, repeat: u32, row_tiles: u32, column_tiles: u32, q_share: u32, k_share: u32, v_share: u32,
        q_dim: u32, v_dim: u32, scale: f32, state_scale: f32, skip_head: u32, skip_channel: u32, tokens: u32,
        plane: u32,
    }
}

params! {
    /// `scan/chunk_product`.
    ProductParams { heads: u32, depth: u32, width: u32, column_tiles: u32, scale: f32 }
}

impl ProductParams {
    /// For so many records: rows of `width` elements, each a sum over `depth`.
    pub fn new(records: u32, heads: u32, [depth, width]: [u32; 2], scale: f32) -> Self {
        let column_tiles = width.div_ceil(32);
        Self { groups: records * column_tiles, heads, depth, width, column_tiles, scale }
    }
}

/// Sizes of a recurrence in chunks, as its kernels count them.
pub(super) struct ChunkParams {
    /// Chunks of all heads.
    pub records: u32,
    pub heads: u32,
    pub x_dim: u32,
    pub b_dim: u32,
    pub tokens: u32,
}

params! {
    /// `scan/gate_gradient`.
    GateParams { count: u32 }
}

params! {
    /// `scan/chunk_decay`.
    DecayParams { heads: u32, b_share: u32, x_dim: u32, b_dim: u32, scale: f32 }
}

params! {
    /// `scan/chunk_gradient`.
    GradientParams { heads: u32, chunks: u32, first: u32, tokens: u32, planes: u32, low: f32, high: f32 }
}

params! {
    /// `scan/skip_gradient`.
    SkipParams { chunks: u32, first: u32, heads: u32, x_dim: u32, tiles: u32 }
}

params! {
    /// `scan/sum_rows`.
    SumParams { first: u32, count: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &ChunkedPlan) -> Result<Vec<Shader>, ShaderError> {
    ChunkedPlan::kernels().into_iter().map(|kernel| shader(plan, kernel)).collect()
}

/// The linked shaders of a plan of gradients, in the order of its footprints.
pub fn backward_shaders(plan: &ChunkedBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    plan.kernels().into_iter().map(|kernel| shader(&plan.forward, kernel)).collect()
}

/// Defines `take_step`, whose tensors come after the kernel's.
pub(super) fn link_steps(linker: Linker, steps: Steps, dt: Storage) -> Linker {
    let linker = linker.module("scan/step");
    match steps {
        Steps::Dt { bias, softplus, limits } => linker
            .module("common/activation")
            .module("common/special")
            .module("scan/decay_dt")
            .tensor("dt", dt)
            .set("HAS_BIAS", bias)
            .set("HAS_SOFTPLUS", softplus)
            .set("HAS_LIMITS", limits),
        Steps::Given { constant } => linker.module("scan/decay_given").set("CONSTANT", constant),
        Steps::Keyed => linker.module("scan/decay_keyed"),
        Steps::Delta { gated, pairs } => {
            linker.module("scan/decay_delta").set("GATED", gated).set("PAIRS", pairs)
        }
    }
}

/// Defines `gated`, whose tensor comes after the kernel's.
pub(super) fn link_gate(linker: Linker, gated: bool, z: Storage) -> Linker {
    if gated {
        linker.module("common/activation").module("scan/gate_silu").tensor("z", z)
    } else {
        linker.module("scan/gate_open")
    }
}

/// How `dt` and its gradient are stored: one element at a time, since a lane's steps are a row of heads apart.
pub(super) fn by_ones(storage: Storage) -> Storage {
    Storage { vectors: false, ..storage }
}

/// A kernel that reads the records of a plan's chunks.
pub(super) fn chunk_linker(plan: &ChunkedPlan, kernel: &'static str) -> Linker {
    Linker::new(kernel).module("scan/chunk").set("CHUNK", plan.room)
}

/// `scan/chunk_states`, where `x` and `b` are stored like that and a tile has so many lanes down.
pub(super) fn states_linker(plan: &ChunkedPlan, [x, b]: [Storage; 2], lanes: u32, reverse: bool) -> Linker {
    chunk_linker(plan, "scan/chunk_states")
        .tensor("x", x)
        .tensor("b", b)
        .tensor("states", plan.states())
        .set("ROW_LANES", lanes)
        .set("FOURS", plan.b_fours)
        .set("REVERSE", reverse)
}

pub(super) fn shader(plan: &ChunkedPlan, kernel: ChunkKernel) -> Result<Shader, ShaderError> {
    let linker = || Linker::new(kernel.file());
    let chunked = || chunk_linker(plan, kernel.file());
    let dt = by_ones(plan.x);
    match kernel {
        ChunkKernel::Steps => link_steps(linker(), plan.steps, dt).set("CHUNK", plan.room).link(),
        ChunkKernel::States { reverse } => {
            let x = if reverse { plan.dy() } else { plan.x };
            states_linker(plan, [x, plan.b], plan.state_lanes, reverse).link()
        }
        ChunkKernel::Pass { reverse } => {
            linker().set("REVERSE", reverse).set("KEYED", plan.steps == Steps::Keyed).link()
        }
        ChunkKernel::Mix(mixed) => mix_shader(plan, mixed, chunked()),
        ChunkKernel::Gate => {
            let linker = linker().module("common/activation");
            ["z", "dout", "dz"].into_iter().fold(linker, |linker, name| linker.tensor(name, plan.x)).link()
        }
        ChunkKernel::Decay => chunked()
            .module("common/product")
            .tensor("b", plan.b)
            .tensor("c", plan.b)
            .tensor("x", plan.x)
            .tensor("dy", plan.dy())
            .tensor("states", plan.states())
            .tensor("dstates", plan.states())
            .link(),
        ChunkKernel::Gradient => {
            let linker = link_steps(chunked(), plan.steps, dt);
            match plan.steps {
                Steps::Dt { .. } => linker.module("scan/gradient_dt").tensor("ddt", dt).link(),
                Steps::Given { .. } => linker.module("scan/gradient_given").link(),
                Steps::Delta { .. } => linker.module("scan/gradient_delta").link(),
                Steps::Keyed => unreachable!("decays of keys have gradients of their own"),
            }
        }
        ChunkKernel::Skip => chunked().tensor("x", plan.x).tensor("dy", plan.dy()).link(),
        ChunkKernel::Sum => linker().link(),
    }
}

fn mix_shader(plan: &ChunkedPlan, mixed: Mixed, linker: Linker) -> Result<Shader, ShaderError> {
    let (x, b, dy) = (plan.x, plan.b, plan.dy());
    let [q, k, v] = match mixed {
        Mixed::Result | Mixed::Ungated => [b, b, x],
        Mixed::Residuals => [b, b, plan.x_in_f32()],
        Mixed::X | Mixed::Within => [b, b, dy],
        Mixed::C => [dy, x, b],
        Mixed::B => [x, dy, b],
    };
    let of_x = !matches!(mixed, Mixed::C | Mixed::B);
    let linker = linker
        .module("common/product")
        .tensor("q", q)
        .tensor("k", k)
        .tensor("v", v)
        .tensor("states", plan.states())
        .set("ROW_LANES", plan.step_lanes)
        .set("FOURS", plan.mix_fours(mixed))
        .set("REVERSE", matches!(mixed, Mixed::X | Mixed::Within | Mixed::B))
        .set("HAS_STATE", mixed != Mixed::Within)
        .set("STATE_TURNED", of_x);
    if !of_x {
        return linker.module("scan/mix_sums").tensor("other", b).tensor("out", b).link();
    }
    let out = if matches!(mixed, Mixed::Ungated | Mixed::Within) { plan.x_in_f32() } else { x };
    let linker = linker.module("scan/mix_output").tensor("out", out).set("HAS_SKIP", plan.skip);
    link_gate(linker, plan.gated && mixed == Mixed::Result, x).link()
}

/// Numbers that kernels look up.
pub(super) fn table(gpu: &Gpu, words: &[u32]) -> Result<Tensor<u32>, Error> {
    Tensor::from_slice(gpu, &[words.len()], words)
}

/// Where chunks lie, and which of them follow one another: no chunk holds steps of two sequences, so that nothing of one
/// can reach the other.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    chunks: Tensor<u32>,
    pub runs: Tensor<u32>,
    pub run_count: u32,
}

impl Layout {
    fn new(gpu: &Gpu, of: &Recurrence, chunk: usize) -> Result<Self, Error> {
        let (mut chunks, mut runs) = (Vec::new(), Vec::new());
        for run in of.sequences.runs(of.batch, of.length) {
            let first = chunks.len() / 2;
            for start in (0..run.steps.max(1)).step_by(chunk) {
                chunks.extend([run.first + start, chunk.min(run.steps - start)].map(|word| word as u32));
            }
            let slot = |state: Option<usize>| state.map_or(u32::MAX, |state| state as u32);
            runs.extend([first as u32, (chunks.len() / 2) as u32, slot(run.initial), slot(run.last)]);
        }
        Self::of(gpu, &chunks, &runs)
    }

    /// For each chunk the first step and the steps, and for each run the first chunk, the one after its last, and which of
    /// the initial and the last states are its own.
    pub fn of(gpu: &Gpu, chunks: &[u32], runs: &[u32]) -> Result<Self, Error> {
        let run_count = (runs.len() / 4) as u32;
        Ok(Self { chunks: table(gpu, chunks)?, runs: table(gpu, runs)?, run_count })
    }
}

/// What a recurrence reads.
pub(super) struct Given<'a> {
    pub x: &'a wgpu::Buffer,
    pub b: &'a wgpu::Buffer,
    pub c: &'a wgpu::Buffer,
    /// What steps are made of: `dt`, `a`, `dt_bias`, or `g`.
    pub steps: Vec<&'a wgpu::Buffer>,
    pub skip: &'a wgpu::Buffer,
    pub z: &'a wgpu::Buffer,
    pub initial: Option<&'a wgpu::Buffer>,
}

/// The part of it that is bound at once.
pub(super) struct GivenPart<'a> {
    pub x: Bound<'a>,
    pub b: Bound<'a>,
    pub c: Bound<'a>,
    pub z: Bound<'a>,
    pub steps: Vec<Bound<'a>>,
}

/// Where gradients go, under the names of what they belong to.
pub(super) struct Gradients<'a> {
    pub x: &'a wgpu::Buffer,
    pub b: &'a wgpu::Buffer,
    pub c: &'a wgpu::Buffer,
    /// Of each step: `dt`, or `g` where it is not constant.
    pub step: &'a wgpu::Buffer,
    /// Of each head: `a` and `dt_bias`, or a constant `g`.
    pub heads: Vec<&'a wgpu::Buffer>,
    pub skip: Option<&'a wgpu::Buffer>,
    pub z: &'a wgpu::Buffer,
    pub initial: &'a wgpu::Buffer,
}

/// What the gradients of `b` and `c` are made of.
pub(super) struct Reads<'a> {
    pub x: Bound<'a>,
    pub b: Bound<'a>,
    pub c: Bound<'a>,
    pub dy: Bound<'a>,
    /// With which chunks begin.
    pub states: &'a wgpu::Buffer,
    /// The gradients of those with which they end.
    pub dstates: &'a wgpu::Buffer,
    pub records: &'a wgpu::Buffer,
}

/// What the gradients of decays and weights are made of.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    /// Of each step's decay, within its chunk.
    pub within: &'a wgpu::Buffer,
    /// Products of rows of gradients with rows of what they belong to.
    pub dots: &'a wgpu::Buffer,
    /// Of the gradients of heads, by chunks.
    pub of_heads: &'a wgpu::Buffer,
}

/// A buffer, or a part of one, that a kernel binds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<'a> {
    buffer: &'a wgpu::Buffer,
    /// Where the part begins in bytes, and how many these are.
    part: Option<[u64; 2]>,
}

impl<'a> From<&'a wgpu::Buffer> for Bound<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        Self { buffer, part: None }
    }
}

impl<'a> Bound<'a> {
    pub fn part(buffer: &'a wgpu::Buffer, offset: u64, bytes: u64) -> Self {
        Self { buffer, part: Some([offset, bytes]) }
    }

    fn binding(self) -> wgpu::BufferBinding<'a> {
        match self.part {
            Some([offset, size]) => {
                wgpu::BufferBinding { buffer: self.buffer, offset, size: wgpu::BufferSize::new(size) }
            }
            None => self.buffer.as_entire_buffer_binding(),
        }
    }
}

pub(super) fn bindings<'a>(buffers: &[impl Into<Bound<'a>> + Copy]) -> Vec<wgpu::BufferBinding<'a>> {
    buffers.iter().map(|&buffer| buffer.into().binding()).collect()
}

/// A recurrence with its compiled kernels, or the part of one that is bound at once.
#[derive(Clone, Debug)]
pub(super) struct Chunked {
    pub gpu: Gpu,
    of: Recurrence,
    /// With the chunks of the part.
    pub plan: ChunkedPlan,
    kernels: Vec<(ChunkKernel, Kernel)>,
    pub layout: Layout,
    /// Tokens that are bound.
    tokens: usize,
    /// Chunks before those of the part, and those of the whole.
    pub first_chunk: u32,
    all_chunks: u32,
}

/// The parameters of a kernel that are the same at each call.
struct Sizes {
    chunks: u32,
    heads: u32,
    b_share: u32,
    x_dim: u32,
    b_dim: u32,
    tokens: u32,
    limits: [f32; 2],
}

impl Chunked {
    pub fn new(
        gpu: &Gpu,
        of: Recurrence,
        plan: ChunkedPlan,
        kernels: Vec<(ChunkKernel, Kernel)>,
    ) -> Result<Self, Error> {
        let layout = Layout::new(gpu, &of, plan.chunk as usize)?;
        let (tokens, all_chunks) = (of.tokens(), plan.chunks);
        Ok(Self { gpu: gpu.clone(), of, plan, kernels, layout, tokens, first_chunk: 0, all_chunks })
    }

    /// Some of the chunks, from one to before another, as a layout of their own has them, with so many tokens.
    pub fn window(&self, layout: Layout, [first, end]: [u32; 2], tokens: usize) -> Self {
        let plan = ChunkedPlan { chunks: end - first, ..self.plan };
        Self { plan, layout, tokens, first_chunk: first, ..self.clone() }
    }

    fn kernel(&self, wanted: ChunkKernel) -> &Kernel {
        super::kernel_of(&self.kernels, &wanted)
    }

    fn sizes(&self) -> Sizes {
        let of = &self.of;
        Sizes {
            chunks: self.plan.chunks,
            heads: of.heads as u32,
            b_share: (of.heads / of.groups) as u32,
            x_dim: of.x_dim as u32,
            b_dim: of.b_dim as u32,
            tokens: self.tokens as u32,
            limits: limits(of),
        }
    }

    /// Shapes of the scratch of every chunk: records of steps, states, and decays of whole chunks.
    pub fn shared_shapes(&self) -> ([usize; 3], [usize; 3], [usize; 2]) {
        let (chunks, heads) = (self.plan.chunks as usize, self.of.heads);
        let records = [chunks, heads, record_words(self.plan.room as usize)];
        (records, [chunks, heads, self.of.cells()], [chunks, heads])
    }

    /// Leaves in `states` the state with which each chunk begins.
    pub fn encode_states(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        given: &GivenPart<'_>,
        [records, states, totals]: [&wgpu::Buffer; 3],
        ends: Ends<'_>,
    ) -> Result<(), Error> {
        self.record_steps(encoder, &given.steps, records)?;
        let [to_states, to_totals, from_records] = [states, totals, records].map(Bound::from);
        self.sum_states(encoder, false, 1.0, &[given.x, given.b, to_states, to_totals, from_records])?;
        self.pass(encoder, false, totals, states, ends)
    }

    /// Leaves the decays and weights of every chunk's steps in `records`.
    pub fn record_steps<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        steps: &[impl Into<Bound<'a>> + Copy],
        records: &'a wgpu::Buffer,
    ) -> Result<(), Error> {
        let Sizes { chunks, heads, limits: [low, high], .. } = self.sizes();
        let count = chunks * self.plan.room / 4 * heads;
        let params = StepsParams { groups: count.div_ceil(64), count, heads, low, high };
        let mut buffers = bindings(&[self.layout.chunks.buffer(), records]);
        buffers.extend(bindings(steps));
        self.kernel(ChunkKernel::Steps).dispatch_parts(&self.gpu, encoder, &params, buffers)
    }

    pub fn sum_states<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        reverse: bool,
        scale: f32,
        buffers: &[impl Into<Bound<'a>> + Copy],
    ) -> Result<(), Error> {
        let Sizes { chunks, heads, b_share, x_dim, b_dim, .. } = self.sizes();
        let tile = [self.plan.state_lanes, self.plan.b_fours];
        let params = StatesParams::new(chunks * heads, [heads, b_share], [x_dim, b_dim], tile, scale);
        self.kernel(ChunkKernel::States { reverse }).dispatch_parts(
            &self.gpu,
            encoder,
            &params,
            bindings(buffers),
        )
    }

    pub fn pass(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        reverse: bool,
        totals: &wgpu::Buffer,
        states: &wgpu::Buffer,
        (initial, last): Ends<'_>,
    ) -> Result<(), Error> {
        let (heads, cells) = (self.of.heads as u32, self.of.cells() as u32);
        let count = self.layout.run_count * heads * cells;
        let has_initial = u32::from(initial.is_some());
        let columns = self.of.b_dim as u32;
        let params = PassParams { groups: count.div_ceil(64), count, heads, cells, columns, has_initial };
        let initial = initial.unwrap_or(self.gpu.unused());
        let buffers = [self.layout.runs.buffer(), totals, initial, states, last];
        self.kernel(ChunkKernel::Pass { reverse }).dispatch(&self.gpu, encoder, &params, &buffers)
    }

    pub fn mix<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        mixed: Mixed,
        buffers: &[impl Into<Bound<'a>> + Copy],
    ) -> Result<(), Error> {
        let Sizes { chunks, heads, b_share, x_dim, b_dim, tokens, .. } = self.sizes();
        let of_x = !matches!(mixed, Mixed::C | Mixed::B);
        let (repeat, q_dim, v_dim) = if of_x { (1, b_dim, x_dim) } else { (b_share, x_dim, b_dim) };
        let [q_share, v_share] = if of_x { [b_share, 1] } else { [1, b_share] };
        let units = heads / repeat;
        let row_tiles = self.plan.room / (4 * self.plan.step_lanes);
        let column_tiles = v_dim.div_ceil(32 * self.plan.mix_fours(mixed));
        let scale = self.of.scale;
        let [skip_head, skip_channel] = skip_distances(&self.of);
        let params = MixParams {
            groups: chunks * units * row_tiles * column_tiles,
            units,
            repeat,
            row_tiles,
            column_tiles,
            q_share,
            k_share: q_share,
            v_share,
            q_dim,
            v_dim,
            scale,
            // The gradients of states are scaled already: what follows the last step is not.
            state_scale: if matches!(mixed, Mixed::X | Mixed::Within | Mixed::B) { 1.0 } else { scale },
            skip_head,
            skip_channel,
            tokens,
            plane: if mixed == Mixed::B { column_tiles } else { 0 },
        };
        self.kernel(ChunkKernel::Mix(mixed)).dispatch_parts(&self.gpu, encoder, &params, bindings(buffers))
    }

    /// Records the gradients of `b` and `c`, and what those of decays and weights are made of.
    pub fn encode_keys<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        reads: &Reads<'a>,
        parts: Parts<'a>,
        [db, dc]: [Bound<'a>; 2],
    ) -> Result<(), Error> {
        let Sizes { chunks, heads, b_share, x_dim, b_dim, .. } = self.sizes();
        let Reads { x, b, c, dy, .. } = *reads;
        let [states, dstates, records] = [reads.states, reads.dstates, reads.records].map(Bound::from);
        let [within, dots] = [parts.within, parts.dots].map(Bound::from);
        self.mix(encoder, Mixed::C, &[dy, x, b, states, records, c, dc, dots])?;
        self.mix(encoder, Mixed::B, &[x, dy, c, dstates, records, b, db, dots])?;
        let scale = self.of.scale;
        let params = DecayParams { groups: chunks * heads, heads, b_share, x_dim, b_dim, scale };
        let buffers = bindings(&[b, c, x, dy, states, dstates, within, records]);
        self.kernel(ChunkKernel::Decay).dispatch_parts(&self.gpu, encoder, &params, buffers)
    }

    /// Records the gradients of what steps are made of.
    pub fn encode_steps<'a, B: Into<Bound<'a>> + Copy>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        records: &'a wgpu::Buffer,
        Parts { within, dots, of_heads }: Parts<'a>,
        steps: &[B],
        gradients: &[B],
    ) -> Result<(), Error> {
        let Sizes { chunks, heads, b_dim, tokens, limits: [low, high], .. } = self.sizes();
        let planes = b_dim.div_ceil(32 * self.plan.b_fours);
        let (first, groups) = (self.first_chunk, chunks * heads);
        let params =
            GradientParams { groups, heads, chunks: self.all_chunks, first, tokens, planes, low, high };
        let mut buffers = bindings(&[within, dots, of_heads, records]);
        buffers.extend(bindings(steps).into_iter().chain(bindings(gradients)));
        self.kernel(ChunkKernel::Gradient).dispatch_parts(&self.gpu, encoder, &params, buffers)
    }

    /// Shapes of what the gradients of decays and weights are made of, in the order of [`Parts`].
    pub fn parts_shapes(&self) -> [Vec<usize>; 3] {
        let (plan, of) = (&self.plan, &self.of);
        let (chunks, planes) = (plan.chunks as usize, of.b_dim.div_ceil(32 * plan.b_fours as usize));
        [
            vec![chunks, of.heads, plan.room as usize],
            vec![2 * planes, self.tokens, of.heads, 2],
            vec![2 + of.x_dim, of.heads, self.all_chunks as usize],
        ]
    }

    /// Records what each chunk adds to the gradient of the skipping factor.
    pub fn skip_gradient(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        buffers: [Bound<'_>; 4],
    ) -> Result<(), Error> {
        let Sizes { chunks, heads, x_dim, .. } = self.sizes();
        let (tiles, first) = (x_dim.div_ceil(64), self.first_chunk);
        let groups = chunks * heads * tiles;
        let params = SkipParams { groups, chunks: self.all_chunks, first, heads, x_dim, tiles };
        self.run(encoder, ChunkKernel::Skip, &params, &buffers)
    }

    /// Records a kernel.
    pub fn run(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernel: ChunkKernel,
        params: &impl Params,
        buffers: &[Bound<'_>],
    ) -> Result<(), Error> {
        self.kernel(kernel).dispatch_parts(&self.gpu, encoder, params, bindings(buffers))
    }

    pub fn sum_rows(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        parts: &wgpu::Buffer,
        [groups, first, count]: [u32; 3],
        sums: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let params = SumParams { groups, first, count };
        self.kernel(ChunkKernel::Sum).dispatch(&self.gpu, encoder, &params, &[parts, sums])
    }
}

/// The limits of a weight, where there are any.
pub(super) fn limits(of: &Recurrence) -> [f32; 2] {
    match of.decay {
        Decay::Dt { limits: Some(limits), .. } => limits,
        _ => [0.0, 0.0],
    }
}

/// Elements of the skipping factor from head to head and from channel to channel.
pub(super) fn skip_distances(of: &Recurrence) -> [u32; 2] {
    match of.skip {
        Skip::PerChannel => [of.x_dim as u32, 1],
        Skip::None | Skip::PerHead => [1, 0],
    }
}
