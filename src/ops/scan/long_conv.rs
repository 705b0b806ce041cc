//! The long convolution and its gradients.

use std::f64::consts::TAU;

use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::plan::{LongConvBackwardPlan, LongConvPlan, LongConvStage, Reads, Writes};
use crate::shader::{Linker, Shader, ShaderError};
use crate::tensor::expect_optional;
use crate::{DType, Element, Error, Gpu, LongConvSpec, Tensor, math};

params! {
    /// Every kernel of a long convolution: its slice of the tensors, and the transform.
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
    }
}

params! {
    /// `scan/long_conv_sum`.
    SumParams { total: u32, taps: u32, length: u32, channels: u32, parts: u32 }
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

    fn check(&self, gpu: &Gpu, spec: &LongConvSpec) -> Result<(), Error> {
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
        let kernel =
            Read { x: inputs.k.buffer(), pre: unused, skip: inputs.skip.map_or(unused, Tensor::buffer) };
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let sequences = Read { x: inputs.u.buffer(), pre, skip: unused };
        let result = Write { post, y: y.buffer(), second: None };
        for channels in work.channel_slices() {
            work.spectra(spectra, channels.kernels(spec), kernel, &scratch.kernels)?;
            for slice in channels.batches(spec, plan) {
                work.convolve(convolution, slice, sequences, &scratch.kernels, result)?;
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
        let Self {
            gpu,
            spec,
            plan: LongConvBackwardPlan { conv: plan, share, parts },
            kernels,
            turns,
            scratch,
        } = self;
        inputs.check(gpu, spec)?;
        dy.expect(gpu, "dy", spec.dtype, &spec.shape())?;
        gradients.check(gpu, spec)?;
        let unused = gpu.unused();
        let (sum, kernels) = kernels.split_last().expect("the sum is the last kernel");
        let scratch =
            TransformScratch::new(gpu, plan, scratch, true, *parts as usize * spec.channels * spec.length)?;
        let mut work = Work { gpu, spec, plan, turns, scratch: &scratch, encoder };
        let mut stages = by_stage(plan, kernels, &self.plan.stages()).into_iter();
        let mut stage = || stages.next().expect("a plan has every stage");
        let (kernel_spectra, du) = (stage(), stage());
        let dpost = spec.post_gate.then(&mut stage);
        let (gradient_spectra, dk) = (stage(), stage());

        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let skip = inputs.skip.map_or(unused, Tensor::buffer);
        let kernel = Read { x: inputs.k.buffer(), pre: unused, skip };
        let sequences = Read { x: inputs.u.buffer(), pre, skip: unused };
        let gradient = Read { x: dy.buffer(), pre: post, skip: unused };
        let second = gradients.dpre.as_ref().map(|dpre| [inputs.u.buffer(), dpre.buffer()]);
        let to_du = Write { post: pre, y: gradients.du.buffer(), second };
        let to_parts = Write { post: unused, y: &scratch.parts, second: None };
        for channels in work.channel_slices() {
            work.spectra(kernel_spectra, channels.kernels(spec), kernel, &scratch.kernels)?;
            for slice in channels.batches(spec, plan) {
                work.convolve(du, slice, gradient, &scratch.kernels, to_du)?;
                if let (Some(kernels), Some(dpost)) = (dpost, &gradients.dpost) {
                    let to_dpost = Write { post: dy.buffer(), y: dpost.buffer(), second: None };
                    work.convolve(kernels, slice, sequences, &scratch.kernels, to_dpost)?;
                }
                work.spectra(gradient_spectra, slice, gradient, &scratch.gradients)?;
                let slice = Slice { share: *share, ..slice };
                work.convolve(dk, slice, sequences, &scratch.gradients, to_parts)?;
            }
        }
        let total = (spec.channels * spec.taps) as u32;
        let params = SumParams {
            groups: total.div_ceil(plan.lanes),
            total,
            taps: spec.taps as u32,
            length: spec.length as u32,
            channels: spec.channels as u32,
            parts: *parts,
        };
        let dskip = gradients.dskip.as_ref().map_or(unused, Tensor::buffer);
        sum.dispatch(gpu, work.encoder, &params, &[&scratch.parts, gradients.dk.buffer(), dskip])
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
    /// Batches that are summed.
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
        self.batch.div_ceil(self.share) * self.channels
    }
}

/// Sequences that are transformed.
#[derive(Clone, Copy, Debug)]
struct Read<'a> {
    x: &'a wgpu::Buffer,
    pre: &'a wgpu::Buffer,
    skip: &'a wgpu::Buffer,
}

/// Sequences that come of it.
#[derive(Clone, Copy, Debug)]
struct Write<'a> {
    post: &'a wgpu::Buffer,
    y: &'a wgpu::Buffer,
    /// The gate of a second output, and the output.
    second: Option<[&'a wgpu::Buffer; 2]>,
}

impl<'a> Write<'a> {
    /// A kernel's buffers: these, and what it writes with.
    fn after(&self, buffers: &[&'a wgpu::Buffer]) -> Vec<&'a wgpu::Buffer> {
        let second = self.second.into_iter().flatten();
        buffers.iter().copied().chain([self.post, self.y]).chain(second).collect()
    }
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
        let transforms = |sequences: u32| [sequences as usize, (plan.chunks * plan.points) as usize, 2];
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
            share: 1,
            length,
        })
    }

    fn params(&self, slice: Slice, sequences: u32) -> SliceParams {
        SliceParams {
            groups: self.plan.groups(sequences),
            length: slice.length,
            channels: self.spec.channels as u32,
            first_channel: slice.first_channel,
            slice: slice.channels,
            first_batch: slice.first_batch,
            batch: slice.batch,
            share: slice.share,
            points: self.plan.points,
            chunks: self.plan.chunks,
        }
    }

    /// Records the spectra of a slice's sequences.
    fn spectra(
        &mut self,
        kernels: &[Kernel],
        slice: Slice,
        read: Read<'_>,
        spectra: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let params = self.params(slice, slice.sequences());
        let (turns, lines) = (self.turns.buffer(), &self.scratch.lines);
        match kernels {
            [spectrum] => {
                let buffers = [read.skip, spectra, turns, read.x, read.pre];
                spectrum.dispatch(self.gpu, self.encoder, &params, &buffers)
            }
            [columns, spectrum_lines] => {
                let buffers = [read.skip, lines, turns, read.x, read.pre];
                columns.dispatch(self.gpu, self.encoder, &params, &buffers)?;
                spectrum_lines.dispatch(self.gpu, self.encoder, &params, &[lines, spectra, turns])
            }
            _ => unreachable!("a transform has one pass or two"),
        }
    }

    /// Records the convolutions of a slice's sequences with what has those spectra.
    fn convolve(
        &mut self,
        kernels: &[Kernel],
        slice: Slice,
        read: Read<'_>,
        spectra: &wgpu::Buffer,
        write: Write<'_>,
    ) -> Result<(), Error> {
        let params = self.params(slice, slice.outputs());
        let (turns, TransformScratch { lines, sums, .. }) = (self.turns.buffer(), self.scratch);
        match kernels {
            [conv] => {
                let buffers = write.after(&[spectra, turns, read.x, read.pre]);
                conv.dispatch(self.gpu, self.encoder, &params, &buffers)
            }
            [columns, products, outputs] => {
                let buffers = [read.skip, lines, turns, read.x, read.pre];
                let of_sequences = self.params(slice, slice.sequences());
                columns.dispatch(self.gpu, self.encoder, &of_sequences, &buffers)?;
                products.dispatch(self.gpu, self.encoder, &params, &[lines, spectra, sums, turns])?;
                outputs.dispatch(self.gpu, self.encoder, &params, &write.after(&[sums, turns]))
            }
            _ => unreachable!("a convolution has one kernel or three"),
        }
    }
}
