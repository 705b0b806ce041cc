//! `conv1d`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{Conv1dBackwardPlan, Conv1dPlan, Conv1dStepPlan};
use tilewise::{
    Caps, Conv1d, Conv1dBackward, Conv1dGradients, Conv1dInputs, Conv1dSpec, DType, Element, Gpu,
    SequenceIndices, Sequences, by_dtype,
};

use super::ssd::sequences;
use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

/// Short causal convolution of each channel
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Channels of a batch
    #[arg(long, default_value_t = 2048)]
    channels: usize,
    /// Steps
    #[arg(long, default_value_t = 8192)]
    length: usize,
    /// Taps, 2 to 4
    #[arg(long, default_value_t = 4)]
    width: usize,
    /// Add a bias
    #[arg(long)]
    bias: bool,
    /// Take an initial state
    #[arg(long)]
    initial: bool,
    /// Take the sequence of each step
    #[arg(long)]
    sequences: bool,
    /// Take so many sequences, packed one after another, with states of their own; channels must lie innermost
    #[arg(long)]
    packed: Option<usize>,
    #[command(flatten)]
    options: Options,
}

options! {
    /// Reads x, weight, and what else there is; writes y and last_state, and gradients if there is a dy
    ///
    /// x, y and dy (batch, channels, length), or with --channels-last (batch, length, channels); weight (channels, width),
    /// bias (channels) and initial_state (batch, channels, width - 1) in any of the types. Either seq_idx (batch, length),
    /// whose changes begin sequences, in I32, U32 or I64; or with --channels-last cu_seqlens, where the sequences packed in a
    /// batch of 1 begin and the last one ends: each of those has states of its own, (sequences, channels, width - 1).
    /// last_state and the gradients dweight, dbias and dinitial_state in F32, dx as x.
    #[derive(Clone, Copy, Debug, Args)]
    pub struct Options {
        /// Pass the outputs through silu
        #[arg(long)]
        silu: bool,
        /// Channels lie innermost, as what a projection gives
        #[arg(long)]
        channels_last: bool,
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = Conv1dSpec::new(self.dtype, self.batch, self.channels, self.length, self.width);
        let Self { bias, initial, packed, options: Options { silu, channels_last }, .. } = *self;
        let sequences = self.sequences || packed.is_some();
        let spec = Conv1dSpec { bias, silu, sequences, packed, initial, channels_last, ..spec };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

/// The sequences of a convolution's steps, if a file divides them.
fn given_sequences(
    file: &TensorFile<'_>,
    spec: &Conv1dSpec,
    gpu: &Gpu,
) -> Result<Option<SequenceIndices>, Failure> {
    Ok(match sequences(file, spec.batch, spec.length)? {
        Sequences::Whole => None,
        Sequences::Packed(starts) => Some(SequenceIndices::packed(gpu, spec.length, &starts)?),
        Sequences::Indexed(indices) => {
            Some(SequenceIndices::new(gpu, spec.sequences_shape(), &counted(&indices))?)
        }
    })
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (x, weight) = (file.get("x")?, file.get("weight")?);
        let (bias, initial, dy) = (file.find("bias")?, file.find("initial_state")?, file.find("dy")?);
        let [batch, channels, length] = if self.channels_last {
            let [batch, length, channels] = x.sizes("batch, length, channels")?;
            [batch, channels, length]
        } else {
            x.sizes("batch, channels, length")?
        };
        let [_, width] = weight.sizes("channels, width")?;
        let spec = Conv1dSpec::new(x.dtype, batch, channels, length, width);
        let (has_bias, has_initial) = (bias.is_some(), initial.is_some());
        let sequences = sequences(file, batch, length)?;
        let packed = matches!(sequences, Sequences::Packed(_)).then(|| sequences.states(batch));
        let spec = Conv1dSpec {
            bias: has_bias,
            silu: self.silu,
            sequences: sequences != Sequences::Whole,
            packed,
            initial: has_initial,
            channels_last: self.channels_last,
            ..spec
        };
        spec.check()?;
        sequences.check(batch, length)?;
        weight.expect_shape(&spec.weight_shape())?;
        if let Some(bias) = bias {
            bias.expect_shape(&spec.bias_shape())?;
        }
        if let Some(initial) = initial {
            initial.expect_shape(&spec.state_shape())?;
        }
        if let Some(dy) = dy {
            dy.expect_dtype_of(&x)?;
            dy.expect_shape(&spec.shape())?;
        }
        Ok(Box::new(spec))
    }
}

/// The gradients of a convolution, those of `x` and of the initial state under these names.
pub(super) fn gradients<T: Element>(
    x: &'static str,
    initial: &'static str,
    found: &Conv1dGradients<T>,
) -> Vec<Output> {
    let mut outputs = vec![Output::on_device(x, &found.dx), Output::on_device("dweight", &found.dweight)];
    for (name, gradient) in [("dbias", &found.dbias), (initial, &found.dinitial)] {
        outputs.extend(gradient.as_ref().map(|gradient| Output::on_device(name, gradient)));
    }
    outputs
}

/// The same sequences by numbers that count changes, which fit whatever the file's are.
fn counted(indices: &[i64]) -> Vec<i32> {
    let mut count = 0;
    let mut before = indices.first();
    let number = |index| {
        count += i32::from(before != Some(index));
        before = Some(index);
        count
    };
    indices.iter().map(number).collect()
}

impl Operation for Conv1dSpec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        Ok(vec![
            Planned::new("forward", &Conv1dPlan::new(self, caps)?, shaders::conv1d)?,
            Planned::new("backward", &Conv1dBackwardPlan::new(self, caps)?, shaders::conv1d_backward)?,
            Planned::new("step", &Conv1dStepPlan::new(self, caps)?, shaders::conv1d_step)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| {
            let in_f32 = |name| file.upload_f32(gpu, name);
            let (weight, bias, initial) = (in_f32("weight")?, in_f32("bias")?, in_f32("initial_state")?);
            let weight = weight.as_ref().expect("the weight was there when the operation was made");
            let x = file.upload::<T>(gpu, "x")?;
            let sequences = given_sequences(file, self, gpu)?;
            let inputs = Conv1dInputs {
                bias: bias.as_ref(),
                sequences: sequences.as_ref(),
                initial: initial.as_ref(),
                ..Conv1dInputs::new(&x, weight)
            };
            let found = Conv1d::new(gpu, *self)?.run(inputs)?;
            let mut outputs = vec![Output::on_device("y", &found.y), Output::on_device("last_state", &found.last)];
            if file.find("dy")?.is_some() {
                let dy = file.upload::<T>(gpu, "dy")?;
                let gradients = Conv1dBackward::new(gpu, *self)?.run(inputs, &dy)?;
                outputs.extend(self::gradients("dx", "dinitial_state", &gradients));
            }
            Ok(outputs)
        }))
    }
}
