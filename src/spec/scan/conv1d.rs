//! The causal depthwise convolution.

use std::fmt;

use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// The short causal convolution in front of a selective scan, independently for every batch and channel:
/// `y_t = act(bias + Σ_k weight_k x_(t - width + 1 + k))`, where `act` is the identity or `silu(s) = s σ(s)`.
///
/// Tensors: `x` and `y` of shape (batch, channels, length) in `dtype`; `weight` (channels, width) and `bias` (channels)
/// in f32; the initial and the last state of shape (batch, channels, width - 1) in f32: the inputs before the first
/// step and up to the last one, the oldest first. Without an initial state rows begin after zeros. With `channels_last`,
/// `x` and `y` have the shape (batch, length, channels); all else is the same.
///
/// With `sequences`, a row holds several sequences one after the other, and a tensor of shape (batch, length) says to
/// which of them each step belongs: a step takes in only inputs of its own. The initial state belongs to the sequence
/// of the first step; the last state holds zeros in place of inputs that belong to another sequence than the last step.
///
/// Where sequences are `packed`, so many lie end to end in the steps of a single batch, its channels innermost, and each
/// has an initial and a last state of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Conv1dSpec {
    /// Storage of `x` and `y`.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Channels of a batch.
    pub channels: usize,
    /// Steps.
    pub length: usize,
    /// Taps, 2 to 4.
    pub width: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether outputs pass through silu.
    pub silu: bool,
    /// Whether rows hold several sequences.
    pub sequences: bool,
    /// How many sequences with states of their own the steps hold, if they are packed.
    pub packed: Option<usize>,
    /// Whether an initial state is given.
    pub initial: bool,
    /// Whether channels lie innermost, and not steps.
    pub channels_last: bool,
}

impl Conv1dSpec {
    /// A convolution with neither bias nor activation, over rows that begin after zeros.
    pub fn new(dtype: DType, batch: usize, channels: usize, length: usize, width: usize) -> Self {
        Self {
            dtype,
            batch,
            channels,
            length,
            width,
            bias: false,
            silu: false,
            sequences: false,
            packed: None,
            initial: false,
            channels_last: false,
        }
    }

    /// Adds a bias.
    #[must_use]
    pub fn bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// Passes outputs through silu.
    #[must_use]
    pub fn silu(self) -> Self {
        Self { silu: true, ..self }
    }

    /// Takes the sequence of each step.
    #[must_use]
    pub fn sequences(self) -> Self {
        Self { sequences: true, ..self }
    }

    /// Takes so many packed sequences, each with states of its own.
    #[must_use]
    pub fn packed(self, count: usize) -> Self {
        Self { sequences: true, packed: Some(count), ..self }
    }

    /// Takes an initial state.
    #[must_use]
    pub fn initial(self) -> Self {
        Self { initial: true, ..self }
    }

    /// Lays channels innermost.
    #[must_use]
    pub fn channels_last(self) -> Self {
        Self { channels_last: true, ..self }
    }

    /// Shape of `x` and `y`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape_of(self.channels)
    }

    /// Shape of so many of the channels.
    pub(crate) fn shape_of(&self, channels: usize) -> [usize; 3] {
        if self.channels_last {
            [self.batch, self.length, channels]
        } else {
            [self.batch, channels, self.length]
        }
    }

    /// Shape of `weight`.
    pub fn weight_shape(&self) -> [usize; 2] {
        [self.channels, self.width]
    }

    /// Shape of `bias`.
    pub fn bias_shape(&self) -> [usize; 1] {
        [self.channels]
    }

    /// Shape of the tensor that names each step's sequence, where they are not packed.
    pub fn sequences_shape(&self) -> [usize; 2] {
        [self.batch, self.length]
    }

    /// How many initial and last states there are.
    pub fn states(&self) -> usize {
        self.packed.unwrap_or(self.batch)
    }

    /// Shape of the initial and the last states: in place of the batch the packed sequences, where there are any.
    pub fn state_shape(&self) -> [usize; 3] {
        [self.states(), self.channels, self.width - 1]
    }

    /// Independent rows.
    pub fn rows(&self) -> usize {
        self.batch * self.channels
    }

    /// Floating-point operations of the convolution: a multiply and an add a tap.
    pub fn flops(&self) -> f64 {
        2.0 * (self.width * self.rows() * self.length) as f64
    }

    /// Bytes that must move at least: `x` in, `y` out.
    pub fn least_bytes(&self) -> u64 {
        2 * (self.rows() * self.length * self.dtype.bytes()) as u64
    }

    /// Fails if a size is 0, the width is none that kernels are made for, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[("batch", self.batch), ("channels", self.channels), ("length", self.length)])?;
        if !(2..=4).contains(&self.width) {
            return Err(wrong("width", &self.width, "2 to 4"));
        }
        if let Some(count) = self.packed {
            at_least_one(&[("packed sequences", count)])?;
            if self.batch != 1 {
                return Err(wrong("batch", &self.batch, "1, since its sequences are packed"));
            }
            if !self.channels_last {
                let (found, expected) = ("one along rows", "channels that lie innermost");
                return Err(wrong("a convolution of packed sequences", &found, expected));
            }
            if !self.sequences {
                return Err(wrong("sequences", &false, "true, since there are packed ones"));
            }
        }
        elements("x", &self.shape())?;
        elements("the state", &self.state_shape()).map(drop)
    }
}

impl fmt::Display for Conv1dSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, channels, length, width, .. } = self;
        write!(f, "conv1d {dtype} {batch} × {channels} × {length}, width {width}")?;
        let options = [
            (self.bias, ", bias"),
            (self.silu, ", silu"),
            (self.sequences && self.packed.is_none(), ", sequences"),
            (self.initial, ", initial state"),
            (self.channels_last, ", channels last"),
        ];
        options.iter().filter(|(on, _)| *on).try_for_each(|(_, name)| f.write_str(name))?;
        self.packed.map_or(Ok(()), |count| write!(f, ", {count} packed sequences"))
    }
}
