//! Plans of the long convolution and of its gradients.

use std::fmt;

use crate::caps::{Bytes, Caps};
use crate::plan::{Bound, Footprint, Plan, check_binding, check_caps, check_tensor, check_turns};
use crate::shader::Storage;
use crate::{DType, LongConvSpec, PlanError};

/// How to run a [`LongConvSpec`].
///
/// A transform of `points` complex numbers holds twice as many samples, a chunk of a sequence and the chunk before it. In
/// workgroup memory there is room for a tile of complex numbers: for whole transforms, in one pass, or for lines and
/// columns of a larger one, in two passes on either side of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LongConvPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Complex numbers in workgroup memory.
    pub tile: u32,
    /// Complex numbers of a transform, and samples of a chunk.
    pub points: u32,
    /// Chunks of a sequence.
    pub chunks: u32,
    /// Chunks that are bound at once: all, or as many as an adapter lets a kernel bind.
    pub block: u32,
    /// Batches that are worked on at once, with scratch for them.
    pub slice_batch: u32,
    /// Channels that are worked on at once, with scratch for them.
    pub slice_channels: u32,
    /// How sequences and gates are stored.
    pub storage: Storage,
    /// How kernels are stored.
    pub kernel: Storage,
    /// Whether sequences are gated.
    pub pre_gate: bool,
    /// Whether the result is gated.
    pub post_gate: bool,
    /// Whether there is a `D`.
    pub skip: bool,
    /// What kept the tile from being larger.
    pub bound: Bound,
}

/// How to run the gradients of a [`LongConvSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LongConvBackwardPlan {
    /// How the convolutions are run that give the gradients of sequences and gates.
    pub conv: LongConvPlan,
    /// Batches that a workgroup sums for the gradient of a kernel.
    pub share: u32,
    /// Sums of so many batches, which are added in order.
    pub parts: u32,
}

/// Complex numbers of the largest tile: beyond it too few workgroups share a compute unit.
const MOST_TILE: u32 = 4096;

/// Complex numbers of the smallest tile: eight for each of 64 lanes. Shorter transforms share a tile.
const LEAST_TILE: u32 = 512;

/// Complex numbers of the longest transform: its table of turns and its scratch grow with it.
const MOST_POINTS: u32 = 1 << 20;

/// Complex numbers of the shortest transform, one butterfly.
const LEAST_POINTS: u32 = 8;

/// Bytes of scratch for the transforms of a slice: they stay in the cache of a large GPU from one pass to the next, and
/// are far below what an adapter can bind.
const SLICE_BYTES: usize = 32 << 20;

/// Numbers of room in a binding beside what is needed, since a part of a buffer starts where an adapter lets it.
const PART_ROOM: usize = 128;

/// Workgroups that fill a large GPU.
const FULL: u32 = 1024;

impl LongConvPlan {
    /// Plans a convolution, with as large a tile as fits. Fails if the spec is wrong or a tensor exceeds a buffer.
    pub fn new(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a long convolution", caps)?;
        let fitting = previous_power_of_two(caps.workgroup_bytes / 8).min(MOST_TILE);
        let wanted = points_of(spec.length).max(LEAST_TILE);
        let bound = if wanted <= fitting {
            Bound::Problem
        } else if fitting < MOST_TILE {
            Bound::WorkgroupMemory(caps.workgroup_bytes)
        } else {
            Bound::Registers
        };
        Self::plan(spec, fitting.min(wanted), bound, caps)
    }

    /// Plans a convolution with a tile of so many complex numbers, even where a larger one fits. Fails also if the tile
    /// is no power of two, less than 32, or does not fit.
    pub fn with_tile(spec: &LongConvSpec, tile: u32, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a long convolution", caps)?;
        let largest = previous_power_of_two(caps.workgroup_bytes / 8);
        if !tile.is_power_of_two() || !(32..=largest).contains(&tile) {
            return Err(crate::SpecError::Value {
                name: "the tile of a long convolution",
                found: tile.to_string(),
                expected: format!("a power of two from 32 to {largest}"),
            }
            .into());
        }
        Self::plan(spec, tile, Bound::Problem, caps)
    }

    fn plan(spec: &LongConvSpec, tile: u32, bound: Bound, caps: &Caps) -> Result<Self, PlanError> {
        check_tensor("u", spec.rows() * spec.length, spec.dtype, caps)?;
        check_tensor("k", spec.channels * spec.taps, DType::F32, caps)?;
        // Lines and columns of a transform are at most half a tile.
        let most = (u64::from(tile) * u64::from(tile) / 4).min(MOST_POINTS.into()).max(tile.into());
        let points = points_of(spec.length).min(most as u32);
        let chunks = spec.length.div_ceil(points as usize);
        // What is read from the tables is 2 f32 for each turn, and so is a number of a transform.
        check_binding("the transform of a chunk", points as usize * 2 + PART_ROOM, DType::F32, caps)?;
        let limit = usize::try_from(caps.binding_bytes.min(caps.buffer_bytes)).unwrap_or(usize::MAX);
        let room = limit.saturating_sub(4 * PART_ROOM);
        let of_chunk = points as usize * 8;
        let block = chunks.min(room / of_chunk);
        let rows = if block < chunks { 1 } else { (SLICE_BYTES.min(room) / (block * of_chunk)).max(1) };
        let slice_batch = rows.min(spec.batch);
        // Channels of several batches lie apart, with all channels between them.
        let apart = (slice_batch - 1) * spec.channels + (rows / slice_batch).min(spec.channels);
        let fits = |rows: usize| (rows * spec.length) as u64 * spec.dtype.bytes() as u64 <= room as u64;
        let slice_batch = if fits(spec.rows()) || fits(apart) { slice_batch } else { 1 };
        let slice_channels = (rows / slice_batch).min(spec.channels);
        let by_fours = spec.length.is_multiple_of(4);
        let plan = Self {
            lanes: previous_power_of_two(caps.workgroup_lanes).min(256).min(tile / 8),
            tile,
            points,
            chunks: chunks as u32,
            block: block as u32,
            slice_batch: slice_batch as u32,
            slice_channels: slice_channels as u32,
            storage: Storage::new(spec.dtype, caps.f16, by_fours),
            kernel: Storage::new(DType::F32, caps.f16, spec.taps.is_multiple_of(4)),
            pre_gate: spec.pre_gate,
            post_gate: spec.post_gate,
            skip: spec.skip,
            bound,
        };
        check_turns("a long convolution", plan.turns(1), caps)?;
        Ok(plan)
    }

    /// Blocks of chunks of a sequence.
    pub(crate) fn blocks(&self) -> u32 {
        self.chunks.div_ceil(self.block)
    }

    /// Whether a transform fits in workgroup memory.
    pub fn one_pass(&self) -> bool {
        self.points <= self.tile
    }

    /// Turns of the two tables: those of the tile, and the finer ones of a longer transform.
    pub fn turns_of_tables(&self) -> [u32; 2] {
        [self.tile, if self.one_pass() { 0 } else { self.points / self.tile }]
    }

    /// Turns that the loops of a lane take, where products of so many sequences are summed.
    fn turns(&self, share: u32) -> u64 {
        let per_lane = u64::from(self.tile / self.lanes);
        // Loads, a radix-2 stage, four radix-8 stages and products.
        let transform = per_lane / 2 + per_lane / 2 + 4 * (1 + per_lane / 8) + per_lane / 2;
        (u64::from(share) * u64::from(self.block) + 2) * transform
    }

    /// Workgroups for the convolution of that many sequences.
    pub(crate) fn groups(&self, sequences: u32) -> u32 {
        if self.one_pass() {
            sequences.div_ceil(self.tile / self.points)
        } else {
            sequences * self.block * (self.points / self.tile)
        }
    }

    /// The spectra of the kernels, then the convolutions.
    pub(crate) fn stages(&self) -> Vec<LongConvStage> {
        let reads = Reads { pre: self.pre_gate, ..Reads::new(self.storage) };
        let writes = Writes { post: self.post_gate, ..Writes::new(self.storage) };
        vec![self.kernel_spectra(), LongConvStage::Convolution { reads, writes, summed: false }]
    }

    fn kernel_spectra(&self) -> LongConvStage {
        LongConvStage::Spectra(Reads { skip: self.skip, ..Reads::new(self.kernel) })
    }

    /// How many kernels a stage has.
    pub(crate) fn kernels_of(&self, stage: &LongConvStage) -> usize {
        self.footprints_of(stage).len()
    }

    fn footprints_of(&self, stage: &LongConvStage) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes: self.tile * 8,
            storage_buffers,
        };
        let second = |stage: &LongConvStage| match stage {
            LongConvStage::Convolution { writes, .. } if writes.second => 2,
            _ => 0,
        };
        match (stage, self.one_pass()) {
            (LongConvStage::Spectra(_), true) => vec![kernel("scan/long_conv_spectrum", 5)],
            (LongConvStage::Spectra(_), false) => {
                vec![kernel("scan/long_conv_columns", 5), kernel("scan/long_conv_spectrum_lines", 3)]
            }
            (LongConvStage::Convolution { .. }, true) => vec![kernel("scan/long_conv", 6 + second(stage))],
            (LongConvStage::Convolution { .. }, false) => vec![
                kernel("scan/long_conv_columns", 5),
                kernel("scan/long_conv_products", 4),
                kernel("scan/long_conv_outputs", 4 + second(stage)),
            ],
        }
    }
}

impl LongConvBackwardPlan {
    /// Plans the gradients. Fails like [`LongConvPlan::new`].
    pub fn new(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::plan(spec, LongConvPlan::new(spec, caps)?, caps)
    }

    /// Plans the gradients with a tile of so many complex numbers; see [`LongConvPlan::with_tile`].
    pub fn with_tile(spec: &LongConvSpec, tile: u32, caps: &Caps) -> Result<Self, PlanError> {
        Self::plan(spec, LongConvPlan::with_tile(spec, tile, caps)?, caps)
    }

    fn plan(spec: &LongConvSpec, conv: LongConvPlan, caps: &Caps) -> Result<Self, PlanError> {
        let (batch, channels) = (spec.batch as u32, spec.channels as u32);
        // Few channels are not enough workgroups: each then sums fewer batches.
        let wanted = FULL.div_ceil(conv.groups(channels)).min(batch);
        let share = batch.div_ceil(wanted).min(conv.slice_batch);
        let parts = batch.div_ceil(share);
        let conv = LongConvPlan { slice_batch: conv.slice_batch / share * share, ..conv };
        let plan = Self { conv, share, parts };
        check_tensor("the parts of dk", plan.part_elements(spec), DType::F32, caps)?;
        check_turns("a long convolution's gradient", conv.turns(share).max(plan.slice_parts().into()), caps)?;
        Ok(plan)
    }

    /// Parts of a slice.
    pub(crate) fn slice_parts(&self) -> u32 {
        self.conv.slice_batch / self.share
    }

    /// Elements of a slice's parts.
    pub(crate) fn part_elements(&self, spec: &LongConvSpec) -> usize {
        (self.slice_parts() * self.conv.slice_channels) as usize * spec.length
    }

    /// The adjoint of a gated convolution is one that runs backwards in time, with its gates exchanged; and so are the
    /// gradients of the gates under another gate. The gradient of a kernel is the convolution of sequences with their
    /// gradients, both backwards in time.
    pub(crate) fn stages(&self) -> Vec<LongConvStage> {
        let LongConvPlan { storage, pre_gate, post_gate, .. } = self.conv;
        let parts = Storage { vectors: storage.vectors, ..Storage::F32 };
        let gradient = Reads { pre: post_gate, reversed: true, ..Reads::new(storage) };
        let sequence = Reads { pre: pre_gate, ..Reads::new(storage) };
        let du = Writes { post: pre_gate, second: pre_gate, reversed: true, ..Writes::new(storage) };
        let dpost = Writes { post: true, ..Writes::new(storage) };
        let dk = Writes { reversed: true, ..Writes::new(parts) };
        let mut stages = vec![self.conv.kernel_spectra()];
        stages.push(LongConvStage::Convolution { reads: gradient, writes: du, summed: false });
        if post_gate {
            stages.push(LongConvStage::Convolution { reads: sequence, writes: dpost, summed: false });
        }
        stages.push(LongConvStage::Spectra(gradient));
        stages.push(LongConvStage::Convolution { reads: sequence, writes: dk, summed: true });
        stages
    }
}

/// One step of a long convolution: what a kernel, or the passes of one transform, read and write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LongConvStage {
    /// Spectra of sequences, to multiply with.
    Spectra(Reads),
    /// Convolutions with them.
    Convolution {
        reads: Reads,
        writes: Writes,
        /// Whether each sequence has spectra of its own, and the convolutions of a channel are summed.
        summed: bool,
    },
}

/// Sequences that are transformed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reads {
    pub storage: Storage,
    pub pre: bool,
    pub skip: bool,
    pub reversed: bool,
}

impl Reads {
    fn new(storage: Storage) -> Self {
        Self { storage, pre: false, skip: false, reversed: false }
    }
}

/// Sequences that come of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writes {
    pub storage: Storage,
    pub post: bool,
    /// A second output, under another gate.
    pub second: bool,
    pub reversed: bool,
}

impl Writes {
    fn new(storage: Storage) -> Self {
        Self { storage, post: false, second: false, reversed: false }
    }
}

/// Complex numbers that hold a sequence and as many zeros.
fn points_of(length: usize) -> u32 {
    (length as u32).next_power_of_two().max(LEAST_POINTS)
}

fn previous_power_of_two(size: u32) -> u32 {
    1 << size.ilog2()
}

impl Plan for LongConvPlan {
    fn footprints(&self) -> Vec<Footprint> {
        self.stages().iter().flat_map(|stage| self.footprints_of(stage)).collect()
    }
}

impl Plan for LongConvBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let sum = Footprint {
            kernel: "scan/long_conv_sum",
            lanes: self.conv.lanes,
            workgroup_bytes: 0,
            storage_buffers: 3,
        };
        let stages = self.stages();
        stages.iter().flat_map(|stage| self.conv.footprints_of(stage)).chain([sum]).collect()
    }
}

impl fmt::Display for LongConvPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, tile, points, chunks, block, slice_batch, slice_channels, storage, bound, .. } =
            self;
        if self.one_pass() {
            write!(f, "one pass, transforms of {points} complex numbers, {} a workgroup", tile / points)?;
        } else {
            let (width, height) = (tile / 2, 2 * points / tile);
            write!(f, "two passes either way, transforms of {height} × {width} complex numbers")?;
        }
        if *chunks > 1 {
            write!(f, ", {chunks} chunks a sequence")?;
        }
        if block < chunks {
            write!(f, ", {block} at once")?;
        }
        let memory = Bytes(u64::from(tile * 8));
        write!(f, "; slices of {slice_batch} × {slice_channels} sequences")?;
        write!(f, "; {lanes} lanes, {memory}, {storage}; {bound}")
    }
}

impl fmt::Display for LongConvBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conv, share, parts } = self;
        write!(f, "{conv}; dk in {parts} parts of {share} batches")
    }
}
