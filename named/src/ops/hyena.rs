//! `hyena`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{
    Conv1dBackwardPlan, Conv1dPlan, Conv1dStepPlan, LongConvBackwardPlan, LongConvPlan, LongConvStepPlan,
};
use tilewise::{
    Caps, DType, Element, Gpu, Hyena, HyenaBackward, HyenaInputs, HyenaSpec, Projection, Tensor, by_dtype,
};

use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile, expect_shapes};

/// Hyena's operator of order 2: y = q (h * (k v) + D (k v)) of projections that pass through short convolutions
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the sequences
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Channels of a batch
    #[arg(long, default_value_t = 256)]
    channels: usize,
    /// Samples of a sequence
    #[arg(long, default_value_t = 8192)]
    length: usize,
    /// Taps of the short convolutions, 2 to 4
    #[arg(long, default_value_t = 3)]
    width: usize,
    /// Samples of the filter; as many as those of a sequence where not given
    #[arg(long)]
    taps: Option<usize>,
}

options! {
    /// Reads q, k, v, the taps and biases of each, h and D; writes y, and gradients if there is a dy
    ///
    /// q, k, v, y and dy (batch, channels, length); q_weight, k_weight and v_weight (channels, width), q_bias, k_bias, v_bias and D
    /// (channels) and the filter h (channels, taps) in any of the types. Gradients are named d and what they belong to; those of
    /// parameters are F32.
    #[derive(Debug, Args)]
    pub struct Options {}
}

/// The projections, and what belongs to each.
const PROJECTIONS: [[&str; 3]; 3] =
    [["q", "q_weight", "q_bias"], ["k", "k_weight", "k_bias"], ["v", "v_weight", "v_bias"]];

/// The gradients of the same.
const GRADIENTS: [[&str; 3]; 3] =
    [["dq", "dq_weight", "dq_bias"], ["dk", "dk_weight", "dk_bias"], ["dv", "dv_weight", "dv_bias"]];

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = HyenaSpec::new(self.dtype, self.batch, self.channels, self.length).width(self.width);
        let spec = spec.taps(self.taps.unwrap_or(self.length));
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (q, weight, filter) = (file.get("q")?, file.get("q_weight")?, file.get("h")?);
        let (skip, dy) = (file.get("D")?, file.find("dy")?);
        let [batch, channels, length] = q.sizes("batch, channels, length")?;
        let [_, width] = weight.sizes("channels, width")?;
        let [_, taps] = filter.sizes("channels, taps")?;
        let spec = HyenaSpec::new(q.dtype, batch, channels, length).width(width).taps(taps);
        spec.check()?;
        for [x, weight, bias] in PROJECTIONS {
            let (x, weight, bias) = (file.get(x)?, file.get(weight)?, file.get(bias)?);
            x.expect_dtype_of(&q)?;
            expect_shapes(&[
                (Some(&x), &spec.shape()),
                (Some(&weight), &spec.short().weight_shape()),
                (Some(&bias), &spec.short().bias_shape()),
            ])?;
        }
        if let Some(dy) = &dy {
            dy.expect_dtype_of(&q)?;
        }
        expect_shapes(&[
            (dy.as_ref(), &spec.shape()),
            (Some(&filter), &spec.long().kernel_shape()),
            (Some(&skip), &[channels]),
        ])?;
        Ok(Box::new(spec))
    }
}

/// A projection on the device.
struct Uploaded<T> {
    x: Tensor<T>,
    weight: Tensor<f32>,
    bias: Tensor<f32>,
}

impl<T: Element> Uploaded<T> {
    fn new(gpu: &Gpu, file: &TensorFile<'_>, [x, weight, bias]: [&str; 3]) -> Result<Self, Failure> {
        let (weight, bias) = (file.get(weight)?.upload_f32(gpu)?, file.get(bias)?.upload_f32(gpu)?);
        Ok(Self { x: file.upload::<T>(gpu, x)?, weight, bias })
    }

    fn projection(&self) -> Projection<'_, T> {
        Projection { x: &self.x, weight: &self.weight, bias: &self.bias }
    }
}

impl Operation for HyenaSpec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let (short, long) = (self.short(), self.long());
        let long_backward = LongConvBackwardPlan::new(&long, caps)?;
        let short_backward = Conv1dBackwardPlan::new(&short, caps)?;
        Ok(vec![
            Planned::new("short, forward", &Conv1dPlan::new(&short, caps)?, shaders::conv1d)?,
            Planned::new("long, forward", &LongConvPlan::new(&long, caps)?, shaders::long_conv)?,
            Planned::new("long, backward", &long_backward, shaders::long_conv_backward)?,
            Planned::new("short, backward", &short_backward, shaders::conv1d_backward)?,
            Planned::new("short, step", &Conv1dStepPlan::new(&short, caps)?, shaders::conv1d_step)?,
            Planned::new("long, step", &LongConvStepPlan::new(&long, caps)?, shaders::long_conv_step)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| compute::<T>(*self, gpu, file)))
    }
}

fn compute<T: Element>(spec: HyenaSpec, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
    let [q, k, v] = PROJECTIONS.map(|names| Uploaded::<T>::new(gpu, file, names));
    let (q, k, v) = (q?, k?, v?);
    let (filter, skip) = (file.get("h")?.upload_f32(gpu)?, file.get("D")?.upload_f32(gpu)?);
    let qkv = [q.projection(), k.projection(), v.projection()];
    let inputs = HyenaInputs { qkv, filter: &filter, skip: &skip };
    let mut outputs = vec![Output::on_device("y", &Hyena::new(gpu, spec)?.run(inputs)?)];
    let Some(dy) = file.find("dy")? else { return Ok(outputs) };
    let gradients = HyenaBackward::new(gpu, spec)?.run(inputs, &dy.upload::<T>(gpu)?)?;
    for ([x, weight, bias], of) in GRADIENTS.into_iter().zip(gradients.dqkv) {
        outputs.push(Output::on_device(x, &of.dx));
        outputs.push(Output::on_device(weight, &of.dweight));
        outputs.extend(of.dbias.map(|dbias| Output::on_device(bias, &dbias)));
    }
    outputs.push(Output::on_device("dh", &gradients.dfilter));
    outputs.push(Output::on_device("dD", &gradients.dskip));
    Ok(outputs)
}
