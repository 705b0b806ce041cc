//! Attention, forward.

use super::heads::{Heads, heads};
use super::link::{
    K_COLUMNS, V_COLUMNS, halves, lanes, loads, modded_sequences, scored, tiled, tiled_by_matrices,
};
use super::merge::{combine_params, merge_shaders};
use super::mods::{Call, ModsOp, check_mods, modded, visit_shaders, visiting};
use super::params::{TaskParams, Works};
use super::{AttentionInputs, AttentionOutputs};
use crate::kernel::{Kernel, compile};
use crate::ops::Scratch;
use crate::plan::{
    AttentionPath, AttentionPlan, AttentionTile, DirectTile, Exchange, ForwardPath, MatrixPass, MatrixTile,
};
use crate::shader::{Linker, Shader, ShaderError, Words};
use crate::{AttentionSpec, Element, Error, Gpu, MergeSpec, Mods, Tensor};

/// What stands for the log-sum-exp of nothing between forward and combine, as in `attention/combine.wgsl`.
const UNSEEN: f32 = -3e38;

/// Scaled dot-product attention that never stores its scores (FlashAttention-2, Dao 2023), with the online softmax of
/// Milakov and Gimelshein (2018). Where few queries meet many keys, the keys are split among workgroups
/// (Flash-Decoding, Dao et al. 2023).
#[derive(Clone, Debug)]
pub struct Attention {
    gpu: Gpu,
    spec: AttentionSpec,
    forward: Forward,
    mods: ModsOp,
}

/// The linked shaders of a plan without mods, in the order of its footprints.
pub fn shaders(plan: &AttentionPlan) -> Result<Vec<Shader>, ShaderError> {
    shaders_with_mods(plan, &Mods::default())
}

/// The linked shaders of a plan with mods, in the order of its footprints.
pub fn shaders_with_mods(plan: &AttentionPlan, mods: &Mods) -> Result<Vec<Shader>, ShaderError> {
    let visits = visit_shaders(&plan.structure.mods, mods, plan.visits.as_ref())?;
    let combine = plan.merge.as_ref().map(merge_shaders).transpose()?.unwrap_or_default();
    Ok([visits, vec![forward_shader(plan, mods)?], combine].concat())
}

fn forward_shader(plan: &AttentionPlan, mods: &Mods) -> Result<Shader, ShaderError> {
    let structure = &plan.structure;
    let linker = match &plan.path {
        ForwardPath::Staged(AttentionPath::Lanes(tile)) => on_lanes(tile),
        ForwardPath::Staged(AttentionPath::Matrices(tile)) => on_matrices(tile),
        ForwardPath::Direct(tile) => direct(tile),
    };
    let linker = modded_sequences(linker, structure);
    let linker = loads(scored(heads(linker, structure), structure, plan.grouped));
    let linker = visiting(linker, &structure.mods, "attention/visit_all");
    modded(linker, structure, mods, plan.tile_sizes(), false)?
        .copy("attention/load_keys", &[("tensor", "v"), ("WIDTH", "VALUE_DIM")])
        .copy("attention/store_row", STORE_O)
        .set("HEAD_DIM", structure.head_dim)
        .set("VALUE_DIM", structure.value_dim)
        .tensor("q", structure.key_storage)
        .tensor("k", structure.cache.map_or(structure.key_storage, |cache| cache.keys))
        .tensor("v", structure.cache.map_or(structure.value_storage, |cache| cache.values))
        .tensor("o", plan.merge.map_or(structure.value_storage, |merge| merge.part_storage))
        .link()
}

/// The kernel of matrix units.
fn on_matrices(tile: &MatrixTile) -> Linker {
    let columns = [K_COLUMNS, V_COLUMNS];
    let together = tile.pass == MatrixPass::Forward { together: true };
    let growth = if together { "attention/growth_workgroup" } else { "attention/growth_subgroup" };
    let linker = tiled_by_matrices("attention/forward_matrix", tile, &[&[("tensor", "q")]], &columns);
    halves(linker.module(growth).module("attention/softmax"))
        .copy("attention/matrix_sums", &[("target", "o")])
        .each("r", tile.subgroup_rows / tile.units.side)
        .each("c", tile.columns / tile.units.side)
}

/// The kernel of lanes that multiply what they have staged.
fn on_lanes(tile: &AttentionTile) -> Linker {
    tiled("attention/forward", tile)
        .copy("attention/dots", &[("tensor", "q"), ("other", "k"), ("WIDTH", "HEAD_DIM")])
        .copy("attention/sums", &[("tensor", "v"), ("TENSOR", "V"), ("WIDTH", "VALUE_DIM")])
        .copy("attention/store_sums", &[("target", "o"), ("TENSOR", "V")])
}

/// The kernel of lanes that multiply what they read.
fn direct(tile: &DirectTile) -> Linker {
    lanes(Linker::new("attention/forward_direct"), Exchange::Subgroup, true)
        .module("common/product")
        .module("attention/params")
        .module("attention/task")
        .module("attention/softmax")
        .each("r", tile.rows)
        .each("d", tile.key_fours)
        .each("v", tile.value_fours)
        .set("PART_LANES", tile.part_lanes)
        .set("COLUMN_LANES", tile.column_lanes)
        .set("ROWS", tile.rows)
        .set("KEY_FOURS", tile.key_fours)
}

const STORE_O: Words = &[
    ("target", "o"),
    ("WIDTH", "VALUE_DIM"),
    ("ROWS_OF_A_SPLIT", "rows"),
    ("row_place", "query_place"),
    ("row_limit", "row_count"),
];

/// The kernels of a plan, and what lies between them.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    pub plan: AttentionPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
    /// What there is of each head, where that is brought together.
    heads: Scratch,
}

impl Forward {
    pub fn new(plan: AttentionPlan, kernels: Vec<Kernel>) -> Self {
        Self { plan, kernels, scratch: Scratch::default(), heads: Scratch::default() }
    }

    /// What the kernels bind behind their own tensors: where sequences lie, what there is of each head, and what mods read.
    pub fn options(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        sequences: Option<&wgpu::Buffer>,
        heads: Heads<'_>,
        mods: &Call<'_>,
    ) -> Result<Vec<wgpu::Buffer>, Error> {
        let structure = &self.plan.structure;
        let sequences = sequences.filter(|_| !structure.sequences_among_mods()).cloned();
        let heads = heads.bound(gpu, encoder, structure, &self.heads)?;
        let mods = mods.bound(self.plan.tile_sizes())?;
        Ok(sequences.into_iter().chain(heads).chain(mods).collect())
    }

    /// Records the kernels: of the queries, keys and values given, and of what the modules of options bind.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a thing of its own, and callers have them all apart"
    )]
    pub fn encode<T: Element>(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        spec: &AttentionSpec,
        params: TaskParams,
        given: [&wgpu::Buffer; 3],
        options: &[wgpu::Buffer],
        outputs: &AttentionOutputs<T>,
    ) -> Result<(), Error> {
        let Self { plan, kernels, scratch, .. } = self;
        let forward = |encoder: &mut _, kernel: &Kernel, unseen, o, lse| {
            let buffers: Vec<_> = given.into_iter().chain([o, lse]).chain(options).collect();
            kernel.dispatch(gpu, encoder, &TaskParams { unseen, ..params }, &buffers)
        };
        match (kernels.as_slice(), &plan.merge) {
            ([whole], None) => {
                forward(encoder, whole, f32::NEG_INFINITY, outputs.o.buffer(), outputs.lse.buffer())
            }
            ([split, combine], Some(merge)) => {
                let splits = plan.splits as usize;
                let o_parts = [&[splits], spec.o_shape().as_slice()].concat();
                let lse_parts = [&[splits], spec.lse_shape().as_slice()].concat();
                let parts = scratch.tensors(gpu, &[&o_parts, &lse_parts])?;
                let [o_parts, lse_parts] = [parts[0].buffer(), parts[1].buffer()];
                forward(encoder, split, UNSEEN, o_parts, lse_parts)?;
                let buffers = [outputs.o.buffer(), outputs.lse.buffer(), o_parts, lse_parts];
                let params = combine_params(merge, &MergeSpec::of(spec), plan.splits);
                combine.dispatch(gpu, encoder, &params, &buffers)
            }
            _ => unreachable!("attention has one kernel, or two where keys are split"),
        }
    }
}

impl Attention {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: AttentionSpec) -> Result<Self, Error> {
        Self::with_mods(gpu, spec, &Mods::default())
    }

    /// Attention with changes of scores and masks of the user's own. Fails also if a mod is wrong, with the shader
    /// compiler's words and the line of the mod's own text.
    pub fn with_mods(gpu: &Gpu, spec: AttentionSpec, mods: &Mods) -> Result<Self, Error> {
        let plan = AttentionPlan::with_mods(&spec, mods, gpu.caps())?;
        Self::with_plan(gpu, spec, mods, plan)
    }

    /// Compiles what a plan of the spec and the mods needs: another than the best, for comparison.
    pub fn with_plan(
        gpu: &Gpu,
        spec: AttentionSpec,
        mods: &Mods,
        plan: AttentionPlan,
    ) -> Result<Self, Error> {
        check_mods(gpu, mods)?;
        let mut kernels = compile(gpu, &shaders_with_mods(&plan, mods)?)?;
        let mods = ModsOp::new(gpu, &spec, (&plan.structure, mods), plan.visits, &mut kernels)?;
        Ok(Self { gpu: gpu.clone(), spec, forward: Forward::new(plan, kernels), mods })
    }

    /// How it runs here.
    pub fn plan(&self) -> &AttentionPlan {
        &self.forward.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<AttentionOutputs<T>, Error> {
        AttentionOutputs::zeros(&self.gpu, &self.spec.o_shape(), &self.spec.lse_shape())
    }

    /// Records the attention into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it, and if scratch cannot be allocated. No output may share a
    /// buffer with an input: the submission would fail. Clones of the op share its scratch, which counts in
    /// [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AttentionInputs<'_, T>,
        outputs: &AttentionOutputs<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, forward, mods } = self;
        let plan = &forward.plan;
        let spans = inputs.check(gpu, spec)?;
        outputs.check(gpu, spec)?;
        mods.check(gpu, inputs.tables)?;
        let works = Works::of_queries(gpu, spec, &spans, plan.path.rows(), plan.group(spec))?;
        let (_, heads) = plan.rows(spec);
        let params = TaskParams::new(spec, &works, (heads, plan.splits), inputs.seed);
        let call = mods.encode(gpu, encoder, inputs.tables, params, &works)?;
        let given = [inputs.q, inputs.k, inputs.v].map(Tensor::buffer);
        let options = forward.options(gpu, encoder, works.bound(), inputs.heads(), &call)?;
        forward.encode(gpu, encoder, spec, params, given, &options, outputs)
    }

    /// Allocates the outputs, records the attention and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: AttentionInputs<'_, T>) -> Result<AttentionOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }
}
