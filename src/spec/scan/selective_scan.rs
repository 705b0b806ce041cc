//! The selective scan of Mamba.

use std::fmt;

use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// The selective recurrence of Mamba (Gu and Dao 2023), independently for every batch and channel, over `state_dim`
/// states each:
///
/// `h_t = exp(δ_t A) h_(t-1) + δ_t B_t u_t`, `y_t = C_t · h_t + D u_t`, `out_t = y_t silu(z_t)`
///
/// with `δ = softplus(delta + delta_bias)`, linear above 20. `D`, `z`, the bias and the softplus are optional. If `A` is
/// complex, so are `B`, `C` and the states, and `y_t = 2 Re(C_t · h_t) + D u_t`.
///
/// Tensors: `u`, `delta`, `z` and `out` of shape (batch, channels, length) in `dtype`; `A` (channels, states), `D` and
/// `delta_bias` (channels), the initial and the last state (batch, channels, states) in f32; `B` and `C` as their
/// [`Coefficients`] say. Complex tensors end in one more dimension of 2: real and imaginary part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct SelectiveScanSpec {
    /// Storage of `u`, `delta`, `z`, `out` and of `B` and `C` where they vary; all else is f32.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Channels of a batch.
    pub channels: usize,
    /// Steps.
    pub length: usize,
    /// States of a channel, 1 to 256.
    pub state_dim: usize,
    /// Whether `A`, `B`, `C` and the states are complex.
    pub complex: bool,
    /// How `B` varies.
    pub b: Coefficients,
    /// How `C` varies.
    pub c: Coefficients,
    /// Whether `u` skips the recurrence by a factor `D`.
    pub skip: bool,
    /// Whether the result is gated by `z`.
    pub gated: bool,
    /// Whether a bias is added to `delta`.
    pub delta_bias: bool,
    /// Whether `delta` passes through a softplus.
    pub delta_softplus: bool,
    /// Whether an initial state is given.
    pub initial: bool,
}

/// How `B` or `C` of a selective scan varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Coefficients {
    /// From channel to channel: (channels, states) in f32.
    PerChannel,
    /// From step to step, the same for all channels: (batch, states, length).
    PerStep,
    /// From step to step, the same for each of that many groups of neighbouring channels:
    /// (batch, groups, states, length).
    PerGroup(usize),
}

/// States beyond which a workgroup has not a lane for every four of them.
const MOST_STATES: usize = 256;

impl SelectiveScanSpec {
    /// A real scan whose `B` and `C` are the same for all channels, with no option.
    pub fn new(dtype: DType, batch: usize, channels: usize, length: usize, state_dim: usize) -> Self {
        Self {
            dtype,
            batch,
            channels,
            length,
            state_dim,
            complex: false,
            b: Coefficients::PerStep,
            c: Coefficients::PerStep,
            skip: false,
            gated: false,
            delta_bias: false,
            delta_softplus: false,
            initial: false,
        }
    }

    /// Makes `A`, `B`, `C` and the states complex.
    #[must_use]
    pub fn complex(self) -> Self {
        Self { complex: true, ..self }
    }

    /// Says how `B` and `C` vary.
    #[must_use]
    pub fn coefficients(self, b: Coefficients, c: Coefficients) -> Self {
        Self { b, c, ..self }
    }

    /// Adds `D u`.
    #[must_use]
    pub fn skip(self) -> Self {
        Self { skip: true, ..self }
    }

    /// Gates the result by `z`.
    #[must_use]
    pub fn gated(self) -> Self {
        Self { gated: true, ..self }
    }

    /// Adds a bias to `delta`.
    #[must_use]
    pub fn delta_bias(self) -> Self {
        Self { delta_bias: true, ..self }
    }

    /// Passes `delta` through a softplus.
    #[must_use]
    pub fn delta_softplus(self) -> Self {
        Self { delta_softplus: true, ..self }
    }

    /// Takes an initial state.
    #[must_use]
    pub fn initial(self) -> Self {
        Self { initial: true, ..self }
    }

    /// Shape of `u`, `delta`, `z` and `out`.
    pub fn shape(&self) -> [usize; 3] {
        [self.batch, self.channels, self.length]
    }

    /// Shape of `A`.
    pub fn a_shape(&self) -> Vec<usize> {
        self.numbers(&[self.channels, self.state_dim])
    }

    /// Shape of `B`.
    pub fn b_shape(&self) -> Vec<usize> {
        self.coefficient_shape(self.b)
    }

    /// Shape of `C`.
    pub fn c_shape(&self) -> Vec<usize> {
        self.coefficient_shape(self.c)
    }

    /// Shape of `D` and of the bias.
    pub fn channel_shape(&self) -> [usize; 1] {
        [self.channels]
    }

    /// Shape of the initial and the last state.
    pub fn state_shape(&self) -> Vec<usize> {
        self.numbers(&[self.batch, self.channels, self.state_dim])
    }

    fn coefficient_shape(&self, coefficients: Coefficients) -> Vec<usize> {
        match coefficients {
            Coefficients::PerChannel => self.a_shape(),
            Coefficients::PerStep => self.numbers(&[self.batch, self.state_dim, self.length]),
            Coefficients::PerGroup(groups) => {
                self.numbers(&[self.batch, groups, self.state_dim, self.length])
            }
        }
    }

    /// The shape of a tensor of real or complex numbers.
    fn numbers(&self, shape: &[usize]) -> Vec<usize> {
        let parts = self.complex.then_some(2);
        shape.iter().copied().chain(parts).collect()
    }

    /// f32 numbers of a state: 2 if complex.
    pub fn parts(&self) -> usize {
        if self.complex { 2 } else { 1 }
    }

    /// Groups of channels that share what varies from step to step.
    pub fn groups(&self) -> usize {
        self.b.groups().or(self.c.groups()).unwrap_or(1)
    }

    /// Independent recurrences.
    pub fn rows(&self) -> usize {
        self.batch * self.channels * self.state_dim
    }

    /// Multiplications and additions of the recurrence and of what is read out of it; exponentials are one each.
    pub fn flops(&self) -> f64 {
        let each = if self.complex { 20.0 } else { 7.0 };
        each * (self.rows() * self.length) as f64
    }

    /// Bytes that must move at least: `u`, `delta`, `z` and what varies in, `out` out.
    pub fn least_bytes(&self) -> u64 {
        let rows = (3 + usize::from(self.gated)) * self.shape().iter().product::<usize>();
        let varying = [self.b, self.c].into_iter().filter_map(Coefficients::groups).sum::<usize>();
        let varying = varying * self.batch * self.state_dim * self.length * self.parts();
        ((rows + varying) * self.dtype.bytes()) as u64
    }

    /// Fails if a size is 0 or too large, groups do not divide the channels, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        let Self { batch, channels, length, state_dim, .. } = *self;
        let sizes = [("batch", batch), ("channels", channels), ("length", length), ("states", state_dim)];
        at_least_one(&sizes)?;
        if state_dim > MOST_STATES {
            return Err(wrong("states", &state_dim, format!("1 to {MOST_STATES}")));
        }
        for groups in [self.b, self.c].into_iter().filter_map(Coefficients::groups) {
            if groups == 0 || !channels.is_multiple_of(groups) {
                return Err(wrong("groups", &groups, format!("a divisor of the {channels} channels")));
            }
        }
        if let (Some(b), Some(c)) = (self.b.groups(), self.c.groups())
            && b != c
        {
            return Err(wrong("groups of C", &c, format!("{b}, as many as B has")));
        }
        elements("u", &self.shape())?;
        elements("A", &self.a_shape())?;
        elements("B", &self.b_shape())?;
        elements("C", &self.c_shape())?;
        elements("the state", &self.state_shape()).map(drop)
    }
}

impl Coefficients {
    /// Whether they vary from step to step.
    pub fn vary(self) -> bool {
        self != Self::PerChannel
    }

    /// Groups of channels that share them, if they vary from step to step.
    fn groups(self) -> Option<usize> {
        match self {
            Self::PerChannel => None,
            Self::PerStep => Some(1),
            Self::PerGroup(groups) => Some(groups),
        }
    }
}

impl fmt::Display for SelectiveScanSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, channels, length, state_dim, .. } = self;
        write!(f, "selective scan {dtype} {batch} × {channels} × {length}, {state_dim} states")?;
        for (name, coefficients) in [("B", self.b), ("C", self.c)] {
            match coefficients {
                Coefficients::PerStep => {}
                Coefficients::PerChannel => write!(f, ", {name} constant")?,
                Coefficients::PerGroup(groups) => write!(f, ", {name} in {groups} groups")?,
            }
        }
        let options = [
            (self.complex, ", complex"),
            (self.skip, ", D"),
            (self.gated, ", z"),
            (self.delta_bias, ", delta bias"),
            (self.delta_softplus, ", softplus"),
            (self.initial, ", initial state"),
        ];
        options.iter().filter(|(on, _)| *on).try_for_each(|(_, name)| f.write_str(name))
    }
}
