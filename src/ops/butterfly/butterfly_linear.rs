//! The butterfly linear layer.

use crate::kernel::{Kernel, compile};
use crate::ops::Scratch;
use crate::ops::butterfly::product::{Backward, Forward, backward_shaders, shaders as forward_shaders};
use crate::ops::slice_sum::{self, Slices};
use crate::plan::{ButterflyLinearPlan, Sides, SliceSumPlan};
use crate::shader::{Shader, ShaderError};
use crate::tensor::expect_optional;
use crate::{ButterflyLinearSpec, Element, Error, Gpu, Tensor};

/// Inputs of a [`ButterflyLinear`] layer; shapes as in [`ButterflyLinearSpec`].
#[derive(Clone, Copy, Debug)]
pub struct ButterflyLinearInputs<'a, T> {
    /// Rows.
    pub x: &'a Tensor<T>,
    /// The factors' matrices.
    pub twiddle: &'a Tensor<T>,
    /// What is added to each row, if the spec has it.
    pub bias: Option<&'a Tensor<T>>,
}

/// Gradients of a [`ButterflyLinear`] layer: shapes are those of what they are the gradients of.
#[derive(Clone, Debug)]
pub struct ButterflyLinearGradients<T> {
    /// Of `x`.
    pub dx: Tensor<T>,
    /// Of `twiddle`, summed over the batch.
    pub dtwiddle: Tensor<T>,
    /// Of `bias`, summed over the batch, if the spec has it.
    pub dbias: Option<Tensor<T>>,
}

/// A linear layer whose weight is a product of butterfly factors (Dao et al. 2019, 2020).
#[derive(Clone, Debug)]
pub struct ButterflyLinear {
    gpu: Gpu,
    spec: ButterflyLinearSpec,
    plan: ButterflyLinearPlan,
    forward: Vec<Kernel>,
    backward: Vec<Kernel>,
    sum_dx: Option<Kernel>,
    sum_dbias: Option<Kernel>,
    /// Of the product, of its gradients, and the gradients of `x` of each stack.
    scratch: [Scratch; 3],
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &ButterflyLinearPlan) -> Result<Vec<Shader>, ShaderError> {
    let mut shaders = forward_shaders(&plan.forward)?;
    shaders.extend(backward_shaders(&plan.backward)?);
    for sum in plan.dx.into_iter().chain(plan.dbias) {
        shaders.push(slice_sum::shader(sum)?);
    }
    Ok(shaders)
}

impl ButterflyLinear {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: ButterflyLinearSpec) -> Result<Self, Error> {
        let plan = ButterflyLinearPlan::new(&spec, gpu.caps())?;
        let sum = |sum: SliceSumPlan| gpu.kernel(&slice_sum::shader(sum)?);
        Ok(Self {
            gpu: gpu.clone(),
            spec,
            forward: compile(gpu, &forward_shaders(&plan.forward)?)?,
            backward: compile(gpu, &backward_shaders(&plan.backward)?)?,
            sum_dx: plan.dx.map(sum).transpose()?,
            sum_dbias: plan.dbias.map(sum).transpose()?,
            plan,
            scratch: Default::default(),
        })
    }

    /// How it runs here.
    pub fn plan(&self) -> &ButterflyLinearPlan {
        &self.plan
    }

    /// Weights to begin with; see [`ButterflyLinearSpec::initial_weights`]. Fails if the device has no memory for them.
    pub fn initial_weights<T: Element>(&self, seed: u64) -> Result<(Tensor<T>, Option<Tensor<T>>), Error> {
        let (twiddle, bias) = self.spec.initial_weights(seed);
        let tensor = |shape: &[usize], values: Vec<f64>| {
            let values: Vec<T> = values.into_iter().map(T::from_f64).collect();
            Tensor::from_slice(&self.gpu, shape, &values)
        };
        let bias = self.spec.bias.then(|| tensor(&[self.spec.out_features], bias)).transpose()?;
        Ok((tensor(&self.spec.product().twiddle_shape(), twiddle)?, bias))
    }

    /// A tensor for `y`. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.y_shape())
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<ButterflyLinearGradients<T>, Error> {
        let zeros = |shape: &[usize]| Tensor::zeros(&self.gpu, shape);
        Ok(ButterflyLinearGradients {
            dx: zeros(&self.spec.x_shape())?,
            dtwiddle: zeros(&self.spec.product().twiddle_shape())?,
            dbias: self.spec.bias.then(|| zeros(&[self.spec.out_features])).transpose()?,
        })
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
        inputs: ButterflyLinearInputs<'_, T>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, forward, scratch, .. } = self;
        inputs.check(gpu, spec)?;
        y.expect(gpu, "y", spec.dtype, &spec.y_shape())?;
        let sides = Sides::new(spec);
        let product = spec.product();
        let run = Forward {
            gpu,
            spec: &product,
            plan: &plan.forward,
            kernels: forward,
            scratch: &scratch[0],
            sides: [sides.x, sides.y],
        };
        let buffers = [inputs.x, inputs.twiddle, y].map(Tensor::buffer);
        run.encode(encoder, buffers, inputs.bias.map(Tensor::buffer))
    }

    /// Allocates `y`, records the forward pass and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: ButterflyLinearInputs<'_, T>) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }

    /// Records the gradients of every input into an encoder of the same device: `dy` is that of `y`. Fails like
    /// [`encode`](Self::encode).
    pub fn encode_backward<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: ButterflyLinearInputs<'_, T>,
        dy: &Tensor<T>,
        gradients: &ButterflyLinearGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, backward, scratch, .. } = self;
        inputs.check(gpu, spec)?;
        dy.expect(gpu, "dy", spec.dtype, &spec.y_shape())?;
        gradients.check(gpu, spec)?;
        let sides = Sides::new(spec);
        let product = spec.product();
        let run = Backward {
            gpu,
            spec: &product,
            plan: &plan.backward,
            kernels: backward,
            scratch: &scratch[1],
            sides: [sides.x, sides.y, sides.dx],
        };
        let given = [inputs.x, inputs.twiddle, dy].map(Tensor::buffer);
        let (dx, dtwiddle) = (gradients.dx.buffer(), gradients.dtwiddle.buffer());
        match (&self.sum_dx, plan.dx) {
            (Some(kernel), Some(plan)) => {
                let parts = scratch[2].tensors(gpu, &[&product.x_shape()])?[0].buffer();
                run.encode(encoder, given, [parts, dtwiddle])?;
                kernel.dispatch(gpu, encoder, &dx_slices(spec).params(plan), &[parts, dx])?;
            }
            _ => run.encode(encoder, given, [dx, dtwiddle])?,
        }
        if let (Some(kernel), Some(plan), Some(dbias)) = (&self.sum_dbias, plan.dbias, &gradients.dbias) {
            let rows = Slices::one(spec.batch as u32, spec.out_features as u32);
            kernel.dispatch(gpu, encoder, &rows.params(plan), &[dy.buffer(), dbias.buffer()])?;
        }
        Ok(())
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run_backward<T: Element>(
        &self,
        inputs: ButterflyLinearInputs<'_, T>,
        dy: &Tensor<T>,
    ) -> Result<ButterflyLinearGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode_backward(&mut encoder, inputs, dy, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

impl<T: Element> ButterflyLinearInputs<'_, T> {
    fn check(&self, gpu: &Gpu, spec: &ButterflyLinearSpec) -> Result<(), Error> {
        self.x.expect(gpu, "x", spec.dtype, &spec.x_shape())?;
        self.twiddle.expect(gpu, "twiddle", spec.dtype, &spec.product().twiddle_shape())?;
        check_bias(gpu, spec, self.bias, "bias")
    }
}

impl<T: Element> ButterflyLinearGradients<T> {
    fn check(&self, gpu: &Gpu, spec: &ButterflyLinearSpec) -> Result<(), Error> {
        self.dx.expect(gpu, "dx", spec.dtype, &spec.x_shape())?;
        self.dtwiddle.expect(gpu, "dtwiddle", spec.dtype, &spec.product().twiddle_shape())?;
        check_bias(gpu, spec, self.dbias.as_ref(), "dbias")
    }
}

fn check_bias<T: Element>(
    gpu: &Gpu,
    spec: &ButterflyLinearSpec,
    tensor: Option<&Tensor<T>>,
    name: &'static str,
) -> Result<(), Error> {
    expect_optional(gpu, tensor, name, spec.bias, &[spec.out_features])
}

/// The sum of the gradients of `x` over the stacks, for each row.
fn dx_slices(spec: &ButterflyLinearSpec) -> Slices {
    let (rows, width, stacks) = (spec.batch as u32, spec.in_features as u32, spec.product().nstacks as u32);
    let from_sum = stacks * width;
    Slices { sums: rows, all: rows * stacks, from_sum, to_sum: width, ..Slices::one(stacks, width) }
}
