//! Linear attention whose decays differ from key to key: its kernels, and how they follow one another.

use super::chunked::{
    Bound, ChunkParams, Chunked, Given, GivenPart, Gradients, ProductParams, bindings, chunk_linker, shader,
    states_linker,
};
use super::chunked_windows::{Border, Ends, Split, Window};
use crate::kernel::{Kernel, Params, compile, params};
use crate::ops::Scratch;
use crate::plan::{ChunkKernel, KeyedBackwardPlan, KeyedKernel, KeyedPlan, KeyedProduct};
use crate::shader::{Shader, ShaderError};
use crate::spec::Recurrence;
use crate::{Error, Gpu, Tensor};

params! {
    /// `scan/keyed_steps`.
    KeyedStepsParams { count: u32, heads: u32, key_dim: u32 }
}

params! {
    /// `scan/keyed_scores`.
    ScoresParams { heads: u32, width: u32, scale: f32 }
}

params! {
    /// `scan/keyed_gradient`.
    GradientParams { count: u32, heads: u32, width: u32, tokens: u32, scale: f32 }
}

params! {
    /// `scan/keyed_decays`.
    DecaysParams { count: u32, heads: u32, x_dim: u32, key_dim: u32, tokens: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &KeyedPlan) -> Result<Vec<Shader>, ShaderError> {
    KeyedPlan::kernels().into_iter().map(|kernel| link(plan, kernel)).collect()
}

/// The linked shaders of a plan of gradients, in the order of its footprints.
pub fn backward_shaders(plan: &KeyedBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    KeyedBackwardPlan::kernels().into_iter().map(|kernel| link(&plan.forward, kernel)).collect()
}

fn link(plan: &KeyedPlan, kernel: KeyedKernel) -> Result<Shader, ShaderError> {
    let chunked = &plan.chunked;
    let (x, b, b_in_f32) = (chunked.x, chunked.b, plan.key_in_f32());
    match kernel {
        KeyedKernel::Records => shader(chunked, ChunkKernel::Steps),
        KeyedKernel::Pass { reverse } => shader(chunked, ChunkKernel::Pass { reverse }),
        KeyedKernel::States { reverse } => {
            states_linker(chunked, [x, b_in_f32], chunked.state_lanes, reverse).link()
        }
        KeyedKernel::Steps => chunk_linker(chunked, "scan/keyed_steps").tensor("q", b).tensor("k", b).link(),
        KeyedKernel::Scores { decays } => {
            let linker = chunk_linker(chunked, "scan/keyed_scores").set("DECAYS", decays);
            let [of, factors] = if decays { [b, b_in_f32] } else { [x, b_in_f32] };
            linker.tensor("q", of).tensor("k", of).tensor("factors", factors).link()
        }
        KeyedKernel::Product(product) => link_product(plan, product),
        KeyedKernel::Gradient { reverse } => {
            let linker = chunk_linker(chunked, "scan/keyed_gradient").set("REVERSE", reverse);
            let linker = linker.tensor("own", b).tensor("other", b).tensor("gradient", b);
            ["factors", "of_state", "parts"]
                .into_iter()
                .fold(linker, |linker, name| linker.tensor(name, b_in_f32))
                .link()
        }
        KeyedKernel::Decays => chunk_linker(chunked, "scan/keyed_decays").link(),
    }
}

fn link_product(plan: &KeyedPlan, product: KeyedProduct) -> Result<Shader, ShaderError> {
    let chunked = &plan.chunked;
    let linker = chunk_linker(chunked, "scan/chunk_product").module("common/product");
    match product {
        KeyedProduct::Columns | KeyedProduct::Rows => {
            let turned = product == KeyedProduct::Columns;
            linker
                .module("scan/product_state")
                .tensor("rows", if turned { plan.key_in_f32() } else { chunked.x })
                .tensor("states", chunked.states())
                .set("STATE_TURNED", turned)
                .module("scan/product_store")
                .link()
        }
        KeyedProduct::Result | KeyedProduct::Values => linker
            .module("scan/product_matrix")
            .tensor("x", chunked.x)
            .set("TURNED", product == KeyedProduct::Values)
            .set("INTO", false)
            .set("OUT_OF", false)
            .module("scan/product_join")
            .tensor("out", chunked.x)
            .link(),
    }
}

/// Linear attention whose decays differ from key to key, with its compiled kernels.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    pub gpu: Gpu,
    of: Recurrence,
    plan: KeyedPlan,
    windows: Split,
    kernels: Vec<(KeyedKernel, Kernel)>,
    scratch: Scratch,
}

/// Buffers that lead to states and scores.
#[derive(Clone, Copy)]
struct Between<'a> {
    records: &'a wgpu::Buffer,
    states: &'a wgpu::Buffer,
    /// Of decays that are the same for all keys, of which there are none.
    unused_totals: &'a wgpu::Buffer,
    totals: &'a wgpu::Buffer,
    factors: &'a wgpu::Buffer,
    q: &'a wgpu::Buffer,
    k: &'a wgpu::Buffer,
    scores: &'a wgpu::Buffer,
    /// What results have from states.
    from_state: &'a wgpu::Buffer,
    border: Border<'a>,
}

/// Tensors that [`Between`] names.
const BETWEEN: usize = 11;

impl<'a> Between<'a> {
    fn new(tensors: &'a [Tensor<f32>]) -> Self {
        let buffers: Vec<_> = tensors[..BETWEEN].iter().map(Tensor::buffer).collect();
        let [records, states, unused_totals, totals, factors, q, k, scores, from_state, before, after] =
            buffers[..]
        else {
            unreachable!("scratch has as many tensors as shapes")
        };
        let border = Border { before, after };
        Self { records, states, unused_totals, totals, factors, q, k, scores, from_state, border }
    }
}

impl Keyed {
    pub fn forward(gpu: &Gpu, of: Recurrence, plan: KeyedPlan) -> Result<Self, Error> {
        let kernels = compile(gpu, &shaders(&plan)?)?;
        Self::new(gpu, of, plan, KeyedPlan::kernels().into_iter().zip(kernels).collect())
    }

    pub fn backward(gpu: &Gpu, of: Recurrence, plan: &KeyedBackwardPlan) -> Result<Self, Error> {
        let kernels = compile(gpu, &backward_shaders(plan)?)?;
        Self::new(gpu, of, plan.forward, KeyedBackwardPlan::kernels().into_iter().zip(kernels).collect())
    }

    fn new(
        gpu: &Gpu,
        of: Recurrence,
        plan: KeyedPlan,
        kernels: Vec<(KeyedKernel, Kernel)>,
    ) -> Result<Self, Error> {
        let of_chunks = kernels.iter().filter_map(|(kernel, compiled)| {
            let kernel = match *kernel {
                KeyedKernel::Records => ChunkKernel::Steps,
                KeyedKernel::States { reverse } => ChunkKernel::States { reverse },
                KeyedKernel::Pass { reverse } => ChunkKernel::Pass { reverse },
                _ => return None,
            };
            Some((kernel, compiled.clone()))
        });
        let whole = Chunked::new(gpu, of.clone(), plan.chunked, of_chunks.collect())?;
        let windows = Split::new(gpu, of.clone(), &plan.chunked, &whole)?;
        Ok(Self { gpu: gpu.clone(), of, plan, windows, kernels, scratch: Scratch::default() })
    }

    fn kernel(&self, wanted: KeyedKernel) -> &Kernel {
        super::kernel_of(&self.kernels, &wanted)
    }

    fn sizes(&self, window: &Window) -> ChunkParams {
        let of = &self.of;
        ChunkParams {
            records: window.chunked.plan.chunks * of.heads as u32,
            heads: of.heads as u32,
            x_dim: of.x_dim as u32,
            b_dim: of.b_dim as u32,
            tokens: window.token_count() as u32,
        }
    }

    fn dispatch(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernel: KeyedKernel,
        params: &impl Params,
        buffers: &[Bound<'_>],
    ) -> Result<(), Error> {
        self.kernel(kernel).dispatch_parts(&self.gpu, encoder, params, bindings(buffers))
    }

    /// Shapes of what [`Between`] names.
    fn shapes(&self) -> Vec<Vec<usize>> {
        let (of, widest, tokens) = (&self.of, self.windows.widest(), self.windows.most_tokens());
        let (records, states, totals) = widest.chunked.shared_shapes();
        let (chunks, room) = (widest.chunked.plan.chunks as usize, self.plan.chunked.room as usize);
        let keys = vec![tokens, of.heads, of.b_dim];
        vec![
            records.to_vec(),
            states.to_vec(),
            totals.to_vec(),
            vec![chunks, of.heads, of.b_dim],
            keys.clone(),
            keys.clone(),
            keys,
            vec![chunks, of.heads, room, room],
            vec![tokens, of.heads, of.x_dim],
            self.windows.border_shape(),
            self.windows.border_shape(),
        ]
    }

    /// Records linear attention. Of what steps are made of, `given` has `g`.
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        given: &Given<'_>,
        out: &wgpu::Buffer,
        last: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let shapes = self.shapes();
        let shapes: Vec<_> = shapes.iter().map(Vec::as_slice).collect();
        let between = Between::new(self.scratch.tensors(&self.gpu, &shapes)?);
        self.windows.forward(encoder, (given.initial, last), between.border, |encoder, window, ends| {
            let part = self.windows.given(given, window);
            self.encode_states(encoder, window, &part, between, ends)?;
            let [records, q, states, scores, from_state] =
                [between.records, between.q, between.states, between.scores, between.from_state]
                    .map(Bound::from);
            let read = [records, q, states, from_state];
            self.product(encoder, window, KeyedProduct::Columns, self.of.scale, &read)?;
            let joined = [records, scores, part.x, from_state, self.windows.of_x(window, out)];
            self.product(encoder, window, KeyedProduct::Result, 1.0, &joined)
        })
    }

    /// Leaves the scores of each chunk of a window, and the state with which it begins.
    fn encode_states(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        window: &Window,
        given: &GivenPart<'_>,
        between: Between<'_>,
        ends: Ends<'_>,
    ) -> Result<(), Error> {
        let Between { records, states, unused_totals, totals, .. } = between;
        let [of_records, of_states, none, of_totals, factors, q, k, scores] =
            [records, states, unused_totals, totals, between.factors, between.q, between.k, between.scores]
                .map(Bound::from);
        let ChunkParams { records: count, heads, b_dim: key_dim, .. } = self.sizes(window);
        let of_keys: [&wgpu::Buffer; 0] = [];
        window.chunked.record_steps(encoder, &of_keys, records)?;
        let count = count * key_dim;
        let params = KeyedStepsParams { groups: count.div_ceil(64), count, heads, key_dim };
        let buffers = [given.c, given.b, given.steps[0], factors, q, k, of_totals, of_records];
        self.dispatch(encoder, KeyedKernel::Steps, &params, &buffers)?;
        self.score(encoder, window, true, [given.c, given.b, factors, scores, of_records])?;
        window.chunked.sum_states(encoder, false, 1.0, &[given.x, k, of_states, none, of_records])?;
        window.chunked.pass(encoder, false, totals, states, ends)
    }

    fn score(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        window: &Window,
        decays: bool,
        buffers: [Bound<'_>; 5],
    ) -> Result<(), Error> {
        let ChunkParams { records, heads, x_dim, b_dim, .. } = self.sizes(window);
        let width = if decays { b_dim } else { x_dim };
        let params = ScoresParams { groups: records, heads, width, scale: self.of.scale };
        self.dispatch(encoder, KeyedKernel::Scores { decays }, &params, &buffers)
    }

    fn product(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        window: &Window,
        product: KeyedProduct,
        scale: f32,
        buffers: &[Bound<'_>],
    ) -> Result<(), Error> {
        let ChunkParams { records, heads, x_dim, b_dim, .. } = self.sizes(window);
        let [depth, width] = if product == KeyedProduct::Rows { [x_dim, b_dim] } else { [b_dim, x_dim] };
        let params = ProductParams::new(records, heads, [depth, width], scale);
        self.dispatch(encoder, KeyedKernel::Product(product), &params, buffers)
    }

    /// Records the gradients, given those of the result and, if anything follows, of the last states.
    pub fn encode_backward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        given: &Given<'_>,
        dout: &wgpu::Buffer,
        dlast: Option<&wgpu::Buffer>,
        gradients: &Gradients<'_>,
    ) -> Result<(), Error> {
        let (of, windows) = (&self.of, &self.windows);
        let mut shapes = self.shapes();
        let [states, keys, scores] = [1, 4, 7].map(|i: usize| shapes[i].clone());
        let parts = [&[2], &keys[..]].concat();
        let (last, border) = (vec![of.states(), of.heads, of.cells()], windows.border_shape());
        shapes.extend([last, scores, states, keys, parts.clone(), parts]);
        shapes.extend([border.clone(), border, windows.carries_shape()]);
        let shapes: Vec<_> = shapes.iter().map(Vec::as_slice).collect();
        let scratch = self.scratch.tensors(&self.gpu, &shapes)?;
        let between = Between::new(scratch);
        let further: Vec<_> = scratch[BETWEEN..].iter().map(Tensor::buffer).collect();
        let [last, dscores, dstates, of_state, of_queries, of_keys, before, after, carries] = further[..]
        else {
            unreachable!("scratch has as many tensors as shapes")
        };
        let back = Back { dscores, dstates, of_state, of_queries, of_keys };
        windows.backward(
            encoder,
            [(given.initial, last), (dlast, gradients.initial)],
            ([between.border, Border { before, after }], carries),
            |encoder, window, ends| {
                self.encode_states(encoder, window, &windows.given(given, window), between, ends)
            },
            |encoder, window, ends| {
                let of_window = (&windows.given(given, window), windows.of_x(window, dout));
                self.encode_window(encoder, window, of_window, (between, back), ends, gradients)
            },
        )
    }

    /// Records a window's gradients, whose states are there.
    fn encode_window(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        window: &Window,
        (given, dout): (&GivenPart<'_>, Bound<'_>),
        (between, back): (Between<'_>, Back<'_>),
        ends: Ends<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<(), Error> {
        let (of, windows) = (&self.of, &self.windows);
        let ChunkParams { records: count, heads, x_dim, b_dim: key_dim, tokens } = self.sizes(window);
        let [records, states, none, totals, factors] =
            [between.records, between.states, between.unused_totals, between.totals, between.factors]
                .map(Bound::from);
        let [q, k, scores, from_state] =
            [between.q, between.k, between.scores, between.from_state].map(Bound::from);
        let [dscores, dstates, of_state, of_queries, of_keys] =
            [back.dscores, back.dstates, back.of_state, back.of_queries, back.of_keys].map(Bound::from);
        self.score(encoder, window, false, [dout, given.x, factors, dscores, records])?;
        window.chunked.sum_states(encoder, true, of.scale, &[dout, q, dstates, none, records])?;
        window.chunked.pass(encoder, true, between.totals, back.dstates, ends)?;

        let dx = windows.of_x(window, gradients.x);
        self.product(encoder, window, KeyedProduct::Columns, 1.0, &[records, k, dstates, from_state])?;
        let values = [records, scores, dout, from_state, dx];
        self.product(encoder, window, KeyedProduct::Values, 1.0, &values)?;
        let fours = self.plan.chunked.room * key_dim.div_ceil(4);
        let [dq, dk] = [gradients.c, gradients.b].map(|buffer| windows.of_b(window, buffer));
        let sides = [
            (false, of.scale, dout, states, [given.c, given.b], dq, of_queries),
            (true, 1.0, given.x, dstates, [given.b, given.c], dk, of_keys),
        ];
        for (reverse, scale, rows, states, [own, other], gradient, parts) in sides {
            self.product(encoder, window, KeyedProduct::Rows, 1.0, &[records, rows, states, of_state])?;
            let groups = (count * fours).div_ceil(64);
            let params =
                GradientParams { groups, count: count * fours, heads, width: key_dim, tokens, scale };
            let buffers = [own, other, factors, dscores, of_state, gradient, parts, records];
            self.dispatch(encoder, KeyedKernel::Gradient { reverse }, &params, &buffers)?;
        }
        let count = count * key_dim;
        let params = DecaysParams { groups: count.div_ceil(64), count, heads, x_dim, key_dim, tokens };
        let dg = windows.of_step(window, gradients.step);
        let buffers = [states, dstates, totals, of_queries, of_keys, dg, records];
        self.dispatch(encoder, KeyedKernel::Decays, &params, &buffers)
    }
}

/// Buffers of the gradients alone.
#[derive(Clone, Copy)]
struct Back<'a> {
    dscores: &'a wgpu::Buffer,
    dstates: &'a wgpu::Buffer,
    of_state: &'a wgpu::Buffer,
    of_queries: &'a wgpu::Buffer,
    of_keys: &'a wgpu::Buffer,
}
