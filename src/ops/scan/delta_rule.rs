//! The delta rule, its gradients and its steps.

use super::chunked::{
    Bound, Chunked, Given, Parts, ProductParams, Reads, StatesParams, chunk_linker, shader, states_linker,
};
use super::token::Token;
use super::{LinearAttentionOutputGradients, LinearAttentionOutputs};
use crate::kernel::{Kernel, compile, params};
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

impl<T: Element> DeltaRuleInputs<'_, T> {
    pub(crate) fn check(&self, gpu: &Gpu, spec: &DeltaRuleSpec) -> Result<(), Error> {
        self.q.expect(gpu, "q", spec.dtype, &spec.q_shape())?;
        self.k.expect(gpu, "k", spec.dtype, &spec.q_shape())?;
        self.v.expect(gpu, "v", spec.dtype, &spec.v_shape())?;
        self.beta.expect(gpu, "beta", DType::F32, &spec.beta_shape())?;
        expect_optional(gpu, self.g, "g", spec.gated, &spec.beta_shape())?;
        expect_optional(gpu, self.initial, "the initial states", spec.initial, &spec.state_shape())
    }

    /// What steps are made of.
    fn steps<'b>(&'b self, gpu: &'b Gpu) -> [&'b wgpu::Buffer; 2] {
        [self.g.map_or(gpu.unused(), Tensor::buffer), self.beta.buffer()]
    }
}

/// Buffers that lead to residuals and states.
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
}

impl<'a> Between<'a> {
    fn new(tensors: &'a [Tensor<f32>]) -> Self {
        let buffers: Vec<_> = tensors[..7].iter().map(Tensor::buffer).collect();
        let [records, states, totals, inverses, taken, residuals, of_keys] = buffers[..] else {
            unreachable!("scratch has as many tensors as shapes")
        };
        Self { records, states, totals, inverses, taken, residuals, of_keys }
    }
}

/// The delta rule with its compiled kernels.
#[derive(Clone, Debug)]
struct Rule {
    gpu: Gpu,
    spec: DeltaRuleSpec,
    plan: DeltaRulePlan,
    tokens: Chunked,
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
        let tokens = Chunked::new(gpu, spec.recurrence(), plan.chunked, of_tokens.collect())?;
        Ok(Self { gpu: gpu.clone(), spec, plan, tokens, kernels, scratch: Scratch::default() })
    }

    fn kernel(&self, wanted: DeltaKernel) -> &Kernel {
        super::kernel_of(&self.kernels, &wanted)
    }

    fn token_count(&self) -> usize {
        self.spec.batch * self.spec.length
    }

    /// Heads of all chunks.
    fn heads_of_chunks(&self) -> u32 {
        self.plan.chunked.chunks * self.spec.heads as u32
    }

    /// Shapes of what [`Between`] names.
    fn shapes(&self) -> [Vec<usize>; 7] {
        let DeltaRuleSpec { heads, key_dim, value_dim, .. } = self.spec;
        let (chunks, room) = (self.plan.chunked.chunks as usize, self.plan.chunked.room as usize);
        let (records, states, totals) = self.tokens.shared_shapes();
        [
            records.to_vec(),
            states.to_vec(),
            totals.to_vec(),
            vec![chunks, heads, room, room],
            vec![chunks, heads, key_dim, key_dim],
            vec![self.token_count(), heads, value_dim],
            vec![self.token_count(), heads, key_dim],
        ]
    }

    /// Leaves the residual of every step, and the state with which each chunk begins.
    fn encode_states<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: &DeltaRuleInputs<'_, T>,
        between: &Between<'_>,
        last: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let Between { records, states, totals, inverses, taken, residuals, of_keys } = *between;
        let (k, v) = (inputs.k.buffer(), inputs.v.buffer());
        let [heads, key_dim] = [self.spec.heads, self.spec.key_dim].map(|size| size as u32);
        self.tokens.record_steps(encoder, &inputs.steps(&self.gpu), records)?;
        let params = InverseParams { groups: self.heads_of_chunks(), heads, key_dim };
        self.kernel(DeltaKernel::Inverse).dispatch(&self.gpu, encoder, &params, &[k, inverses, records])?;
        self.product(encoder, DeltaProduct::Values, 1.0, &[records, inverses, v, residuals])?;
        self.product(encoder, DeltaProduct::Keys, 1.0, &[records, inverses, k, of_keys])?;
        self.sum_states(encoder, false, &[residuals, k, states, totals, records])?;
        self.sum_states(encoder, true, &[of_keys, k, taken, totals, records])?;
        let initial = inputs.initial.map(Tensor::buffer);
        self.pass(encoder, false, between, initial, states, last)?;
        self.product(encoder, DeltaProduct::State, -1.0, &[records, of_keys, states, residuals])
    }

    fn product(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        product: DeltaProduct,
        scale: f32,
        buffers: &[&wgpu::Buffer],
    ) -> Result<(), Error> {
        let DeltaRuleSpec { heads, key_dim, value_dim, .. } = self.spec;
        let of_keys = matches!(product, DeltaProduct::Keys | DeltaProduct::KeysOut);
        let width = if of_keys { key_dim } else { value_dim } as u32;
        let sizes = [key_dim as u32, width];
        let params = ProductParams::new(self.heads_of_chunks(), heads as u32, sizes, scale);
        self.kernel(DeltaKernel::Product(product)).dispatch(&self.gpu, encoder, &params, buffers)
    }

    fn sum_states(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        keys: bool,
        buffers: &[&wgpu::Buffer],
    ) -> Result<(), Error> {
        let [heads, key_dim, value_dim] =
            [self.spec.heads, self.spec.key_dim, self.spec.value_dim].map(|size| size as u32);
        let chunked = &self.plan.chunked;
        let (x_dim, lanes) =
            if keys { (key_dim, self.plan.key_lanes) } else { (value_dim, chunked.state_lanes) };
        let params = StatesParams::new(
            self.heads_of_chunks(),
            [heads, 1],
            [x_dim, key_dim],
            [lanes, chunked.b_fours],
            1.0,
        );
        self.kernel(DeltaKernel::States { keys }).dispatch(&self.gpu, encoder, &params, buffers)
    }

    fn pass(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        reverse: bool,
        between: &Between<'_>,
        initial: Option<&wgpu::Buffer>,
        states: &wgpu::Buffer,
        last: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let [heads, b_dim, x_dim] =
            [self.spec.heads, self.spec.key_dim, self.spec.value_dim].map(|size| size as u32);
        let row_tiles = x_dim.div_ceil(self.plan.pass.rows());
        let layout = &self.tokens.layout;
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
        self.kernel(DeltaKernel::Pass { reverse }).dispatch(&self.gpu, encoder, &params, &buffers)
    }

    /// Between tensors of one step a token and tensors of two.
    fn pair(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernel: DeltaKernel,
        [first_scale, second_scale]: [f32; 2],
        buffers: &[&wgpu::Buffer],
    ) -> Result<(), Error> {
        let of_keys =
            matches!(kernel, DeltaKernel::Interleave(DeltaPair::Keys) | DeltaKernel::Gather(DeltaPair::Keys));
        let width = if of_keys { self.spec.key_dim } else { self.spec.value_dim };
        let width = (self.spec.heads * width) as u32;
        let tokens = self.token_count() as u32;
        let groups = (tokens * width.div_ceil(4)).div_ceil(64);
        let params = PairParams { groups, tokens, width, first_scale, second_scale };
        self.kernel(kernel).dispatch(&self.gpu, encoder, &params, buffers)
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
        let Rule { gpu, spec, tokens, .. } = &self.rule;
        inputs.check(gpu, spec)?;
        outputs.check(gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        let shapes = self.rule.shapes();
        let shapes = shapes.each_ref().map(Vec::as_slice);
        let between = Between::new(self.rule.scratch.tensors(gpu, &shapes)?);
        self.rule.encode_states(encoder, &inputs, &between, outputs.last.buffer())?;
        let Between { records, states, residuals, .. } = between;
        let (q, k) = (inputs.q.buffer(), inputs.k.buffer());
        let buffers = [q, k, residuals, states, records, gpu.unused(), outputs.o.buffer()];
        tokens.mix(encoder, Mixed::Residuals, &buffers)
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
    pairs: Chunked,
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
        let pairs = Chunked::new(gpu, spec.pairs(chunk), plan.pairs.forward, of_pairs.collect())?;
        let rule = Rule::new(gpu, spec, plan.forward, kernels)?;
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
        gradients.q.expect(gpu, "dq", spec.dtype, &spec.q_shape())?;
        gradients.k.expect(gpu, "dk", spec.dtype, &spec.q_shape())?;
        gradients.v.expect(gpu, "dv", spec.dtype, &spec.v_shape())?;
        gradients.beta.expect(gpu, "dbeta", DType::F32, &spec.beta_shape())?;
        expect_optional(gpu, gradients.g.as_ref(), "dg", spec.gated, &spec.beta_shape())?;
        let initial = &gradients.initial;
        initial.expect(gpu, "the gradient of the initial states", DType::F32, &spec.state_shape())
    }

    /// Shapes of the scratch: what [`Between`] names, and what follows in the order of [`Self::encode`].
    fn shapes(&self) -> Vec<Vec<usize>> {
        let DeltaRuleSpec { heads, key_dim, value_dim, .. } = self.rule.spec;
        let tokens = self.rule.token_count();
        let [once, keys, values] = [
            vec![tokens, heads, value_dim],
            vec![2 * tokens, heads, key_dim],
            vec![2 * tokens, heads, value_dim],
        ];
        let (records, states, _) = self.pairs.shared_shapes();
        let mut shapes = self.rule.shapes().to_vec();
        shapes.extend([
            self.rule.spec.state_shape().to_vec(),
            once.clone(),
            once,
            records.to_vec(),
            states.to_vec(),
        ]);
        shapes.extend([values.clone(), values, keys.clone(), keys.clone(), keys.clone(), keys]);
        shapes.extend(self.pairs.parts_shapes());
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
        let (rule, pairs, gpu) = (&self.rule, &self.pairs, &self.rule.gpu);
        let shapes = self.shapes();
        let shapes: Vec<_> = shapes.iter().map(Vec::as_slice).collect();
        let scratch = rule.scratch.tensors(gpu, &shapes)?;
        let between = Between::new(scratch);
        let buffers: Vec<_> = scratch[7..].iter().map(Tensor::buffer).collect();
        let [last, y, dv, records, dstates, x, dy, b, c, db, dc, within, dots, parts] = buffers[..] else {
            unreachable!("scratch has as many tensors as shapes")
        };
        let (q, k, d_o) = (inputs.q.buffer(), inputs.k.buffer(), of.o.buffer());
        let steps = inputs.steps(gpu);
        rule.encode_states(encoder, &inputs, &between, last)?;

        // The gradients of residuals where nothing follows a chunk.
        let mixed = [k, q, d_o, gpu.unused(), between.records, gpu.unused(), y];
        rule.tokens.mix(encoder, Mixed::Within, &mixed)?;
        let inverted = [between.records, between.inverses, y, dv];
        rule.product(encoder, DeltaProduct::Gradients, 1.0, &inverted)?;
        let inverted = [between.records, between.inverses, k, between.of_keys];
        rule.product(encoder, DeltaProduct::KeysOut, 1.0, &inverted)?;

        // Those of states, and what follows from them for the gradients of residuals.
        let interleave = DeltaKernel::Interleave;
        let of_result = [-1.0, rule.spec.scale_value()];
        rule.pair(encoder, interleave(DeltaPair::Gradients), of_result, &[dv, d_o, dy])?;
        rule.pair(encoder, interleave(DeltaPair::Keys), [1.0, 1.0], &[k, q, c])?;
        pairs.record_steps(encoder, &steps, records)?;
        pairs.sum_states(encoder, true, 1.0, &[dy, c, dstates, between.totals, records])?;
        let dlast = of.last.map(Tensor::buffer);
        rule.pass(encoder, true, &between, dlast, dstates, gradients.initial.buffer())?;
        rule.product(encoder, DeltaProduct::State, 1.0, &[between.records, between.of_keys, dstates, dv])?;

        rule.pair(encoder, interleave(DeltaPair::Gradients), of_result, &[dv, d_o, dy])?;
        rule.pair(
            encoder,
            interleave(DeltaPair::Values),
            [1.0, 1.0],
            &[between.residuals, between.residuals, x],
        )?;
        rule.pair(encoder, interleave(DeltaPair::Keys), [1.0, 1.0], &[k, k, b])?;
        let [of_x, of_b, of_c, of_y] = [x, b, c, dy].map(Bound::from);
        let reads = Reads { x: of_x, b: of_b, c: of_c, dy: of_y, states: between.states, dstates, records };
        let parts = Parts { within, dots, of_heads: parts };
        pairs.encode_keys(encoder, &reads, parts, [db, dc].map(Bound::from))?;
        // What is bound to be read cannot be bound to be written, even if neither is done.
        let dg = gradients.g.as_ref().map_or(y, Tensor::buffer);
        pairs.encode_steps(encoder, records, parts, &steps, &[dg, gradients.beta.buffer()])?;

        let gather = DeltaKernel::Gather;
        rule.pair(encoder, gather(DeltaPair::Keys), [0.0, 1.0], &[dc, dc, gradients.q.buffer()])?;
        rule.pair(encoder, gather(DeltaPair::Keys), [1.0, 1.0], &[dc, db, gradients.k.buffer()])?;
        rule.pair(encoder, gather(DeltaPair::Values), [-1.0, 0.0], &[dy, dy, gradients.v.buffer()])
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
        let given = Given {
            x: inputs.v.buffer(),
            b: inputs.k.buffer(),
            c: inputs.q.buffer(),
            steps: inputs.steps(gpu).to_vec(),
            skip: gpu.unused(),
            z: gpu.unused(),
            initial: None,
        };
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
