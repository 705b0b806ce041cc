//! Running sums and maxima.

use super::row_scan::{Phases, Stored, backward_shaders, shaders};
use crate::plan::{RowScanBackwardPlan, RowScanPlan};
use crate::tensor::expect_optional;
use crate::{AssociativeOperator, AssociativeScanSpec, DType, Element, Error, Gpu, Tensor};

/// Inputs of an [`AssociativeScan`]; shapes as in [`AssociativeScanSpec`].
#[derive(Clone, Copy, Debug)]
pub struct AssociativeScanInputs<'a, T> {
    /// The steps.
    pub x: &'a Tensor<T>,
    /// Values before the first step, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
}

impl<T: Element> AssociativeScanInputs<'_, T> {
    fn check(&self, gpu: &Gpu, spec: &AssociativeScanSpec) -> Result<(), Error> {
        self.x.expect(gpu, "x", spec.dtype, &spec.shape())?;
        expect_optional(gpu, self.initial, "the initial value", spec.initial, &spec.state_shape())
    }
}

/// Outputs of an [`AssociativeScan`]; shapes as in [`AssociativeScanSpec`].
#[derive(Clone, Debug)]
pub struct AssociativeScanOutputs<T> {
    /// Every value, before or after its step.
    pub y: Tensor<T>,
    /// The values after the last step, in f32: an initial value for what follows.
    pub last: Tensor<f32>,
}

/// Running sums or maxima (Blelloch 1990): the kernels of a [`LinearScan`](crate::LinearScan) with another operator.
#[derive(Clone, Debug)]
pub struct AssociativeScan {
    gpu: Gpu,
    spec: AssociativeScanSpec,
    plan: RowScanPlan,
    phases: Phases,
}

impl AssociativeScan {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: AssociativeScanSpec) -> Result<Self, Error> {
        let plan = RowScanPlan::associative(&spec, gpu.caps())?;
        let phases = Phases::new(gpu, spec.row_scan(), plan, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, phases })
    }

    /// How it runs here.
    pub fn plan(&self) -> &RowScanPlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<AssociativeScanOutputs<T>, Error> {
        let Self { gpu, spec, .. } = self;
        Ok(AssociativeScanOutputs {
            y: Tensor::zeros(gpu, &spec.shape())?,
            last: Tensor::zeros(gpu, &spec.state_shape())?,
        })
    }

    /// Records the scan into an encoder of the same device. Fails like
    /// [`LinearScan::encode`](crate::LinearScan::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AssociativeScanInputs<'_, T>,
        outputs: &AssociativeScanOutputs<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, .. } = self;
        inputs.check(gpu, spec)?;
        outputs.y.expect(gpu, "y", spec.dtype, &spec.shape())?;
        outputs.last.expect(gpu, "the last value", DType::F32, &spec.state_shape())?;
        let initial = inputs.initial.map_or(gpu.unused(), Tensor::buffer);
        let ends = [initial, outputs.last.buffer()];
        self.phases.encode(gpu, encoder, &[inputs.x.buffer()], ends, &[Stored::Values(outputs.y.buffer())])
    }

    /// Allocates the outputs, records the scan and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: AssociativeScanInputs<'_, T>,
    ) -> Result<AssociativeScanOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }
}

/// What the backward pass of an [`AssociativeScan`] reads; shapes as in [`AssociativeScanSpec`].
#[derive(Clone, Copy, Debug)]
pub struct AssociativeScanBackwardInputs<'a, T> {
    /// What the scan took. Sums have no use for its values.
    pub given: AssociativeScanInputs<'a, T>,
    /// What the scan gave. Sums have no use for it.
    pub y: &'a Tensor<T>,
    /// Gradients of what it gave.
    pub dy: &'a Tensor<T>,
}

/// Gradients of an [`AssociativeScan`], of the shapes of what they belong to.
#[derive(Clone, Debug)]
pub struct AssociativeScanGradients<T> {
    /// Of `x`.
    pub dx: Tensor<T>,
    /// Of the initial value, whether one was given or rows began with that of the operator.
    pub dinitial: Tensor<f32>,
}

/// The backward pass of an [`AssociativeScan`]: a scan the other way, of a sum a sum, and of a maximum one in which a
/// gradient goes back until the step that set the maximum.
#[derive(Clone, Debug)]
pub struct AssociativeScanBackward {
    gpu: Gpu,
    spec: AssociativeScanSpec,
    plan: RowScanBackwardPlan,
    phases: Phases,
}

impl AssociativeScanBackward {
    /// Plans the spec's backward pass for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the
    /// spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: AssociativeScanSpec) -> Result<Self, Error> {
        let plan = RowScanBackwardPlan::associative(&spec, gpu.caps())?;
        let phases = Phases::new(gpu, spec.row_scan().backward(), plan.scan, &backward_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, phases })
    }

    /// How it runs here.
    pub fn plan(&self) -> &RowScanBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<AssociativeScanGradients<T>, Error> {
        let Self { gpu, spec, .. } = self;
        Ok(AssociativeScanGradients {
            dx: Tensor::zeros(gpu, &spec.shape())?,
            dinitial: Tensor::zeros(gpu, &spec.state_shape())?,
        })
    }

    /// Records the gradients into an encoder of the same device. Fails like
    /// [`LinearScan::encode`](crate::LinearScan::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AssociativeScanBackwardInputs<'_, T>,
        gradients: &AssociativeScanGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, .. } = self;
        let AssociativeScanBackwardInputs { given, y, dy } = inputs;
        let AssociativeScanGradients { dx, dinitial } = gradients;
        given.check(gpu, spec)?;
        for (name, tensor) in [("y", y), ("dy", dy), ("dx", dx)] {
            tensor.expect(gpu, name, spec.dtype, &spec.shape())?;
        }
        let name = "the gradient of the initial value";
        dinitial.expect(gpu, name, DType::F32, &spec.state_shape())?;
        let ends = [gpu.unused(), dinitial.buffer()];
        let (dy, dx) = (dy.buffer(), Stored::Values(dx.buffer()));
        match spec.operator {
            AssociativeOperator::Sum => self.phases.encode(gpu, encoder, &[dy], ends, &[dx]),
            AssociativeOperator::Max => {
                let initial = Stored::Rows(given.initial.map_or(gpu.unused(), Tensor::buffer));
                let stored = [Stored::Values(given.x.buffer()), initial, dx];
                self.phases.encode(gpu, encoder, &[y.buffer(), dy], ends, &stored)
            }
        }
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: AssociativeScanBackwardInputs<'_, T>,
    ) -> Result<AssociativeScanGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }
}
