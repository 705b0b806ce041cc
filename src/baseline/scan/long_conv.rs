//! A long convolution as a composition of array operations with Fourier transforms in passes over memory, and as the sums
//! that it is.

use std::f64::consts::TAU;
use std::fmt;

use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding, check_turns};
use crate::shader::{Shader, ShaderError, Storage};
use crate::{Caps, DType, Element, Error, Gpu, LongConvInputs, LongConvSpec, PlanError, Tensor};

/// How to run a [`LongConvSpec`] unfused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnfusedLongConvPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Complex numbers of a transform, of two samples each.
    pub points: u32,
    /// How sequences and gates are stored.
    pub storage: Storage,
    /// Whether sequences are gated.
    pub pre_gate: bool,
    /// Whether the result is gated.
    pub post_gate: bool,
    /// Whether there is a `D`.
    pub skip: bool,
}

impl UnfusedLongConvPlan {
    /// Plans an unfused convolution. Fails if the spec is wrong or a tensor exceeds a binding, which the transforms of
    /// all sequences do first.
    pub fn new(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        let points = spec.length.next_power_of_two().max(2);
        check_binding("the transforms of all sequences", spec.rows() * points * 2, DType::F32, caps)?;
        Ok(Self {
            lanes: 256.min(caps.workgroup_lanes),
            points: points as u32,
            storage: Storage::new(spec.dtype, caps.f16, false),
            pre_gate: spec.pre_gate,
            post_gate: spec.post_gate,
            skip: spec.skip,
        })
    }

    /// The radix of each pass.
    fn radices(&self) -> impl Iterator<Item = u32> {
        let levels = self.points.ilog2();
        (0..levels / 2).map(|_| 4).chain((levels % 2 == 1).then_some(2))
    }
}

impl Plan for UnfusedLongConvPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        vec![
            kernel("baseline/conv_pad", 3),
            kernel("baseline/conv_pad", 3),
            kernel("baseline/fft_pass", 3),
            kernel("baseline/conv_product", 3),
            kernel("baseline/conv_gate", 6),
        ]
    }
}

impl fmt::Display for UnfusedLongConvPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, points, storage, .. } = self;
        let passes = self.radices().count();
        write!(f, "{passes} passes a transform of {points} complex numbers; {lanes} lanes, {storage}")
    }
}

params! {
    /// `baseline/conv_pad`.
    PadParams { total: u32, length: u32, points: u32 }
}

params! {
    /// `baseline/fft_pass`.
    PassParams { total: u32, points: u32, radix: u32, done: u32, sign: f32 }
}

params! {
    /// `baseline/conv_product`.
    ProductParams { total: u32, channels: u32, points: u32 }
}

params! {
    /// `baseline/conv_gate`.
    GateParams { total: u32, length: u32, channels: u32, points: u32 }
}

params! {
    /// `baseline/conv_direct`.
    DirectParams { length: u32, taps: u32, channels: u32, tiles: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &UnfusedLongConvPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| yardstick(kernel).set("LANES", plan.lanes);
    let pad = |gated: bool, storage| {
        linker("baseline/conv_pad").set("HAS_GATE", gated).tensor("x", storage).tensor("gate", storage).link()
    };
    let gate = linker("baseline/conv_gate")
        .set("HAS_SKIP", plan.skip)
        .set("HAS_PRE", plan.pre_gate)
        .set("HAS_POST", plan.post_gate);
    let gate = ["x", "pre", "post", "y"].into_iter().fold(gate, |gate, name| gate.tensor(name, plan.storage));
    Ok(vec![
        pad(plan.pre_gate, plan.storage)?,
        pad(false, Storage::F32)?,
        linker("baseline/fft_pass").link()?,
        linker("baseline/conv_product").module("scan/fft_halves").link()?,
        gate.link()?,
    ])
}

/// The transforms of all sequences and kernels, before and after a pass.
#[derive(Clone, Debug)]
pub struct LongConvScratch {
    sequences: [Tensor<f32>; 2],
    kernels: [Tensor<f32>; 2],
}

/// A long convolution as array frameworks compose it: gate, pad, transform, multiply, transform back, gate.
#[derive(Clone, Debug)]
pub struct UnfusedLongConv {
    gpu: Gpu,
    spec: LongConvSpec,
    plan: UnfusedLongConvPlan,
    kernels: [Kernel; 5],
    turns: Tensor<f32>,
}

impl UnfusedLongConv {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: LongConvSpec) -> Result<Self, Error> {
        let plan = UnfusedLongConvPlan::new(&spec, gpu.caps())?;
        let kernels = compile_array(gpu, &shaders(&plan)?)?;
        let turn = |j: u32| (-TAU * f64::from(j) / f64::from(plan.points)).sin_cos();
        let turns: Vec<_> =
            (0..plan.points).map(turn).flat_map(|(sin, cos)| [cos as f32, sin as f32]).collect();
        let turns = Tensor::from_slice(gpu, &[plan.points as usize, 2], &turns)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, turns })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedLongConvPlan {
        &self.plan
    }

    /// The tensors between the kernels.
    pub fn scratch(&self) -> Result<LongConvScratch, Error> {
        let of = |rows| Tensor::zeros(&self.gpu, &self.scratch_shape(rows));
        let (rows, channels) = (self.spec.rows(), self.spec.channels);
        Ok(LongConvScratch { sequences: [of(rows)?, of(rows)?], kernels: [of(channels)?, of(channels)?] })
    }

    fn scratch_shape(&self, rows: usize) -> [usize; 3] {
        [rows, self.plan.points as usize, 2]
    }

    /// Records every pass.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LongConvInputs<'_, T>,
        y: &Tensor<T>,
        scratch: &LongConvScratch,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels: [pad, pad_kernel, _, product, gate], .. } = self;
        inputs.check(gpu, spec)?;
        y.expect(gpu, "y", spec.dtype, &spec.shape())?;
        for (tensors, rows) in [(&scratch.sequences, spec.rows()), (&scratch.kernels, spec.channels)] {
            for tensor in tensors {
                tensor.expect(gpu, "the transforms", DType::F32, &self.scratch_shape(rows))?;
            }
        }
        let (length, channels, points) = (spec.length as u32, spec.channels as u32, plan.points);
        let (rows, unused) = (spec.rows() as u32, gpu.unused());
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let padded = |rows: u32, length: u32| {
            let total = rows * points;
            PadParams { groups: total.div_ceil(plan.lanes), total, length, points }
        };
        let [sequences, kernels] =
            [&scratch.sequences, &scratch.kernels].map(|pair| [pair[0].buffer(), pair[1].buffer()]);
        pad.dispatch(gpu, encoder, &padded(rows, length), &[inputs.u.buffer(), pre, sequences[0]])?;
        pad_kernel.dispatch(
            gpu,
            encoder,
            &padded(channels, spec.taps as u32),
            &[inputs.k.buffer(), unused, kernels[0]],
        )?;
        let sequences = self.transform(encoder, rows, sequences, 1.0)?;
        let kernels = self.transform(encoder, channels, kernels, 1.0)?;
        let total = rows * points.div_ceil(2);
        let params = ProductParams { groups: total.div_ceil(plan.lanes), total, channels, points };
        product.dispatch(gpu, encoder, &params, &[self.turns.buffer(), kernels[0], sequences[0]])?;
        let [numbers, _] = self.transform(encoder, rows, sequences, -1.0)?;
        let total = rows * length;
        let params = GateParams { groups: total.div_ceil(plan.lanes), total, length, channels, points };
        let skip = inputs.skip.map_or(unused, Tensor::buffer);
        gate.dispatch(gpu, encoder, &params, &[numbers, skip, inputs.u.buffer(), pre, post, y.buffer()])
    }

    /// Records the passes of a transform, from the first buffer; what they give is in the first of those returned.
    fn transform<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        rows: u32,
        [mut before, mut after]: [&'a wgpu::Buffer; 2],
        sign: f32,
    ) -> Result<[&'a wgpu::Buffer; 2], Error> {
        let (points, pass) = (self.plan.points, &self.kernels[2]);
        let mut done = 1;
        for radix in self.plan.radices() {
            let total = rows * (points / radix);
            let params =
                PassParams { groups: total.div_ceil(self.plan.lanes), total, points, radix, done, sign };
            pass.dispatch(&self.gpu, encoder, &params, &[self.turns.buffer(), before, after])?;
            std::mem::swap(&mut before, &mut after);
            done *= radix;
        }
        Ok([before, after])
    }
}

/// How to run a [`LongConvSpec`] as the sums that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DirectLongConvPlan {
    /// Invocations of a workgroup, four samples each.
    pub lanes: u32,
    /// Tiles of a sequence.
    pub tiles: u32,
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
}

impl DirectLongConvPlan {
    /// Plans a direct convolution. Fails if the spec is wrong, a tensor exceeds a binding, or a sequence is longer than
    /// the loops of one invocation may be.
    pub fn new(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_binding("u", spec.rows() * spec.length, spec.dtype, caps)?;
        check_binding("k", spec.channels * spec.taps, DType::F32, caps)?;
        let lanes = 64.min(caps.workgroup_lanes);
        let tiles = (spec.length as u32).div_ceil(4 * lanes);
        check_turns("a direct convolution", u64::from(tiles) * u64::from(1 + lanes), caps)?;
        let storage = Storage::new(spec.dtype, caps.f16, spec.length.is_multiple_of(4));
        let LongConvSpec { pre_gate, post_gate, skip, .. } = *spec;
        let kernel = Storage::new(DType::F32, caps.f16, spec.taps.is_multiple_of(4));
        Ok(Self { lanes, tiles, storage, kernel, pre_gate, post_gate, skip })
    }
}

impl Plan for DirectLongConvPlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![Footprint {
            kernel: "baseline/conv_direct",
            lanes: self.lanes,
            workgroup_bytes: self.lanes * 48,
            storage_buffers: 6,
        }]
    }
}

impl fmt::Display for DirectLongConvPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, storage, .. } = self;
        write!(f, "sums over tiles of {} samples; {lanes} lanes, {storage}", 4 * lanes)
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn direct_shaders(plan: &DirectLongConvPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = yardstick("baseline/conv_direct")
        .set("LANES", plan.lanes)
        .set("HAS_SKIP", plan.skip)
        .set("HAS_PRE", plan.pre_gate)
        .set("HAS_POST", plan.post_gate)
        .tensor("k", plan.kernel);
    let names = ["x", "pre", "post", "y"];
    let linker = names.into_iter().fold(linker, |linker, name| linker.tensor(name, plan.storage));
    Ok(vec![linker.link()?])
}

/// A long convolution as sums, a tile of samples a workgroup: work that grows with the square of the length.
#[derive(Clone, Debug)]
pub struct DirectLongConv {
    gpu: Gpu,
    spec: LongConvSpec,
    plan: DirectLongConvPlan,
    kernel: Kernel,
}

impl DirectLongConv {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: LongConvSpec) -> Result<Self, Error> {
        let plan = DirectLongConvPlan::new(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &direct_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &DirectLongConvPlan {
        &self.plan
    }

    /// Records the convolution.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LongConvInputs<'_, T>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        inputs.check(gpu, spec)?;
        y.expect(gpu, "y", spec.dtype, &spec.shape())?;
        let params = DirectParams {
            groups: spec.rows() as u32 * plan.tiles,
            length: spec.length as u32,
            taps: spec.taps as u32,
            channels: spec.channels as u32,
            tiles: plan.tiles,
        };
        let unused = gpu.unused();
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let skip = inputs.skip.map_or(unused, Tensor::buffer);
        let buffers = [inputs.u.buffer(), inputs.k.buffer(), skip, pre, post, y.buffer()];
        kernel.dispatch(gpu, encoder, &params, &buffers)
    }
}
