//! The Monarch linear layer.

use super::block_tile::{ColumnSums, column_sums};
use super::{
    Monarch, MonarchBackward, MonarchGradients, MonarchInputs, monarch_backward_shaders, monarch_shaders,
};
use crate::kernel::{Kernel, compile};
use crate::ops::Scratch;
use crate::plan::MonarchLinearPlan;
use crate::shader::{Shader, ShaderError};
use crate::tensor::expect_optional;
use crate::{Element, Error, Gpu, MonarchLinearSpec, Tensor};

/// A linear layer whose weight is a Monarch product (Dao et al. 2022). The bias is added where the product is stored.
#[derive(Clone, Debug)]
pub struct MonarchLinear {
    gpu: Gpu,
    spec: MonarchLinearSpec,
    plan: MonarchLinearPlan,
    forward: Monarch,
    backward: MonarchBackward,
    dbias: Vec<Kernel>,
    scratch: Scratch,
}

/// Gradients of a [`MonarchLinear`] layer.
#[derive(Clone, Debug)]
pub struct MonarchLinearGradients<T> {
    /// For `x` and the factors.
    pub product: MonarchGradients<T>,
    /// For the bias, summed over the batch, if the spec has one.
    pub dbias: Option<Tensor<T>>,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &MonarchLinearPlan) -> Result<Vec<Shader>, ShaderError> {
    let mut shaders = monarch_shaders(&plan.forward)?;
    shaders.extend(monarch_backward_shaders(&plan.backward)?);
    if let Some(plan) = &plan.dbias {
        shaders.extend(column_sums(plan)?);
    }
    Ok(shaders)
}

impl MonarchLinear {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: MonarchLinearSpec) -> Result<Self, Error> {
        let plan = MonarchLinearPlan::new(&spec, gpu.caps())?;
        let dbias = plan.dbias.as_ref().map(column_sums).transpose()?;
        Ok(Self {
            gpu: gpu.clone(),
            spec,
            forward: Monarch::with_plan(gpu, spec.product, plan.forward)?,
            backward: MonarchBackward::new(gpu, spec.product)?,
            dbias: compile(gpu, dbias.as_ref().map_or(&[], |shaders| &shaders[..]))?,
            plan,
            scratch: Scratch::default(),
        })
    }

    /// How it runs here.
    pub fn plan(&self) -> &MonarchLinearPlan {
        &self.plan
    }

    /// A tensor for `y`. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        self.forward.outputs()
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<MonarchLinearGradients<T>, Error> {
        let bias = self.spec.bias.then(|| Tensor::zeros(&self.gpu, &[self.spec.product.n_out()]));
        Ok(MonarchLinearGradients { product: self.backward.outputs()?, dbias: bias.transpose()? })
    }

    /// Records the forward pass into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it, and if scratch cannot be allocated. No output may share a
    /// buffer with an input: the submission would fail. Clones of the op share its scratch, which counts in
    /// [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: MonarchInputs<'_, T>,
        bias: Option<&Tensor<T>>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        self.expect_bias(bias, "the bias")?;
        self.forward.encode_biased(encoder, inputs, bias, y)
    }

    /// Records the gradients, from the forward pass's `inputs` and the gradient `dy` of its result. Fails like
    /// [`encode`](Self::encode).
    pub fn encode_backward<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: MonarchInputs<'_, T>,
        dy: &Tensor<T>,
        gradients: &MonarchLinearGradients<T>,
    ) -> Result<(), Error> {
        self.expect_bias(gradients.dbias.as_ref(), "the bias's gradient")?;
        let Self { gpu, spec, plan, backward, dbias, scratch, .. } = self;
        backward.encode(encoder, inputs, dy, &gradients.product)?;
        let (Some(plan), Some(result)) = (&plan.dbias, &gradients.dbias) else { return Ok(()) };
        let (rows, width) = (spec.product.batch, spec.product.n_out());
        let parts = scratch.tensors(gpu, &[&[plan.scratch_elements(width)]])?[0].buffer();
        let sums = ColumnSums { plan, kernels: dbias, rows, width };
        sums.encode(gpu, encoder, dy.buffer(), parts, result.buffer())
    }

    /// Allocates `y`, records the forward pass and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: MonarchInputs<'_, T>,
        bias: Option<&Tensor<T>>,
    ) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, bias, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run_backward<T: Element>(
        &self,
        inputs: MonarchInputs<'_, T>,
        dy: &Tensor<T>,
    ) -> Result<MonarchLinearGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode_backward(&mut encoder, inputs, dy, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }

    fn expect_bias<T: Element>(&self, bias: Option<&Tensor<T>>, name: &'static str) -> Result<(), Error> {
        let width = self.spec.product.n_out();
        expect_optional(&self.gpu, bias, name, self.spec.bias, &[width])
    }
}
