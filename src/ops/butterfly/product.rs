//! The butterfly product and its gradients.

use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::plan::{
    ButterflyBackwardPlan, ButterflyPass, ButterflyPlan, ButterflyTile, GRADIENT_LANES, SUM_LANES, Side,
    gradient_cells,
};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::{ButterflySpec, Element, Error, Gpu, Tensor};

params! {
    /// `butterfly/product`.
    ProductParams {
        batch: u32, row_tiles: u32, log_n: u32, factors: u32, increasing: u32,
        first: u32, count: u32, low: u32, bits: u32, run: u32,
        x_row: u32, x_stack: u32, x_width: u32, y_row: u32, y_stack: u32, y_width: u32, y_spare: u32,
    }
}

params! {
    /// `butterfly/product_backward`.
    ProductBackwardParams {
        batch: u32, row_tiles: u32, chunk: u32, chunks: u32, stacks: u32, log_n: u32, factors: u32, increasing: u32,
        first: u32, count: u32, low: u32, bits: u32, run: u32,
        x_row: u32, x_stack: u32, x_width: u32, dy_row: u32, dy_stack: u32, dy_width: u32,
        dx_row: u32, dx_stack: u32, dx_width: u32, dx_spare: u32,
    }
}

params! {
    /// `butterfly/block_gradient`.
    BlockGradientParams {
        batch: u32, chunk: u32, chunks: u32, stacks: u32, log_n: u32, bit: u32,
        x_row: u32, x_stack: u32, x_width: u32, dy_row: u32, dy_stack: u32, dy_width: u32,
    }
}

params! {
    /// `butterfly/sum_slices`.
    SumParams { stacks: u32, slices: u32, count: u32, first: u32, stride: u32 }
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
        product_shader(&plan.tile, Way::Forth, [x, plan.twiddle, y])
    };
    (0..=last).map(pass).collect()
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn backward_shaders(plan: &ButterflyBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let ButterflyBackwardPlan { tile, passes, twiddle, between, .. } = plan;
    let last = passes.len() - 1;
    let before = |i: usize| if i == 0 { plan.x } else { *between };
    let after = |i: usize| if i == last { plan.dy } else { *between };
    let forth = |i: usize| product_shader(tile, Way::Forth, [before(i), *twiddle, *between]);
    let mut shaders = (0..last).map(forth).collect::<Result<Vec<_>, _>>()?;
    for (i, pass) in passes.iter().enumerate().rev() {
        if tile.entry == 1 {
            shaders.push(backward_shader(plan, [before(i), after(i)])?);
            shaders.push(sum_shader(*twiddle)?);
            continue;
        }
        for factor in (0..pass.factors).rev() {
            let first = factor == 0;
            if !first {
                shaders.push(forth(i)?);
            }
            let (x, dx) = if first { (before(i), before(i)) } else { (*between, *between) };
            let dy = if factor + 1 == pass.factors { after(i) } else { *between };
            shaders.push(gradient_shader(tile, [x, dy])?);
            shaders.push(sum_shader(*twiddle)?);
            shaders.push(product_shader(tile, Way::Back, [dy, *twiddle, dx])?);
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
        .module("butterfly/no_bias")
        .set("LANES", tile.lanes)
        .set("TILE_NODES", tile.nodes)
        .set("ENTRY", tile.entry)
}

fn product_shader(
    tile: &ButterflyTile,
    way: Way,
    [x, twiddle, y]: [Storage; 3],
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
    linker.tensor("x", x).tensor("twiddle", twiddle).tensor("y", y).link()
}

fn backward_shader(plan: &ButterflyBackwardPlan, [x, dy]: [Storage; 2]) -> Result<Shader, ShaderError> {
    linker("butterfly/product_backward", &plan.tile)
        .module("butterfly/pairs")
        .set("TRANSPOSED", plan.tile.transposed)
        .set("STEPS", plan.steps())
        .tensor("x", x)
        .tensor("twiddle", plan.twiddle)
        .tensor("dy", dy)
        .tensor("dx", x)
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

fn sum_shader(sums: Storage) -> Result<Shader, ShaderError> {
    // A matrix has four numbers, or as many entries.
    let sums = Storage { vectors: true, ..sums };
    Linker::new("butterfly/sum_slices").set("LANES", SUM_LANES).tensor("sums", sums).link()
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
        let shape = spec.y_shape();
        let between = scratch.tensors(gpu, &vec![shape.as_slice(); plan.tensors_between()])?;
        let last = plan.passes.len() - 1;
        for (i, (pass, kernel)) in plan.passes.iter().zip(kernels).enumerate() {
            let from = if i == 0 { inputs.x.buffer() } else { between[(i - 1) % 2].buffer() };
            let to = if i == last { y.buffer() } else { between[i % 2].buffer() };
            let x = if i == 0 { Side::x(spec) } else { Side::y(spec) };
            let params = product_params(spec, &plan.tile, pass, x, Side::y(spec));
            kernel.dispatch(gpu, encoder, &params, &[from, inputs.twiddle.buffer(), to])?;
        }
        Ok(())
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
        let last = plan.passes.len() - 1;
        let (shape, slices) = (spec.y_shape(), [plan.slices_len(spec)]);
        // What goes into each pass but the first, gradients between kernels, and what goes into a factor.
        let extra = if spec.entry == 1 { last.min(2) } else { 3 };
        let mut shapes = vec![shape.as_slice(); last + extra];
        shapes.push(&slices);
        let tensors = scratch.tensors(gpu, &shapes)?;
        let (before, rest) = tensors.split_at(last);
        let (after, slices) = rest.split_at(extra);
        let run = Run {
            gpu,
            spec,
            plan,
            twiddle: inputs.twiddle.buffer(),
            before: std::iter::once(inputs.x.buffer()).chain(before.iter().map(Tensor::buffer)).collect(),
            after: after.iter().map(Tensor::buffer).collect(),
            slices: slices[0].buffer(),
            dy: dy.buffer(),
            dx: outputs.dx.buffer(),
            dtwiddle: outputs.dtwiddle.buffer(),
        };
        let (forth, back) = kernels.split_at(last);
        run.forth(encoder, forth)?;
        if spec.entry == 1 { run.back(encoder, back) } else { run.back_by_factor(encoder, back) }
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

/// An encoding of gradients on its way, with the buffers that its kernels share.
struct Run<'a> {
    gpu: &'a Gpu,
    spec: &'a ButterflySpec,
    plan: &'a ButterflyBackwardPlan,
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

impl Run<'_> {
    /// How the rows lie that go into a pass.
    fn side(&self, pass: usize) -> Side {
        if pass == 0 { Side::x(self.spec) } else { Side::y(self.spec) }
    }

    /// Computes again what goes into each pass but the first.
    fn forth(&self, encoder: &mut wgpu::CommandEncoder, kernels: &[Kernel]) -> Result<(), Error> {
        for (i, kernel) in kernels.iter().enumerate() {
            let (pass, y) = (&self.plan.passes[i], Side::y(self.spec));
            let params = product_params(self.spec, &self.plan.tile, pass, self.side(i), y);
            let buffers = [self.before[i], self.twiddle, self.before[i + 1]];
            kernel.dispatch(self.gpu, encoder, &params, &buffers)?;
        }
        Ok(())
    }

    /// Passes whose entries are numbers: each in one kernel, and one that sums its slices.
    fn back(&self, encoder: &mut wgpu::CommandEncoder, kernels: &[Kernel]) -> Result<(), Error> {
        let Self { gpu, spec, plan, twiddle, before, after, slices, .. } = self;
        let last = plan.passes.len() - 1;
        for (i, kernels) in (0..=last).rev().zip(kernels.chunks_exact(2)) {
            let pass = &plan.passes[i];
            let dy = if i == last { self.dy } else { after[i % 2] };
            let dx = if i == 0 { self.dx } else { after[(i - 1) % 2] };
            let params = backward_params(spec, plan, pass, [self.side(i), Side::y(spec)]);
            kernels[0].dispatch(gpu, encoder, &params, &[before[i], twiddle, dy, dx, slices])?;
            let params = sum_params(spec, plan, pass);
            kernels[1].dispatch(gpu, encoder, &params, &[slices, self.dtwiddle])?;
        }
        Ok(())
    }

    /// Factors whose entries are matrices, one by one.
    fn back_by_factor(&self, encoder: &mut wgpu::CommandEncoder, kernels: &[Kernel]) -> Result<(), Error> {
        let Self { gpu, spec, plan, twiddle, before, after, slices, .. } = self;
        let mut kernels = kernels.iter();
        let mut next = || kernels.next().expect("a kernel for each of the plan's footprints");
        let factors = spec.factors() as u32;
        for place in (0..factors).rev() {
            let i = plan.pass_of(place);
            let whole = &plan.passes[i];
            let one = ButterflyPass { first: place, factors: 1, ..*whole };
            let (x, x_side) = if place == whole.first {
                (before[i], self.side(i))
            } else {
                let applied = ButterflyPass { factors: place - whole.first, ..*whole };
                let params = product_params(spec, &plan.tile, &applied, self.side(i), Side::y(spec));
                next().dispatch(gpu, encoder, &params, &[before[i], twiddle, after[2]])?;
                (after[2], Side::y(spec))
            };
            let dy = if place + 1 == factors { self.dy } else { after[place as usize % 2] };
            let params = gradient_params(spec, plan, &one, [x_side, Side::y(spec)]);
            next().dispatch(gpu, encoder, &params, &[x, dy, slices])?;
            let params = sum_params(spec, plan, &one);
            next().dispatch(gpu, encoder, &params, &[slices, self.dtwiddle])?;
            let (dx, dx_side) = if place == 0 {
                (self.dx, Side::x(spec))
            } else {
                (after[(place as usize - 1) % 2], Side::y(spec))
            };
            // The kernel runs the transposed product, in which this factor has its place from the other end.
            let back = ButterflyPass { first: factors - 1 - place, ..one };
            let params = product_params(spec, &plan.tile, &back, Side::y(spec), dx_side);
            next().dispatch(gpu, encoder, &params, &[dy, twiddle, dx])?;
        }
        Ok(())
    }
}

fn product_params(
    spec: &ButterflySpec,
    tile: &ButterflyTile,
    pass: &ButterflyPass,
    x: Side,
    y: Side,
) -> ProductParams {
    let row_tiles = tile.row_tiles(pass, spec.batch);
    ProductParams {
        // No more tiles than elements: the product does not overflow.
        groups: spec.nstacks as u32 * row_tiles * pass.positions(spec),
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
    [x, dy]: [Side; 2],
) -> ProductBackwardParams {
    ProductBackwardParams {
        groups: spec.nstacks as u32 * plan.chunks * pass.positions(spec),
        batch: spec.batch as u32,
        row_tiles: plan.tile.row_tiles(pass, spec.batch),
        chunk: plan.chunk(spec, pass),
        chunks: plan.chunks,
        stacks: spec.nstacks as u32,
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
        dx_row: x.row as u32,
        dx_stack: x.stack as u32,
        dx_width: x.width as u32,
        dx_spare: x.spare as u32,
    }
}

fn gradient_params(
    spec: &ButterflySpec,
    plan: &ButterflyBackwardPlan,
    factor: &ButterflyPass,
    [x, dy]: [Side; 2],
) -> BlockGradientParams {
    let parts = (gradient_cells(spec) as u32).div_ceil(GRADIENT_LANES);
    BlockGradientParams {
        groups: spec.nstacks as u32 * plan.chunks * parts,
        batch: spec.batch as u32,
        chunk: plan.chunk(spec, factor),
        chunks: plan.chunks,
        stacks: spec.nstacks as u32,
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

fn sum_params(spec: &ButterflySpec, plan: &ButterflyBackwardPlan, pass: &ButterflyPass) -> SumParams {
    let four = (spec.factor_len() / 4) as u32;
    let first = if spec.transposed { spec.factors() as u32 - pass.first - pass.factors } else { pass.first };
    let fours = spec.nstacks as u32 * pass.factors * four;
    SumParams {
        groups: fours.div_ceil(SUM_LANES / 8),
        stacks: spec.nstacks as u32,
        slices: plan.slices(pass),
        count: pass.factors * four,
        first: first * four,
        stride: spec.factors() as u32 * four,
    }
}
