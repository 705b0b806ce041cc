//! The gradients of a selective scan.

use super::{
    CarryParams, CoefficientTensor, ScanParams, SelectiveScanInputs, carry, chunk_linker, encode_pack,
    exchange, pack, scan_params,
};
use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::ops::scan::sum_terms::{self, Terms};
use crate::plan::{SelectiveScanBackwardPlan, SelectiveScanPlan, SelectiveScanSlice};
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
        slice_groups: u32,
        slice_channels: u32,
        first_batch: u32,
        first_group: u32,
        first_tile: u32,
        first_channel: u32,
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

    pub(crate) fn check(&self, gpu: &Gpu, spec: &SelectiveScanSpec) -> Result<(), Error> {
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
    let SelectiveScanBackwardPlan { forward, step_tiles, slices, sum, .. } = plan;
    let sliced = slices.chunks > 1;
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
        .set("ADD", slices.tiles > 1)
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
    let sum =
        if slices.count() > 1 { sum_terms::adding(*sum)? } else { sum_terms::shader(*sum, Storage::F32)? };
    linked.extend([sum, step_sum.link()?]);
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
        let (place, between) = (plan.held(spec), plan.between(spec));
        let (maps, states) = (plan.maps(spec), plan.slice_states(spec));
        let sizes = [place.end, maps, maps, states, between, between, plan.gated(spec), plan.starts(spec)];
        let shapes = sizes.map(|numbers| [numbers]);
        let tensors = scratch.tensors(gpu, &shapes.each_ref().map(<[usize; 1]>::as_slice))?;
        let [held, maps, maps_back, ends, behind, ahead, gated, starts] =
            std::array::from_fn(|i| &tensors[i]);
        let buffers = Shared { held, maps, maps_back, ends, behind: [behind, ahead], gated, starts };
        let pass = BackwardPass { op: self, inputs, dout, gradients, buffers };
        encode_pack(gpu, encoder, &kernels.pack, (spec, &plan.forward), &inputs, (held, place.border))?;
        if plan.slices.count() > 1 {
            pass.clear_sums(encoder);
        }
        for of_batch in 0..plan.slices.batches {
            pass.encode_batches(encoder, of_batch)?;
        }
        Ok(())
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
    /// Gradients of the states of all channels that come from behind a slice of the rows, and where those go that come
    /// from behind the next.
    behind: [&'a Tensor<f32>; 2],
    gated: &'a Tensor<f32>,
    /// States of all channels before every slice of the rows.
    starts: &'a Tensor<f32>,
}

/// Some batches, of these some groups of channels, of a single group perhaps some tiles, and of their rows some chunks.
#[derive(Clone, Copy, Debug)]
struct Slice {
    /// Which of its rows'.
    of_row: u32,
    first: SelectiveScanSlice,
    size: SelectiveScanSlice,
    /// Neighbours, as those of whole groups are.
    first_channel: u32,
    channels: u32,
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
    /// The slice of that number along each axis.
    fn slice(&self, of_batch: u32, [of_group, of_tile]: [u32; 2], of_row: u32) -> Slice {
        let SelectiveScanBackward { spec, plan, .. } = self.op;
        let SelectiveScanSlice { batches, groups, tiles, chunks } = plan.slice;
        let (all_groups, all_tiles) = (spec.groups() as u32, plan.forward.tiles(spec));
        let first = SelectiveScanSlice {
            batches: of_batch * batches,
            groups: of_group * groups,
            tiles: of_tile * tiles,
            chunks: of_row * chunks,
        };
        let size = SelectiveScanSlice {
            batches: batches.min(spec.batch as u32 - first.batches),
            groups: groups.min(all_groups - first.groups),
            tiles: tiles.min(all_tiles - first.tiles),
            chunks: chunks.min(plan.forward.chunks - first.chunks),
        };
        let (among, tile) =
            (spec.channels as u32 / all_groups, plan.forward.lanes / plan.forward.state_lanes);
        let first_channel = first.groups * among + first.tiles * tile;
        let channels = size.groups * (size.tiles * tile).min(among - first.tiles * tile);
        Slice { of_row, first, size, first_channel, channels }
    }

    /// Which slices there are of the channels: of the groups, and of their tiles.
    fn of_channels(&self) -> impl Iterator<Item = [u32; 2]> + use<T> {
        let SelectiveScanSlice { groups, tiles, .. } = self.op.plan.slices;
        (0..groups).flat_map(move |group| (0..tiles).map(move |tile| [group, tile]))
    }

    /// States of a slice's channels, or of as many.
    fn states(&self, channels: u32) -> u32 {
        channels * self.op.spec.state_dim as u32
    }

    /// Rows before those of a slice's first batch and channel. There are several batches where it has all channels.
    fn first_row(&self, slice: Slice) -> u32 {
        slice.first.batches * self.op.spec.channels as u32 + slice.first_channel
    }

    /// Numbers of states in bytes.
    fn bytes(&self, states: u32) -> u64 {
        u64::from(states) * 4 * self.op.spec.parts() as u64
    }

    /// What slices add to begins with 0.
    fn clear_sums(&self, encoder: &mut wgpu::CommandEncoder) {
        for (_, _, sums) in self.part_sums() {
            encoder.clear_buffer(sums.buffer(), 0, Some(4 * sums.len() as u64));
        }
    }

    /// Everything for some batches, slice by slice. Those of a row come outermost, since the terms of coefficients that
    /// channels share are added up over the slices of these.
    fn encode_batches(&self, encoder: &mut wgpu::CommandEncoder, of_batch: u32) -> Result<(), Error> {
        let slices = self.op.plan.slices;
        if slices.chunks > 1 {
            self.encode_starts(encoder, of_batch)?;
        }
        for of_row in (0..slices.chunks).rev() {
            for of_channels @ [_, of_tile] in self.of_channels() {
                if slices.tiles > 1 && of_tile == 0 {
                    self.clear_terms(encoder);
                }
                let slice = self.slice(of_batch, of_channels, of_row);
                self.encode_slice(encoder, slice)?;
                if of_tile == slices.tiles - 1 {
                    self.encode_step_sums(encoder, slice)?;
                }
            }
        }
        Ok(())
    }

    /// The terms of coefficients that channels share.
    fn clear_terms(&self, encoder: &mut wgpu::CommandEncoder) {
        let place = self.op.plan.held(&self.op.spec);
        let [first, end] = [place.db, place.dskip].map(|place| 4 * place as u64);
        encoder.clear_buffer(self.buffers.held.buffer(), first, Some(end - first));
    }

    /// The states before each slice of some rows; and nothing comes from behind the last.
    fn encode_starts(&self, encoder: &mut wgpu::CommandEncoder, of_batch: u32) -> Result<(), Error> {
        let SelectiveScanBackward { spec, plan, .. } = self.op;
        let Shared { ends, behind, starts, .. } = self.buffers;
        let batches = self.slice(of_batch, [0, 0], 0);
        let all = self.states(batches.size.batches * spec.channels as u32);
        match self.inputs.initial {
            Some(initial) => {
                let first = self.bytes(self.states(self.first_row(batches)));
                encoder.copy_buffer_to_buffer(initial.buffer(), first, starts.buffer(), 0, self.bytes(all));
            }
            None => encoder.clear_buffer(starts.buffer(), 0, Some(self.bytes(all))),
        }
        for behind in behind {
            encoder.clear_buffer(behind.buffer(), 0, Some(self.bytes(all)));
        }
        let stride = 4 * plan.between(spec) as u64;
        for of_row in 0..plan.slices.chunks - 1 {
            for of_channels in self.of_channels() {
                let slice = self.slice(of_batch, of_channels, of_row);
                self.encode_reduce(encoder, slice)?;
                self.encode_carry(encoder, slice)?;
                let to = stride * u64::from(of_row + 1) + self.bytes(self.states(slice.first_channel));
                let bytes = self.bytes(self.states(slice.size.batches * slice.channels));
                encoder.copy_buffer_to_buffer(ends.buffer(), 0, starts.buffer(), to, bytes);
            }
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
        let (initial, first_initial) = if plan.slices.chunks > 1 {
            let stride = (plan.between(spec) / spec.parts()) as u32;
            (starts.buffer(), slice.of_row * stride + self.states(slice.first_channel))
        } else {
            (self.inputs.initial_buffer(gpu), self.states(self.first_row(slice)))
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
        let initial = if plan.slices.chunks > 1 { behind[turn].buffer() } else { gpu.unused() };
        let first_initial = self.states(slice.first_channel);
        let (last, first_last) = match &self.gradients.dinitial {
            _ if slice.of_row > 0 => (behind[1 - turn], first_initial),
            Some(dinitial) => (dinitial, self.states(self.first_row(slice))),
            None => (ends, 0),
        };
        let params =
            CarryParams { first_initial, first_last, ..self.carry_params(slice, plan.held(spec).back) };
        let buffers = [maps_back.buffer(), initial, held.buffer(), last.buffer()];
        kernels.carries[1].dispatch(gpu, encoder, &params, &buffers)
    }

    fn carry_params(&self, slice: Slice, first: usize) -> CarryParams {
        let spec = &self.op.spec;
        CarryParams {
            groups: self.states(slice.size.batches * slice.channels),
            chunks: slice.size.chunks,
            first: (first / spec.parts()) as u32,
            first_initial: 0,
            first_last: 0,
        }
    }

    fn gate_params(&self, slice: Slice) -> GateParams {
        let SelectiveScanBackward { spec, plan, .. } = self.op;
        let (first, steps) = self.steps(slice);
        let fours = steps.div_ceil(4);
        let total = slice.size.batches * slice.channels * fours;
        GateParams {
            groups: total.div_ceil(plan.forward.lanes),
            total,
            fours,
            length: spec.length as u32,
            first_row: self.first_row(slice),
            first,
            steps,
        }
    }

    /// A slice's first step in its rows, and how many it has there.
    fn steps(&self, slice: Slice) -> (u32, u32) {
        let chunk = self.op.plan.forward.chunk;
        let first = slice.first.chunks * chunk;
        (first, (slice.size.chunks * chunk).min(self.op.spec.length as u32 - first))
    }

    /// Adds up what differs from step to step over the channels that share it.
    fn encode_step_sums(&self, encoder: &mut wgpu::CommandEncoder, slice: Slice) -> Result<(), Error> {
        let SelectiveScanBackward { gpu, spec, plan, kernels, .. } = self.op;
        let (place, parts, states) = (plan.held(spec), spec.parts() as u32, spec.state_dim as u32);
        let (first, steps) = self.steps(slice);
        let (column, steps, groups) = (first * parts, steps * parts, spec.groups() as u32);
        let fours = steps.div_ceil(4);
        let total = slice.size.batches * slice.size.groups * states * fours;
        let first_group = slice.first.batches * groups + slice.first.groups;
        for (first, sums) in [(place.db, &self.gradients.db), (place.dc, &self.gradients.dc)] {
            if let CoefficientGradient::PerStep(sums) = sums {
                let params = StepSumParams {
                    groups: total.div_ceil(plan.sum.quads),
                    total,
                    first: first as u32,
                    tiles: plan.slice.tiles,
                    states,
                    steps,
                    fours,
                    length: spec.length as u32 * parts,
                    first_line: first_group * states,
                    column,
                };
                let buffers = [self.buffers.held.buffer(), sums.buffer()];
                kernels.sums[1].dispatch(gpu, encoder, &params, &buffers)?;
            }
        }
        Ok(())
    }

    /// What is summed over steps and batches: where its parts lie, the numbers of a channel, and what is left in the end.
    fn part_sums(&self) -> Vec<(usize, usize, &Tensor<f32>)> {
        let SelectiveScanBackward { spec, plan, .. } = self.op;
        let (parts, states) = (plan.held(spec), spec.state_dim * spec.parts());
        let mut sums = vec![(parts.da, states, &self.gradients.da)];
        sums.extend(self.gradients.dskip.as_ref().map(|sum| (parts.dskip, 1, sum)));
        sums.extend(self.gradients.ddelta_bias.as_ref().map(|sum| (parts.dbias, 1, sum)));
        for (part, sum) in [(parts.db, &self.gradients.db), (parts.dc, &self.gradients.dc)] {
            if let CoefficientGradient::PerChannel(sum) = sum {
                sums.push((part, states, sum));
            }
        }
        sums
    }

    /// Adds up the parts that the slice's workgroups left, and adds them to what other slices had.
    fn encode_part_sums(&self, encoder: &mut wgpu::CommandEncoder, slice: Slice) -> Result<(), Error> {
        let SelectiveScanBackward { gpu, plan, kernels, .. } = self.op;
        let kernel = (&kernels.sums[0], plan.sum);
        let count = (slice.size.batches * slice.size.chunks) as usize;
        let [to, inner] = [slice.first_channel, slice.channels].map(|channels| channels as usize);
        for (first, numbers, sums) in self.part_sums() {
            let terms = Terms { first, count, inner: inner * numbers };
            let into = (sums, to * numbers, inner * numbers);
            sum_terms::encode_into(gpu, encoder, kernel, (self.buffers.held, terms), into)?;
        }
        Ok(())
    }

    fn scan_params(&self, slice: Slice) -> ScanParams {
        let SelectiveScanBackward { spec, plan, .. } = self.op;
        let place = plan.held(spec);
        let params = scan_params(spec, &plan.forward, place.skip, place.border);
        ScanParams {
            groups: slice.size.count(),
            tiles: slice.size.tiles,
            chunks: slice.size.chunks,
            slice_groups: slice.size.groups,
            slice_channels: slice.channels,
            first_batch: slice.first.batches,
            first_group: slice.first.groups,
            first_tile: slice.first.tiles,
            first_channel: slice.first_channel,
            first_chunk: slice.first.chunks,
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
            slice_groups: scan.slice_groups,
            slice_channels: scan.slice_channels,
            first_batch: scan.first_batch,
            first_group: scan.first_group,
            first_tile: scan.first_tile,
            first_channel: scan.first_channel,
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
