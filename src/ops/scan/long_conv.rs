//! The long convolution and its gradients.

use std::f64::consts::TAU;

use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::plan::{LongConvBackwardPlan, LongConvPlan, LongConvStage, PART_ALIGNMENT, Reads, Writes};
use crate::shader::{Linker, Shader, ShaderError};
use crate::tensor::expect_optional;
use crate::{DType, Element, Error, Gpu, LongConvSpec, Tensor, math};

params! {
    /// Every kernel of a long convolution: its slice of the tensors, the transform, and what is bound.
    SliceParams {
        length: u32,
        channels: u32,
        first_channel: u32,
        slice: u32,
        first_batch: u32,
        batch: u32,
        share: u32,
        points: u32,
        chunks: u32,
        first_chunk: u32,
        source_chunk: u32,
        lag_chunk: u32,
        add: u32,
        read_from: u32,
        write_from: u32,
        first_row: u32,
        row_batch: u32,
    }
}

params! {
    /// `scan/long_conv_sum`.
    SumParams {
        total: u32, lags: u32, first_lag: u32, taps: u32, length: u32, channels: u32, parts: u32,
        first_channel: u32, read_from: u32, write_from: u32, add: u32,
    }
}

/// Inputs of a [`LongConv`]; shapes as in [`LongConvSpec`].
#[derive(Clone, Copy, Debug)]
pub struct LongConvInputs<'a, T> {
    /// Sequences.
    pub u: &'a Tensor<T>,
    /// Kernels.
    pub k: &'a Tensor<f32>,
    /// `D`, if the spec has it.
    pub skip: Option<&'a Tensor<f32>>,
    /// The gate of `u`, if the spec has it.
    pub pre: Option<&'a Tensor<T>>,
    /// The gate of the result, if the spec has it.
    pub post: Option<&'a Tensor<T>>,
}

/// Gradients of a [`LongConv`], each of the shape and type of what it belongs to.
#[derive(Clone, Debug)]
pub struct LongConvGradients<T> {
    /// Of the sequences.
    pub du: Tensor<T>,
    /// Of the kernels.
    pub dk: Tensor<f32>,
    /// Of `D`, if the spec has it.
    pub dskip: Option<Tensor<f32>>,
    /// Of the gate of `u`, if the spec has it.
    pub dpre: Option<Tensor<T>>,
    /// Of the gate of the result, if the spec has it.
    pub dpost: Option<Tensor<T>>,
}

impl<T: Element> LongConvInputs<'_, T> {
    /// Fails unless these are what the spec says.
    pub(crate) fn check(&self, gpu: &Gpu, spec: &LongConvSpec) -> Result<(), Error> {
        self.u.expect(gpu, "u", spec.dtype, &spec.shape())?;
        self.k.expect(gpu, "k", DType::F32, &spec.kernel_shape())?;
        expect_optional(gpu, self.skip, "D", spec.skip, &[spec.channels])?;
        expect_optional(gpu, self.pre, "the gate of u", spec.pre_gate, &spec.shape())?;
        expect_optional(gpu, self.post, "the gate of y", spec.post_gate, &spec.shape())
    }
}

impl<T: Element> LongConvGradients<T> {
    fn zeros(gpu: &Gpu, spec: &LongConvSpec) -> Result<Self, Error> {
        let sequences = || Tensor::zeros(gpu, &spec.shape());
        Ok(Self {
            du: sequences()?,
            dk: Tensor::zeros(gpu, &spec.kernel_shape())?,
            dskip: spec.skip.then(|| Tensor::zeros(gpu, &[spec.channels])).transpose()?,
            dpre: spec.pre_gate.then(sequences).transpose()?,
            dpost: spec.post_gate.then(sequences).transpose()?,
        })
    }

    /// Fails unless these are what the spec's gradients are.
    pub(crate) fn check(&self, gpu: &Gpu, spec: &LongConvSpec) -> Result<(), Error> {
        self.du.expect(gpu, "du", spec.dtype, &spec.shape())?;
        self.dk.expect(gpu, "dk", DType::F32, &spec.kernel_shape())?;
        expect_optional(gpu, self.dskip.as_ref(), "dD", spec.skip, &[spec.channels])?;
        expect_optional(
            gpu,
            self.dpre.as_ref(),
            "the gradient of the gate of u",
            spec.pre_gate,
            &spec.shape(),
        )?;
        expect_optional(
            gpu,
            self.dpost.as_ref(),
            "the gradient of the gate of y",
            spec.post_gate,
            &spec.shape(),
        )
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &LongConvPlan) -> Result<Vec<Shader>, ShaderError> {
    stage_shaders(plan, &plan.stages())
}

/// The linked shaders of a plan of the gradients, in the order of its footprints.
pub fn backward_shaders(plan: &LongConvBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let mut shaders = stage_shaders(&plan.conv, &plan.stages())?;
    let sum = Linker::new("scan/long_conv_sum").set("LANES", plan.conv.lanes);
    shaders.push(sum.set("HAS_SKIP", plan.conv.skip).link()?);
    Ok(shaders)
}

fn stage_shaders(plan: &LongConvPlan, stages: &[LongConvStage]) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| {
        let linker = Linker::new(kernel).set("LANES", plan.lanes).set("TILE", plan.tile);
        linker.module("scan/fft")
    };
    let columns = |reads: Reads, windows: bool| {
        let linker = linker("scan/long_conv_columns").set("WINDOWS", windows).set("HAS_SKIP", reads.skip);
        reading(linker.module("scan/long_conv_sequences"), reads).link()
    };
    let with_lines = |kernel| linker(kernel).module("scan/fft_halves").module("scan/long_conv_lines");
    let with_sequences = |kernel| linker(kernel).module("scan/fft_halves").module("scan/long_conv_sequences");
    let mut shaders = Vec::new();
    for stage in stages {
        match *stage {
            LongConvStage::Spectra(reads) if plan.one_pass() => {
                let linker = with_sequences("scan/long_conv_spectrum").set("HAS_SKIP", reads.skip);
                shaders.push(reading(linker, reads).link()?);
            }
            LongConvStage::Spectra(reads) => {
                shaders.push(columns(reads, false)?);
                shaders.push(with_lines("scan/long_conv_spectrum_lines").link()?);
            }
            LongConvStage::Convolution { reads, writes, summed } if plan.one_pass() => {
                let linker = with_sequences("scan/long_conv").set("SUMMED", summed);
                shaders.push(writing(reading(linker, reads), writes).link()?);
            }
            LongConvStage::Convolution { reads, writes, summed } => {
                shaders.push(columns(reads, true)?);
                shaders.push(with_lines("scan/long_conv_products").set("SUMMED", summed).link()?);
                let outputs = linker("scan/long_conv_outputs").module("scan/long_conv_sequences");
                shaders.push(writing(outputs, writes).link()?);
            }
        }
    }
    Ok(shaders)
}

fn reading(linker: Linker, reads: Reads) -> Linker {
    linker
        .module("scan/long_conv_read")
        .set("READ_REVERSED", reads.reversed)
        .set("HAS_PRE", reads.pre)
        .tensor("x", reads.storage)
        .tensor("pre", reads.storage)
}

fn writing(linker: Linker, writes: Writes) -> Linker {
    let linker = linker
        .module("scan/long_conv_write")
        .set("WRITE_REVERSED", writes.reversed)
        .set("HAS_POST", writes.post)
        .tensor("post", writes.storage)
        .tensor("y", writes.storage);
    if !writes.second {
        return linker.module("scan/long_conv_no_second");
    }
    let linker = linker.module("scan/long_conv_second");
    linker.tensor("second_gate", writes.storage).tensor("second", writes.storage)
}

/// Both tables of a plan's turns, in f64 on the host: WGSL's own sines are good to 2^-11 alone.
fn turns(gpu: &Gpu, plan: &LongConvPlan) -> Result<Tensor<f32>, Error> {
    let [coarse, fine] = plan.turns_of_tables();
    let turns = |count: u32, of: u32| {
        (0..count).flat_map(move |j| {
            let angle = -TAU * f64::from(j) / f64::from(of);
            [math::cos(angle) as f32, math::sin(angle) as f32]
        })
    };
    let values: Vec<_> = turns(coarse, plan.tile).chain(turns(fine, plan.points)).collect();
    Tensor::from_slice(gpu, &[(coarse + fine) as usize, 2], &values)
}

/// The long convolution through Fourier transforms in workgroup memory, with gates and skip fused (Dao 2023, ch. 4).
///
/// Transforms of up to the plan's tile take one kernel; longer ones two passes, as a Monarch product whose permutations
/// are in the indexing; and sequences past the longest transform go in chunks, each of which sees those before it
/// through spectra of its own (overlap-save, Stockham 1966). Sequences are never transformed together: a NaN stays in its
/// own. What is not finite may reach every sample of its sequence.
#[derive(Clone, Debug)]
pub struct LongConv {
    gpu: Gpu,
    spec: LongConvSpec,
    plan: LongConvPlan,
    kernels: Vec<Kernel>,
    turns: Tensor<f32>,
    scratch: Scratch,
}

impl LongConv {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: LongConvSpec) -> Result<Self, Error> {
        let plan = LongConvPlan::new(&spec, gpu.caps())?;
        Self::with_plan(gpu, spec, plan)
    }

    /// Like [`new`](Self::new), with a tile of so many complex numbers; see [`LongConvPlan::with_tile`].
    pub fn with_tile(gpu: &Gpu, spec: LongConvSpec, tile: u32) -> Result<Self, Error> {
        let plan = LongConvPlan::with_tile(&spec, tile, gpu.caps())?;
        Self::with_plan(gpu, spec, plan)
    }

    fn with_plan(gpu: &Gpu, spec: LongConvSpec, plan: LongConvPlan) -> Result<Self, Error> {
        let kernels = compile(gpu, &shaders(&plan)?)?;
        let turns = turns(gpu, &plan)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, turns, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &LongConvPlan {
        &self.plan
    }

    /// A tensor for `y`. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.shape())
    }

    /// Records the convolution into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it, and if scratch cannot be allocated. No output may share a
    /// buffer with an input: the submission would fail. Clones of the op share its scratch, which counts in
    /// [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LongConvInputs<'_, T>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, turns, scratch } = self;
        inputs.check(gpu, spec)?;
        y.expect(gpu, "y", spec.dtype, &spec.shape())?;
        let unused = gpu.unused();
        let scratch = TransformScratch::new(gpu, plan, scratch, false, 0)?;
        let mut work = Work { gpu, spec, plan, turns, scratch: &scratch, encoder };
        let [spectra, convolution] = by_stage(plan, kernels, &plan.stages())[..] else {
            unreachable!("a convolution has two stages")
        };
        let of_kernels = Read::kernels(inputs.k, inputs.skip, unused);
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let sequences = Read {
            x: inputs.u.buffer(),
            pre,
            skip: unused,
            dtype: spec.dtype,
            rows: spec.rows(),
            reversed: false,
        };
        let result = Write {
            post,
            y: y.buffer(),
            second: None,
            dtype: spec.dtype,
            rows: spec.rows(),
            reversed: false,
        };
        for channels in work.channel_slices() {
            let with = With { kernels: spectra, read: of_kernels, spectra: &scratch.kernels };
            let of_channels = channels.kernels(spec);
            work.spectra(with, of_channels)?;
            for slice in channels.batches(spec, plan) {
                work.convolve(convolution, (slice, sequences), (of_channels, with), result)?;
            }
        }
        Ok(())
    }

    /// Allocates `y`, records the convolution and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: LongConvInputs<'_, T>) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }
}

/// The gradients of a [`LongConv`]: convolutions themselves, backwards in time. Sums over the batch have a fixed order,
/// so that repeated runs are bitwise equal.
#[derive(Clone, Debug)]
pub struct LongConvBackward {
    gpu: Gpu,
    spec: LongConvSpec,
    plan: LongConvBackwardPlan,
    kernels: Vec<Kernel>,
    turns: Tensor<f32>,
    scratch: Scratch,
}

impl LongConvBackward {
    /// Plans the spec's gradients for this GPU and compiles what the plan needs. Fails like [`LongConv::new`].
    pub fn new(gpu: &Gpu, spec: LongConvSpec) -> Result<Self, Error> {
        let plan = LongConvBackwardPlan::new(&spec, gpu.caps())?;
        Self::with_plan(gpu, spec, plan)
    }

    /// Like [`new`](Self::new), with a tile of so many complex numbers; see [`LongConvPlan::with_tile`].
    pub fn with_tile(gpu: &Gpu, spec: LongConvSpec, tile: u32) -> Result<Self, Error> {
        let plan = LongConvBackwardPlan::with_tile(&spec, tile, gpu.caps())?;
        Self::with_plan(gpu, spec, plan)
    }

    fn with_plan(gpu: &Gpu, spec: LongConvSpec, plan: LongConvBackwardPlan) -> Result<Self, Error> {
        let kernels = compile(gpu, &backward_shaders(&plan)?)?;
        let turns = turns(gpu, &plan.conv)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, turns, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &LongConvBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<LongConvGradients<T>, Error> {
        LongConvGradients::zeros(&self.gpu, &self.spec)
    }

    /// Records the gradients of a loss, given its gradient by `y`, into an encoder of the same device. Fails like
    /// [`LongConv::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LongConvInputs<'_, T>,
        dy: &Tensor<T>,
        gradients: &LongConvGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan: LongConvBackwardPlan { conv: plan, share, .. }, kernels, turns, scratch } =
            self;
        inputs.check(gpu, spec)?;
        dy.expect(gpu, "dy", spec.dtype, &spec.shape())?;
        gradients.check(gpu, spec)?;
        let unused = gpu.unused();
        let (sum, kernels) = kernels.split_last().expect("the sum is the last kernel");
        let scratch = TransformScratch::new(gpu, plan, scratch, true, self.plan.part_elements(spec))?;
        let mut work = Work { gpu, spec, plan, turns, scratch: &scratch, encoder };
        let mut stages = by_stage(plan, kernels, &self.plan.stages()).into_iter();
        let mut stage = || stages.next().expect("a plan has every stage");
        let (kernel_spectra, du) = (stage(), stage());
        let dpost = spec.post_gate.then(&mut stage);
        let (gradient_spectra, dk) = (stage(), stage());

        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let (dtype, rows) = (spec.dtype, spec.rows());
        let of_kernels = Read::kernels(inputs.k, inputs.skip, unused);
        let sequences = Read { x: inputs.u.buffer(), pre, skip: unused, dtype, rows, reversed: false };
        let gradient = Read { x: dy.buffer(), pre: post, skip: unused, dtype, rows, reversed: true };
        let second = gradients.dpre.as_ref().map(|dpre| [inputs.u.buffer(), dpre.buffer()]);
        let to_du = Write { post: pre, y: gradients.du.buffer(), second, dtype, rows, reversed: true };
        let to_parts = |rows| {
            let y = &scratch.parts;
            Write { post: unused, y, second: None, dtype: DType::F32, rows, reversed: true }
        };
        let dskip = gradients.dskip.as_ref().map_or(unused, Tensor::buffer);
        for channels in work.channel_slices() {
            let of_channels = channels.kernels(spec);
            let with = With { kernels: kernel_spectra, read: of_kernels, spectra: &scratch.kernels };
            work.spectra(with, of_channels)?;
            for slice in channels.batches(spec, plan) {
                work.convolve(du, (slice, gradient), (of_channels, with), to_du)?;
                if let (Some(kernels), Some(dpost)) = (dpost, &gradients.dpost) {
                    let (post, y) = (dy.buffer(), dpost.buffer());
                    let to_dpost = Write { post, y, second: None, dtype, rows, reversed: false };
                    work.convolve(kernels, (slice, sequences), (of_channels, with), to_dpost)?;
                }
                let with = With { kernels: gradient_spectra, read: gradient, spectra: &scratch.gradients };
                work.spectra(with, slice)?;
                let summed = Slice { share: *share, ..slice };
                let to = to_parts(summed.outputs() as usize);
                work.convolve(dk, (summed, sequences), (slice, with), to)?;
                work.sum(sum, summed, [gradients.dk.buffer(), dskip])?;
            }
        }
        Ok(())
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: LongConvInputs<'_, T>,
        dy: &Tensor<T>,
    ) -> Result<LongConvGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, dy, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

/// The kernels of each stage.
fn by_stage<'a>(plan: &LongConvPlan, kernels: &'a [Kernel], stages: &[LongConvStage]) -> Vec<&'a [Kernel]> {
    let mut rest = kernels;
    let mut taken = |stage| {
        let (of_stage, others) = rest.split_at(plan.kernels_of(stage));
        rest = others;
        of_stage
    };
    stages.iter().map(&mut taken).collect()
}

/// The batches and channels that are worked on at once.
#[derive(Clone, Copy, Debug)]
struct Slice {
    first_channel: u32,
    channels: u32,
    first_batch: u32,
    batch: u32,
    /// Batches that are summed, into parts that are the slice's own; 0 where none are.
    share: u32,
    /// Samples of what is read.
    length: u32,
}

impl Slice {
    /// Kernels are a single batch, and may be shorter than sequences.
    fn kernels(self, spec: &LongConvSpec) -> Self {
        Self { length: spec.taps as u32, ..self }
    }

    /// The batches of these channels.
    fn batches(self, spec: &LongConvSpec, plan: &LongConvPlan) -> impl Iterator<Item = Self> {
        let batch = spec.batch as u32;
        let step = plan.slice_batch;
        let slice = move |first_batch| Self { first_batch, batch: step.min(batch - first_batch), ..self };
        (0..batch).step_by(step as usize).map(slice)
    }

    /// Sequences that are transformed.
    fn sequences(&self) -> u32 {
        self.batch * self.channels
    }

    /// Sequences that come of it.
    fn outputs(&self) -> u32 {
        self.batch.div_ceil(self.share.max(1)) * self.channels
    }

    /// The rows of a tensor of all channels, from the first to after the last.
    fn rows(&self, spec: &LongConvSpec) -> [usize; 2] {
        let row = |batch: u32| batch as usize * spec.channels + self.first_channel as usize;
        [row(self.first_batch), row(self.first_batch + self.batch - 1) + self.channels as usize]
    }
}

/// Sequences that are transformed.
#[derive(Clone, Copy, Debug)]
struct Read<'a> {
    x: &'a wgpu::Buffer,
    pre: &'a wgpu::Buffer,
    skip: &'a wgpu::Buffer,
    dtype: DType,
    /// Rows of the tensor.
    rows: usize,
    /// Whether they are read backwards in time.
    reversed: bool,
}

impl<'a> Read<'a> {
    fn kernels(k: &'a Tensor<f32>, skip: Option<&'a Tensor<f32>>, unused: &'a wgpu::Buffer) -> Self {
        let skip = skip.map_or(unused, Tensor::buffer);
        Self { x: k.buffer(), pre: unused, skip, dtype: DType::F32, rows: k.shape()[0], reversed: false }
    }
}

/// Spectra to multiply with, and how they are made.
#[derive(Clone, Copy, Debug)]
struct With<'a> {
    kernels: &'a [Kernel],
    read: Read<'a>,
    spectra: &'a wgpu::Buffer,
}

/// Sequences that come of it.
#[derive(Clone, Copy, Debug)]
struct Write<'a> {
    post: &'a wgpu::Buffer,
    y: &'a wgpu::Buffer,
    /// The gate of a second output, and the output.
    second: Option<[&'a wgpu::Buffer; 2]>,
    dtype: DType,
    /// Rows of the tensor.
    rows: usize,
    /// Whether they are written backwards in time.
    reversed: bool,
}

impl<'a> Write<'a> {
    /// What a kernel binds: these, and parts of what it writes with.
    fn after(&self, before: Vec<wgpu::BufferBinding<'a>>, part: &Part) -> Vec<wgpu::BufferBinding<'a>> {
        let second = self.second.into_iter().flatten();
        let buffers = [self.post, self.y].into_iter().chain(second);
        before.into_iter().chain(buffers.map(|buffer| part.of(buffer))).collect()
    }
}

/// The part of a tensor that a kernel binds, where the whole is more than it may.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Its first element.
    origin: u32,
    /// Where it begins, and its bytes; none where the whole is bound.
    bytes: Option<[u64; 2]>,
}

impl Part {
    const WHOLE: Self = Self { origin: 0, bytes: None };

    /// The elements from the first to before the end, of so many.
    fn new(gpu: &Gpu, dtype: DType, total: usize, [first, end]: [usize; 2]) -> Self {
        let bytes = |elements: usize| elements as u64 * dtype.bytes() as u64;
        if bytes(total).next_multiple_of(16) <= gpu.caps().binding_bytes {
            return Self::WHOLE;
        }
        let offset = bytes(first) / PART_ALIGNMENT * PART_ALIGNMENT;
        let size = bytes(end).next_multiple_of(16) - offset;
        Self { origin: (offset / dtype.bytes() as u64) as u32, bytes: Some([offset, size]) }
    }

    /// That part of a buffer, or all of one that nothing is read from.
    fn of<'a>(&self, buffer: &'a wgpu::Buffer) -> wgpu::BufferBinding<'a> {
        match self.bytes {
            Some([offset, size]) if offset + size <= buffer.size() => {
                wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(size) }
            }
            _ => buffer.as_entire_buffer_binding(),
        }
    }
}

fn whole<'a>(buffers: &[&'a wgpu::Buffer]) -> Vec<wgpu::BufferBinding<'a>> {
    buffers.iter().map(|buffer| buffer.as_entire_buffer_binding()).collect()
}

/// Which chunks a kernel works on: those that are read or written, those whose transforms are summed, and those of the
/// kernels that these are multiplied with.
#[derive(Clone, Copy, Debug, Default)]
struct Blocks {
    first: u32,
    source: u32,
    lag: u32,
    add: bool,
}

/// What lies between the kernels, for a slice.
#[derive(Debug)]
struct TransformScratch {
    /// Spectra of kernels.
    kernels: wgpu::Buffer,
    /// Spectra of gradients.
    gradients: wgpu::Buffer,
    /// Transforms after the first pass.
    lines: wgpu::Buffer,
    /// Sums of products before the last pass.
    sums: wgpu::Buffer,
    /// Gradients of kernels before they are summed.
    parts: wgpu::Buffer,
}

impl TransformScratch {
    fn new(
        gpu: &Gpu,
        plan: &LongConvPlan,
        scratch: &Scratch,
        backward: bool,
        parts: usize,
    ) -> Result<Self, Error> {
        let transforms = |sequences: u32| [sequences as usize, (plan.block * plan.points) as usize, 2];
        let sequences = plan.slice_batch * plan.slice_channels;
        let two_passes = if plan.one_pass() { 0 } else { sequences };
        let shapes = [
            transforms(plan.slice_channels),
            transforms(if backward { sequences } else { 0 }),
            transforms(two_passes),
            transforms(two_passes),
            [parts, 1, 1],
        ];
        let tensors = scratch.tensors(gpu, &shapes.each_ref().map(<[usize; 3]>::as_slice))?;
        let [kernels, gradients, lines, sums, parts] = [0, 1, 2, 3, 4].map(|i| tensors[i].buffer().clone());
        Ok(Self { kernels, gradients, lines, sums, parts })
    }
}

/// A long convolution being recorded.
struct Work<'a> {
    gpu: &'a Gpu,
    spec: &'a LongConvSpec,
    plan: &'a LongConvPlan,
    turns: &'a Tensor<f32>,
    scratch: &'a TransformScratch,
    encoder: &'a mut wgpu::CommandEncoder,
}

impl Work<'_> {
    fn channel_slices(&self) -> impl Iterator<Item = Slice> + use<> {
        let (all, step) = (self.spec.channels as u32, self.plan.slice_channels);
        let length = self.spec.length as u32;
        (0..all).step_by(step as usize).map(move |first_channel| Slice {
            first_channel,
            channels: step.min(all - first_channel),
            first_batch: 0,
            batch: 1,
            share: 0,
            length,
        })
    }

    /// For so many sequences, of which the parts that are read and written begin with these elements.
    fn params(&self, slice: Slice, sequences: u32, blocks: Blocks, [read, write]: [u32; 2]) -> SliceParams {
        let channels = self.spec.channels as u32;
        let own = [0, slice.channels];
        let of_tensor = [slice.first_batch * channels + slice.first_channel, channels];
        let [first_row, row_batch] = if slice.share > 0 { own } else { of_tensor };
        SliceParams {
            groups: self.plan.groups(sequences),
            length: slice.length,
            channels,
            first_channel: slice.first_channel,
            slice: slice.channels,
            first_batch: slice.first_batch,
            batch: slice.batch,
            share: slice.share.max(1),
            points: self.plan.points,
            chunks: self.plan.block,
            first_chunk: blocks.first,
            source_chunk: blocks.source,
            lag_chunk: blocks.lag,
            add: blocks.add.into(),
            read_from: read,
            write_from: write,
            first_row,
            row_batch,
        }
    }

    /// The part of a tensor of such rows where the chunks from the first on lie, and the one before, of a slice's rows.
    fn part(
        &self,
        dtype: DType,
        reversed: bool,
        all: usize,
        (rows, length): ([usize; 2], usize),
        first: u32,
    ) -> Part {
        let [from, to] = rows;
        if self.plan.blocks() == 1 {
            return Part::new(self.gpu, dtype, all * length, [from * length, to * length]);
        }
        let points = self.plan.points as usize;
        let samples = |chunk: usize| (chunk * points).min(length);
        let first = first as usize;
        let [start, end] = [samples(first.saturating_sub(1)), samples(first + self.plan.block as usize)];
        let [start, end] = if reversed { [length - end, length - start] } else { [start, end] };
        // A block is one of a single row.
        Part::new(self.gpu, dtype, all * length, [from * length + start, from * length + end])
    }

    fn read_part(&self, slice: Slice, read: &Read<'_>, first: u32) -> Part {
        let rows = (slice.rows(self.spec), slice.length as usize);
        self.part(read.dtype, read.reversed, read.rows, rows, first)
    }

    fn write_part(&self, slice: Slice, write: &Write<'_>, first: u32) -> Part {
        let rows = if slice.share > 0 { [0, write.rows] } else { slice.rows(self.spec) };
        self.part(write.dtype, write.reversed, write.rows, (rows, self.spec.length), first)
    }

    /// Records the spectra of a slice's sequences, where all fit at once; others are made when they are needed.
    fn spectra(&mut self, with: With<'_>, slice: Slice) -> Result<(), Error> {
        if self.plan.blocks() == 1 { self.spectra_of_block(with, slice, 0) } else { Ok(()) }
    }

    /// Records the spectra of the chunks of a slice's sequences from this one on.
    fn spectra_of_block(
        &mut self,
        With { kernels, read, spectra }: With<'_>,
        slice: Slice,
        first: u32,
    ) -> Result<(), Error> {
        let part = self.read_part(slice, &read, first);
        let blocks = Blocks { first, ..Blocks::default() };
        let params = self.params(Slice { share: 0, ..slice }, slice.sequences(), blocks, [part.origin, 0]);
        let (turns, lines) = (self.turns.buffer(), &self.scratch.lines);
        match kernels {
            [spectrum] => {
                let mut buffers = whole(&[read.skip, spectra, turns]);
                buffers.extend([part.of(read.x), part.of(read.pre)]);
                spectrum.dispatch_parts(self.gpu, self.encoder, &params, buffers)
            }
            [columns, spectrum_lines] => {
                let mut buffers = whole(&[read.skip, lines, turns]);
                buffers.extend([part.of(read.x), part.of(read.pre)]);
                columns.dispatch_parts(self.gpu, self.encoder, &params, buffers)?;
                spectrum_lines.dispatch(self.gpu, self.encoder, &params, &[lines, spectra, turns])
            }
            _ => unreachable!("a transform has one pass or two"),
        }
    }

    /// Records the convolutions of a slice's sequences with what is in another slice.
    fn convolve(
        &mut self,
        kernels: &[Kernel],
        (slice, read): (Slice, Read<'_>),
        (other, with): (Slice, With<'_>),
        write: Write<'_>,
    ) -> Result<(), Error> {
        let block = self.plan.block;
        match kernels {
            [conv] => {
                let [from, to] = [self.read_part(slice, &read, 0), self.write_part(slice, &write, 0)];
                let origins = [from.origin, to.origin];
                let params = self.params(slice, slice.outputs(), Blocks::default(), origins);
                let mut buffers = whole(&[with.spectra, self.turns.buffer()]);
                buffers.extend([from.of(read.x), from.of(read.pre)]);
                conv.dispatch_parts(self.gpu, self.encoder, &params, write.after(buffers, &to))
            }
            [columns, products, outputs] => {
                for first in (0..self.plan.blocks()).map(|i| i * block) {
                    let mut add = false;
                    for (source, lag) in self.pairs_of_blocks(first, other.length) {
                        if self.plan.blocks() > 1 {
                            self.spectra_of_block(with, other, lag)?;
                        }
                        let blocks = Blocks { first, source, lag, add };
                        self.products([columns, products], (slice, read), with.spectra, blocks)?;
                        add = true;
                    }
                    let to = self.write_part(slice, &write, first);
                    let blocks = Blocks { first, ..Blocks::default() };
                    let params = self.params(slice, slice.outputs(), blocks, [0, to.origin]);
                    let buffers = whole(&[&self.scratch.sums, self.turns.buffer()]);
                    outputs.dispatch_parts(self.gpu, self.encoder, &params, write.after(buffers, &to))?;
                }
                Ok(())
            }
            _ => unreachable!("a convolution has one kernel or three"),
        }
    }

    /// For a block of chunks, the blocks of chunks up to it, each with those of the other sequences, of that length, in which
    /// the distances to it lie.
    fn pairs_of_blocks(&self, first: u32, length: u32) -> Vec<(u32, u32)> {
        let LongConvPlan { block, points, .. } = *self.plan;
        let lags = |source| [first.checked_sub(source + block), Some(first - source)].into_iter().flatten();
        let pairs =
            (0..=first).step_by(block as usize).flat_map(|source| lags(source).map(move |lag| (source, lag)));
        pairs.filter(|(_, lag)| lag * points < length).collect()
    }

    /// Records the products of some chunks of sequences with spectra, which are summed.
    fn products(
        &mut self,
        [columns, products]: [&Kernel; 2],
        (slice, read): (Slice, Read<'_>),
        spectra: &wgpu::Buffer,
        blocks: Blocks,
    ) -> Result<(), Error> {
        let (turns, TransformScratch { lines, sums, .. }) = (self.turns.buffer(), self.scratch);
        let part = self.read_part(slice, &read, blocks.source);
        let of_source = Blocks { first: blocks.source, ..Blocks::default() };
        let params = self.params(slice, slice.sequences(), of_source, [part.origin, 0]);
        let mut buffers = whole(&[read.skip, lines, turns]);
        buffers.extend([part.of(read.x), part.of(read.pre)]);
        columns.dispatch_parts(self.gpu, self.encoder, &params, buffers)?;
        let params = self.params(slice, slice.outputs(), blocks, [0, 0]);
        products.dispatch(self.gpu, self.encoder, &params, &[lines, spectra, sums, turns])
    }

    /// Records the gradients of kernels from a slice's parts, which are added to those of batches before.
    fn sum(&mut self, sum: &Kernel, slice: Slice, [dk, dskip]: [&wgpu::Buffer; 2]) -> Result<(), Error> {
        let (length, taps) = (self.spec.length, self.spec.taps);
        let (rows, step) = (slice.outputs() as usize, (self.plan.block * self.plan.points) as usize);
        let first_row = slice.first_channel as usize * taps;
        for first in (0..taps).step_by(step) {
            let end = taps.min(first + step);
            let one = self.plan.blocks() > 1;
            let range = |row: usize, rows: usize, width: usize| {
                if one { [row + first, row + end] } else { [row, row + rows * width] }
            };
            let parts = Part::new(self.gpu, DType::F32, rows * length, range(0, rows, length));
            let of_channels = range(first_row, slice.channels as usize, taps);
            let to = Part::new(self.gpu, DType::F32, self.spec.channels * taps, of_channels);
            let total = slice.channels * (end - first) as u32;
            let params = SumParams {
                groups: total.div_ceil(self.plan.lanes),
                total,
                lags: (end - first) as u32,
                first_lag: first as u32,
                taps: taps as u32,
                length: length as u32,
                channels: slice.channels,
                parts: slice.outputs() / slice.channels,
                first_channel: slice.first_channel,
                read_from: parts.origin,
                write_from: to.origin,
                add: u32::from(slice.first_batch > 0),
            };
            let mut buffers = vec![parts.of(&self.scratch.parts), to.of(dk)];
            buffers.extend(whole(&[dskip]));
            sum.dispatch_parts(self.gpu, self.encoder, &params, buffers)?;
        }
        Ok(())
    }
}
