//! A Monarch product as two batched matrix products and two permuting copies, and the dense product it stands for.

use std::fmt;

use crate::baseline::matmul::{Matmul, MatmulPlan, MatmulSpec, Operand};
use crate::baseline::transpose::{self, Transpose, TransposePlan};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Shader, ShaderError};
use crate::spec::elements;
use crate::{Caps, Element, Error, Gpu, MonarchInputs, MonarchSpec, PlanError, Tensor};

/// How to run a [`MonarchSpec`] unfused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnfusedMonarchPlan {
    /// The block-diagonal products of the two factors.
    pub factors: [MatmulPlan; 2],
    /// The permuting copy after each factor.
    pub copies: [TransposePlan; 2],
}

impl UnfusedMonarchPlan {
    /// Plans an unfused Monarch product. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &MonarchSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        let between = elements("the row between the factors", &[spec.batch, spec.n_mid()])?;
        check_binding("the row between the factors", between, spec.dtype, caps)?;
        Ok(Self {
            factors: [
                MatmulPlan::new(&first_product(spec), caps)?,
                MatmulPlan::new(&second_product(spec), caps)?,
            ],
            copies: turns(spec).map(|size| TransposePlan::new(spec.dtype, size, caps)),
        })
    }
}

/// `w1`: a product for each block, over the whole batch.
fn first_product(spec: &MonarchSpec) -> MatmulSpec {
    let [k, q, p] = spec.w1;
    block_diagonal(spec, k, q, p)
}

/// `w2`, after the first copy has made its blocks contiguous.
fn second_product(spec: &MonarchSpec) -> MatmulSpec {
    let [l, s, r] = spec.w2;
    block_diagonal(spec, l, s, r)
}

fn block_diagonal(spec: &MonarchSpec, blocks: usize, n: usize, k: usize) -> MatmulSpec {
    let dtype = spec.dtype;
    MatmulSpec {
        batch: [1, blocks],
        a: Operand::new(dtype, [0, k, blocks * k]),
        b: Operand::new(dtype, [0, n * k, k]),
        b_transposed: true,
        c: Operand::new(dtype, [0, n, blocks * n]),
        ..MatmulSpec::new(dtype, spec.batch, n, k)
    }
}

/// The rows and columns of the matrix that each copy turns.
fn turns(spec: &MonarchSpec) -> [[usize; 2]; 2] {
    let [l, s, r] = spec.w2;
    [[r, l], [l, s]]
}

impl Plan for UnfusedMonarchPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let Self { factors: [first, second], copies: [turn, turn_again] } = self;
        [first.footprints(), turn.footprints(), second.footprints(), turn_again.footprints()].concat()
    }
}

impl fmt::Display for UnfusedMonarchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { factors: [first, second], copies: [turn, turn_again] } = self;
        write!(f, "w1: {first} | {turn} | w2: {second} | {turn_again}")
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &UnfusedMonarchPlan) -> Result<Vec<Shader>, ShaderError> {
    let UnfusedMonarchPlan { factors: [first, second], copies: [turn, turn_again] } = plan;
    let (first, second) =
        (crate::baseline::shaders::matmul(first)?, crate::baseline::shaders::matmul(second)?);
    Ok([first, vec![transpose::shader(turn)?], second, vec![transpose::shader(turn_again)?]].concat())
}

/// The rows between the kernels: after `w1`, permuted, and after `w2`.
#[derive(Clone, Debug)]
pub struct MonarchScratch<T> {
    first: Tensor<T>,
    turned: Tensor<T>,
    second: Tensor<T>,
}

/// A Monarch product as a framework composes it: batched products with permuting copies between them.
#[derive(Clone, Debug)]
pub struct UnfusedMonarch {
    gpu: Gpu,
    spec: MonarchSpec,
    plan: UnfusedMonarchPlan,
    factors: [Matmul; 2],
    copies: [Transpose; 2],
}

impl UnfusedMonarch {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: MonarchSpec) -> Result<Self, Error> {
        let plan = UnfusedMonarchPlan::new(&spec, gpu.caps())?;
        let [first, second] = plan.copies;
        Ok(Self {
            gpu: gpu.clone(),
            spec,
            plan,
            factors: [
                Matmul::with_plan(gpu, first_product(&spec), plan.factors[0])?,
                Matmul::with_plan(gpu, second_product(&spec), plan.factors[1])?,
            ],
            copies: [Transpose::new(gpu, first)?, Transpose::new(gpu, second)?],
        })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedMonarchPlan {
        &self.plan
    }

    /// The tensor for the output.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &[self.spec.batch, self.spec.n_out()])
    }

    /// The tensors between the kernels.
    pub fn scratch<T: Element>(&self) -> Result<MonarchScratch<T>, Error> {
        let row = |width: usize| Tensor::zeros(&self.gpu, &[self.spec.batch, width]);
        let (middle, out) = (self.spec.n_mid(), self.spec.n_out());
        Ok(MonarchScratch { first: row(middle)?, turned: row(middle)?, second: row(out)? })
    }

    /// Records the four kernels.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: MonarchInputs<'_, T>,
        y: &Tensor<T>,
        scratch: &MonarchScratch<T>,
    ) -> Result<(), Error> {
        let spec = &self.spec;
        inputs.x.expect(&self.gpu, "x", spec.dtype, &[spec.batch, spec.n_in()])?;
        inputs.w1.expect(&self.gpu, "w1", spec.dtype, &spec.w1)?;
        inputs.w2.expect(&self.gpu, "w2", spec.dtype, &spec.w2)?;
        y.expect(&self.gpu, "y", spec.dtype, &[spec.batch, spec.n_out()])?;
        for (between, width) in
            [(&scratch.first, spec.n_mid()), (&scratch.turned, spec.n_mid()), (&scratch.second, spec.n_out())]
        {
            between.expect(&self.gpu, "the rows between the kernels", spec.dtype, &[spec.batch, width])?;
        }
        let [first, second] = &self.copies;
        self.factors[0].encode(encoder, inputs.x, inputs.w1, &scratch.first)?;
        first.encode(encoder, spec.batch, &scratch.first, &scratch.turned)?;
        self.factors[1].encode(encoder, &scratch.turned, inputs.w2, &scratch.second)?;
        second.encode(encoder, spec.batch, &scratch.second, y)
    }
}

/// The product `y = x Mᵀ` with a dense weight `M` of shape (`n_out`, `n_in`): what structure is meant to save.
#[derive(Clone, Debug)]
pub struct Dense {
    gpu: Gpu,
    shape: [usize; 2],
    product: Matmul,
}

impl Dense {
    /// Plans the dense product of a Monarch spec's own shape.
    pub fn new(gpu: &Gpu, spec: &MonarchSpec) -> Result<Self, Error> {
        spec.check()?;
        let shape = [spec.batch, spec.n_out()];
        let product = MatmulSpec::new(spec.dtype, spec.batch, spec.n_out(), spec.n_in()).b_transposed();
        Ok(Self { gpu: gpu.clone(), shape, product: Matmul::new(gpu, product)? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &MatmulPlan {
        self.product.plan()
    }

    /// The tensor for the output, (batch, `n_out`).
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.shape)
    }

    /// Records the product of `x` (batch, `n_in`) with `weight` (`n_out`, `n_in`).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        x: &Tensor<T>,
        weight: &Tensor<T>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        self.product.encode(encoder, x, weight, y)
    }
}
