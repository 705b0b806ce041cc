//! Products with block-sparse matrices, and their softmax.

use super::block_tile::{Outer, WEIGHED, matrix_tiled, outer, tiled, with_bias};
use crate::kernel::{Kernel, compile, compile_array, params};
use crate::ops::Scratch;
use crate::plan::{
    BlockSoftmaxPlan, BlockSparsePath, BlockSparsePlan, Exchange, Plan as _, ProductTile, SparseProductPlan,
};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::{BlockSoftmaxSpec, BlockSparseMode, BlockSparseSpec, Element, Error, Gpu, Tensor};

params! {
    /// `butterfly/block_sparse`.
    SparseParams { rows: u32, columns: u32, inputs_width: u32, outputs_width: u32, rank: u32 }
}

params! {
    /// `butterfly/block_softmax` and `butterfly/block_softmax_backward`.
    SoftmaxParams { block_rows: u32, height: u32, width: u32, scale: f32 }
}

/// A product `C = A B` of which one matrix is block-sparse. The mask's lists are copied to the device once, when the op
/// is made.
#[derive(Clone, Debug)]
pub struct BlockSparse {
    gpu: Gpu,
    spec: BlockSparseSpec,
    plan: BlockSparsePlan,
    kernels: Vec<Kernel>,
    lists: Tensor<f32>,
    scratch: Scratch,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &BlockSparsePlan) -> Result<Vec<Shader>, ShaderError> {
    let [a, b, c] = plan.storage;
    match &plan.path {
        BlockSparsePath::Product(product) => {
            // The dense matrix has the turn that the mode gives it; the sparse one's rows are multiples of four.
            let (inputs, w) = if product.outputs_turned { (b, a) } else { (a, b) };
            Ok(vec![
                with_bias(sparse_product(product, [inputs, w, c], "butterfly/further_none"), None).link()?,
            ])
        }
        BlockSparsePath::Sampled { outer: plan, turned } => {
            outer(plan, "butterfly/pairs_listed", *turned, [a, b])
        }
    }
}

/// The kernel of a product, short of the bias. On lanes, `further` adds products to it.
pub(super) fn sparse_product(
    plan: &SparseProductPlan,
    [inputs, w, outputs]: [Storage; 3],
    further: &'static str,
) -> Linker {
    let linker = match &plan.tile {
        ProductTile::Lanes(tile) => tiled("butterfly/block_sparse", tile)
            .module(further)
            .set("INPUTS_TURNED", plan.inputs_turned)
            .set("WEIGHTS_TURNED", plan.weights_turned)
            .set("OUTPUTS_TURNED", plan.outputs_turned),
        ProductTile::Matrices(tile) => matrix_tiled(tile, WEIGHED).module("butterfly/sparse_operands"),
    };
    linker.set("BLOCK", plan.side).tensor("inputs", inputs).tensor("w", w).tensor("outputs", outputs)
}

/// A product over that many lines and `columns` columns of blocks.
pub(super) fn sparse_params(
    plan: &SparseProductPlan,
    [rows, columns, inputs_width, outputs_width, rank]: [usize; 5],
) -> SparseParams {
    let [rows, columns, rank] = [rows, columns, rank].map(|size| size as u32);
    SparseParams {
        groups: rows.div_ceil(plan.tile.lines()) * columns * (plan.side / plan.tile.outputs()),
        rows,
        columns,
        inputs_width: inputs_width as u32,
        outputs_width: outputs_width as u32,
        rank,
    }
}

/// A list of the mask on the device, as the bits of a tensor.
pub(super) fn upload_list(gpu: &Gpu, list: &[u32]) -> Result<Tensor<f32>, Error> {
    Tensor::from_slice(gpu, &[list.len()], bytemuck::cast_slice(list))
}

impl BlockSparse {
    /// Plans the spec for this GPU, compiles what the plan needs and uploads the mask's lists. Fails with
    /// [`Error::Plan`] if the spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: BlockSparseSpec) -> Result<Self, Error> {
        let plan = BlockSparsePlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &shaders(&plan)?)?;
        let lists = match &plan.path {
            BlockSparsePath::Product(product) => spec.mask.product_lists(product.weights_turned),
            BlockSparsePath::Sampled { .. } => spec.mask.places().as_flattened().to_vec(),
        };
        let lists = upload_list(gpu, &lists)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, lists, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &BlockSparsePlan {
        &self.plan
    }

    /// A tensor for `C`. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.c_shape())
    }

    /// Records the product into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`] or has another shape or element type
    /// than the spec, and if scratch cannot be allocated. `C` may not share a buffer with `A` or `B`: the submission
    /// would fail. Clones of the op share its scratch, which counts in [`Gpu::memory`] until the last of them is
    /// dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        a: &Tensor<T>,
        b: &Tensor<T>,
        c: &Tensor<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, lists, scratch } = self;
        a.expect(gpu, "A", spec.dtype, &spec.a_shape())?;
        b.expect(gpu, "B", spec.dtype, &spec.b_shape())?;
        c.expect(gpu, "C", spec.dtype, &spec.c_shape())?;
        match &plan.path {
            BlockSparsePath::Product(product) => {
                let (inputs, w) = if spec.mode == BlockSparseMode::Dds { (a, b) } else { (b, a) };
                let [height, width] = spec.size;
                let mask = &spec.mask;
                let (columns, widths) = if product.weights_turned {
                    (mask.rows(), [width, height])
                } else {
                    (mask.columns(), [height, width])
                };
                let params = sparse_params(product, [spec.dense, columns, widths[0], widths[1], 0]);
                let buffers = [inputs.buffer(), w.buffer(), lists.buffer(), c.buffer()];
                kernels[0].dispatch(gpu, encoder, &params, &buffers)
            }
            BlockSparsePath::Sampled { outer, .. } => {
                let shape = spec.mask.shape();
                let elements = outer.scratch_elements(shape.iter().product());
                let parts = scratch.tensors(gpu, &[&[elements]])?[0].buffer();
                Outer { plan: outer, kernels, rows: spec.dense, shape, widths: spec.size }.encode(
                    gpu,
                    encoder,
                    [a.buffer(), b.buffer()],
                    Some(lists.buffer()),
                    parts,
                    c.buffer(),
                )
            }
        }
    }

    /// Allocates `C`, records the product and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, a: &Tensor<T>, b: &Tensor<T>) -> Result<Tensor<T>, Error> {
        let c = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, a, b, &c)?;
        self.gpu.submit(encoder)?;
        Ok(c)
    }
}

/// A softmax along the rows of a block-sparse matrix, and its gradient.
#[derive(Clone, Debug)]
pub struct BlockSoftmax {
    gpu: Gpu,
    spec: BlockSoftmaxSpec,
    plan: BlockSoftmaxPlan,
    kernels: [Kernel; 2],
    lists: Tensor<f32>,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn softmax_shaders(plan: &BlockSoftmaxPlan) -> Result<Vec<Shader>, ShaderError> {
    let tensors = [&["inputs", "outputs"][..], &["p", "dp", "ds"]];
    let kernels = plan.footprints().into_iter().zip(tensors);
    let link = |kernel, tensors: &[&'static str]| {
        let [rank, reduce] = match plan.exchange {
            Exchange::Workgroup => ["common/lane_workgroup", "common/reduce_workgroup"],
            Exchange::Subgroup => ["common/lane_subgroup", "common/reduce_subgroup"],
        };
        let linker = Linker::new(kernel).module(rank).module(reduce).module("butterfly/block_row");
        let linker = linker.set("LANES", plan.lanes).set("REDUCE_LANES", plan.row_lanes);
        let linker = linker.set("BLOCK", plan.side);
        tensors.iter().fold(linker, |linker, tensor| linker.tensor(tensor, plan.storage)).link()
    };
    kernels.map(|(footprint, tensors)| link(footprint.kernel, tensors)).collect()
}

impl BlockSoftmax {
    /// Plans the spec for this GPU, compiles what the plan needs and uploads the mask's lists. Fails with
    /// [`Error::Plan`] if the spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: BlockSoftmaxSpec) -> Result<Self, Error> {
        let plan = BlockSoftmaxPlan::new(&spec, gpu.caps())?;
        let kernels = compile_array(gpu, &softmax_shaders(&plan)?)?;
        let lists = upload_list(gpu, &spec.mask.row_lists())?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, lists })
    }

    /// How it runs here.
    pub fn plan(&self) -> &BlockSoftmaxPlan {
        &self.plan
    }

    /// A tensor for the result, or for the gradient. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.mask.shape())
    }

    /// Records `p`, the softmax of `s`, into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`] or is not the mask's blocks in the
    /// spec's element type. `p` may not share a buffer with `s`: the submission would fail.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        s: &Tensor<T>,
        p: &Tensor<T>,
    ) -> Result<(), Error> {
        self.dispatch(encoder, &self.kernels[0], &[("s", s), ("p", p)])
    }

    /// Records `ds`, the gradient for `s`, from the result `p` and its gradient `dp`. Fails like
    /// [`encode`](Self::encode).
    pub fn encode_backward<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        p: &Tensor<T>,
        dp: &Tensor<T>,
        ds: &Tensor<T>,
    ) -> Result<(), Error> {
        self.dispatch(encoder, &self.kernels[1], &[("p", p), ("dp", dp), ("ds", ds)])
    }

    fn dispatch<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernel: &Kernel,
        tensors: &[(&'static str, &Tensor<T>)],
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, lists, .. } = self;
        for (name, tensor) in tensors {
            tensor.expect(gpu, name, spec.dtype, &spec.mask.shape())?;
        }
        let block_rows = spec.mask.rows() as u32;
        let params = SoftmaxParams {
            groups: block_rows * (plan.side / (plan.lanes / plan.row_lanes)),
            block_rows,
            height: spec.size[0] as u32,
            width: spec.size[1] as u32,
            scale: spec.scale,
        };
        let buffers: Vec<_> = tensors.iter().map(|(_, tensor)| tensor.buffer()).collect();
        kernel.dispatch(gpu, encoder, &params, &[&buffers[..], &[lists.buffer()]].concat())
    }
}
