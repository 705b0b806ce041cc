//! The butterfly product and its gradients.

use std::ops::Range;

use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::ops::slice_sum::{self, Slices};
use crate::plan::{
    ButterflyBackwardPlan, ButterflyPass, ButterflyPlan, ButterflyTile, GRADIENT_LANES, Side, Window,
    gradient_cells,
};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::{ButterflySpec, Element, Error, Gpu, Tensor};

params! {
    /// `butterfly/product`.
    ProductParams {
        stack: u32, window: u32, batch: u32, row_tiles: u32, log_n: u32, factors: u32, increasing: u32,
        first: u32, count: u32, low: u32, bits: u32, run: u32,
        x_row: u32, x_stack: u32, x_width: u32, y_row: u32, y_stack: u32, y_width: u32, y_spare: u32,
    }
}

params! {
    /// `butterfly/product_backward`.
    ProductBackwardParams {
        stack: u32, window: u32, batch: u32, row_tiles: u32, chunk: u32, chunks: u32, stacks: u32, log_n: u32, factors: u32, increasing: u32,
        first: u32, count: u32, low: u32, bits: u32, run: u32,
        x_row: u32, x_stack: u32, x_width: u32, dy_row: u32, dy_stack: u32, dy_width: u32,
        dx_row: u32, dx_stack: u32, dx_width: u32, dx_spare: u32,
    }
}

params! {
    /// `butterfly/block_gradient`.
    BlockGradientParams {
        stack: u32, batch: u32, chunk: u32, chunks: u32, stacks: u32, log_n: u32, bit: u32,
        x_row: u32, x_stack: u32, x_width: u32, dy_row: u32, dy_stack: u32, dy_width: u32,
    }
}

/// Inputs of a [`Butterfly`] product; shapes as in [`ButterflySpec`].
#[derive(Clone, Copy, Debug)]
pub struct ButterflyInputs<'a, T> {
    /// Rows to multiply.
    pub x: &'a Tensor<T>,
    /// The factors' matrices.
    pub twiddle: &'a Tensor<T>,
}

/// Gradients of a [`Butterfly`] product: shapes are those of what they are the gradients of.
#[derive(Clone, Debug)]
pub struct ButterflyGradients<T> {
    /// Of `x`.
    pub dx: Tensor<T>,
    /// Of `twiddle`, summed over the batch.
    pub dtwiddle: Tensor<T>,
}

/// The butterfly product `y = B x` (Dao et al. 2019, 2020), all factors fused in workgroup memory where a row fits.
#[derive(Clone, Debug)]
pub struct Butterfly {
    gpu: Gpu,
    spec: ButterflySpec,
    plan: ButterflyPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
}

/// The gradients of a [`Butterfly`] product: `dx = Bᴴ dy`, and of each matrix of a factor the sum of `dy xᴴ` over the
/// batch, in an order that never changes. What goes into the factors is computed again, not kept from the product.
#[derive(Clone, Debug)]
pub struct ButterflyBackward {
    gpu: Gpu,
    spec: ButterflySpec,
    plan: ButterflyBackwardPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &ButterflyPlan) -> Result<Vec<Shader>, ShaderError> {
    let last = plan.passes.len() - 1;
    let pass = |i: usize| {
        let x = if i == 0 { plan.x } else { plan.between };
        let y = if i == last { plan.y } else { plan.between };
        product_shader(&plan.tile, Way::Forth, [x, plan.twiddle, y], plan.bias && i == last)
    };
    (0..=last).map(pass).collect()
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn backward_shaders(plan: &ButterflyBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let ButterflyBackwardPlan { tile, passes, twiddle, between, .. } = plan;
    let last = passes.len() - 1;
    let before = |i: usize| if i == 0 { plan.x } else { *between };
    let after = |i: usize| if i == last { plan.dy } else { *between };
    let forth = |i: usize| product_shader(tile, Way::Forth, [before(i), *twiddle, *between], false);
    let mut shaders = (0..last).map(forth).collect::<Result<Vec<_>, _>>()?;
    for (i, pass) in passes.iter().enumerate().rev() {
        if tile.entry == 1 {
            let dx = if i == 0 { plan.dx } else { *between };
            shaders.push(backward_shader(plan, [before(i), after(i), dx])?);
            shaders.push(slice_sum::shader(plan.sum())?);
            continue;
        }
        for factor in (0..pass.factors).rev() {
            let first = factor == 0;
            if !first {
                shaders.push(forth(i)?);
            }
            let x = if first { before(i) } else { *between };
            let dx = if first && i == 0 { plan.dx } else { *between };
            let dy = if factor + 1 == pass.factors { after(i) } else { *between };
            shaders.push(gradient_shader(tile, [x, dy])?);
            shaders.push(slice_sum::shader(plan.sum())?);
            shaders.push(product_shader(tile, Way::Back, [dy, *twiddle, dx], false)?);
        }
    }
    Ok(shaders)
}

/// Whether a product applies its factors as the spec says, or their adjoints in reverse.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Forth,
    Back,
}

/// What every kernel that keeps a tile is linked with.
fn linker(kernel: &'static str, tile: &ButterflyTile) -> Linker {
    let rows = match tile.rows {
        1 => "butterfly/rows_1",
        2 => "butterfly/rows_2",
        _ => "butterfly/rows_4",
    };
    Linker::new(kernel)
        .module(rows)
        .module(if tile.complex { "butterfly/complex" } else { "butterfly/real" })
        .module("butterfly/factor")
        .module("butterfly/tile")
        .set("LANES", tile.lanes)
        .set("TILE_NODES", tile.nodes)
        .set("ENTRY", tile.entry)
}

fn product_shader(
    tile: &ButterflyTile,
    way: Way,
    [x, twiddle, y]: [Storage; 3],
    bias: bool,
) -> Result<Shader, ShaderError> {
    let linker = linker("butterfly/product", tile).set("TRANSPOSED", tile.transposed != (way == Way::Back));
    let linker = match (tile.entry, tile.complex) {
        (1, _) => linker.module("butterfly/pairs").module("butterfly/apply_pairs"),
        (_, false) => linker.module("butterfly/real_entries").module("butterfly/apply_blocks"),
        (_, true) => {
            let linker = linker.module("butterfly/complex_entries").module("butterfly/apply_blocks");
            linker.set("CONJUGATE", way == Way::Back)
        }
    };
    let linker = if tile.entry > 1 { linker.set("TASKS", tile.tasks()) } else { linker };
    let linker = linker.tensor("x", x).tensor("twiddle", twiddle).tensor("y", y);
    if bias {
        linker.module("butterfly/bias").tensor("bias", y).link()
    } else {
        linker.module("butterfly/no_bias").link()
    }
}

fn backward_shader(plan: &ButterflyBackwardPlan, [x, dy, dx]: [Storage; 3]) -> Result<Shader, ShaderError> {
    linker("butterfly/product_backward", &plan.tile)
        .module("butterfly/pairs")
        .module("butterfly/no_bias")
        .set("TRANSPOSED", plan.tile.transposed)
        .set("STEPS", plan.steps())
        .tensor("x", x)
        .tensor("twiddle", plan.twiddle)
        .tensor("dy", dy)
        .tensor("dx", dx)
        .link()
}

fn gradient_shader(tile: &ButterflyTile, sides: [Storage; 2]) -> Result<Shader, ShaderError> {
    // Loads start at an element of a node: at a multiple of four only if nodes do.
    let nodes_by_fours = (tile.entry * if tile.complex { 2 } else { 1 }).is_multiple_of(4);
    let [x, dy] = sides.map(|side| Storage { vectors: side.vectors && nodes_by_fours, ..side });
    Linker::new("butterfly/block_gradient")
        .set("LANES", GRADIENT_LANES)
        .set("ENTRY", tile.entry)
        .set("COMPLEX", tile.complex)
        .set("TRANSPOSED", tile.transposed)
        .tensor("x", x)
        .tensor("dy", dy)
        .link()
}

impl Butterfly {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: ButterflySpec) -> Result<Self, Error> {
        let plan = ButterflyPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &ButterflyPlan {
        &self.plan
    }

    /// A tensor for `y`. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.y_shape())
    }

    /// Records the product into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`] or has another shape or element type than
    /// the spec, and if scratch cannot be allocated. No output may share a buffer with an input: the submission would
    /// fail. Clones of the op share its scratch, which counts in [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: ButterflyInputs<'_, T>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, scratch } = self;
        inputs.check(gpu, spec)?;
        y.expect(gpu, "y", spec.dtype, &spec.y_shape())?;
        let run = Forward { gpu, spec, plan, kernels, scratch, sides: [Side::x(spec), Side::y(spec)] };
        run.encode(encoder, [inputs.x, inputs.twiddle, y].map(Tensor::buffer), None)
    }

    /// Allocates `y`, records the product and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: ButterflyInputs<'_, T>) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }
}

impl<T: Element> ButterflyInputs<'_, T> {
    fn check(&self, gpu: &Gpu, spec: &ButterflySpec) -> Result<(), Error> {
        self.x.expect(gpu, "x", spec.dtype, &spec.x_shape())?;
        self.twiddle.expect(gpu, "twiddle", spec.dtype, &spec.twiddle_shape())
    }
}

impl ButterflyBackward {
    /// Plans the gradients for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong
    /// or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: ButterflySpec) -> Result<Self, Error> {
        let plan = ButterflyBackwardPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &backward_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &ButterflyBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<ButterflyGradients<T>, Error> {
        Ok(ButterflyGradients {
            dx: Tensor::zeros(&self.gpu, &self.spec.x_shape())?,
            dtwiddle: Tensor::zeros(&self.gpu, &self.spec.twiddle_shape())?,
        })
    }

    /// Records the gradients into an encoder of the same device: `dy` is that of `y`. Fails like
    /// [`Butterfly::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: ButterflyInputs<'_, T>,
        dy: &Tensor<T>,
        outputs: &ButterflyGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, scratch } = self;
        inputs.check(gpu, spec)?;
        dy.expect(gpu, "dy", spec.dtype, &spec.y_shape())?;
        outputs.dx.expect(gpu, "dx", spec.dtype, &spec.x_shape())?;
        outputs.dtwiddle.expect(gpu, "dtwiddle", spec.dtype, &spec.twiddle_shape())?;
        let run = Backward {
            gpu,
            spec,
            plan,
            kernels,
            scratch,
            sides: [Side::x(spec), Side::y(spec), Side::x(spec)],
        };
        let given = [inputs.x, inputs.twiddle, dy].map(Tensor::buffer);
        run.encode(encoder, given, [&outputs.dx, &outputs.dtwiddle].map(Tensor::buffer))
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: ButterflyInputs<'_, T>,
        dy: &Tensor<T>,
    ) -> Result<ButterflyGradients<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, dy, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }
}

/// A product about to be encoded, on buffers whose rows lie as the sides say.
pub(super) struct Forward<'a> {
    pub gpu: &'a Gpu,
    pub spec: &'a ButterflySpec,
    pub plan: &'a ButterflyPlan,
    pub kernels: &'a [Kernel],
    pub scratch: &'a Scratch,
    /// Of `x` and `y`.
    pub sides: [Side; 2],
}

impl Forward<'_> {
    /// Records the passes from `x` and `twiddle` to `y`, and the bias in the last.
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        [x, twiddle, y]: [&wgpu::Buffer; 3],
        bias: Option<&wgpu::Buffer>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, scratch, sides } = self;
        let shape = spec.y_shape();
        let between = scratch.tensors(gpu, &vec![shape.as_slice(); plan.tensors_between()])?;
        let last = plan.passes.len() - 1;
        for (i, (pass, kernel)) in plan.passes.iter().zip(*kernels).enumerate() {
            let (from, from_side) =
                if i == 0 { (x, sides[0]) } else { (between[(i - 1) % 2].buffer(), Side::y(spec)) };
            let (to, to_side) =
                if i == last { (y, sides[1]) } else { (between[i % 2].buffer(), Side::y(spec)) };
            for window in Window::of(spec, plan.windows, factors(spec, pass, spec.transposed)) {
                let params = product_params(spec, &plan.tile, pass, window, [from_side, to_side]);
                let bias = bias.filter(|_| i == last);
                let parts = [whole(from), part(twiddle, window), whole(to)];
                let parts = parts.into_iter().chain(bias.map(whole)).collect();
                kernel.dispatch_parts(gpu, encoder, &params, parts)?;
            }
        }
        Ok(())
    }
}

fn whole(buffer: &wgpu::Buffer) -> wgpu::BufferBinding<'_> {
    buffer.as_entire_buffer_binding()
}

/// What a window shows of a twiddle, or of its gradient.
fn part(buffer: &wgpu::Buffer, window: Window) -> wgpu::BufferBinding<'_> {
    let size = window.bytes.and_then(wgpu::BufferSize::new);
    wgpu::BufferBinding { buffer, offset: window.offset, size }
}

/// The factors of a pass in the order of the twiddle, of a product that applies them in reverse if it is `transposed`.
fn factors(spec: &ButterflySpec, pass: &ButterflyPass, transposed: bool) -> Range<u32> {
    let (first, end) = (pass.first, pass.first + pass.factors);
    let all = spec.factors() as u32;
    if transposed { all - end..all - first } else { first..end }
}

/// Gradients about to be encoded, on buffers whose rows lie as the sides say.
pub(super) struct Backward<'a> {
    pub gpu: &'a Gpu,
    pub spec: &'a ButterflySpec,
    pub plan: &'a ButterflyBackwardPlan,
    pub kernels: &'a [Kernel],
    pub scratch: &'a Scratch,
    /// Of `x`, `dy` and `dx`.
    pub sides: [Side; 3],
}

/// The buffers that the kernels of a backward pass share.
struct Buffers<'a> {
    twiddle: &'a wgpu::Buffer,
    /// What goes into each pass.
    before: Vec<&'a wgpu::Buffer>,
    /// Gradients between kernels, and what goes into a factor.
    after: Vec<&'a wgpu::Buffer>,
    slices: &'a wgpu::Buffer,
    dy: &'a wgpu::Buffer,
    dx: &'a wgpu::Buffer,
    dtwiddle: &'a wgpu::Buffer,
}

impl Backward<'_> {
    /// Records the gradients `dx` and `dtwiddle` from `x`, `twiddle` and `dy`.
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        [x, twiddle, dy]: [&wgpu::Buffer; 3],
        [dx, dtwiddle]: [&wgpu::Buffer; 2],
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, scratch, .. } = self;
        let last = plan.passes.len() - 1;
        let (shape, slices) = (spec.y_shape(), [plan.slices_len(spec)]);
        let extra = if spec.entry == 1 { last.min(2) } else { 3 };
        let mut shapes = vec![shape.as_slice(); last + extra];
        shapes.push(&slices);
        let tensors: Vec<_> = scratch.tensors(gpu, &shapes)?.iter().map(Tensor::buffer).collect();
        let buffers = Buffers {
            twiddle,
            before: [&[x], &tensors[..last]].concat(),
            after: tensors[last..last + extra].to_vec(),
            slices: tensors[last + extra],
            dy,
            dx,
            dtwiddle,
        };
        let (forth, back) = kernels.split_at(last);
        self.forth(encoder, forth, &buffers)?;
        match spec.entry {
            1 => self.back(encoder, back, &buffers),
            _ => self.back_by_factor(encoder, back, &buffers),
        }
    }

    /// How the rows lie that go into a pass, and their gradients.
    fn side(&self, pass: usize) -> [Side; 2] {
        let [x, _, dx] = self.sides;
        if pass == 0 { [x, dx] } else { [Side::y(self.spec); 2] }
    }

    /// How the gradients lie of what comes out of a factor.
    fn after(&self, is_last: bool) -> Side {
        if is_last { self.sides[1] } else { Side::y(self.spec) }
    }

    /// Computes again what goes into each pass but the first.
    fn forth(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernels: &[Kernel],
        buffers: &Buffers<'_>,
    ) -> Result<(), Error> {
        for (i, kernel) in kernels.iter().enumerate() {
            let [x, _] = self.side(i);
            let sides = [x, Side::y(self.spec)];
            let rows = [buffers.before[i], buffers.before[i + 1]];
            self.product(encoder, kernel, &self.plan.passes[i], Way::Forth, sides, rows, buffers.twiddle)?;
        }
        Ok(())
    }

    /// Factors applied to rows, or their adjoints, whose pass is then that of the transposed product.
    #[expect(clippy::too_many_arguments, reason = "each is a thing of its own")]
    fn product(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernel: &Kernel,
        pass: &ButterflyPass,
        way: Way,
        sides: [Side; 2],
        [from, to]: [&wgpu::Buffer; 2],
        twiddle: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, .. } = self;
        let transposed = spec.transposed != (way == Way::Back);
        for window in Window::of(spec, plan.windows, factors(spec, pass, transposed)) {
            let params = product_params(spec, &plan.tile, pass, window, sides);
            let parts = vec![whole(from), part(twiddle, window), whole(to)];
            kernel.dispatch_parts(gpu, encoder, &params, parts)?;
        }
        Ok(())
    }

    /// Passes whose entries are numbers: each in one kernel, and one that sums its slices.
    fn back(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernels: &[Kernel],
        buffers: &Buffers<'_>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, .. } = self;
        let Buffers { twiddle, before, after, slices, .. } = buffers;
        let last = plan.passes.len() - 1;
        for (i, kernels) in (0..=last).rev().zip(kernels.chunks_exact(2)) {
            let pass = &plan.passes[i];
            let dy = if i == last { buffers.dy } else { after[i % 2] };
            let dx = if i == 0 { buffers.dx } else { after[(i - 1) % 2] };
            let [x_side, dx_side] = self.side(i);
            let sides = [x_side, self.after(i == last), dx_side];
            for window in Window::of(spec, plan.windows, factors(spec, pass, spec.transposed)) {
                let params = backward_params(spec, plan, pass, window, sides);
                let parts = [before[i], dy, dx, slices].map(whole);
                let [x, dy, dx, sums] = parts;
                let parts = vec![x, part(twiddle, window), dy, dx, sums];
                kernels[0].dispatch_parts(gpu, encoder, &params, parts)?;
                self.sum(encoder, &kernels[1], pass, window, buffers)?;
            }
        }
        Ok(())
    }

    /// Sums the slices of a pass into what a window shows of `dtwiddle`.
    fn sum(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernel: &Kernel,
        pass: &ButterflyPass,
        window: Window,
        buffers: &Buffers<'_>,
    ) -> Result<(), Error> {
        let params = slices(self.spec, self.plan, pass, window).params(self.plan.sum());
        let parts = vec![whole(buffers.slices), part(buffers.dtwiddle, window)];
        kernel.dispatch_parts(self.gpu, encoder, &params, parts)
    }

    /// Factors whose entries are matrices, one by one.
    fn back_by_factor(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernels: &[Kernel],
        buffers: &Buffers<'_>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, .. } = self;
        let Buffers { twiddle, before, after, slices, .. } = buffers;
        let between = Side::y(spec);
        let mut kernels = kernels.iter();
        let mut next = || kernels.next().expect("a kernel for each of the plan's footprints");
        let last = spec.factors() as u32 - 1;
        for place in (0..=last).rev() {
            let i = plan.pass_of(place);
            let pass = &plan.passes[i];
            let one = ButterflyPass { first: place, factors: 1, ..*pass };
            let [pass_side, pass_dx] = self.side(i);
            let (x, x_side) = if place == pass.first {
                (before[i], pass_side)
            } else {
                let applied = ButterflyPass { factors: place - pass.first, ..*pass };
                let rows = [before[i], after[2]];
                self.product(encoder, next(), &applied, Way::Forth, [pass_side, between], rows, twiddle)?;
                (after[2], between)
            };
            let is_last = place == last;
            let dy = if is_last { buffers.dy } else { after[place as usize % 2] };
            let dy_side = self.after(is_last);
            let (gradient, sum) = (next(), next());
            for window in Window::of(spec, plan.windows, factors(spec, &one, spec.transposed)) {
                let params = gradient_params(spec, plan, &one, window, [x_side, dy_side]);
                gradient.dispatch(gpu, encoder, &params, &[x, dy, slices])?;
                self.sum(encoder, sum, &one, window, buffers)?;
            }
            let (dx, dx_side) = match place {
                0 => (buffers.dx, pass_dx),
                _ => (after[(place as usize - 1) % 2], between),
            };
            // The kernel runs the transposed product, in which this factor has its place from the other end.
            let back = ButterflyPass { first: last - place, ..one };
            self.product(encoder, next(), &back, Way::Back, [dy_side, dx_side], [dy, dx], twiddle)?;
        }
        Ok(())
    }
}

fn product_params(
    spec: &ButterflySpec,
    tile: &ButterflyTile,
    pass: &ButterflyPass,
    window: Window,
    [x, y]: [Side; 2],
) -> ProductParams {
    let row_tiles = tile.row_tiles(pass, spec.batch);
    ProductParams {
        // No more tiles than elements: the product does not overflow.
        groups: window.stacks * row_tiles * pass.positions(spec),
        stack: window.stack,
        window: window.first,
        batch: spec.batch as u32,
        row_tiles,
        log_n: spec.log_n() as u32,
        factors: spec.factors() as u32,
        increasing: u32::from(spec.increasing_stride),
        first: pass.first,
        count: pass.factors,
        low: pass.low,
        bits: pass.bits,
        run: pass.run,
        x_row: x.row as u32,
        x_stack: x.stack as u32,
        x_width: x.width as u32,
        y_row: y.row as u32,
        y_stack: y.stack as u32,
        y_width: y.width as u32,
        y_spare: y.spare as u32,
    }
}

fn backward_params(
    spec: &ButterflySpec,
    plan: &ButterflyBackwardPlan,
    pass: &ButterflyPass,
    window: Window,
    [x, dy, dx]: [Side; 3],
) -> ProductBackwardParams {
    ProductBackwardParams {
        groups: window.stacks * plan.chunks * pass.positions(spec),
        stack: window.stack,
        window: window.first,
        batch: spec.batch as u32,
        row_tiles: plan.tile.row_tiles(pass, spec.batch),
        chunk: plan.chunk(spec, pass),
        chunks: plan.chunks,
        stacks: window.stacks,
        log_n: spec.log_n() as u32,
        factors: spec.factors() as u32,
        increasing: u32::from(spec.increasing_stride),
        first: pass.first,
        count: pass.factors,
        low: pass.low,
        bits: pass.bits,
        run: pass.run,
        x_row: x.row as u32,
        x_stack: x.stack as u32,
        x_width: x.width as u32,
        dy_row: dy.row as u32,
        dy_stack: dy.stack as u32,
        dy_width: dy.width as u32,
        dx_row: dx.row as u32,
        dx_stack: dx.stack as u32,
        dx_width: dx.width as u32,
        dx_spare: dx.spare as u32,
    }
}

fn gradient_params(
    spec: &ButterflySpec,
    plan: &ButterflyBackwardPlan,
    factor: &ButterflyPass,
    window: Window,
    [x, dy]: [Side; 2],
) -> BlockGradientParams {
    let parts = (gradient_cells(spec) as u32).div_ceil(GRADIENT_LANES);
    BlockGradientParams {
        groups: window.stacks * plan.chunks * parts,
        stack: window.stack,
        batch: spec.batch as u32,
        chunk: plan.chunk(spec, factor),
        chunks: plan.chunks,
        stacks: window.stacks,
        log_n: spec.log_n() as u32,
        bit: spec.stride_bit(spec.factor_at(factor.first as usize)) as u32,
        x_row: x.row as u32,
        x_stack: x.stack as u32,
        x_width: x.width as u32,
        dy_row: dy.row as u32,
        dy_stack: dy.stack as u32,
        dy_width: dy.width as u32,
    }
}

/// The slices of a pass, and their sums' place in its part of `dtwiddle`, as the window shows it.
fn slices(
    spec: &ButterflySpec,
    plan: &ButterflyBackwardPlan,
    pass: &ButterflyPass,
    window: Window,
) -> Slices {
    let (all, factor) = (spec.factors() as u32, spec.factor_len() as u32);
    let first = window.stack * all + factors(spec, pass, spec.transposed).start - window.first;
    let (sums, count) = (window.stacks, pass.factors * factor);
    let slices = plan.slices(pass);
    Slices {
        sums,
        slices,
        all: sums * slices,
        count,
        from_slice: sums * count,
        from_sum: count,
        to_sum: all * factor,
        to_first: first * factor,
    }
}
