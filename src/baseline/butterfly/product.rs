//! A butterfly product as one kernel for each factor, each of which reads and writes whole rows.

use std::fmt;

use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Shader, ShaderError, Storage};
use crate::{ButterflyInputs, ButterflySpec, Caps, Element, Error, Gpu, PlanError, SpecError, Tensor};

const KERNEL: &str = "baseline/butterfly_factor";

/// How to run a [`ButterflySpec`] unfused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnfusedButterflyPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// How every tensor is stored.
    pub storage: Storage,
    /// Kernels, one for each factor.
    pub factors: u32,
}

impl UnfusedButterflyPlan {
    /// Plans an unfused product. Fails if the spec is wrong, a tensor exceeds a binding, or it has an option that this
    /// yardstick does not: it is for real rows as wide as the product, of eight nodes at least.
    pub fn new(spec: &ButterflySpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        let expected = |name, found: &dyn fmt::Display, expected: &str| {
            Err(SpecError::Value { name, found: found.to_string(), expected: expected.to_owned() }.into())
        };
        if spec.n < 8 {
            return expected("n", &spec.n, "at least 8, unfused");
        }
        if spec.n_in != spec.n || spec.entry != 1 || spec.complex || spec.transposed {
            return expected("a product", spec, "real numbers, rows as wide as n, and no transpose, unfused");
        }
        check_binding("x", spec.batch * spec.nstacks * spec.n, spec.dtype, caps)?;
        check_binding("twiddle", spec.parameters(), spec.dtype, caps)?;
        let storage = Storage::new(spec.dtype, caps.f16, true);
        Ok(Self { lanes: 256.min(caps.workgroup_lanes), storage, factors: spec.factors() as u32 })
    }
}

impl Plan for UnfusedButterflyPlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![Footprint { kernel: KERNEL, lanes: self.lanes, workgroup_bytes: 0, storage_buffers: 3 }]
    }
}

impl fmt::Display for UnfusedButterflyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, storage, factors } = self;
        write!(f, "{factors} kernels, a factor each, {lanes} lanes of four pairs, {storage}")
    }
}

params! {
    /// `baseline/butterfly_factor`.
    FactorParams { fours: u32, stacks: u32, log_n: u32, factors: u32, factor: u32, bit: u32 }
}

/// The linked shaders of a plan, in the order of its footprints: one serves every factor.
pub fn shaders(plan: &UnfusedButterflyPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = yardstick(KERNEL).set("LANES", plan.lanes).tensor("inputs", plan.storage);
    Ok(vec![linker.tensor("twiddle", plan.storage).tensor("outputs", plan.storage).link()?])
}

/// The rows between the factors.
#[derive(Clone, Debug)]
pub struct ButterflyScratch<T> {
    rows: [Tensor<T>; 2],
}

/// A butterfly product as a framework composes it, a factor after the other.
#[derive(Clone, Debug)]
pub struct UnfusedButterfly {
    gpu: Gpu,
    spec: ButterflySpec,
    plan: UnfusedButterflyPlan,
    kernel: Kernel,
}

impl UnfusedButterfly {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: ButterflySpec) -> Result<Self, Error> {
        let plan = UnfusedButterflyPlan::new(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedButterflyPlan {
        &self.plan
    }

    /// The tensor for the output.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.y_shape())
    }

    /// The tensors between the kernels.
    pub fn scratch<T: Element>(&self) -> Result<ButterflyScratch<T>, Error> {
        Ok(ButterflyScratch { rows: [self.outputs()?, self.outputs()?] })
    }

    /// Records the kernels.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: ButterflyInputs<'_, T>,
        y: &Tensor<T>,
        scratch: &ButterflyScratch<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        inputs.x.expect(gpu, "x", spec.dtype, &spec.x_shape())?;
        inputs.twiddle.expect(gpu, "twiddle", spec.dtype, &spec.twiddle_shape())?;
        y.expect(gpu, "y", spec.dtype, &spec.y_shape())?;
        for rows in &scratch.rows {
            rows.expect(gpu, "the rows between the factors", spec.dtype, &spec.y_shape())?;
        }
        let fours = (spec.batch * spec.nstacks * spec.n / 8) as u32;
        let last = spec.factors() - 1;
        for factor in 0..=last {
            let from = if factor == 0 { inputs.x } else { &scratch.rows[(factor - 1) % 2] };
            let to = if factor == last { y } else { &scratch.rows[factor % 2] };
            let params = FactorParams {
                groups: fours.div_ceil(plan.lanes),
                fours,
                stacks: spec.nstacks as u32,
                log_n: spec.log_n() as u32,
                factors: plan.factors,
                factor: factor as u32,
                bit: spec.stride_bit(factor) as u32,
            };
            let buffers = [from, inputs.twiddle, to].map(Tensor::buffer);
            kernel.dispatch(gpu, encoder, &params, &buffers)?;
        }
        Ok(())
    }
}
