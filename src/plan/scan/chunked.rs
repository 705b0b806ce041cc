//! Plans of recurrences in chunks: state-space duality and linear attention, and their gradients.

use std::fmt;

use crate::caps::{Bytes, Caps};
use crate::plan::{Bound, Footprint, Plan, check_binding, check_caps, check_tensor, check_turns};
use crate::shader::Storage;
use crate::spec::{Decay, Recurrence, elements};
use crate::{DType, PlanError, Skip, SsdSpec};

/// How to run an [`SsdSpec`] or its like: as products within chunks, with states passed between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ChunkedPlan {
    /// Steps of a chunk.
    pub chunk: u32,
    /// Steps that kernels have room for in a chunk.
    pub room: u32,
    /// Chunks of all sequences.
    pub chunks: u32,
    /// Chunks that are worked on at once: all, or as many as an adapter lets kernels bind.
    pub window: u32,
    /// Lanes down a tile of steps, four each.
    pub step_lanes: u32,
    /// Lanes down a tile of a state, four rows each.
    pub state_lanes: u32,
    /// Fours of columns a lane takes, where columns are those of `x`.
    pub x_fours: u32,
    /// Fours of columns a lane takes, where columns are those of `b`.
    pub b_fours: u32,
    /// How `x`, `z` and the result are stored.
    pub x: Storage,
    /// How `b` and `c` are stored.
    pub b: Storage,
    /// Whether states are addressed by fours.
    pub state_vectors: bool,
    /// What a step's decay is made of.
    pub steps: Steps,
    /// Whether `x` skips the recurrence.
    pub skip: bool,
    /// Whether the result is gated.
    pub gated: bool,
    /// Bytes of the states at the borders of the chunks that are worked on at once.
    pub state_bytes: u64,
    /// What kept the tiles from being larger.
    pub bound: Bound,
}

/// What the decay and the weight of a step are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Steps {
    /// A discretisation step.
    Dt {
        /// Whether a bias is added.
        bias: bool,
        /// Whether it passes through a softplus.
        softplus: bool,
        /// Whether it is kept between limits.
        limits: bool,
    },
    /// The decay's logarithm, given.
    Given {
        /// Once for a head, and not for each step.
        constant: bool,
    },
    /// Nothing: columns of a state decay each on its own, which is other kernels' concern.
    Keyed,
    /// The decay's logarithm, 0 without a gate, and the weight, both given.
    Delta {
        /// Whether states decay.
        gated: bool,
        /// Whether a token is two steps: one decays the state, the next adds to it.
        pairs: bool,
    },
}

impl Steps {
    pub(super) fn new(decay: Decay) -> Self {
        match decay {
            Decay::Dt { bias, softplus, limits } => Self::Dt { bias, softplus, limits: limits.is_some() },
            Decay::Given { constant } => Self::Given { constant },
            Decay::Keyed => Self::Keyed,
            Decay::Delta { gated, pairs } => Self::Delta { gated, pairs },
        }
    }

    /// Tensors that it is made of.
    pub(super) fn tensors(self) -> u32 {
        match self {
            Self::Dt { .. } => 3,
            Self::Given { .. } => 1,
            Self::Keyed => 0,
            Self::Delta { .. } => 2,
        }
    }
}

/// Lanes across a tile.
pub(super) const COLUMN_LANES: u32 = 8;

/// The least room that a chunk has: a tile of steps.
const LEAST_ROOM: usize = 32;

/// Arithmetic operations in the time of moving a byte, about: 15 on an H100 and not far from it elsewhere.
const FLOPS_A_BYTE: f64 = 15.0;

impl ChunkedPlan {
    /// Plans state-space duality. Fails if the spec is wrong or more than the adapter holds.
    pub fn ssd(spec: &SsdSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        let plan = Self::new(&spec.recurrence(), caps)?;
        fitting("state-space duality", plan, caps)
    }

    pub(super) fn new(of: &Recurrence, caps: &Caps) -> Result<Self, PlanError> {
        Self::beside(of, &Between::default(), caps)
    }

    /// Plans the recurrence of an operation that binds more.
    pub(super) fn beside(of: &Recurrence, between: &Between, caps: &Caps) -> Result<Self, PlanError> {
        check_tensor("x", of.tokens() * of.heads * of.x_dim, of.dtype, caps)?;
        check_tensor("b", of.tokens() * of.groups * of.b_dim, of.dtype, caps)?;
        Self::in_windows(of, caps, |sizes, limit| window_of(of, between, sizes, limit))
    }

    /// Plans a recurrence that is never there as a whole, with as many chunks at once as another.
    pub(super) fn along(other: &Self, of: &Recurrence, caps: &Caps) -> Result<Self, PlanError> {
        Self::in_windows(of, caps, |_, _| Ok(other.window as usize))
    }

    fn in_windows(
        of: &Recurrence,
        caps: &Caps,
        window: impl FnOnce([usize; 3], u64) -> Result<usize, PlanError>,
    ) -> Result<Self, PlanError> {
        check_caps("a recurrence in chunks", caps)?;
        check_binding(
            "the states of the sequences",
            (of.states() + 1) * of.heads * of.cells(),
            DType::F32,
            caps,
        )?;
        let limit = caps.binding_bytes.min(caps.buffer_bytes);
        let (chunk, chunks) = choose_chunk(of, limit);
        let room = chunk.next_power_of_two().max(LEAST_ROOM);
        let window = window([chunk, chunks, room], limit)?.min(chunks);
        let states = elements("the states of the chunks", &[window, of.heads, of.cells()])?;
        check_turns("scan/chunk_pass", longest_run(of, chunk).min(window) as u64, caps)?;

        let step_lanes = (room as u32 / 4).min(16);
        let fours = |width: usize| if width <= 32 { 1 } else { 2 };
        let vectors = |width: usize| Storage::new(of.dtype, caps.f16, width.is_multiple_of(4));
        let plan = Self {
            chunk: chunk as u32,
            room: room as u32,
            chunks: chunks as u32,
            window: window as u32,
            step_lanes,
            state_lanes: lanes_down(of.x_dim),
            x_fours: fours(of.x_dim),
            b_fours: fours(of.b_dim),
            x: vectors(of.x_dim),
            b: vectors(of.b_dim),
            state_vectors: of.b_dim.is_multiple_of(4),
            steps: Steps::new(of.decay),
            skip: of.skip != Skip::None,
            gated: of.gated,
            state_bytes: 4 * states as u64,
            bound: if step_lanes < 16 { Bound::Problem } else { Bound::Registers },
        };
        check_turns("scan/chunk_mix", plan.mix_turns(1, of.b_dim), caps)?;
        Ok(plan)
    }

    /// Turns of all loops of a lane of `scan/chunk_mix`.
    fn mix_turns(&self, heads: usize, width: usize) -> u64 {
        let (slices, tiles) = (width.div_ceil(16) as u64, u64::from(self.room / 32));
        let sums = u64::from(self.room / 4);
        heads as u64 * (2 * sums + slices + tiles * (slices + 2 + sums) + 8)
    }

    /// Kernels of the result, in the order in which they run.
    pub(crate) fn kernels() -> [ChunkKernel; 4] {
        use ChunkKernel::{Mix, Pass, States, Steps};
        [Steps, States { reverse: false }, Pass { reverse: false }, Mix(Mixed::Result)]
    }

    /// How a tensor in f32 with the layout of `x` is stored.
    pub(crate) fn x_in_f32(&self) -> Storage {
        Storage { vectors: self.x.vectors, ..Storage::F32 }
    }

    /// How the gradient of what `x` and the states came to, before any gate, is stored.
    pub(crate) fn dy(&self) -> Storage {
        if self.gated { self.x_in_f32() } else { self.x }
    }

    /// How states are stored.
    pub(crate) fn states(&self) -> Storage {
        Storage { vectors: self.state_vectors, ..Storage::F32 }
    }

    pub(crate) fn footprint(&self, kernel: ChunkKernel) -> Footprint {
        // Logarithms and weights of a chunk's steps.
        let steps = 8 * self.room;
        let of_decay = self.steps.tensors();
        let of_gradient = if matches!(self.steps, Steps::Delta { .. }) { 2 } else { 1 };
        let (lanes, workgroup_bytes, storage_buffers) = match kernel {
            ChunkKernel::Steps => (64, 0, 2 + of_decay),
            ChunkKernel::States { .. } => return self.states_footprint(self.state_lanes),
            ChunkKernel::Pass { .. } => (64, 0, 5),
            ChunkKernel::Mix(mixed) => {
                let left = self.step_lanes * 4 * 9 * 16;
                let right = 16 * 16 * 9.max(COLUMN_LANES * self.mix_fours(mixed));
                let buffers = match mixed {
                    Mixed::Result if self.gated => 8,
                    Mixed::Result | Mixed::Ungated | Mixed::Residuals | Mixed::Within | Mixed::X => 7,
                    Mixed::C | Mixed::B => 8,
                };
                (self.step_lanes * COLUMN_LANES, left + right + steps, buffers)
            }
            ChunkKernel::Gate => (64, 0, 4),
            ChunkKernel::Decay => (64, (32 + 16) * 9 * 16 + 128 + 4 * self.room + steps, 8),
            ChunkKernel::Gradient => (64, 2 * 64 * 16 + steps, 4 + of_decay + of_gradient),
            ChunkKernel::Skip => (64, steps, 4),
            ChunkKernel::Sum => (64, 256, 2),
        };
        Footprint { kernel: kernel.file(), lanes, workgroup_bytes, storage_buffers }
    }

    /// `scan/chunk_states` with that many lanes down a tile.
    pub(super) fn states_footprint(&self, lanes: u32) -> Footprint {
        let tiles = 16 * 16 * (lanes + COLUMN_LANES * self.b_fours);
        Footprint {
            kernel: ChunkKernel::States { reverse: false }.file(),
            lanes: lanes * COLUMN_LANES,
            workgroup_bytes: tiles + 8 * self.room,
            storage_buffers: 5,
        }
    }

    /// Fours of columns a lane takes.
    pub(crate) fn mix_fours(&self, mixed: Mixed) -> u32 {
        match mixed {
            Mixed::C | Mixed::B => self.b_fours,
            _ => self.x_fours,
        }
    }
}

/// The kernels that chunks take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ChunkKernel {
    /// Decays and weights.
    Steps,
    /// What chunks add to states, or in reverse to their gradients.
    States { reverse: bool },
    /// States, or in reverse their gradients, from chunk to chunk.
    Pass { reverse: bool },
    /// Results of steps, from a state and the steps of a chunk.
    Mix(Mixed),
    /// Back through the gate.
    Gate,
    /// The gradients of decays within chunks.
    Decay,
    /// The gradients of decays and weights, and of what they are made of.
    Gradient,
    /// The gradient of the skipping factor, a chunk's part.
    Skip,
    /// Sums of parts.
    Sum,
}

/// What `scan/chunk_mix` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mixed {
    /// The result.
    Result,
    /// The result before its gate, in f32, which the gate's gradient needs.
    Ungated,
    /// The result, of `x` in f32.
    Residuals,
    /// The gradient of `x`.
    X,
    /// The part of the gradient of `x` that lies within its chunk, in f32.
    Within,
    /// The gradient of `c`.
    C,
    /// The gradient of `b`.
    B,
}

impl ChunkKernel {
    pub fn file(self) -> &'static str {
        match self {
            Self::Steps => "scan/chunk_steps",
            Self::States { .. } => "scan/chunk_states",
            Self::Pass { .. } => "scan/chunk_pass",
            Self::Mix(_) => "scan/chunk_mix",
            Self::Gate => "scan/gate_gradient",
            Self::Decay => "scan/chunk_decay",
            Self::Gradient => "scan/chunk_gradient",
            Self::Skip => "scan/skip_gradient",
            Self::Sum => "scan/sum_rows",
        }
    }
}

/// f32 words of a chunk's record: where it lies, and two numbers a step.
pub(crate) fn record_words(room: usize) -> usize {
    4 + 2 * room
}

/// Lanes down a tile of that many rows, four each.
pub(super) fn lanes_down(rows: usize) -> u32 {
    (rows.div_ceil(4).next_power_of_two() as u32).clamp(4, 16)
}

pub(super) fn fitting<P: Plan>(what: &'static str, plan: P, caps: &Caps) -> Result<P, PlanError> {
    match plan.footprints().into_iter().find(|footprint| !footprint.fits(caps)) {
        Some(footprint) => {
            let (resource, needed, limit) = if footprint.lanes > caps.workgroup_lanes {
                ("invocations a workgroup", footprint.lanes, caps.workgroup_lanes)
            } else {
                ("bytes of workgroup memory", footprint.workgroup_bytes, caps.workgroup_bytes)
            };
            Err(PlanError::TooSmall { kernel: what, resource, needed: needed.into(), limit: limit.into() })
        }
        None => Ok(plan),
    }
}

/// Steps of a chunk, and chunks of all sequences.
///
/// Long chunks do more arithmetic, `chunk (x + b)` operations a step; short ones leave more states, which four kernels
/// write or read: `16 x b / chunk` bytes a step. What costs least is lengthened where the states would not fit a binding.
fn choose_chunk(of: &Recurrence, limit: u64) -> (usize, usize) {
    let count = |chunk: usize| {
        let runs = of.sequences.runs(of.batch, of.length);
        runs.iter().map(|run| run.steps.div_ceil(chunk).max(1)).sum::<usize>()
    };
    if let Some(chunk) = of.chunk {
        return (chunk, count(chunk));
    }
    let (x, b) = (of.x_dim as f64, of.b_dim as f64);
    let best = (FLOPS_A_BYTE * 16.0 * x * b / (x + b)).sqrt();
    let mut chunk = LEAST_ROOM;
    let longest = of.length.clamp(LEAST_ROOM, of.longest_chunk);
    // The nearest power of two, counted in octaves.
    while chunk < longest && (chunk as f64) * std::f64::consts::SQRT_2 < best {
        chunk *= 2;
    }
    let bytes = |chunk| 4 * count(chunk) as u128 * (of.heads * of.cells()) as u128;
    while chunk < of.longest_chunk && bytes(chunk) > u128::from(limit) {
        chunk *= 2;
    }
    (chunk, count(chunk))
}

/// Tokens at a multiple of which a part of any tensor may begin: an odd number of halves is two bytes a token.
pub(crate) const TOKEN_ALIGNMENT: usize = 128;

/// What kernels bind beside what every recurrence in chunks has, by its name and in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Between {
    /// Of a token.
    pub of_token: Vec<(&'static str, usize)>,
    /// Of a chunk.
    pub of_chunk: Vec<(&'static str, usize)>,
    /// A number for each two steps of a chunk of each head, in f32.
    pub squares: Option<&'static str>,
    /// Whether tensors with two steps a token lie between, whose records are twice as long.
    pub doubled: bool,
}

/// Chunks that kernels can bind at once. Fails if that is not even one.
fn window_of(
    of: &Recurrence,
    between: &Between,
    [chunk, chunks, room]: [usize; 3],
    limit: u64,
) -> Result<usize, PlanError> {
    let planes = of.b_dim.div_ceil(32 * if of.b_dim <= 32 { 1 } else { 2 });
    let wide = of.heads * of.x_dim * if of.gated { 4 } else { of.dtype.bytes() };
    // Bytes of a token, of which some more than a window's are bound, and of a chunk.
    let twice = if between.doubled { 2 } else { 1 };
    let of_token = [
        ("x", wide),
        ("b", of.groups * of.b_dim * of.dtype.bytes()),
        ("the products of rows", twice * 16 * planes * of.heads),
    ];
    let of_token = of_token.into_iter().chain(between.of_token.iter().copied());
    let of_chunk = [
        ("the states of a chunk", 4 * of.heads * of.cells()),
        ("the steps of a chunk", 4 * of.heads * record_words(twice * room)),
    ];
    let squares = between.squares.map(|name| (name, 4 * of.heads * room * room));
    let of_chunk = of_chunk.into_iter().chain(between.of_chunk.iter().copied()).chain(squares);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut most = usize::MAX;
    let fits = |count: usize, bytes: usize| count as u128 * bytes as u128 <= limit as u128;
    for (tensor, bytes) in of_token.filter(|&(_, bytes)| !fits(of.tokens(), bytes)) {
        let count = (limit / bytes).saturating_sub(TOKEN_ALIGNMENT) / chunk;
        let needed = (chunk + TOKEN_ALIGNMENT) * bytes;
        most = most.min(if needed <= limit { count } else { return Err(too_much(tensor, needed, limit)) });
    }
    for (tensor, bytes) in of_chunk.filter(|&(_, bytes)| !fits(chunks, bytes)) {
        most = most.min(if bytes <= limit {
            limit / bytes
        } else {
            return Err(too_much(tensor, bytes, limit));
        });
    }
    Ok(most.max(1))
}

fn too_much(tensor: &'static str, bytes: usize, limit: usize) -> PlanError {
    PlanError::Binding { tensor, bytes: bytes as u64, limit: limit as u64 }
}

/// Chunks of the longest sequence.
pub(super) fn longest_run(of: &Recurrence, chunk: usize) -> usize {
    let runs = of.sequences.runs(of.batch, of.length);
    runs.iter().map(|run| run.steps.div_ceil(chunk)).max().unwrap_or(0)
}

impl Plan for ChunkedPlan {
    fn footprints(&self) -> Vec<Footprint> {
        Self::kernels().into_iter().map(|kernel| self.footprint(kernel)).collect()
    }
}

impl fmt::Display for ChunkedPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chunk, chunks, window, step_lanes, x_fours, x, state_bytes, bound, .. } = self;
        write!(f, "{chunks} chunks of {chunk} steps, ")?;
        if window < chunks {
            write!(f, "{window} at once, ")?;
        }
        write!(f, "states of {} between them; ", Bytes(*state_bytes))?;
        let (lanes, columns) = (step_lanes * COLUMN_LANES, x_fours * 4 * COLUMN_LANES);
        write!(f, "tiles of {} steps × {columns}, {lanes} lanes, {x}; {bound}", 4 * step_lanes)
    }
}

/// How to run the gradients of an [`SsdSpec`] or its like: states are computed again, and every gradient is a product within
/// chunks like the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ChunkedBackwardPlan {
    /// How the result is computed, whose chunks the gradients share.
    pub forward: ChunkedPlan,
}

impl ChunkedBackwardPlan {
    /// Plans the gradients of state-space duality. Fails if the spec is wrong or more than the adapter holds.
    pub fn ssd(spec: &SsdSpec, caps: &Caps) -> Result<Self, PlanError> {
        let forward = ChunkedPlan::ssd(spec, caps)?;
        Self::new(forward, &spec.recurrence(), caps)
    }

    pub(super) fn new(forward: ChunkedPlan, of: &Recurrence, caps: &Caps) -> Result<Self, PlanError> {
        let plan = Self { forward };
        let widest = of.x_dim.max(of.b_dim);
        check_turns("scan/chunk_mix", forward.mix_turns(of.heads / of.groups, widest), caps)?;
        let tiles = u64::from(forward.room / 32);
        let tile = (of.x_dim.div_ceil(16) + of.b_dim.div_ceil(16)) as u64 + 48 + u64::from(forward.room / 4);
        check_turns("scan/chunk_decay", tiles * tiles * tile + of.cells() as u64 / 256 + 128, caps)?;
        check_turns("scan/sum_rows", (of.x_dim * forward.chunks as usize / 64) as u64 + 8, caps)?;
        if forward.window == forward.chunks {
            let dots = elements("the products of rows", &[plan.planes(of.b_dim), of.tokens(), of.heads, 2])?;
            check_binding("the products of rows", 2 * dots, DType::F32, caps)?;
        }
        let skips = elements("the parts of dD", &[of.x_dim, of.heads, forward.chunks as usize])?;
        check_binding("the parts of dD", if forward.skip { skips } else { 0 }, DType::F32, caps)?;
        fitting("the gradients of a recurrence in chunks", plan, caps)
    }

    /// Tiles of columns of `b`, each of which leaves products of its own.
    pub(crate) fn planes(&self, b_dim: usize) -> usize {
        b_dim.div_ceil((self.forward.b_fours * 4 * COLUMN_LANES) as usize)
    }

    /// The kernels, in the order in which they run.
    pub(crate) fn kernels(&self) -> Vec<ChunkKernel> {
        use ChunkKernel::{Decay, Gate, Gradient, Mix, Pass, Skip, States, Steps, Sum};
        let mut kernels = vec![Steps, States { reverse: false }, Pass { reverse: false }];
        if self.forward.gated {
            kernels.extend([Mix(Mixed::Ungated), Gate]);
        }
        kernels.extend([States { reverse: true }, Pass { reverse: true }]);
        kernels.extend([Mix(Mixed::X), Mix(Mixed::C), Mix(Mixed::B), Decay, Gradient]);
        if self.forward.skip {
            kernels.push(Skip);
        }
        kernels.push(Sum);
        kernels
    }
}

impl Plan for ChunkedBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        self.kernels().into_iter().map(|kernel| self.forward.footprint(kernel)).collect()
    }
}

impl fmt::Display for ChunkedBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "states computed again, {} kernels; {}", self.kernels().len(), self.forward)
    }
}
