//! Attention, backward.

use super::heads::heads;
use super::link::{
    D_O_COLUMNS, K_COLUMNS, Q_COLUMNS, V_COLUMNS, halves, lanes, loads, modded_sequences, positions, scored,
    sequences, tiled, tiled_by_matrices,
};
use super::mods::{ModsOp, check_mods, modded, visit_shaders, visiting};
use super::params::{TaskParams, Works};
use super::{AttentionInputs, AttentionOutputs};
use crate::kernel::{Kernel, Params, compile};
use crate::ops::Scratch;
use crate::ops::slice_sum::{self, Slices};
use crate::plan::{AttentionBackwardPlan, AttentionPath, AttentionTile, MatrixTile, SliceSumPlan};
use crate::shader::{Linker, Shader, ShaderError, Words};
use crate::tensor::expect_optional;
use crate::{Alibi, AttentionSpec, Element, Error, Gpu, Mods, Tensor};

/// Gradients of the inputs of [`Attention`](super::Attention), of the same shapes.
#[derive(Clone, Debug)]
pub struct AttentionGradients<T> {
    /// Of the queries.
    pub dq: Tensor<T>,
    /// Of the keys.
    pub dk: Tensor<T>,
    /// Of the values.
    pub dv: Tensor<T>,
    /// Of the ALiBi slopes, if the spec has them.
    pub dalibi: Option<Tensor<f32>>,
    /// Of the sinks, if the spec has them.
    pub dsinks: Option<Tensor<f32>>,
}

/// The gradients of [`Attention`](super::Attention) (FlashAttention-2, Dao 2023): the weights are computed anew from the
/// log-sum-exps, a tile at a time, once for the queries and once for keys and values. There are no atomics, and so every
/// gradient repeats bit for bit on an adapter.
#[derive(Clone, Debug)]
pub struct AttentionBackward {
    gpu: Gpu,
    spec: AttentionSpec,
    plan: AttentionBackwardPlan,
    kernels: Vec<Kernel>,
    /// Mods of the pass over queries and of that over keys, which visit different tiles.
    mods: [ModsOp; 2],
    scratch: Scratch,
}

/// The linked shaders of a plan without mods, in the order of its footprints.
pub fn shaders(plan: &AttentionBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    shaders_with_mods(plan, &Mods::default())
}

/// The linked shaders of a plan with mods, in the order of its footprints.
pub fn shaders_with_mods(plan: &AttentionBackwardPlan, mods: &Mods) -> Result<Vec<Shader>, ShaderError> {
    let structure = &plan.structure;
    let mut all = visit_shaders(&structure.mods, mods, plan.query_visits.as_ref())?;
    all.extend(visit_shaders(&structure.mods, mods, plan.key_visits.as_ref())?);
    all.extend([rows_shader(plan)?, queries_shader(plan, mods)?]);
    if plan.query_splits > 1 {
        all.push(slice_sum::shader(plan.key_sum())?);
    }
    all.push(keys_shader(plan, mods)?);
    if plan.key_splits > 1 {
        all.extend([slice_sum::shader(plan.key_sum())?, slice_sum::shader(plan.value_sum())?]);
    }
    let sum_terms = |slopes: bool, by_batch: bool| {
        let linker = Linker::new("attention/sum_terms").module("attention/params").module("attention/task");
        let linker = sequences(linker, structure);
        linker.set("LANES", SUM_LANES).set("SLOPES", slopes).set("BY_BATCH", by_batch).link()
    };
    if structure.alibi {
        all.push(sum_terms(true, plan.slopes_by_batch)?);
    }
    if structure.sinks {
        all.push(sum_terms(false, false)?);
    }
    Ok(all)
}

/// Lanes of the kernels that add.
const SUM_LANES: u32 = AttentionBackwardPlan::LANES;

/// Numbers that `attention/backward_rows` leaves for a query, the last of them a term of the sink's gradient; and numbers of
/// a query of which a gradient of slopes is made.
const FACTS: usize = 4;

fn rows_shader(plan: &AttentionBackwardPlan) -> Result<Shader, ShaderError> {
    let structure = &plan.structure;
    let linker = Linker::new("attention/backward_rows").module("attention/params").module("attention/task");
    let linker = sequences(lanes(linker, plan.exchange, true), structure);
    positions(heads(linker, structure), structure)
        .module("attention/rows_plain")
        .copy("attention/load_rows", &[("tensor", "d_o"), ("WIDTH", "VALUE_DIM")])
        .copy("attention/load_rows", &[("tensor", "o"), ("WIDTH", "VALUE_DIM")])
        .set("VALUE_DIM", structure.value_dim)
        .set("ROWS", plan.queries.rows())
        .set("LANES", SUM_LANES)
        .tensor("d_o", structure.value_storage)
        .tensor("o", structure.value_storage)
        .link()
}

/// What both passes over tiles share.
fn pass(linker: Linker, plan: &AttentionBackwardPlan) -> Linker {
    let structure = &plan.structure;
    scored(modded_sequences(linker, structure), structure, false)
        .module("attention/kv_scales_none")
        .module("attention/facts")
        .module(if structure.alibi { "attention/alibi_facts" } else { "attention/alibi_none" })
        .module("attention/gradients")
        .set("HEAD_DIM", structure.head_dim)
        .set("VALUE_DIM", structure.value_dim)
        .tensor("q", structure.key_storage)
        .tensor("k", structure.key_storage)
        .tensor("v", structure.value_storage)
        .tensor("d_o", structure.value_storage)
}

fn queries_shader(plan: &AttentionBackwardPlan, mods: &Mods) -> Result<Shader, ShaderError> {
    const STORE: Words = &[
        ("target", "d_q"),
        ("WIDTH", "HEAD_DIM"),
        ("ROWS_OF_A_SPLIT", "rows"),
        ("row_place", "query_place"),
        ("row_limit", "row_count"),
    ];
    let structure = &plan.structure;
    let storage = if plan.query_splits == 1 { structure.key_storage } else { plan.key_parts };
    let (term, terms) = if structure.alibi {
        ("attention/slope_term", "attention/slope_terms_rows")
    } else {
        ("attention/slope_term_none", "attention/slope_terms_none")
    };
    let linker = match &plan.queries {
        AttentionPath::Lanes(tile) => on_lanes("attention/backward_queries", tile)
            .module(terms)
            .copy("attention/dots", &[("tensor", "q"), ("other", "k"), ("WIDTH", "HEAD_DIM")])
            .copy("attention/dots", &[("tensor", "d_o"), ("other", "v"), ("WIDTH", "VALUE_DIM")])
            .copy("attention/sums", K_COLUMNS)
            .copy("attention/store_sums", &[("target", "d_q"), ("TENSOR", "K")]),
        AttentionPath::Matrices(tile) => {
            let rows: [Words; 2] = [&[("tensor", "q")], &[("tensor", "d_o")]];
            let columns = [K_COLUMNS, V_COLUMNS];
            on_matrices("attention/backward_queries_matrix", tile, &rows, &columns)
                .copy("attention/matrix_tame", &[("tensor", "k"), ("TENSOR", "K")])
                .copy("attention/matrix_sums", &[("target", "d_q")])
        }
    };
    // Its binding comes behind those of the pass.
    let linker = pass(linker, plan).module(term);
    let linker = visiting(linker, &structure.mods, "attention/visit_all");
    modded(linker, structure, mods, plan.query_tile(), true)?
        .copy("attention/store_row", STORE)
        .tensor("d_q", storage)
        .link()
}

/// A kernel of gradients of lanes that multiply themselves.
fn on_lanes(kernel: &'static str, tile: &AttentionTile) -> Linker {
    loads(tiled(kernel, tile))
        .copy("attention/load_keys", &[("tensor", "v"), ("WIDTH", "VALUE_DIM")])
        .copy("attention/load_rows", &[("tensor", "d_o"), ("WIDTH", "VALUE_DIM")])
}

/// A kernel of gradients on matrix units.
fn on_matrices(kernel: &'static str, tile: &MatrixTile, rows: &[Words], columns: &[Words]) -> Linker {
    halves(tiled_by_matrices(kernel, tile, rows, columns))
        .copy("attention/load_row_halves", &[("tensor", "d_o"), ("WIDTH", "VALUE_DIM")])
        .module("attention/matrix_wild")
}

fn keys_shader(plan: &AttentionBackwardPlan, mods: &Mods) -> Result<Shader, ShaderError> {
    const STORE_KEYS: Words = &[
        ("target", "d_k"),
        ("WIDTH", "HEAD_DIM"),
        ("ROWS_OF_A_SPLIT", "key_rows"),
        ("row_place", "kv_place"),
        ("row_limit", "key_count"),
    ];
    const STORE_VALUES: Words = &[
        ("target", "d_v"),
        ("WIDTH", "VALUE_DIM"),
        ("ROWS_OF_A_SPLIT", "key_rows"),
        ("row_place", "kv_place"),
        ("row_limit", "key_count"),
    ];
    let structure = &plan.structure;
    let whole = plan.key_splits == 1;
    let linker = match &plan.keys {
        AttentionPath::Lanes(tile) => on_lanes("attention/backward_keys", tile)
            .copy("attention/dots", &[("tensor", "k"), ("other", "q"), ("WIDTH", "HEAD_DIM")])
            .copy("attention/dots", &[("tensor", "v"), ("other", "d_o"), ("WIDTH", "VALUE_DIM")])
            .copy("attention/sums", Q_COLUMNS)
            .copy("attention/sums", D_O_COLUMNS)
            .copy("attention/store_sums", &[("target", "d_k"), ("TENSOR", "Q")])
            .copy("attention/store_sums", &[("target", "d_v"), ("TENSOR", "D_O")]),
        AttentionPath::Matrices(tile) => {
            let rows: [Words; 2] = [&[("tensor", "k")], &[("tensor", "v")]];
            let columns = [Q_COLUMNS, D_O_COLUMNS];
            on_matrices("attention/backward_keys_matrix", tile, &rows, &columns)
                .copy("attention/matrix_tame", &[("tensor", "q"), ("TENSOR", "Q")])
                .copy("attention/matrix_tame", &[("tensor", "d_o"), ("TENSOR", "D_O")])
                .copy("attention/matrix_sums", &[("target", "d_k")])
                .copy("attention/matrix_sums", &[("target", "d_v")])
        }
    };
    let linker = pass(linker, plan).module("attention/head_shares");
    let linker = visiting(linker, &structure.mods, "attention/visit_all_queries");
    modded(linker, structure, mods, plan.key_tile(), true)?
        .copy("attention/store_row", STORE_KEYS)
        .copy("attention/store_row", STORE_VALUES)
        .tensor("d_k", if whole { structure.key_storage } else { plan.key_parts })
        .tensor("d_v", if whole { structure.value_storage } else { plan.value_parts })
        .link()
}

impl AttentionBackward {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: AttentionSpec) -> Result<Self, Error> {
        Self::with_mods(gpu, spec, &Mods::default())
    }

    /// The gradients of attention with changes of scores and masks of the user's own. Fails also if a mod is wrong, or
    /// a score mod has no `score_mod_bwd`.
    pub fn with_mods(gpu: &Gpu, spec: AttentionSpec, mods: &Mods) -> Result<Self, Error> {
        let plan = AttentionBackwardPlan::with_mods(&spec, mods, gpu.caps())?;
        check_mods(gpu, mods)?;
        let mut kernels = compile(gpu, &shaders_with_mods(&plan, mods)?)?;
        let mut op = |table| ModsOp::new(gpu, &spec, (&plan.structure, mods), table, &mut kernels);
        let mods = [op(plan.query_visits)?, op(plan.key_visits)?];
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, mods, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &AttentionBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<AttentionGradients<T>, Error> {
        let Self { gpu, spec, .. } = self;
        let slopes = (spec.alibi != Alibi::None).then(|| spec.alibi_shape());
        let sinks = spec.sinks.then(|| vec![spec.heads]);
        Ok(AttentionGradients {
            dq: Tensor::zeros(gpu, &spec.q_shape())?,
            dk: Tensor::zeros(gpu, &spec.k_shape())?,
            dv: Tensor::zeros(gpu, &spec.v_shape())?,
            dalibi: slopes.map(|shape| Tensor::zeros(gpu, &shape)).transpose()?,
            dsinks: sinks.map(|shape| Tensor::zeros(gpu, &shape)).transpose()?,
        })
    }

    /// Records the backward pass into an encoder of the same device. It takes the inputs of the forward pass, seed included,
    /// its outputs, and the gradient of its `o`.
    ///
    /// Fails, before anything is recorded, as [`Attention::encode`](super::Attention::encode) does.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AttentionInputs<'_, T>,
        outputs: &AttentionOutputs<T>,
        d_o: &Tensor<T>,
        gradients: &AttentionGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, mods: [query_mods, key_mods], scratch } = self;
        let spans = inputs.check(gpu, spec)?;
        outputs.check(gpu, spec)?;
        d_o.expect(gpu, "do", spec.dtype, &spec.o_shape())?;
        gradients.check(gpu, spec)?;
        query_mods.check(gpu, inputs.tables)?;
        let shapes = self.scratch_shapes();
        let scratch = scratch.tensors(gpu, &shapes.each_ref().map(Vec::as_slice))?;
        let [facts, terms, q_parts, k_parts, v_parts] = scratch else { unreachable!("as many as shapes") };
        let of_queries = Works::of_queries(gpu, spec, &spans, plan.queries.rows(), 1)?;
        let of_keys = Works::of_keys(gpu, spec, &spans, plan.keys.rows())?;
        let params =
            |works: &Works, heads, splits| TaskParams::new(spec, works, (heads, splits), inputs.seed);
        let sequences = of_queries.bound();
        let query_params = params(&of_queries, spec.heads, plan.query_splits);
        let call = query_mods.encode(gpu, encoder, inputs.tables, query_params, &of_queries)?;
        let query_modded = call.bound(plan.query_tile())?;
        let call = key_mods.encode(gpu, encoder, inputs.tables, query_params, &of_keys)?;
        let key_modded = call.bound(plan.key_tile())?;
        let mut record = Recorder { gpu, encoder, kernels: kernels.iter() };

        let own = [d_o.buffer(), outputs.o.buffer(), outputs.lse.buffer(), facts.buffer()];
        let options = [sequences, inputs.sinks.map(Tensor::buffer), inputs.alibi.map(Tensor::buffer)];
        record.kernel(&params(&of_queries, spec.heads, 1), &own, &options)?;

        let given = [inputs.q.buffer(), inputs.k.buffer(), inputs.v.buffer(), d_o.buffer()];
        let whole = plan.query_splits == 1;
        let dq = if whole { gradients.dq.buffer() } else { q_parts.buffer() };
        let slopes = plan.structure.alibi.then(|| terms.buffer());
        let among = plan.structure.sequences_among_mods();
        let [apart, keys_apart] = [&of_queries, &of_keys].map(|works| works.bound().filter(|_| !among));
        let options = [apart, Some(facts.buffer()), slopes];
        let options: Vec<_> = options.into_iter().chain(query_modded.iter().map(Some)).collect();
        record.kernel(&query_params, &[given.as_slice(), &[dq]].concat(), &options)?;
        if !whole {
            record.sum(plan.key_sum(), plan.query_splits, q_parts, &gradients.dq)?;
        }

        let whole = plan.key_splits == 1;
        let [dk, dv] = if whole {
            [gradients.dk.buffer(), gradients.dv.buffer()]
        } else {
            [k_parts.buffer(), v_parts.buffer()]
        };
        let options = [keys_apart, Some(facts.buffer())];
        let options: Vec<_> = options.into_iter().chain(key_modded.iter().map(Some)).collect();
        let key_params = params(&of_keys, spec.kv_heads, plan.key_splits);
        record.kernel(&key_params, &[given.as_slice(), &[dk, dv]].concat(), &options)?;
        if !whole {
            record.sum(plan.key_sum(), plan.key_splits, k_parts, &gradients.dk)?;
            record.sum(plan.value_sum(), plan.key_splits, v_parts, &gradients.dv)?;
        }

        if let Some(dalibi) = &gradients.dalibi {
            let params = TaskParams { groups: dalibi.len() as u32, ..query_params };
            record.kernel(&params, &[terms.buffer(), dalibi.buffer()], &[sequences])?;
        }
        if let Some(dsinks) = &gradients.dsinks {
            let params = TaskParams { groups: spec.heads as u32, splits: 1, ..query_params };
            record.kernel(&params, &[facts.buffer(), dsinks.buffer()], &[sequences])?;
        }
        Ok(())
    }

    /// Allocates the gradients, records the backward pass and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: AttentionInputs<'_, T>,
        outputs: &AttentionOutputs<T>,
        d_o: &Tensor<T>,
    ) -> Result<AttentionGradients<T>, Error> {
        let gradients = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, outputs, d_o, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }

    /// Facts of the queries, terms of the slopes' gradients, parts of dq, dk and dv. What the plan has no use for is empty.
    fn scratch_shapes(&self) -> [Vec<usize>; 5] {
        let Self { spec, plan, .. } = self;
        let when = |needed: bool, shape: Vec<usize>| if needed { shape } else { vec![0] };
        let parts =
            |splits: u32, shape: Vec<usize>| when(splits > 1, [vec![splits as usize], shape].concat());
        [
            vec![spec.rows(), FACTS],
            when(plan.structure.alibi, vec![plan.query_splits as usize, spec.rows(), FACTS]),
            parts(plan.query_splits, spec.q_shape()),
            parts(plan.key_splits, spec.k_shape()),
            parts(plan.key_splits, spec.v_shape()),
        ]
    }
}

impl<T: Element> AttentionGradients<T> {
    /// Fails unless every tensor is on this GPU and as the spec has it.
    fn check(&self, gpu: &Gpu, spec: &AttentionSpec) -> Result<(), Error> {
        self.dq.expect(gpu, "dq", spec.dtype, &spec.q_shape())?;
        self.dk.expect(gpu, "dk", spec.dtype, &spec.k_shape())?;
        self.dv.expect(gpu, "dv", spec.dtype, &spec.v_shape())?;
        let slopes = spec.alibi != Alibi::None;
        expect_optional(gpu, self.dalibi.as_ref(), "dalibi", slopes, &spec.alibi_shape())?;
        expect_optional(gpu, self.dsinks.as_ref(), "dsinks", spec.sinks, &[spec.heads])
    }
}

/// Records the kernels of a plan, one after the other.
struct Recorder<'a> {
    gpu: &'a Gpu,
    encoder: &'a mut wgpu::CommandEncoder,
    kernels: std::slice::Iter<'a, Kernel>,
}

impl Recorder<'_> {
    /// The next kernel, with its own buffers and those of the options that the plan has.
    fn kernel(
        &mut self,
        params: &impl Params,
        own: &[&wgpu::Buffer],
        options: &[Option<&wgpu::Buffer>],
    ) -> Result<(), Error> {
        let buffers: Vec<_> = own.iter().copied().chain(options.iter().copied().flatten()).collect();
        let kernel = self.kernels.next().expect("a kernel for each footprint");
        kernel.dispatch(self.gpu, self.encoder, params, &buffers)
    }

    /// The next kernel, which adds parts.
    fn sum<T: Element>(
        &mut self,
        plan: SliceSumPlan,
        splits: u32,
        parts: &Tensor<f32>,
        sums: &Tensor<T>,
    ) -> Result<(), Error> {
        let params = Slices::one(splits, sums.len() as u32).params(plan);
        self.kernel(&params, &[parts.buffer(), sums.buffer()], &[])
    }
}
