//! The gradients of a selective scan.

use super::{
    CarryParams, CoefficientTensor, ScanParams, SelectiveScanInputs, carry, chunk_linker, encode_pack,
    exchange, pack, scan_params,
};
use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::ops::scan::sum_terms::{self, Terms};
use crate::plan::{SelectiveScanBackwardPlan, SelectiveScanPlan};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::tensor::expect_optional;
use crate::{DType, Element, Error, Gpu, SelectiveScanSpec, Tensor};

params! {
    /// `scan/selective_backward`.
    BackwardParams {
        channels: u32,
        length: u32,
        states: u32,
        channel_groups: u32,
        tiles: u32,
        chunk: u32,
        chunks: u32,
        first_batch: u32,
        first_chunk: u32,
        first_skip: u32,
        first_border: u32,
        first_back: u32,
        first_da: u32,
        first_db: u32,
        first_dc: u32,
        first_dskip: u32,
        first_dbias: u32,
    }
}

params! {
    /// `scan/selective_gate`.
    GateParams { total: u32, fours: u32, length: u32, first_row: u32, first: u32, steps: u32 }
}

params! {
    /// `scan/selective_sum`.
    StepSumParams {
        total: u32,
        first: u32,
        tiles: u32,
        states: u32,
        steps: u32,
        fours: u32,
        length: u32,
        first_line: u32,
        column: u32,
    }
}

/// The gradient of `B` or `C`.
#[derive(Clone, Debug)]
pub enum CoefficientGradient<T> {
    /// One for each channel and state.
    PerChannel(Tensor<f32>),
    /// Different ones for each step.
    PerStep(Tensor<T>),
}

impl<T: Element> CoefficientGradient<T> {
    fn zeros(gpu: &Gpu, varies: bool, shape: &[usize]) -> Result<Self, Error> {
        Ok(if varies {
            Self::PerStep(Tensor::zeros(gpu, shape)?)
        } else {
            Self::PerChannel(Tensor::zeros(gpu, shape)?)
        })
    }

    fn tensor(&self) -> CoefficientTensor<'_, T> {
        match self {
            Self::PerChannel(tensor) => CoefficientTensor::PerChannel(tensor),
            Self::PerStep(tensor) => CoefficientTensor::PerStep(tensor),
        }
    }
}

/// Gradients of a [`SelectiveScan`](crate::SelectiveScan), of the shapes of what they belong to. Those of complex tensors
/// are derivatives by the real and by the imaginary part.
#[derive(Clone, Debug)]
pub struct SelectiveScanGradients<T> {
    /// Of `u`.
    pub du: Tensor<T>,
    /// Of `delta`.
    pub ddelta: Tensor<T>,
    /// Of `A`.
    pub da: Tensor<f32>,
    /// Of `B`.
    pub db: CoefficientGradient<T>,
    /// Of `C`.
    pub dc: CoefficientGradient<T>,
    /// Of `D`, if the spec has it.
    pub dskip: Option<Tensor<f32>>,
    /// Of `z`, if the spec has it.
    pub dz: Option<Tensor<T>>,
    /// Of the bias, if the spec has it.
    pub ddelta_bias: Option<Tensor<f32>>,
    /// Of the initial state, if the spec has it.
    pub dinitial: Option<Tensor<f32>>,
}

impl<T: Element> SelectiveScanGradients<T> {
    pub(crate) fn zeros(gpu: &Gpu, spec: &SelectiveScanSpec) -> Result<Self, Error> {
        let optional = |on: bool, shape: &[usize]| on.then(|| Tensor::zeros(gpu, shape)).transpose();
        Ok(Self {
            du: Tensor::zeros(gpu, &spec.shape())?,
            ddelta: Tensor::zeros(gpu, &spec.shape())?,
            da: Tensor::zeros(gpu, &spec.a_shape())?,
            db: CoefficientGradient::zeros(gpu, spec.b.vary(), &spec.b_shape())?,
            dc: CoefficientGradient::zeros(gpu, spec.c.vary(), &spec.c_shape())?,
            dskip: optional(spec.skip, &spec.channel_shape())?,
            dz: spec.gated.then(|| Tensor::zeros(gpu, &spec.shape())).transpose()?,
            ddelta_bias: optional(spec.delta_bias, &spec.channel_shape())?,
            dinitial: optional(spec.initial, &spec.state_shape())?,
        })
    }

    fn check(&self, gpu: &Gpu, spec: &SelectiveScanSpec) -> Result<(), Error> {
        let (dtype, shape) = (spec.dtype, spec.shape());
        let (skip, bias) = (self.dskip.as_ref(), self.ddelta_bias.as_ref());
        self.du.expect(gpu, "du", dtype, &shape)?;
        self.ddelta.expect(gpu, "ddelta", dtype, &shape)?;
        self.da.expect(gpu, "dA", DType::F32, &spec.a_shape())?;
        self.db.tensor().check(gpu, "dB", spec.b.vary(), dtype, &spec.b_shape())?;
        self.dc.tensor().check(gpu, "dC", spec.c.vary(), dtype, &spec.c_shape())?;
        expect_optional(gpu, skip, "dD", spec.skip, &spec.channel_shape())?;
        expect_optional(gpu, self.dz.as_ref(), "dz", spec.gated, &shape)?;
        expect_optional(gpu, bias, "ddelta_bias", spec.delta_bias, &spec.channel_shape())?;
        let initial = self.dinitial.as_ref();
        expect_optional(gpu, initial, "the gradient of the initial state", spec.initial, &spec.state_shape())
    }
}

/// The backward pass of a [`SelectiveScan`](crate::SelectiveScan). It computes the states again, chunk by chunk, so that
/// nothing has to be kept of the forward pass, and works in slices where an adapter cannot bind at once what its kernels
/// share. Sums are taken in a fixed order: gradients are repeatable bit by bit.
#[derive(Clone, Debug)]
pub struct SelectiveScanBackward {
    gpu: Gpu,
    spec: SelectiveScanSpec,
    plan: SelectiveScanBackwardPlan,
    kernels: BackwardKernels,
    scratch: Scratch,
}

#[derive(Clone, Debug)]
struct BackwardKernels {
    pack: Kernel,
    /// Before and after the scan.
    gates: Option<[Kernel; 2]>,
    reduce: Kernel,
    /// Of states, and of the gradients that come from behind.
    carries: [Kernel; 2],
    backward: Kernel,
    /// Of parts, and of what differs from step to step.
    sums: [Kernel; 2],
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &SelectiveScanBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let SelectiveScanBackwardPlan { forward, step_tiles, sum, .. } = plan;
    let sliced = plan.row_slices() > 1;
    let with_gradient = |linker: Linker| {
        if forward.gated {
            linker.module("scan/selective_gradient_gated")
        } else {
            linker.module("scan/selective_gradient_plain").tensor("dout", forward.storage)
        }
    };
    let reduce = chunk_linker("scan/selective_reduce", forward).set("BACKWARD", true);
    let reduce = with_gradient(reduce.module("scan/selective_both_ways"));
    let backward = exchange(chunk_linker("scan/selective_backward", forward), forward)
        .set("STEP_TILES", *step_tiles)
        .set("GATED", forward.gated)
        .tensor("du", forward.storage)
        .tensor("ddelta", forward.storage);
    let mut linked = vec![pack(forward)?];
    if forward.gated {
        linked.push(gate(forward, "scan/selective_gate_before").link()?);
    }
    linked.extend([reduce.link()?, carry(forward, forward.initial || sliced)?, carry(forward, sliced)?]);
    linked.push(with_gradient(backward).link()?);
    if forward.gated {
        linked.push(gate(forward, "scan/selective_gate_after").tensor("dz", forward.storage).link()?);
    }
    let step_sum = Linker::new("scan/selective_sum")
        .module("scan/sum_shares")
        .set("LANES", sum.lanes)
        .set("QUADS", sum.quads)
        .tensor("sums", forward.coefficients);
    linked.extend([sum_terms::shader(*sum, Storage::F32)?, step_sum.link()?]);
    Ok(linked)
}

/// A pass of the gate's backward.
fn gate(plan: &SelectiveScanPlan, pass: &'static str) -> Linker {
    Linker::new("scan/selective_gate")
        .module("common/activation")
        .module(pass)
        .set("LANES", plan.lanes)
        .tensor("dout", plan.storage)
        .tensor("z", plan.storage)
        .tensor("gated", Storage { vectors: true, ..Storage::F32 })
}

impl SelectiveScanBackward {
    /// Plans the spec's backward pass for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the
    /// spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: SelectiveScanSpec) -> Result<Self, Error> {
        let plan = SelectiveScanBackwardPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &shaders(&plan)?)?;
        let kernels = match <[Kernel; 9]>::try_from(kernels) {
            Ok([pack, before, reduce, carry, back, backward, after, sum, narrow]) => BackwardKernels {
                pack,
                gates: Some([before, after]),
                reduce,
                carries: [carry, back],
                backward,
                sums: [sum, narrow],
            },
            Err(kernels) => {
                let kernels = <[Kernel; 7]>::try_from(kernels);
                let [pack, reduce, carry, back, backward, sum, narrow] =
                    kernels.expect("a backward pass has seven kernels, or nine with a gate");
                let (carries, sums) = ([carry, back], [sum, narrow]);
                BackwardKernels { pack, gates: None, reduce, carries, backward, sums }
            }
        };
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &SelectiveScanBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<SelectiveScanGradients<T>, Error> {
        SelectiveScanGradients::zeros(&self.gpu, &self.spec)
    }

    /// Records the gradients for `dout`, those of the outputs, into an encoder of the same device. Fails like
    /// [`SelectiveScan::encode`](crate::SelectiveScan::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: SelectiveScanInputs<'_, T>,
        dout: &Tensor<T>,
        gradients: &SelectiveScanGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, scratch } = self;
        inputs.check(gpu, spec)?;
        dout.expect(gpu, "dout", spec.dtype, &spec.shape())?;
        gradients.check(gpu, spec)?;
        let (place, states) = (plan.held(spec), plan.slice_states(spec));
        let behind = if plan.row_slices() > 1 { states } else { 0 };
        let [maps, gated, starts, sums] =
            [plan.maps(spec), plan.gated(spec), plan.starts(spec), plan.sums(spec).end];
        let sizes = [place.end, maps, maps, states, behind, behind, gated, starts, sums];
        let shapes = sizes.map(|numbers| [numbers]);
        let tensors = scratch.tensors(gpu, &shapes.each_ref().map(<[usize; 1]>::as_slice))?;
        let [held, maps, maps_back, ends, behind, ahead, gated, starts, sums] =
            std::array::from_fn(|i| &tensors[i]);
        let buffers = Shared { held, maps, maps_back, ends, behind: [behind, ahead], gated, starts, sums };
        let pass = BackwardPass { op: self, inputs, dout, gradients, buffers };
        encode_pack(gpu, encoder, &kernels.pack, (spec, &plan.forward), &inputs, (held, place.border))?;
        for slice in 0..plan.batch_slices {
            pass.encode_rows(encoder, slice)?;
        }
        pass.encode_slice_sums(encoder)
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: SelectiveScanInputs<'_, T>,
        dout: &Tensor<T>,
    ) -> Result<SelectiveScanGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, dout, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

/// Tensors between the kernels of a backward pass, those of a slice unless it says so.
#[derive(Clone, Copy)]
struct Shared<'a> {
    held: &'a Tensor<f32>,
    maps: &'a Tensor<f32>,
    maps_back: &'a Tensor<f32>,
    /// States after the slice.
    ends: &'a Tensor<f32>,
    /// Gradients of states that come from behind a slice, and where those go that come from behind the next.
    behind: [&'a Tensor<f32>; 2],
    gated: &'a Tensor<f32>,
    /// States before every slice of the rows.
    starts: &'a Tensor<f32>,
    /// Sums of all slices.
    sums: &'a Tensor<f32>,
}

/// Some batches, and of their rows some chunks.
#[derive(Clone, Copy)]
struct Slice {
    /// Which of the batches' slices.
    of_batch: u32,
    /// Which of its rows'.
    of_row: u32,
    first_batch: u32,
    batches: u32,
    first_chunk: u32,
    chunks: u32,
}

/// One backward pass on its way.
struct BackwardPass<'a, T> {
    op: &'a SelectiveScanBackward,
    inputs: SelectiveScanInputs<'a, T>,
    dout: &'a Tensor<T>,
    gradients: &'a SelectiveScanGradients<T>,
    buffers: Shared<'a>,
}

impl<T: Element> BackwardPass<'_, T> {
    fn slice(&self, of_batch: u32, of_row: u32) -> Slice {
        let SelectiveScanBackward { spec, plan, .. } = self.op;
        let first_batch = of_batch * plan.slice_batch;
        let first_chunk = of_row * plan.slice_chunks;
        let batches = plan.slice_batch.min(spec.batch as u32 - first_batch);
        let chunks = plan.slice_chunks.min(plan.forward.chunks - first_chunk);
        Slice { of_batch, of_row, first_batch, batches, first_chunk, chunks }
    }

    /// Rows of states before those of a slice's first batch.
    fn first_state(&self, slice: Slice) -> u32 {
        slice.first_batch * (self.op.spec.channels * self.op.spec.state_dim) as u32
    }

    /// Everything for some batches, slice by slice.
    fn encode_rows(&self, encoder: &mut wgpu::CommandEncoder, of_batch: u32) -> Result<(), Error> {
        let slices = self.op.plan.row_slices();
        if slices > 1 {
            self.encode_starts(encoder, of_batch)?;
        }
        for of_row in (0..slices).rev() {
            self.encode_slice(encoder, self.slice(of_batch, of_row))?;
        }
        Ok(())
    }

    /// The states before each slice of some rows; and nothing comes from behind the last.
    fn encode_starts(&self, encoder: &mut wgpu::CommandEncoder, of_batch: u32) -> Result<(), Error> {
        let SelectiveScanBackward { spec, plan, .. } = self.op;
        let Shared { ends, behind, starts, .. } = self.buffers;
        let slice = self.slice(of_batch, 0);
        let words = |states: u32| u64::from(states) * 4 * spec.parts() as u64;
        let bytes = words(slice.batches * (spec.channels * spec.state_dim) as u32);
        match self.inputs.initial {
            Some(initial) => {
                let first = words(self.first_state(slice));
                encoder.copy_buffer_to_buffer(initial.buffer(), first, starts.buffer(), 0, bytes);
            }
            None => encoder.clear_buffer(starts.buffer(), 0, Some(bytes)),
        }
        for behind in behind {
            encoder.clear_buffer(behind.buffer(), 0, Some(bytes));
        }
        let stride = 4 * plan.slice_states(spec) as u64;
        for of_row in 0..plan.row_slices() - 1 {
            let slice = self.slice(of_batch, of_row);
            self.encode_reduce(encoder, slice)?;
            self.encode_carry(encoder, slice)?;
            let to = stride * u64::from(of_row + 1);
            encoder.copy_buffer_to_buffer(ends.buffer(), 0, starts.buffer(), to, bytes);
        }
        Ok(())
    }

    /// The gradients of a slice's steps, and the parts of all others, of which it leaves the sums.
    fn encode_slice(&self, encoder: &mut wgpu::CommandEncoder, slice: Slice) -> Result<(), Error> {
        let SelectiveScanBackward { gpu, kernels, .. } = self.op;
        let [u, delta, b, c] = self.inputs.steps(gpu);
        let Shared { held, gated, .. } = self.buffers;
        let gate_params = self.gate_params(slice);
        let z = self.inputs.z.map_or(gpu.unused(), Tensor::buffer);
        let gate_inputs = [self.dout.buffer(), z, gated.buffer()];
        if let Some([before, _]) = &kernels.gates {
            before.dispatch(gpu, encoder, &gate_params, &gate_inputs)?;
        }
        self.encode_reduce(encoder, slice)?;
        self.encode_carry(encoder, slice)?;
        self.encode_carry_back(encoder, slice)?;
        let (du, ddelta) = (self.gradients.du.buffer(), self.gradients.ddelta.buffer());
        let buffers = [held.buffer(), u, delta, b, c, du, ddelta, self.gradient()];
        kernels.backward.dispatch(gpu, encoder, &self.params(slice), &buffers)?;
        if let (Some([_, after]), Some(dz)) = (&kernels.gates, &self.gradients.dz) {
            let [dout, z, gated] = gate_inputs;
            after.dispatch(gpu, encoder, &gate_params, &[dout, z, gated, dz.buffer()])?;
        }
        self.encode_step_sums(encoder, slice)?;
        self.encode_part_sums(encoder, slice)
    }

    /// The gradient of the result before the gate.
    fn gradient(&self) -> &wgpu::Buffer {
        if self.op.spec.gated { self.buffers.gated.buffer() } else { self.dout.buffer() }
    }

    /// What the slice's chunks do to states and to the gradients from behind.
    fn encode_reduce(&self, encoder: &mut wgpu::CommandEncoder, slice: Slice) -> Result<(), Error> {
        let SelectiveScanBackward { gpu, kernels, .. } = self.op;
        let [u, delta, b, c] = self.inputs.steps(gpu);
        let Shared { held, maps, maps_back, .. } = self.buffers;
        let params = self.scan_params(slice);
        let buffers = [held.buffer(), u, delta, b, c, maps.buffer(), maps_back.buffer(), self.gradient()];
        kernels.reduce.dispatch(gpu, encoder, &params, &buffers)
    }

    /// The states before the slice's chunks and after it. Places are counted in states, which begin at a whole one.
    fn encode_carry(&self, encoder: &mut wgpu::CommandEncoder, slice: Slice) -> Result<(), Error> {
        let SelectiveScanBackward { gpu, spec, plan, kernels, .. } = self.op;
        let Shared { held, maps, ends, starts, .. } = self.buffers;
        let (initial, first_initial) = if plan.row_slices() > 1 {
            (starts.buffer(), slice.of_row * (plan.slice_states(spec) / spec.parts()) as u32)
        } else {
            (self.inputs.initial_buffer(gpu), self.first_state(slice))
        };
        let params = CarryParams { first_initial, ..self.carry_params(slice, plan.held(spec).border) };
        kernels.carries[0].dispatch(
            gpu,
            encoder,
            &params,
            &[maps.buffer(), initial, held.buffer(), ends.buffer()],
        )
    }

    /// The gradients from behind the slice's chunks and before it.
    fn encode_carry_back(&self, encoder: &mut wgpu::CommandEncoder, slice: Slice) -> Result<(), Error> {
        let SelectiveScanBackward { gpu, spec, plan, kernels, .. } = self.op;
        let Shared { held, maps_back, ends, behind, .. } = self.buffers;
        // Slices take turns in what they read and what they write.
        let turn = slice.of_row as usize % 2;
        let initial = if plan.row_slices() > 1 { behind[turn].buffer() } else { gpu.unused() };
        let (last, first_last) = match &self.gradients.dinitial {
            _ if slice.of_row > 0 => (behind[1 - turn], 0),
            Some(dinitial) => (dinitial, self.first_state(slice)),
            None => (ends, 0),
        };
        let params = CarryParams { first_last, ..self.carry_params(slice, plan.held(spec).back) };
        let buffers = [maps_back.buffer(), initial, held.buffer(), last.buffer()];
        kernels.carries[1].dispatch(gpu, encoder, &params, &buffers)
    }

    fn carry_params(&self, slice: Slice, first: usize) -> CarryParams {
        let spec = &self.op.spec;
        CarryParams {
            groups: slice.batches * (spec.channels * spec.state_dim) as u32,
            chunks: slice.chunks,
            first: (first / spec.parts()) as u32,
            first_initial: 0,
            first_last: 0,
        }
    }

    fn gate_params(&self, slice: Slice) -> GateParams {
        let SelectiveScanBackward { spec, plan, .. } = self.op;
        let (first, steps) = self.steps(slice);
        let fours = steps.div_ceil(4);
        let total = slice.batches * spec.channels as u32 * fours;
        GateParams {
            groups: total.div_ceil(plan.forward.lanes),
            total,
            fours,
            length: spec.length as u32,
            first_row: slice.first_batch * spec.channels as u32,
            first,
            steps,
        }
    }

    /// A slice's first step in its rows, and how many it has there.
    fn steps(&self, slice: Slice) -> (u32, u32) {
        let chunk = self.op.plan.forward.chunk;
        let first = slice.first_chunk * chunk;
        (first, (slice.chunks * chunk).min(self.op.spec.length as u32 - first))
    }

    /// Adds up what differs from step to step over the channels that share it.
    fn encode_step_sums(&self, encoder: &mut wgpu::CommandEncoder, slice: Slice) -> Result<(), Error> {
        let SelectiveScanBackward { gpu, spec, plan, kernels, .. } = self.op;
        let (place, parts, states) = (plan.held(spec), spec.parts() as u32, spec.state_dim as u32);
        let (first, steps) = self.steps(slice);
        let (column, steps, groups) = (first * parts, steps * parts, spec.groups() as u32);
        let fours = steps.div_ceil(4);
        let total = slice.batches * groups * states * fours;
        for (first, sums) in [(place.db, &self.gradients.db), (place.dc, &self.gradients.dc)] {
            if let CoefficientGradient::PerStep(sums) = sums {
                let params = StepSumParams {
                    groups: total.div_ceil(plan.sum.quads),
                    total,
                    first: first as u32,
                    tiles: plan.forward.tiles(spec),
                    states,
                    steps,
                    fours,
                    length: spec.length as u32 * parts,
                    first_line: slice.first_batch * groups * states,
                    column,
                };
                let buffers = [self.buffers.held.buffer(), sums.buffer()];
                kernels.sums[1].dispatch(gpu, encoder, &params, &buffers)?;
            }
        }
        Ok(())
    }

    /// What is summed over steps and batches: where its parts lie, where the slices' sums, and what is left in the end.
    fn part_sums(&self) -> Vec<(usize, usize, &Tensor<f32>)> {
        let SelectiveScanBackward { spec, plan, .. } = self.op;
        let (parts, slices) = (plan.held(spec), plan.sums(spec));
        let mut sums = vec![(parts.da, slices.da, &self.gradients.da)];
        sums.extend(self.gradients.dskip.as_ref().map(|sum| (parts.dskip, slices.dskip, sum)));
        sums.extend(self.gradients.ddelta_bias.as_ref().map(|sum| (parts.dbias, slices.dbias, sum)));
        let coefficients =
            [(parts.db, slices.db, &self.gradients.db), (parts.dc, slices.dc, &self.gradients.dc)];
        for (part, slice, sum) in coefficients {
            if let CoefficientGradient::PerChannel(sum) = sum {
                sums.push((part, slice, sum));
            }
        }
        sums
    }

    /// Adds up the parts that the slice's workgroups left.
    fn encode_part_sums(&self, encoder: &mut wgpu::CommandEncoder, slice: Slice) -> Result<(), Error> {
        let SelectiveScanBackward { gpu, plan, kernels, .. } = self.op;
        let kernel = (&kernels.sums[0], plan.sum);
        let index = (slice.of_batch * plan.row_slices() + slice.of_row) as usize;
        for (first, slices, sums) in self.part_sums() {
            let terms = Terms { first, count: (slice.batches * slice.chunks) as usize, inner: sums.len() };
            let terms = (self.buffers.held, terms);
            let into = match plan.slices() {
                1 => (sums, 0, sums.len()),
                _ => (self.buffers.sums, slices + index * sums.len().next_multiple_of(4), sums.len()),
            };
            sum_terms::encode_into(gpu, encoder, kernel, terms, into)?;
        }
        Ok(())
    }

    /// Adds up the sums of the slices.
    fn encode_slice_sums(&self, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        let SelectiveScanBackward { gpu, plan, kernels, .. } = self.op;
        if plan.slices() == 1 {
            return Ok(());
        }
        for (_, first, sums) in self.part_sums() {
            let terms = Terms { first, count: plan.slices(), inner: sums.len().next_multiple_of(4) };
            sum_terms::encode(gpu, encoder, (&kernels.sums[0], plan.sum), (self.buffers.sums, terms), sums)?;
        }
        Ok(())
    }

    fn scan_params(&self, slice: Slice) -> ScanParams {
        let SelectiveScanBackward { spec, plan, .. } = self.op;
        let place = plan.held(spec);
        let params = scan_params(spec, &plan.forward, place.skip, place.border);
        ScanParams {
            groups: slice.batches * slice.chunks * params.channel_groups * params.tiles,
            chunks: slice.chunks,
            first_batch: slice.first_batch,
            first_chunk: slice.first_chunk,
            ..params
        }
    }

    fn params(&self, slice: Slice) -> BackwardParams {
        let (scan, place) = (self.scan_params(slice), self.op.plan.held(&self.op.spec));
        BackwardParams {
            groups: scan.groups,
            channels: scan.channels,
            length: scan.length,
            states: scan.states,
            channel_groups: scan.channel_groups,
            tiles: scan.tiles,
            chunk: scan.chunk,
            chunks: scan.chunks,
            first_batch: scan.first_batch,
            first_chunk: scan.first_chunk,
            first_skip: scan.first_skip,
            first_border: scan.first_border,
            first_back: place.back as u32,
            first_da: place.da as u32,
            first_db: place.db as u32,
            first_dc: place.dc as u32,
            first_dskip: place.dskip as u32,
            first_dbias: place.dbias as u32,
        }
    }
}
