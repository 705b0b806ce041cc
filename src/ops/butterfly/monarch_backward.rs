//! The gradients of the Monarch product.

use super::block_tile::{Outer, between_words, block_diagonal, diagonal_params, outer};
use crate::kernel::{Kernel, compile};
use crate::ops::Scratch;
use crate::plan::MonarchBackwardPlan;
use crate::shader::{Shader, ShaderError};
use crate::{Element, Error, Gpu, MonarchInputs, MonarchSpec, Tensor};

/// Gradients of a Monarch product for its inputs, each of the input's shape and element type.
#[derive(Clone, Debug)]
pub struct MonarchGradients<T> {
    /// For `x`.
    pub dx: Tensor<T>,
    /// For the first factor, summed over the batch.
    pub dw1: Tensor<T>,
    /// For the second factor, summed over the batch.
    pub dw2: Tensor<T>,
}

/// The gradients of [`Monarch`](crate::Monarch): with `z` between the factors, `dz = w2ᵀ dy`, `dx = w1ᵀ dz`, and those of
/// the weights are outer products summed over the batch in an order that is always the same. The permutations are
/// folded into the loads and stores, as in the forward product.
#[derive(Clone, Debug)]
pub struct MonarchBackward {
    gpu: Gpu,
    spec: MonarchSpec,
    plan: MonarchBackwardPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &MonarchBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let mut shaders = vec![
        block_diagonal(&plan.forward, false, [plan.x, plan.w1, plan.z_blocked])?,
        block_diagonal(&plan.second, true, [plan.dy, plan.w2, plan.z_interleaved])?,
        block_diagonal(&plan.first, true, [plan.z_blocked, plan.w1, plan.x])?,
    ];
    let diagonal = "butterfly/pairs_diagonal";
    shaders.extend(outer(&plan.dw1, diagonal, [false; 2], [plan.z_blocked, plan.x])?);
    shaders.extend(outer(&plan.dw2, diagonal, [false; 2], [plan.dy, plan.z_interleaved])?);
    Ok(shaders)
}

impl MonarchBackward {
    /// Plans the gradients for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is
    /// wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: MonarchSpec) -> Result<Self, Error> {
        let plan = MonarchBackwardPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &MonarchBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<MonarchGradients<T>, Error> {
        let spec = &self.spec;
        Ok(MonarchGradients {
            dx: Tensor::zeros(&self.gpu, &[spec.batch, spec.n_in()])?,
            dw1: Tensor::zeros(&self.gpu, &spec.w1)?,
            dw2: Tensor::zeros(&self.gpu, &spec.w2)?,
        })
    }

    /// Records the gradients into an encoder of the same device, from the forward product's inputs and the gradient
    /// `dy` of its result.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`] or has another shape or element type
    /// than the spec, and if scratch cannot be allocated. No output may share a buffer with an input: the submission
    /// would fail. Clones of the op share its scratch, which counts in [`Gpu::memory`] until the last of them is
    /// dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: MonarchInputs<'_, T>,
        dy: &Tensor<T>,
        outputs: &MonarchGradients<T>,
    ) -> Result<(), Error> {
        self.check(&inputs, dy, outputs)?;
        let Self { gpu, spec, plan, kernels, scratch } = self;
        let (batch, [k, q, p], [l, s, r]) = (spec.batch, spec.w1, spec.w2);
        let most_parts = plan.dw1.scratch_elements(k * q * p).max(plan.dw2.scratch_elements(l * s * r));
        let between = [between_words(batch * spec.n_mid(), plan.z_blocked)];
        let scratch = scratch.tensors(gpu, &[&between, &between, &[most_parts]])?;
        let [z, dz, parts] = [0, 1, 2].map(|i| scratch[i].buffer());
        let [x, w1, w2, dy] = [inputs.x, inputs.w1, inputs.w2, dy].map(Tensor::buffer);
        let [forward, second, first, outer @ ..] = kernels.as_slice() else {
            unreachable!("the gradients have five kernels at least")
        };
        let params = diagonal_params(batch, [k, q, p], &plan.forward);
        forward.dispatch(gpu, encoder, &params, &[x, w1, z])?;
        let params = diagonal_params(batch, [l, r, s], &plan.second);
        second.dispatch(gpu, encoder, &params, &[dy, w2, dz])?;
        let params = diagonal_params(batch, [k, p, q], &plan.first);
        first.dispatch(gpu, encoder, &params, &[dz, w1, outputs.dx.buffer()])?;
        let (dw1, dw2) = outer.split_at(plan.dw1.kernels());
        Outer {
            plan: &plan.dw1,
            kernels: dw1,
            rows: batch,
            shape: spec.w1,
            widths: [spec.n_mid(), spec.n_in()],
        }
        .encode(gpu, encoder, [dz, x], None, parts, outputs.dw1.buffer())?;
        Outer {
            plan: &plan.dw2,
            kernels: dw2,
            rows: batch,
            shape: spec.w2,
            widths: [spec.n_out(), spec.n_mid()],
        }
        .encode(gpu, encoder, [dy, z], None, parts, outputs.dw2.buffer())
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: MonarchInputs<'_, T>,
        dy: &Tensor<T>,
    ) -> Result<MonarchGradients<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, dy, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }

    fn check<T: Element>(
        &self,
        inputs: &MonarchInputs<'_, T>,
        dy: &Tensor<T>,
        outputs: &MonarchGradients<T>,
    ) -> Result<(), Error> {
        let spec = &self.spec;
        let MonarchGradients { dx, dw1, dw2 } = outputs;
        inputs.check(&self.gpu, spec)?;
        dy.expect(&self.gpu, "dy", spec.dtype, &[spec.batch, spec.n_out()])?;
        dx.expect(&self.gpu, "dx", spec.dtype, &[spec.batch, spec.n_in()])?;
        dw1.expect(&self.gpu, "dw1", spec.dtype, &spec.w1)?;
        dw2.expect(&self.gpu, "dw2", spec.dtype, &spec.w2)
    }
}
