//! State-space duality as a composition of array operations.

use std::fmt;

use super::recurrence::plain_ssd;
use crate::baseline::matmul::{Matmul, MatmulPlan, MatmulSpec, Operand, shaders as matmul_shaders};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding, check_turns};
use crate::shader::{Shader, ShaderError, Storage};
use crate::spec::elements;
use crate::{Caps, DType, Element, Error, Gpu, PlanError, Skip, SsdInputs, SsdOutputs, SsdSpec, Tensor};

/// How to run an [`SsdSpec`] unfused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct UnfusedSsdPlan {
    /// Steps of a chunk.
    pub chunk: u32,
    /// Invocations of a workgroup of the array operations.
    pub lanes: u32,
    /// Of the products: c by b, steps by inputs, inputs by b, and c by states.
    pub products: [MatmulPlan; 4],
    /// How tensors with something for each step are stored.
    pub storage: Storage,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether step sizes pass through a softplus.
    pub softplus: bool,
    /// Whether the result is gated.
    pub gated: bool,
    /// The factor with which `x` skips the recurrence.
    pub skip: Skip,
    /// Whether an initial state is given.
    pub initial: bool,
}

/// The longest chunk, as in the authors' minimal version. Whole chunks fill a row, so it is a power of two that divides it.
const CHUNK: usize = 64;

impl UnfusedSsdPlan {
    /// Plans unfused state-space duality. Fails if the spec is wrong or has options that yardsticks have not, or a tensor
    /// exceeds a binding.
    pub fn new(spec: &SsdSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        plain_ssd(spec)?;
        let sizes = Sizes::new(spec);
        for (name, numbers) in
            ["masks", "inputs", "c of all heads", "states"].into_iter().zip(sizes.scratch())
        {
            check_binding(name, elements(name, &[numbers])?, DType::F32, caps)?;
        }
        check_binding("x", spec.x_shape().iter().product(), spec.dtype, caps)?;
        check_turns("baseline/ssd_pass", sizes.chunks as u64, caps)?;
        let plan = |product: MatmulSpec| MatmulPlan::new(&product, caps);
        let [first, second, third, fourth] = sizes.products(spec);
        Ok(Self {
            chunk: sizes.chunk as u32,
            lanes: 256.min(caps.workgroup_lanes),
            products: [plan(first)?, plan(second)?, plan(third)?, plan(fourth)?],
            storage: Storage::new(spec.dtype, caps.f16, false),
            bias: spec.dt_bias,
            softplus: spec.dt_softplus,
            gated: spec.gated,
            skip: spec.skip,
            initial: spec.initial,
        })
    }
}

/// Sizes of the arrays, and of the batches of their products.
#[derive(Clone, Copy)]
struct Sizes {
    chunk: usize,
    /// In a batch.
    chunks: usize,
    /// Chunks of all batches.
    all: usize,
    heads: usize,
    head_dim: usize,
    groups: usize,
    states: usize,
}

impl Sizes {
    fn new(spec: &SsdSpec) -> Self {
        let SsdSpec { batch, length, heads, head_dim, groups, state_dim: states, .. } = *spec;
        let chunk = CHUNK.min(1 << length.trailing_zeros());
        let chunks = length / chunk;
        Self { chunk, chunks, all: batch * chunks, heads, head_dim, groups, states }
    }

    /// Numbers of the masks, of the weighed inputs, of c for all heads, and of the states.
    fn scratch(&self) -> [usize; 4] {
        let Self { chunk, all, heads, head_dim, states, .. } = *self;
        let of = |numbers: usize| all * heads * numbers;
        [of(chunk * chunk), of(chunk * head_dim), of(chunk * states), of(head_dim * states)]
    }

    fn products(&self, spec: &SsdSpec) -> [MatmulSpec; 4] {
        let Self { chunk, all, heads, head_dim, groups, states, .. } = *self;
        let wide = |rows: usize, columns: usize| {
            Operand::new(DType::F32, [heads * rows * columns, rows * columns, columns])
        };
        let coefficients = Operand::new(spec.dtype, [chunk * groups * states, states, groups * states]);
        let inputs = |dtype| Operand::new(dtype, [chunk * heads * head_dim, head_dim, heads * head_dim]);
        let of_heads = MatmulSpec { batch: [all, heads], ..MatmulSpec::new(spec.dtype, 1, 1, 1) };
        let within = Operand::new(DType::F32, [groups * chunk * chunk, chunk * chunk, chunk]);
        let all_groups = MatmulSpec { batch: [all, groups], b_transposed: true, ..of_heads };
        [
            MatmulSpec {
                m: chunk,
                n: chunk,
                k: states,
                a: coefficients,
                b: coefficients,
                c: within,
                ..all_groups
            },
            MatmulSpec {
                m: chunk,
                n: head_dim,
                k: chunk,
                a: wide(chunk, chunk),
                b: inputs(spec.dtype),
                c: inputs(DType::F32),
                ..of_heads
            },
            MatmulSpec {
                m: head_dim,
                n: states,
                k: chunk,
                a: wide(head_dim, chunk),
                b: coefficients,
                b_share: heads / groups,
                c: wide(head_dim, states),
                ..of_heads
            },
            MatmulSpec {
                m: chunk,
                n: head_dim,
                k: states,
                a: wide(chunk, states),
                b: wide(head_dim, states),
                b_transposed: true,
                c: inputs(DType::F32),
                ..of_heads
            },
        ]
    }
}

impl Plan for UnfusedSsdPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        let arrays = vec![
            kernel("baseline/ssd_steps", 5),
            kernel("baseline/ssd_mask", 4),
            kernel("baseline/ssd_weigh", 4),
            kernel("baseline/ssd_expand", 3),
            kernel("baseline/ssd_pass", 4),
            kernel("baseline/ssd_finish", 6),
        ];
        arrays.into_iter().chain(self.products.iter().flat_map(Plan::footprints)).collect()
    }
}

impl fmt::Display for UnfusedSsdPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chunk, lanes, storage, products, .. } = self;
        write!(f, "chunks of {chunk} as four products in f32; {lanes} lanes, {storage}; {}", products[0])
    }
}

params! {
    /// `baseline/ssd_params`.
    SsdParams { total: u32, heads: u32, head_dim: u32, share: u32, states: u32, chunk: u32, chunks: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &UnfusedSsdPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| yardstick(kernel).module("baseline/ssd_params").set("LANES", plan.lanes);
    let steps = linker("baseline/ssd_steps")
        .module("common/activation")
        .set("SOFTPLUS", plan.softplus)
        .set("HAS_BIAS", plan.bias)
        .tensor("dt", plan.storage);
    let finish = linker("baseline/ssd_finish")
        .module("common/activation")
        .set("GATED", plan.gated)
        .set("HAS_SKIP", plan.skip != Skip::None)
        .set("SKIP_PER_CHANNEL", plan.skip == Skip::PerChannel);
    let finish = ["x", "z", "y"].into_iter().fold(finish, |linker, name| linker.tensor(name, plan.storage));
    let mut shaders = vec![
        steps.link()?,
        linker("baseline/ssd_mask").link()?,
        linker("baseline/ssd_weigh").tensor("x", plan.storage).link()?,
        linker("baseline/ssd_expand").tensor("c", plan.storage).link()?,
        linker("baseline/ssd_pass").set("HAS_INITIAL", plan.initial).link()?,
        finish.link()?,
    ];
    for product in &plan.products {
        shaders.extend(matmul_shaders(product)?);
    }
    Ok(shaders)
}

/// The tensors between the kernels.
#[derive(Clone, Debug)]
pub struct SsdScratch {
    sizes: Tensor<f32>,
    logs: Tensor<f32>,
    products: Tensor<f32>,
    masked: Tensor<f32>,
    weighed: Tensor<f32>,
    expanded: Tensor<f32>,
    states: Tensor<f32>,
    within: Tensor<f32>,
    before: Tensor<f32>,
}

/// State-space duality as array frameworks compose it, after the authors' minimal version (Dao and Gu 2024): decays,
/// masked products and states of chunks as arrays of their own.
#[derive(Clone, Debug)]
pub struct UnfusedSsd {
    gpu: Gpu,
    spec: SsdSpec,
    plan: UnfusedSsdPlan,
    kernels: [Kernel; 6],
    products: [Matmul; 4],
}

impl UnfusedSsd {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: SsdSpec) -> Result<Self, Error> {
        let plan = UnfusedSsdPlan::new(&spec, gpu.caps())?;
        let products = Sizes::new(&spec).products(&spec);
        let product = |i: usize| Matmul::with_plan(gpu, products[i], plan.products[i]);
        let products = [product(0)?, product(1)?, product(2)?, product(3)?];
        let kernels = compile_array(gpu, &shaders(&plan)?[..6])?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, products })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedSsdPlan {
        &self.plan
    }

    /// The tensors between the kernels.
    pub fn scratch(&self) -> Result<SsdScratch, Error> {
        let sizes = Sizes::new(&self.spec);
        let of = |numbers: usize| Tensor::zeros(&self.gpu, &[numbers]);
        let [masked, weighed, expanded, states] = sizes.scratch();
        let steps = || of(self.spec.dt_shape().iter().product());
        let results = || of(self.spec.x_shape().iter().product());
        Ok(SsdScratch {
            sizes: steps()?,
            logs: steps()?,
            products: of(sizes.all * sizes.groups * sizes.chunk * sizes.chunk)?,
            masked: of(masked)?,
            weighed: of(weighed)?,
            expanded: of(expanded)?,
            states: of(states)?,
            within: results()?,
            before: results()?,
        })
    }

    /// Records every operation.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: SsdInputs<'_, T>,
        outputs: &SsdOutputs<T>,
        scratch: &SsdScratch,
    ) -> Result<(), Error> {
        let Self { gpu, spec, kernels: [steps, mask, weigh, expand, pass, finish], products, .. } = self;
        inputs.check(gpu, spec)?;
        outputs.check(gpu, spec)?;
        let [scores, near, gather, far] = products;
        let SsdScratch { sizes, logs, within, before, .. } = scratch;
        let of_heads = |tensor: Option<&Tensor<f32>>| tensor.map_or(gpu.unused(), Tensor::buffer).clone();
        let [bias, skip, initial] = [inputs.dt_bias, inputs.d, inputs.initial].map(of_heads);
        let [sizes, logs] = [sizes.buffer(), logs.buffer()];
        let (x, numbers) = (inputs.x.buffer(), Sizes::new(spec));
        let [masked, weighed, expanded, _] = numbers.scratch();

        let buffers = [inputs.dt.buffer(), inputs.a.buffer(), &bias, sizes, logs];
        steps.dispatch(gpu, encoder, &self.params(numbers.all * spec.heads), &buffers)?;
        scores.encode(encoder, inputs.c, inputs.b, &scratch.products)?;
        let buffers = [scratch.products.buffer(), sizes, logs, scratch.masked.buffer()];
        mask.dispatch(gpu, encoder, &self.params(masked), &buffers)?;
        near.encode(encoder, &scratch.masked, inputs.x, within)?;
        weigh.dispatch(gpu, encoder, &self.params(weighed), &[x, sizes, logs, scratch.weighed.buffer()])?;
        gather.encode(encoder, &scratch.weighed, inputs.b, &scratch.states)?;
        let buffers = [logs, &initial, scratch.states.buffer(), outputs.last.buffer()];
        pass.dispatch(gpu, encoder, &self.params(outputs.last.len()), &buffers)?;
        let buffers = [inputs.c.buffer(), logs, scratch.expanded.buffer()];
        expand.dispatch(gpu, encoder, &self.params(expanded), &buffers)?;
        far.encode(encoder, &scratch.expanded, &scratch.states, before)?;
        let z = inputs.z.map_or(gpu.unused(), Tensor::buffer);
        let buffers = [within.buffer(), before.buffer(), x, z, &skip, outputs.out.buffer()];
        finish.dispatch(gpu, encoder, &self.params(outputs.out.len()), &buffers)
    }

    fn params(&self, total: usize) -> SsdParams {
        let sizes = Sizes::new(&self.spec);
        SsdParams {
            groups: (total as u32).div_ceil(self.plan.lanes),
            total: total as u32,
            heads: sizes.heads as u32,
            head_dim: sizes.head_dim as u32,
            share: (sizes.heads / sizes.groups) as u32,
            states: sizes.states as u32,
            chunk: sizes.chunk as u32,
            chunks: sizes.chunks as u32,
        }
    }
}
