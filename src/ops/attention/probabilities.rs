//! The probabilities of attention.

use super::AttentionInputs;
use super::link::{loads, scored, sequences, slopes, tiled};
use super::mods::modded;
use super::params::{TaskParams, Works};
use crate::kernel::{Kernel, compile_array};
use crate::plan::AttentionProbabilitiesPlan;
use crate::shader::{Shader, ShaderError};
use crate::{AttentionSpec, DType, Element, Error, Gpu, Mods, Tensor};

/// The weights with which values enter the output of [`Attention`](super::Attention), for models that read them: with
/// dropout those that are kept, times their factor, so that their products with the values are the output. Zeros where a
/// query does not see a key. Computed a tile at a time from the log-sum-exps into
/// [`AttentionSpec::probabilities_shape`].
#[derive(Clone, Debug)]
pub struct AttentionProbabilities {
    gpu: Gpu,
    spec: AttentionSpec,
    plan: AttentionProbabilitiesPlan,
    kernel: Kernel,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &AttentionProbabilitiesPlan) -> Result<Vec<Shader>, ShaderError> {
    let AttentionProbabilitiesPlan { structure, tile, storage, .. } = plan;
    let linker = sequences(tiled("attention/probabilities", tile), structure);
    let linker = loads(scored(slopes(linker, structure), structure, false));
    let shader = modded(linker, &structure.mods, &Mods::default(), (tile.rows(), tile.columns()), false)?
        .copy("attention/dots", &[("tensor", "q"), ("other", "k"), ("WIDTH", "HEAD_DIM")])
        .set("HEAD_DIM", structure.head_dim)
        .tensor("q", structure.key_storage)
        .tensor("k", structure.key_storage)
        .tensor("p", *storage);
    Ok(vec![shader.link()?])
}

impl AttentionProbabilities {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: AttentionSpec) -> Result<Self, Error> {
        let plan = AttentionProbabilitiesPlan::new(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &AttentionProbabilitiesPlan {
        &self.plan
    }

    /// A tensor for the probabilities. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.probabilities_shape())
    }

    /// Records the computation into an encoder of the same device, after that of the log-sum-exps.
    ///
    /// Fails like [`Attention::encode`](super::Attention::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AttentionInputs<'_, T>,
        lse: &Tensor<f32>,
        probabilities: &Tensor<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        let spans = inputs.check(gpu, spec)?;
        lse.expect(gpu, "lse", DType::F32, &spec.lse_shape())?;
        probabilities.expect(gpu, "the probabilities", spec.dtype, &spec.probabilities_shape())?;
        let works = Works::of_queries(gpu, spec, &spans, plan.tile.rows(), 1)?;
        let tiles = spec.k_len.div_ceil(plan.tile.columns() as usize) as u32;
        let params = TaskParams::new(spec, &works, (spec.heads, tiles), inputs.seed);
        let own = [inputs.q.buffer(), inputs.k.buffer(), lse.buffer(), probabilities.buffer()];
        let buffers: Vec<_> = own.into_iter().chain(works.bound()).chain(inputs.slopes_bound()).collect();
        kernel.dispatch(gpu, encoder, &params, &buffers)
    }

    /// Allocates the output, records the computation and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: AttentionInputs<'_, T>,
        lse: &Tensor<f32>,
    ) -> Result<Tensor<T>, Error> {
        let probabilities = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, lse, &probabilities)?;
        self.gpu.submit(encoder)?;
        Ok(probabilities)
    }
}
