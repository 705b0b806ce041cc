//! The delta rule, its gradients and its steps.

use super::chunked::{
    Bound, Chunked, Given, GivenPart, Parts, ProductParams, Reads, StatesParams, bindings, chunk_linker,
    shader, states_linker,
};
use super::chunked_windows::{Border, Ends, Split, Window};
use super::token::Token;
use super::{LinearAttentionOutputGradients, LinearAttentionOutputs};
use crate::kernel::{Kernel, Params, compile, params};
use crate::ops::Scratch;
use crate::plan::{
    DeltaKernel, DeltaPair, DeltaProduct, DeltaRuleBackwardPlan, DeltaRulePlan, Mixed, TokenPlan,
};
use crate::shader::{Linker, Shader, ShaderError};
use crate::tensor::expect_optional;
use crate::{DType, DeltaRuleSpec, Element, Error, Gpu, Tensor};

params! {
    /// `scan/delta_inverse`.
    InverseParams { heads: u32, key_dim: u32 }
}

params! {
    /// `scan/delta_pass`.
    PassParams { heads: u32, x_dim: u32, b_dim: u32, row_tiles: u32, has_initial: u32 }
}

params! {
    /// `scan/interleave` and `scan/gather_pairs`.
    PairParams { tokens: u32, width: u32, first_scale: f32, second_scale: f32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &DeltaRulePlan) -> Result<Vec<Shader>, ShaderError> {
    DeltaRulePlan::kernels().into_iter().map(|kernel| link(plan, kernel)).collect()
}

/// The linked shaders of a plan of gradients, in the order of its footprints.
pub fn backward_shaders(plan: &DeltaRuleBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let link = |kernel| match kernel {
        DeltaKernel::Pairs(kernel) => shader(&plan.pairs.forward, kernel),
        other => link(&plan.forward, other),
    };
    DeltaRuleBackwardPlan::kernels().into_iter().map(link).collect()
}

fn link(plan: &DeltaRulePlan, kernel: DeltaKernel) -> Result<Shader, ShaderError> {
    let chunked = &plan.chunked;
    let (x, x_in_f32, b, b_in_f32) = (chunked.x, chunked.x_in_f32(), chunked.b, plan.key_in_f32());
    match kernel {
        DeltaKernel::Tokens(kernel) | DeltaKernel::Pairs(kernel) => shader(chunked, kernel),
        DeltaKernel::Inverse => {
            chunk_linker(chunked, "scan/delta_inverse").module("common/product").tensor("k", b).link()
        }
        DeltaKernel::States { keys: true } => {
            states_linker(chunked, [b_in_f32, b], plan.key_lanes, false).link()
        }
        DeltaKernel::States { keys: false } => {
            states_linker(chunked, [x_in_f32, b], chunked.state_lanes, false).link()
        }
        DeltaKernel::Product(product) => link_product(plan, product),
        DeltaKernel::Pass { reverse } => Linker::new("scan/delta_pass")
            .module("common/product")
            .tensor("taken", chunked.states())
            .set("ROW_LANES", plan.pass.row_lanes)
            .set("COLUMN_LANES", plan.pass.column_lanes)
            .set("FOURS", plan.pass.fours)
            .set("REVERSE", reverse)
            .link(),
        DeltaKernel::Interleave(pair) => {
            let [first, second, out] = match pair {
                DeltaPair::Values => [x_in_f32; 3],
                DeltaPair::Keys => [b, b, b_in_f32],
                DeltaPair::Gradients => [x_in_f32, x, x_in_f32],
            };
            Linker::new("scan/interleave")
                .tensor("first", first)
                .tensor("second", second)
                .tensor("out", out)
                .link()
        }
        DeltaKernel::Gather(pair) => {
            let [from, to] = if pair == DeltaPair::Keys { [b_in_f32, b] } else { [x_in_f32, x] };
            Linker::new("scan/gather_pairs")
                .tensor("firsts", from)
                .tensor("seconds", from)
                .tensor("out", to)
                .link()
        }
    }
}

fn link_product(plan: &DeltaRulePlan, product: DeltaProduct) -> Result<Shader, ShaderError> {
    let chunked = &plan.chunked;
    let linker = chunk_linker(chunked, "scan/chunk_product").module("common/product");
    let x = match product {
        DeltaProduct::State => {
            return linker
                .module("scan/product_state")
                .tensor("rows", plan.key_in_f32())
                .tensor("states", chunked.states())
                .set("STATE_TURNED", true)
                .module("scan/product_add")
                .link();
        }
        DeltaProduct::Values => chunked.x,
        DeltaProduct::Gradients => chunked.x_in_f32(),
        DeltaProduct::Keys | DeltaProduct::KeysOut => chunked.b,
    };
    linker
        .module("scan/product_matrix")
        .tensor("x", x)
        .set("TURNED", matches!(product, DeltaProduct::Gradients | DeltaProduct::KeysOut))
        .set("INTO", product == DeltaProduct::Keys)
        .set("OUT_OF", product == DeltaProduct::KeysOut)
        .module("scan/product_store")
        .link()
}

/// Inputs of [`DeltaRule`] and [`DeltaRuleBackward`]; shapes as in [`DeltaRuleSpec`].
#[derive(Clone, Copy, Debug)]
pub struct DeltaRuleInputs<'a, T> {
    /// How the states are read.
    pub q: &'a Tensor<T>,
    /// Where in the states values go.
    pub k: &'a Tensor<T>,
    /// What the states are to hold under the keys.
    pub v: &'a Tensor<T>,
    /// Shares of what the states lack that they take in.
    pub beta: &'a Tensor<f32>,
    /// Logarithms of the decays, if the spec has them.
    pub g: Option<&'a Tensor<f32>>,
    /// States before the first steps, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
}

/// Gradients, under the names of the inputs that they belong to and with their shapes.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are those of the inputs")]
pub struct DeltaRuleGradients<T> {
    pub q: Tensor<T>,
    pub k: Tensor<T>,
    pub v: Tensor<T>,
    pub beta: Tensor<f32>,
    pub g: Option<Tensor<f32>>,
    /// Of the states before the first steps, also where these are 0 for lack of given ones.
    pub initial: Tensor<f32>,
}

impl<T: Element> DeltaRuleGradients<T> {
    pub(crate) fn check(&self, gpu: &Gpu, spec: &DeltaRuleSpec) -> Result<(), Error> {
        self.q.expect(gpu, "dq", spec.dtype, &spec.q_shape())?;
        self.k.expect(gpu, "dk", spec.dtype, &spec.q_shape())?;
        self.v.expect(gpu, "dv", spec.dtype, &spec.v_shape())?;
        self.beta.expect(gpu, "dbeta", DType::F32, &spec.beta_shape())?;
        expect_optional(gpu, self.g.as_ref(), "dg", spec.gated, &spec.beta_shape())?;
        let initial = &self.initial;
        initial.expect(gpu, "the gradient of the initial states", DType::F32, &spec.state_shape())
    }
}

impl<T: Element> DeltaRuleInputs<'_, T> {
    pub(crate) fn check(&self, gpu: &Gpu, spec: &DeltaRuleSpec) -> Result<(), Error> {
        self.q.expect(gpu, "q", spec.dtype, &spec.q_shape())?;
        self.k.expect(gpu, "k", spec.dtype, &spec.q_shape())?;
        self.v.expect(gpu, "v", spec.dtype, &spec.v_shape())?;
        self.beta.expect(gpu, "beta", DType::F32, &spec.beta_shape())?;
        expect_optional(gpu, self.g, "g", spec.gated, &spec.beta_shape())?;
        expect_optional(gpu, self.initial, "the initial states", spec.initial, &spec.state_shape())
    }

    fn buffers<'b>(&'b self, gpu: &'b Gpu) -> Given<'b> {
        Given {
            x: self.v.buffer(),
            b: self.k.buffer(),
            c: self.q.buffer(),
            steps: vec![self.g.map_or(gpu.unused(), Tensor::buffer), self.beta.buffer()],
            skip: gpu.unused(),
            z: gpu.unused(),
            initial: self.initial.map(Tensor::buffer),
        }
    }
}

/// Buffers that lead to residuals and states.
#[derive(Clone, Copy)]
struct Between<'a> {
    records: &'a wgpu::Buffer,
    /// States with which chunks begin.
    states: &'a wgpu::Buffer,
    /// Logarithms of whole chunks' decays.
    totals: &'a wgpu::Buffer,
    inverses: &'a wgpu::Buffer,
    taken: &'a wgpu::Buffer,
    residuals: &'a wgpu::Buffer,
    /// What residuals, or their gradients, lack or gain by each row of a state.
    of_keys: &'a wgpu::Buffer,
    border: Border<'a>,
}

/// Tensors that [`Between`] names.
const BETWEEN: usize = 9;

impl<'a> Between<'a> {
    fn new(tensors: &'a [Tensor<f32>]) -> Self {
        let buffers: Vec<_> = tensors[..BETWEEN].iter().map(Tensor::buffer).collect();
        let [records, states, totals, inverses, taken, residuals, of_keys, before, after] = buffers[..]
        else {
            unreachable!("scratch has as many tensors as shapes")
        };
        let border = Border { before, after };
        Self { records, states, totals, inverses, taken, residuals, of_keys, border }
    }
}

/// The delta rule with its compiled kernels.
#[derive(Clone, Debug)]
struct Rule {
    gpu: Gpu,
    spec: DeltaRuleSpec,
    plan: DeltaRulePlan,
    windows: Split,
    kernels: Vec<(DeltaKernel, Kernel)>,
    scratch: Scratch,
}

impl Rule {
    fn new(
        gpu: &Gpu,
        spec: DeltaRuleSpec,
        plan: DeltaRulePlan,
        kernels: Vec<(DeltaKernel, Kernel)>,
    ) -> Result<Self, Error> {
        let of_tokens = kernels.iter().filter_map(|(kernel, compiled)| match kernel {
            DeltaKernel::Tokens(kernel) => Some((*kernel, compiled.clone())),
            _ => None,
        });
        let whole = Chunked::new(gpu, spec.recurrence(), plan.chunked, of_tokens.collect())?;
        let windows = Split::new(gpu, spec.recurrence(), &plan.chunked, &whole)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, windows, kernels, scratch: Scratch::default() })
    }

    fn dispatch(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernel: DeltaKernel,
        params: &impl Params,
        buffers: &[Bound<'_>],
    ) -> Result<(), Error> {
        let kernel = super::kernel_of(&self.kernels, &kernel);
        kernel.dispatch_parts(&self.gpu, encoder, params, bindings(buffers))
    }

    /// Heads of all chunks of a window.
    fn heads_of_chunks(&self, window: &Window) -> u32 {
        window.chunked.plan.chunks * self.spec.heads as u32
    }

    /// Shapes of what [`Between`] names.
    fn shapes(&self) -> [Vec<usize>; BETWEEN] {
        let DeltaRuleSpec { heads, key_dim, value_dim, .. } = self.spec;
        let (widest, tokens) = (&self.windows.widest().chunked, self.windows.most_tokens());
        let (chunks, room) = (widest.plan.chunks as usize, self.plan.chunked.room as usize);
        let (records, states, totals) = widest.shared_shapes();
        let border = self.windows.border_shape();
        [
            records.to_vec(),
            states.to_vec(),
            totals.to_vec(),
            vec![chunks, heads, room, room],
            vec![chunks, heads, key_dim, key_dim],
            vec![tokens, heads, value_dim],
            vec![tokens, heads, key_dim],
            border.clone(),
            border,
        ]
    }

    /// Leaves the residual of every step of a window, and the state with which each chunk begins.
    fn encode_states(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        window: &Window,
        given: &GivenPart<'_>,
        between: &Between<'_>,
        ends: Ends<'_>,
    ) -> Result<(), Error> {
        let Between { records, states, totals, inverses, taken, residuals, of_keys, .. } = *between;
        let [heads, key_dim] = [self.spec.heads, self.spec.key_dim].map(|size| size as u32);
        window.chunked.record_steps(encoder, &given.steps, records)?;
        let [records, of_states, totals, inverses, taken, residuals, of_keys] =
            [records, states, totals, inverses, taken, residuals, of_keys].map(Bound::from);
        let params = InverseParams { groups: self.heads_of_chunks(window), heads, key_dim };
        self.dispatch(encoder, DeltaKernel::Inverse, &params, &[given.b, inverses, records])?;
        let of_values = [records, inverses, given.x, residuals];
        self.product(encoder, window, DeltaProduct::Values, 1.0, &of_values)?;
        self.product(encoder, window, DeltaProduct::Keys, 1.0, &[records, inverses, given.b, of_keys])?;
        self.sum_states(encoder, window, false, &[residuals, given.b, of_states, totals, records])?;
        self.sum_states(encoder, window, true, &[of_keys, given.b, taken, totals, records])?;
        self.pass(encoder, window, false, between, states, ends)?;
        let of_state = [records, of_keys, of_states, residuals];
        self.product(encoder, window, DeltaProduct::State, -1.0, &of_state)
    }

    fn product(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        window: &Window,
        product: DeltaProduct,
        scale: f32,
        buffers: &[Bound<'_>],
    ) -> Result<(), Error> {
        let DeltaRuleSpec { heads, key_dim, value_dim, .. } = self.spec;
        let of_keys = matches!(product, DeltaProduct::Keys | DeltaProduct::KeysOut);
        let width = if of_keys { key_dim } else { value_dim } as u32;
        let sizes = [key_dim as u32, width];
        let params = ProductParams::new(self.heads_of_chunks(window), heads as u32, sizes, scale);
        self.dispatch(encoder, DeltaKernel::Product(product), &params, buffers)
    }

    fn sum_states(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        window: &Window,
        keys: bool,
        buffers: &[Bound<'_>],
    ) -> Result<(), Error> {
        let [heads, key_dim, value_dim] =
            [self.spec.heads, self.spec.key_dim, self.spec.value_dim].map(|size| size as u32);
        let chunked = &self.plan.chunked;
        let (x_dim, lanes) =
            if keys { (key_dim, self.plan.key_lanes) } else { (value_dim, chunked.state_lanes) };
        let params = StatesParams::new(
            self.heads_of_chunks(window),
            [heads, 1],
            [x_dim, key_dim],
            [lanes, chunked.b_fours],
            1.0,
        );
        self.dispatch(encoder, DeltaKernel::States { keys }, &params, buffers)
    }

    fn pass(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        window: &Window,
        reverse: bool,
        between: &Between<'_>,
        states: &wgpu::Buffer,
        (initial, last): Ends<'_>,
    ) -> Result<(), Error> {
        let [heads, b_dim, x_dim] =
            [self.spec.heads, self.spec.key_dim, self.spec.value_dim].map(|size| size as u32);
        let row_tiles = x_dim.div_ceil(self.plan.pass.rows());
        let layout = &window.chunked.layout;
        let params = PassParams {
            groups: layout.run_count * heads * row_tiles,
            heads,
            x_dim,
            b_dim,
            row_tiles,
            has_initial: u32::from(initial.is_some()),
        };
        let initial = initial.unwrap_or(self.gpu.unused());
        let buffers = [layout.runs.buffer(), between.totals, between.taken, initial, states, last];
        self.dispatch(encoder, DeltaKernel::Pass { reverse }, &params, &buffers.map(Bound::from))
    }

    /// Between tensors of one step a token and tensors of two. What a window binds of tokens before its own is turned
    /// round too: their windows come later, and write them anew.
    fn pair(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        window: &Window,
        kernel: DeltaKernel,
        [first_scale, second_scale]: [f32; 2],
        buffers: &[Bound<'_>],
    ) -> Result<(), Error> {
        let of_keys =
            matches!(kernel, DeltaKernel::Interleave(DeltaPair::Keys) | DeltaKernel::Gather(DeltaPair::Keys));
        let width = if of_keys { self.spec.key_dim } else { self.spec.value_dim };
        let width = (self.spec.heads * width) as u32;
        let tokens = window.token_count() as u32;
        let groups = (tokens * width.div_ceil(4)).div_ceil(64);
        let params = PairParams { groups, tokens, width, first_scale, second_scale };
        self.dispatch(encoder, kernel, &params, buffers)
    }
}

/// The delta rule, gated or not, in chunks: its residuals first, then the kernels of [`Ssd`](crate::Ssd).
#[derive(Clone, Debug)]
pub struct DeltaRule {
    rule: Rule,
}

impl DeltaRule {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: DeltaRuleSpec) -> Result<Self, Error> {
        let plan = DeltaRulePlan::new(&spec, gpu.caps())?;
        let kernels = DeltaRulePlan::kernels().into_iter().zip(compile(gpu, &shaders(&plan)?)?);
        Ok(Self { rule: Rule::new(gpu, spec, plan, kernels.collect())? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &DeltaRulePlan {
        &self.rule.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<LinearAttentionOutputs<T>, Error> {
        let Rule { gpu, spec, .. } = &self.rule;
        Ok(LinearAttentionOutputs {
            o: Tensor::zeros(gpu, &spec.v_shape())?,
            last: Tensor::zeros(gpu, &spec.state_shape())?,
        })
    }

    /// Records it into an encoder of the same device. Fails like [`Ssd::encode`](crate::Ssd::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: DeltaRuleInputs<'_, T>,
        outputs: &LinearAttentionOutputs<T>,
    ) -> Result<(), Error> {
        let (rule, Rule { gpu, spec, windows, .. }) = (&self.rule, &self.rule);
        inputs.check(gpu, spec)?;
        outputs.check(gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        let shapes = rule.shapes();
        let between = Between::new(rule.scratch.tensors(gpu, &shapes.each_ref().map(Vec::as_slice))?);
        let given = inputs.buffers(gpu);
        let ends = (given.initial, outputs.last.buffer());
        windows.forward(encoder, ends, between.border, |encoder, window, ends| {
            let part = windows.given(&given, window);
            rule.encode_states(encoder, window, &part, &between, ends)?;
            let [residuals, states, records, none] =
                [between.residuals, between.states, between.records, gpu.unused()].map(Bound::from);
            let o = windows.of_x(window, outputs.o.buffer());
            let buffers = [part.c, part.b, residuals, states, records, none, o];
            window.chunked.mix(encoder, Mixed::Residuals, &buffers)
        })
    }

    /// Allocates the outputs, records it and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: DeltaRuleInputs<'_, T>,
    ) -> Result<LinearAttentionOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.rule.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.rule.gpu.submit(encoder)?;
        Ok(outputs)
    }
}

/// The gradients of [`DeltaRule`], the same to the last bit at every run.
#[derive(Clone, Debug)]
pub struct DeltaRuleBackward {
    rule: Rule,
    plan: DeltaRuleBackwardPlan,
    /// Of each window, with two steps a token.
    pairs: Vec<Chunked>,
}

impl DeltaRuleBackward {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: DeltaRuleSpec) -> Result<Self, Error> {
        let plan = DeltaRuleBackwardPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &backward_shaders(&plan)?)?;
        let kernels: Vec<_> = DeltaRuleBackwardPlan::kernels().into_iter().zip(kernels).collect();
        let of_pairs = kernels.iter().filter_map(|(kernel, compiled)| match kernel {
            DeltaKernel::Pairs(kernel) => Some((*kernel, compiled.clone())),
            _ => None,
        });
        let chunk = plan.forward.chunked.chunk as usize;
        let whole = Chunked::new(gpu, spec.pairs(chunk), plan.pairs.forward, of_pairs.collect())?;
        let rule = Rule::new(gpu, spec, plan.forward, kernels)?;
        let mut pairs = Vec::new();
        for window in &rule.windows.all {
            let (layout, first) = (window.doubled(gpu)?, window.chunked.first_chunk);
            let chunks = [first, first + window.chunked.plan.chunks];
            pairs.push(whole.window(layout, chunks, 2 * window.token_count()));
        }
        Ok(Self { rule, plan, pairs })
    }

    /// How it runs here.
    pub fn plan(&self) -> &DeltaRuleBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<DeltaRuleGradients<T>, Error> {
        let Rule { gpu, spec, .. } = &self.rule;
        Ok(DeltaRuleGradients {
            q: Tensor::zeros(gpu, &spec.q_shape())?,
            k: Tensor::zeros(gpu, &spec.q_shape())?,
            v: Tensor::zeros(gpu, &spec.v_shape())?,
            beta: Tensor::zeros(gpu, &spec.beta_shape())?,
            g: spec.gated.then(|| Tensor::zeros(gpu, &spec.beta_shape())).transpose()?,
            initial: Tensor::zeros(gpu, &spec.state_shape())?,
        })
    }

    fn check<T: Element>(
        &self,
        inputs: &DeltaRuleInputs<'_, T>,
        of: LinearAttentionOutputGradients<'_, T>,
        gradients: &DeltaRuleGradients<T>,
    ) -> Result<(), Error> {
        let Rule { gpu, spec, .. } = &self.rule;
        inputs.check(gpu, spec)?;
        of.check(gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        gradients.check(gpu, spec)
    }

    /// Shapes of the scratch: what [`Between`] names, what [`Back`] names, the last states, both sides of a border, and
    /// what windows begin with.
    fn shapes(&self) -> Vec<Vec<usize>> {
        let DeltaRuleSpec { heads, key_dim, value_dim, .. } = self.rule.spec;
        let (windows, pairs) = (&self.rule.windows, &self.pairs[0]);
        let tokens = windows.most_tokens();
        let [once, keys, values] = [
            vec![tokens, heads, value_dim],
            vec![2 * tokens, heads, key_dim],
            vec![2 * tokens, heads, value_dim],
        ];
        let (records, states, _) = pairs.shared_shapes();
        let mut shapes = self.rule.shapes().to_vec();
        shapes.extend([once.clone(), once, records.to_vec(), states.to_vec()]);
        shapes.extend([values.clone(), values, keys.clone(), keys.clone(), keys.clone(), keys]);
        let [within, dots, parts] = pairs.parts_shapes();
        shapes.extend([within, vec![dots[0], 2 * tokens, dots[2], dots[3]], vec![2, parts[1], parts[2]]]);
        shapes.push(self.rule.spec.state_shape().to_vec());
        shapes.extend([windows.border_shape(), windows.border_shape(), windows.carries_shape()]);
        shapes
    }

    /// Records the gradients into an encoder of the same device. Fails like [`Ssd::encode`](crate::Ssd::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: DeltaRuleInputs<'_, T>,
        of: LinearAttentionOutputGradients<'_, T>,
        gradients: &DeltaRuleGradients<T>,
    ) -> Result<(), Error> {
        self.check(&inputs, of, gradients)?;
        let (rule, gpu, windows) = (&self.rule, &self.rule.gpu, &self.rule.windows);
        let shapes = self.shapes();
        let shapes: Vec<_> = shapes.iter().map(Vec::as_slice).collect();
        let scratch = rule.scratch.tensors(gpu, &shapes)?;
        let between = Between::new(scratch);
        let (back, further) = Back::new(&scratch[BETWEEN..]);
        let [last, before, after, carries] = further;
        let given = inputs.buffers(gpu);
        windows.backward(
            encoder,
            [(given.initial, last), (of.last.map(Tensor::buffer), gradients.initial.buffer())],
            ([between.border, Border { before, after }], carries),
            |encoder, window, ends| {
                rule.encode_states(encoder, window, &windows.given(&given, window), &between, ends)
            },
            |encoder, window, ends| {
                let part = windows.given(&given, window);
                let d_o = windows.of_x(window, of.o.buffer());
                self.encode_window(encoder, window, (&part, d_o), (&between, &back), ends, gradients)
            },
        )
    }

    /// Records a window's gradients, whose states and residuals are there.
    fn encode_window<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        window: &Window,
        (given, d_o): (&GivenPart<'_>, Bound<'_>),
        (between, back): (&Between<'_>, &Back<'_>),
        ends: Ends<'_>,
        gradients: &DeltaRuleGradients<T>,
    ) -> Result<(), Error> {
        let (rule, gpu, windows) = (&self.rule, &self.rule.gpu, &self.rule.windows);
        let at = windows.all.iter().position(|other| std::ptr::eq(other, window));
        let pairs = &self.pairs[at.expect("the window is one of these")];
        let (q, k, none) = (given.c, given.b, gpu.unused().into());
        let [of_records, inverses, residuals, of_keys, of_totals] =
            [between.records, between.inverses, between.residuals, between.of_keys, between.totals]
                .map(Bound::from);
        let Back { y, dv, records, dstates, x, dy, b, c, db, dc, .. } = back.bound();

        // The gradients of residuals where nothing follows a chunk.
        window.chunked.mix(encoder, Mixed::Within, &[k, q, d_o, none, of_records, none, y])?;
        rule.product(encoder, window, DeltaProduct::Gradients, 1.0, &[of_records, inverses, y, dv])?;
        rule.product(encoder, window, DeltaProduct::KeysOut, 1.0, &[of_records, inverses, k, of_keys])?;

        // Those of states, and what follows from them for the gradients of residuals.
        let interleave = DeltaKernel::Interleave;
        let of_result = [-1.0, rule.spec.scale_value()];
        rule.pair(encoder, window, interleave(DeltaPair::Gradients), of_result, &[dv, d_o, dy])?;
        rule.pair(encoder, window, interleave(DeltaPair::Keys), [1.0, 1.0], &[k, q, c])?;
        pairs.record_steps(encoder, &given.steps, back.records)?;
        pairs.sum_states(encoder, true, 1.0, &[dy, c, dstates, of_totals, records])?;
        rule.pass(encoder, window, true, between, back.dstates, ends)?;
        rule.product(encoder, window, DeltaProduct::State, 1.0, &[of_records, of_keys, dstates, dv])?;

        rule.pair(encoder, window, interleave(DeltaPair::Gradients), of_result, &[dv, d_o, dy])?;
        let twice = [residuals, residuals, x];
        rule.pair(encoder, window, interleave(DeltaPair::Values), [1.0, 1.0], &twice)?;
        rule.pair(encoder, window, interleave(DeltaPair::Keys), [1.0, 1.0], &[k, k, b])?;
        let (states, dstates) = (between.states, back.dstates);
        let reads = Reads { x, b, c, dy, states, dstates, records: back.records };
        let parts = Parts { within: back.within, dots: back.dots, of_heads: back.parts };
        pairs.encode_keys(encoder, &reads, parts, [db, dc])?;
        // What is bound to be read cannot be bound to be written, even if neither is done.
        let dg = gradients.g.as_ref().map_or(y, |dg| windows.of_step(window, dg.buffer()));
        let dbeta = windows.of_step(window, gradients.beta.buffer());
        pairs.encode_steps(encoder, back.records, parts, &given.steps, &[dg, dbeta])?;

        let gather = DeltaKernel::Gather;
        let [dq, dk] = [&gradients.q, &gradients.k].map(|tensor| windows.of_b(window, tensor.buffer()));
        let dv = windows.of_x(window, gradients.v.buffer());
        rule.pair(encoder, window, gather(DeltaPair::Keys), [0.0, 1.0], &[dc, dc, dq])?;
        rule.pair(encoder, window, gather(DeltaPair::Keys), [1.0, 1.0], &[dc, db, dk])?;
        rule.pair(encoder, window, gather(DeltaPair::Values), [-1.0, 0.0], &[dy, dy, dv])
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: DeltaRuleInputs<'_, T>,
        of: LinearAttentionOutputGradients<'_, T>,
    ) -> Result<DeltaRuleGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.rule.gpu.encoder();
        self.encode(&mut encoder, inputs, of, &gradients)?;
        self.rule.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

/// Buffers of the gradients alone, most of which have two steps a token; as what a kernel binds, or as they are.
struct Back<'a, B = &'a wgpu::Buffer> {
    y: B,
    dv: B,
    records: B,
    dstates: B,
    x: B,
    dy: B,
    b: B,
    c: B,
    db: B,
    dc: B,
    within: &'a wgpu::Buffer,
    dots: &'a wgpu::Buffer,
    parts: &'a wgpu::Buffer,
}

impl<'a> Back<'a> {
    /// Their names, and the four buffers behind them.
    fn new(tensors: &'a [Tensor<f32>]) -> (Self, [&'a wgpu::Buffer; 4]) {
        let buffers: Vec<_> = tensors.iter().map(Tensor::buffer).collect();
        let [y, dv, records, dstates, x, dy, b, c, db, dc, within, dots, parts, ref further @ ..] =
            buffers[..]
        else {
            unreachable!("scratch has as many tensors as shapes")
        };
        let further = further.try_into().expect("scratch has as many tensors as shapes");
        (Self { y, dv, records, dstates, x, dy, b, c, db, dc, within, dots, parts }, further)
    }

    fn bound(&self) -> Back<'a, Bound<'a>> {
        let Self { y, dv, records, dstates, x, dy, b, c, db, dc, within, dots, parts } = *self;
        let [y, dv, records, dstates, x, dy, b, c, db, dc] =
            [y, dv, records, dstates, x, dy, b, c, db, dc].map(Bound::from);
        Back { y, dv, records, dstates, x, dy, b, c, db, dc, within, dots, parts }
    }
}

/// One step of every sequence of a [`DeltaRuleSpec`], as decoding takes it.
///
/// Of the spec, the sizes and options of a step count: a sequence is a row of every tensor, and lengths and chunks play
/// no part. Tensors: `q` and `k` of shape (sequences, heads, `key_dim`), `v` and `o` (sequences, heads, `value_dim`),
/// `beta` and `g` (sequences, heads).
#[derive(Clone, Debug)]
pub struct DeltaRuleStep {
    spec: DeltaRuleSpec,
    plan: TokenPlan,
    token: Token,
}

impl DeltaRuleStep {
    /// Plans a step for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: DeltaRuleSpec) -> Result<Self, Error> {
        let plan = TokenPlan::delta_rule(&spec, gpu.caps())?;
        let token = Token::new(gpu, spec.recurrence(), plan)?;
        Ok(Self { spec, plan, token })
    }

    /// How it runs here.
    pub fn plan(&self) -> &TokenPlan {
        &self.plan
    }

    /// Shape of `q` and `k`.
    pub fn q_shape(&self) -> [usize; 3] {
        let [sequences, heads, _, key_dim] = self.spec.state_shape();
        [sequences, heads, key_dim]
    }

    /// Shape of `v` and `o`.
    pub fn v_shape(&self) -> [usize; 3] {
        let [sequences, heads, value_dim, _] = self.spec.state_shape();
        [sequences, heads, value_dim]
    }

    /// Shape of `beta` and `g`.
    pub fn beta_shape(&self) -> [usize; 2] {
        let [sequences, heads, ..] = self.spec.state_shape();
        [sequences, heads]
    }

    /// Records a step into an encoder of the same device: `states` are what they are before it, and left what they are
    /// after it, so that `inputs` has no initial ones. Fails like [`Ssd::encode`](crate::Ssd::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: DeltaRuleInputs<'_, T>,
        states: &Tensor<f32>,
        o: &Tensor<T>,
    ) -> Result<(), Error> {
        let (gpu, spec) = (&self.token.gpu, &self.spec);
        inputs.q.expect(gpu, "q", spec.dtype, &self.q_shape())?;
        inputs.k.expect(gpu, "k", spec.dtype, &self.q_shape())?;
        inputs.v.expect(gpu, "v", spec.dtype, &self.v_shape())?;
        inputs.beta.expect(gpu, "beta", DType::F32, &self.beta_shape())?;
        expect_optional(gpu, inputs.g, "g", spec.gated, &self.beta_shape())?;
        expect_optional(gpu, inputs.initial, "the initial states", false, &[])?;
        states.expect(gpu, "the states", DType::F32, &spec.state_shape())?;
        o.expect(gpu, "o", spec.dtype, &self.v_shape())?;
        let given = inputs.buffers(gpu);
        self.token.encode(encoder, &given, states.buffer(), o.buffer())
    }

    /// Allocates the result, records a step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: DeltaRuleInputs<'_, T>,
        states: &Tensor<f32>,
    ) -> Result<Tensor<T>, Error> {
        let o = Tensor::zeros(&self.token.gpu, &self.v_shape())?;
        let mut encoder = self.token.gpu.encoder();
        self.encode(&mut encoder, inputs, states, &o)?;
        self.token.gpu.submit(encoder)?;
        Ok(o)
    }
}
