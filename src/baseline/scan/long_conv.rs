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

/// Which kernel pads sequences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pad {
    pub gated: bool,
    pub reversed: bool,
    pub storage: Storage,
}

impl Pad {
    pub fn link(self, lanes: u32) -> Result<Shader, ShaderError> {
        yardstick("baseline/conv_pad")
            .set("LANES", lanes)
            .set("HAS_GATE", self.gated)
            .set("REVERSED", self.reversed)
            .tensor("x", self.storage)
            .tensor("gate", self.storage)
            .link()
    }
}

/// Which kernel takes the padding away.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Gate {
    pub skip: bool,
    pub pre: bool,
    pub post: bool,
    pub reversed: bool,
    pub storage: Storage,
}

impl Gate {
    pub fn link(self, lanes: u32) -> Result<Shader, ShaderError> {
        let linker = yardstick("baseline/conv_gate")
            .set("LANES", lanes)
            .set("HAS_SKIP", self.skip)
            .set("HAS_PRE", self.pre)
            .set("HAS_POST", self.post)
            .set("REVERSED", self.reversed);
        let names = ["x", "pre", "post", "y"];
        names.into_iter().fold(linker, |linker, name| linker.tensor(name, self.storage)).link()
    }
}

/// The kernels of transforms and of their products, in the order in which [`Transforms`] takes them.
pub(super) fn transform_shaders(lanes: u32) -> Result<[Shader; 2], ShaderError> {
    let linker = |kernel| yardstick(kernel).set("LANES", lanes);
    Ok([
        linker("baseline/fft_pass").link()?,
        linker("baseline/conv_product").module("scan/fft_halves").link()?,
    ])
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &UnfusedLongConvPlan) -> Result<Vec<Shader>, ShaderError> {
    let UnfusedLongConvPlan { lanes, storage, pre_gate, post_gate, skip, .. } = *plan;
    let reversed = false;
    let gate = Gate { skip, pre: pre_gate, post: post_gate, reversed, storage };
    let [pass, product] = transform_shaders(lanes)?;
    Ok(vec![
        Pad { gated: pre_gate, reversed, storage }.link(lanes)?,
        Pad { gated: false, reversed, storage: Storage::F32 }.link(lanes)?,
        pass,
        product,
        gate.link(lanes)?,
    ])
}

/// A transform before a pass and after it.
pub(super) type Pair<'a> = [&'a wgpu::Buffer; 2];

/// Transforms of a spec's sequences and kernels, in passes over memory.
#[derive(Clone, Debug)]
pub(super) struct Transforms {
    pub gpu: Gpu,
    pub spec: LongConvSpec,
    pub plan: UnfusedLongConvPlan,
    pass: Kernel,
    product: Kernel,
    turns: Tensor<f32>,
}

impl Transforms {
    pub fn new(
        gpu: &Gpu,
        spec: LongConvSpec,
        plan: UnfusedLongConvPlan,
        [pass, product]: [Kernel; 2],
    ) -> Result<Self, Error> {
        let turn = |j: u32| (-TAU * f64::from(j) / f64::from(plan.points)).sin_cos();
        let turns: Vec<_> =
            (0..plan.points).map(turn).flat_map(|(sin, cos)| [cos as f32, sin as f32]).collect();
        let turns = Tensor::from_slice(gpu, &[plan.points as usize, 2], &turns)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, pass, product, turns })
    }

    /// Two tensors for the transforms of so many rows.
    pub fn pair(&self, rows: usize) -> Result<[Tensor<f32>; 2], Error> {
        let of = || Tensor::zeros(&self.gpu, &self.shape(rows));
        Ok([of()?, of()?])
    }

    /// The buffers of such tensors.
    pub fn buffers<'a>(&self, pair: &'a [Tensor<f32>; 2], rows: usize) -> Result<Pair<'a>, Error> {
        for tensor in pair {
            tensor.expect(&self.gpu, "the transforms", DType::F32, &self.shape(rows))?;
        }
        Ok(pair.each_ref().map(Tensor::buffer))
    }

    fn shape(&self, rows: usize) -> [usize; 3] {
        [rows, self.plan.points as usize, 2]
    }

    /// Records the transforms of rows of that length, under a gate, and returns where they are first.
    pub fn forward<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        pad: &Kernel,
        [x, gate]: [&wgpu::Buffer; 2],
        [rows, length]: [usize; 2],
        pair: Pair<'a>,
    ) -> Result<Pair<'a>, Error> {
        let (rows, length, points) = (rows as u32, length as u32, self.plan.points);
        let total = rows * points;
        let params = PadParams { groups: total.div_ceil(self.plan.lanes), total, length, points };
        pad.dispatch(&self.gpu, encoder, &params, &[x, gate, pair[0]])?;
        self.transform(encoder, rows, pair, 1.0)
    }

    /// Records the convolutions of what was transformed, in its place; there are so many others, over which sequences run
    /// again and again.
    pub fn convolve<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        (others, count): (&wgpu::Buffer, usize),
        pair: Pair<'a>,
    ) -> Result<Pair<'a>, Error> {
        let (points, rows) = (self.plan.points, self.spec.rows() as u32);
        let total = rows * points.div_ceil(2);
        let groups = total.div_ceil(self.plan.lanes);
        let params = ProductParams { groups, total, channels: count as u32, points };
        self.product.dispatch(&self.gpu, encoder, &params, &[self.turns.buffer(), others, pair[0]])?;
        self.transform(encoder, rows, pair, -1.0)
    }

    /// Records the passes of a transform, from the first buffer; what they give is in the first of those returned.
    fn transform<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        rows: u32,
        [mut before, mut after]: Pair<'a>,
        sign: f32,
    ) -> Result<Pair<'a>, Error> {
        let points = self.plan.points;
        let mut done = 1;
        for radix in self.plan.radices() {
            let total = rows * (points / radix);
            let params =
                PassParams { groups: total.div_ceil(self.plan.lanes), total, points, radix, done, sign };
            self.pass.dispatch(&self.gpu, encoder, &params, &[self.turns.buffer(), before, after])?;
            std::mem::swap(&mut before, &mut after);
            done *= radix;
        }
        Ok([before, after])
    }

    /// Records what is left without the padding: `buffers` are the numbers, `D`, the sequence, its gate, the result's, and
    /// the result.
    pub fn finish(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        gate: &Kernel,
        buffers: [&wgpu::Buffer; 6],
    ) -> Result<(), Error> {
        let (length, channels) = (self.spec.length as u32, self.spec.channels as u32);
        let total = self.spec.rows() as u32 * length;
        let groups = total.div_ceil(self.plan.lanes);
        let params = GateParams { groups, total, length, channels, points: self.plan.points };
        gate.dispatch(&self.gpu, encoder, &params, &buffers)
    }
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
    transforms: Transforms,
    /// Padding of sequences and of kernels, and what takes it away.
    kernels: [Kernel; 3],
}

impl UnfusedLongConv {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: LongConvSpec) -> Result<Self, Error> {
        let plan = UnfusedLongConvPlan::new(&spec, gpu.caps())?;
        let [pad, pad_kernel, pass, product, gate] = compile_array(gpu, &shaders(&plan)?)?;
        let transforms = Transforms::new(gpu, spec, plan, [pass, product])?;
        Ok(Self { transforms, kernels: [pad, pad_kernel, gate] })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedLongConvPlan {
        &self.transforms.plan
    }

    /// The tensors between the kernels.
    pub fn scratch(&self) -> Result<LongConvScratch, Error> {
        let (transforms, spec) = (&self.transforms, &self.transforms.spec);
        Ok(LongConvScratch {
            sequences: transforms.pair(spec.rows())?,
            kernels: transforms.pair(spec.channels)?,
        })
    }

    /// Records every pass.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LongConvInputs<'_, T>,
        y: &Tensor<T>,
        scratch: &LongConvScratch,
    ) -> Result<(), Error> {
        let Self { transforms, kernels: [pad, pad_kernel, gate] } = self;
        let (gpu, spec) = (&transforms.gpu, &transforms.spec);
        let LongConvSpec { channels, length, taps, .. } = *spec;
        inputs.check(gpu, spec)?;
        y.expect(gpu, "y", spec.dtype, &spec.shape())?;
        let sequences = transforms.buffers(&scratch.sequences, spec.rows())?;
        let kernels = transforms.buffers(&scratch.kernels, channels)?;
        let unused = gpu.unused();
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let (u, skip) = (inputs.u.buffer(), inputs.skip.map_or(unused, Tensor::buffer));
        let sequences = transforms.forward(encoder, pad, [u, pre], [spec.rows(), length], sequences)?;
        let k = [inputs.k.buffer(), unused];
        let [kernels, _] = transforms.forward(encoder, pad_kernel, k, [channels, taps], kernels)?;
        let [numbers, _] = transforms.convolve(encoder, (kernels, channels), sequences)?;
        transforms.finish(encoder, gate, [numbers, skip, u, pre, post, y.buffer()])
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

/// A plan of a long convolution whose sums one kernel takes.
pub trait Summed: Plan {
    /// Plans the spec. Fails like the plan's own constructor.
    fn plan(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError>
    where
        Self: Sized;

    /// The linked shader.
    fn shaders(&self) -> Result<Vec<Shader>, ShaderError>;

    /// Records the kernel, whose buffers are the sequences, kernels, `D`, both gates and the result.
    #[doc(hidden)]
    fn record(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        of: (&LongConvSpec, &Kernel),
        buffers: [&wgpu::Buffer; 6],
    ) -> Result<(), Error>;
}

impl Summed for DirectLongConvPlan {
    fn plan(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(spec, caps)
    }

    fn shaders(&self) -> Result<Vec<Shader>, ShaderError> {
        direct_shaders(self)
    }

    fn record(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        (spec, kernel): (&LongConvSpec, &Kernel),
        buffers: [&wgpu::Buffer; 6],
    ) -> Result<(), Error> {
        let params = DirectParams {
            groups: spec.rows() as u32 * self.tiles,
            length: spec.length as u32,
            taps: spec.taps as u32,
            channels: spec.channels as u32,
            tiles: self.tiles,
        };
        kernel.dispatch(gpu, encoder, &params, &buffers)
    }
}

/// A long convolution as the sums that it is: work that grows with the square of the length.
#[derive(Clone, Debug)]
pub struct SummedLongConv<P> {
    gpu: Gpu,
    spec: LongConvSpec,
    plan: P,
    kernel: Kernel,
}

/// A long convolution as sums, a tile of samples a workgroup.
pub type DirectLongConv = SummedLongConv<DirectLongConvPlan>;

impl<P: Summed> SummedLongConv<P> {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: LongConvSpec) -> Result<Self, Error> {
        let plan = P::plan(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &plan.shaders()?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &P {
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
        let unused = gpu.unused();
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let skip = inputs.skip.map_or(unused, Tensor::buffer);
        let buffers = [inputs.u.buffer(), inputs.k.buffer(), skip, pre, post, y.buffer()];
        plan.record(gpu, encoder, (spec, kernel), buffers)
    }
}
