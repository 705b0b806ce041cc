//! The linear scan.

use super::row_scan::{Phases, Stored, backward_shaders, shaders};
use crate::plan::{RowScanBackwardPlan, RowScanPlan};
use crate::tensor::expect_optional;
use crate::{DType, Element, Error, Gpu, LinearScanSpec, Tensor};

/// Inputs of a [`LinearScan`]; shapes as in [`LinearScanSpec`].
#[derive(Clone, Copy, Debug)]
pub struct LinearScanInputs<'a, T> {
    /// Factors of the state.
    pub a: &'a Tensor<T>,
    /// Terms added to the state.
    pub b: &'a Tensor<T>,
    /// States before the first step, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
}

/// Outputs of a [`LinearScan`]; shapes as in [`LinearScanSpec`].
#[derive(Clone, Debug)]
pub struct LinearScanOutputs<T> {
    /// Every state, before or after its step.
    pub h: Tensor<T>,
    /// The states after the last step, in f32: an initial state for what follows.
    pub last: Tensor<f32>,
}

impl<T: Element> LinearScanInputs<'_, T> {
    /// Fails unless these and the outputs are what the spec says.
    pub(crate) fn check(
        &self,
        gpu: &Gpu,
        spec: &LinearScanSpec,
        outputs: &LinearScanOutputs<T>,
    ) -> Result<(), Error> {
        self.a.expect(gpu, "a", spec.dtype, &spec.shape())?;
        self.b.expect(gpu, "b", spec.dtype, &spec.shape())?;
        expect_optional(gpu, self.initial, "the initial state", spec.initial, &spec.state_shape())?;
        outputs.h.expect(gpu, "h", spec.dtype, &spec.shape())?;
        outputs.last.expect(gpu, "the last state", DType::F32, &spec.state_shape())
    }
}

impl<T: Element> LinearScanOutputs<T> {
    pub(crate) fn zeros(gpu: &Gpu, spec: &LinearScanSpec) -> Result<Self, Error> {
        Ok(Self { h: Tensor::zeros(gpu, &spec.shape())?, last: Tensor::zeros(gpu, &spec.state_shape())? })
    }
}

/// The linear recurrence `h_t = a_t h_(t-1) + b_t`, as a scan of affine maps (Blelloch 1990), chunked so that one
/// long row fills a GPU.
#[derive(Clone, Debug)]
pub struct LinearScan {
    gpu: Gpu,
    spec: LinearScanSpec,
    plan: RowScanPlan,
    phases: Phases,
}

impl LinearScan {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: LinearScanSpec) -> Result<Self, Error> {
        let plan = RowScanPlan::linear(&spec, gpu.caps())?;
        let phases = Phases::new(gpu, spec.row_scan(), plan, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, phases })
    }

    /// How it runs here.
    pub fn plan(&self) -> &RowScanPlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<LinearScanOutputs<T>, Error> {
        LinearScanOutputs::zeros(&self.gpu, &self.spec)
    }

    /// Records the scan into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it, and if scratch cannot be allocated. No output may share a
    /// buffer with an input: the submission would fail. Clones of the op share its scratch, which counts in
    /// [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearScanInputs<'_, T>,
        outputs: &LinearScanOutputs<T>,
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, &self.spec, outputs)?;
        let steps = [inputs.a.buffer(), inputs.b.buffer()];
        let initial = inputs.initial.map_or(self.gpu.unused(), Tensor::buffer);
        let ends = [initial, outputs.last.buffer()];
        self.phases.encode(&self.gpu, encoder, &steps, ends, &[Stored::Values(outputs.h.buffer())])
    }

    /// Allocates the outputs, records the scan and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: LinearScanInputs<'_, T>) -> Result<LinearScanOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }
}

/// Gradients of a [`LinearScan`], of the shapes of what they belong to. Those of complex tensors are derivatives by the
/// real and by the imaginary part.
#[derive(Clone, Debug)]
pub struct LinearScanGradients<T> {
    /// Of `a`.
    pub da: Tensor<T>,
    /// Of `b`.
    pub db: Tensor<T>,
    /// Of the initial state, whether one was given or it was 0.
    pub dinitial: Tensor<f32>,
}

impl<T: Element> LinearScanGradients<T> {
    pub(crate) fn zeros(gpu: &Gpu, spec: &LinearScanSpec) -> Result<Self, Error> {
        let rows = || Tensor::zeros(gpu, &spec.shape());
        Ok(Self { da: rows()?, db: rows()?, dinitial: Tensor::zeros(gpu, &spec.state_shape())? })
    }
}

/// What the backward pass of a [`LinearScan`] reads; shapes as in [`LinearScanSpec`].
#[derive(Clone, Copy, Debug)]
pub struct LinearScanBackwardInputs<'a, T> {
    /// Factors of the state.
    pub a: &'a Tensor<T>,
    /// What the scan gave.
    pub h: &'a Tensor<T>,
    /// States before the first step, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
    /// Gradients of what it gave.
    pub dh: &'a Tensor<T>,
}

impl<T: Element> LinearScanBackwardInputs<'_, T> {
    /// Fails unless these and the gradients are what the spec says.
    pub(crate) fn check(
        &self,
        gpu: &Gpu,
        spec: &LinearScanSpec,
        gradients: &LinearScanGradients<T>,
    ) -> Result<(), Error> {
        let Self { a, h, initial, dh } = *self;
        let LinearScanGradients { da, db, dinitial } = gradients;
        for (name, tensor) in [("a", a), ("h", h), ("dh", dh), ("da", da), ("db", db)] {
            tensor.expect(gpu, name, spec.dtype, &spec.shape())?;
        }
        expect_optional(gpu, initial, "the initial state", spec.initial, &spec.state_shape())?;
        let name = "the gradient of the initial state";
        dinitial.expect(gpu, name, DType::F32, &spec.state_shape())
    }
}

/// The backward pass of a [`LinearScan`]: the same scan the other way, over the factors of the steps behind.
#[derive(Clone, Debug)]
pub struct LinearScanBackward {
    gpu: Gpu,
    spec: LinearScanSpec,
    plan: RowScanBackwardPlan,
    phases: Phases,
}

impl LinearScanBackward {
    /// Plans the spec's backward pass for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the
    /// spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: LinearScanSpec) -> Result<Self, Error> {
        let plan = RowScanBackwardPlan::linear(&spec, gpu.caps())?;
        let phases = Phases::new(gpu, spec.row_scan().backward(), plan.scan, &backward_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, phases })
    }

    /// How it runs here.
    pub fn plan(&self) -> &RowScanBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<LinearScanGradients<T>, Error> {
        LinearScanGradients::zeros(&self.gpu, &self.spec)
    }

    /// Records the gradients into an encoder of the same device. Fails like [`LinearScan::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearScanBackwardInputs<'_, T>,
        gradients: &LinearScanGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, .. } = self;
        inputs.check(gpu, spec, gradients)?;
        let LinearScanBackwardInputs { a, h, initial, dh } = inputs;
        let LinearScanGradients { da, db, dinitial } = gradients;
        let given = initial.map_or(gpu.unused(), Tensor::buffer);
        let [h, da, db] = [h, da, db].map(|tensor| Stored::Values(tensor.buffer()));
        let stored = [h, Stored::Rows(given), da, db];
        let ends = [gpu.unused(), dinitial.buffer()];
        let steps = [a.buffer(), dh.buffer()];
        self.phases.encode(gpu, encoder, &steps, ends, &stored)
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: LinearScanBackwardInputs<'_, T>,
    ) -> Result<LinearScanGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }
}
