//! The cores of Mamba's blocks.

use std::fmt;

use crate::spec::{at_least_one, elements};
use crate::{Conv1dSpec, DType, SelectiveScanSpec, Sequences, Skip, SpecError, SsdSpec};

/// The core of a Mamba block (Gu and Dao 2023), between its projections: `out = scan(silu(conv1d(x)))`, gated by
/// `silu(z)`. What the projections make of the convolved `x`, the step sizes, `B` and `C`, is given.
///
/// Tensors: `x` of shape (batch, channels, length) in the scan's `dtype`; taps (channels, width), a bias (channels) and the
/// inputs before the first step (batch, channels, width - 1) in f32; all else as in [`SelectiveScanSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MambaSpec {
    /// The scan of what the convolution gives. Where it has an initial state, so has the convolution.
    pub scan: SelectiveScanSpec,
    /// Taps of the convolution, 2 to 4.
    pub width: usize,
    /// Whether the convolution has a bias.
    pub conv_bias: bool,
}

impl MambaSpec {
    /// A block's core as Mamba has it: four taps and a bias, a scan with `D`, a gate, and a bias and a softplus of the step
    /// sizes.
    pub fn new(dtype: DType, batch: usize, channels: usize, length: usize, state_dim: usize) -> Self {
        let scan = SelectiveScanSpec::new(dtype, batch, channels, length, state_dim);
        Self { scan: scan.skip().gated().delta_bias().delta_softplus(), width: 4, conv_bias: true }
    }

    /// The convolution in front of the scan.
    pub fn conv(&self) -> Conv1dSpec {
        let SelectiveScanSpec { dtype, batch, channels, length, initial, .. } = self.scan;
        let conv = Conv1dSpec::new(dtype, batch, channels, length, self.width).silu();
        Conv1dSpec { bias: self.conv_bias, initial, ..conv }
    }

    /// Floating-point operations of the convolution and of the scan.
    pub fn flops(&self) -> f64 {
        self.conv().flops() + self.scan.flops()
    }

    /// Bytes that must move at least: the scan's, whose `u` the convolution's input takes the place of.
    pub fn least_bytes(&self) -> u64 {
        self.scan.least_bytes()
    }

    /// Fails if the convolution or the scan makes no sense.
    pub fn check(&self) -> Result<(), SpecError> {
        self.conv().check()?;
        self.scan.check()
    }
}

impl fmt::Display for MambaSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bias = if self.conv_bias { ", bias" } else { "" };
        write!(f, "Mamba core, width {}{bias}: {}", self.width, self.scan)
    }
}

/// The core of a Mamba-2 block (Dao and Gu 2024), between its projections: a convolution with silu over the channels of
/// `x`, `B` and `C` together, state-space duality, and the gate: `out = ssd(silu(conv1d(xBC))) silu(z)`.
///
/// Tensors: `xbc` of shape (batch, length, channels) in the recurrence's `dtype`, its channels those of all heads of `x`,
/// then those of all groups of `B`, then `C`'s; taps (channels, width), a bias (channels) and the inputs before the first
/// step (batch, channels, width - 1), or (sequences, channels, width - 1) where they are packed, in f32; all else as in
/// [`SsdSpec`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Mamba2Spec {
    /// The recurrence of what the convolution gives. Where it has initial states, so has the convolution, and its sequences
    /// are the convolution's too: of packed ones each has a state of its own in front of either.
    pub ssd: SsdSpec,
    /// Taps of the convolution, 2 to 4.
    pub width: usize,
    /// Whether the convolution has a bias.
    pub conv_bias: bool,
}

impl Mamba2Spec {
    /// A block's core as Mamba-2 has it: four taps and a bias, a recurrence with a `D` for each head, a gate, and a bias
    /// and a softplus of the steps.
    pub fn new(
        dtype: DType,
        batch: usize,
        length: usize,
        (heads, head_dim): (usize, usize),
        state_dim: usize,
    ) -> Self {
        let ssd = SsdSpec::new(dtype, batch, length, (heads, head_dim), state_dim);
        Self { ssd: ssd.skip(Skip::PerHead).gated().dt_bias().dt_softplus(), width: 4, conv_bias: true }
    }

    /// Channels of `x`, of `B` and of `C`.
    pub fn parts(&self) -> [usize; 3] {
        let SsdSpec { heads, head_dim, groups, state_dim, .. } = self.ssd;
        [heads * head_dim, groups * state_dim, groups * state_dim]
    }

    /// The convolution in front of the recurrence.
    pub fn conv(&self) -> Conv1dSpec {
        let SsdSpec { dtype, batch, length, initial, .. } = self.ssd;
        let channels = self.parts().iter().sum();
        let conv = Conv1dSpec::new(dtype, batch, channels, length, self.width).silu().channels_last();
        let conv = Conv1dSpec { bias: self.conv_bias, initial, ..conv };
        match &self.ssd.sequences {
            Sequences::Whole => conv,
            Sequences::Indexed(_) => conv.sequences(),
            Sequences::Packed(_) => conv.packed(self.ssd.sequences.states(batch)),
        }
    }

    /// Floating-point operations of the convolution and of the recurrence.
    pub fn flops(&self) -> f64 {
        self.conv().flops() + self.ssd.flops()
    }

    /// Bytes that must move at least: the recurrence's, whose `x`, `B` and `C` the convolution's input takes the place of.
    pub fn least_bytes(&self) -> u64 {
        self.ssd.least_bytes()
    }

    /// Fails if the convolution or the recurrence makes no sense.
    pub fn check(&self) -> Result<(), SpecError> {
        self.ssd.check()?;
        let SsdSpec { batch, length, .. } = self.ssd;
        at_least_one(&[("length", length)])?;
        // Before they are added up.
        for part in self.parts() {
            elements("xbc", &[batch, length, part])?;
        }
        self.conv().check()
    }
}

impl fmt::Display for Mamba2Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bias = if self.conv_bias { ", bias" } else { "" };
        write!(f, "Mamba-2 core, width {}{bias}: {}", self.width, self.ssd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_numbers() {
        let spec = Mamba2Spec::new(DType::F32, 1, 9, (4, 8), 16);
        assert_eq!((spec.parts(), spec.conv().channels), ([32, 16, 16], 64));
        let refused = |ssd: SsdSpec| Mamba2Spec { ssd, ..spec.clone() }.check().unwrap_err().to_string();
        let ssd = || spec.ssd.clone();
        assert_eq!(refused(ssd().groups(3)), "groups is 3, expected a divisor of the 4 heads");
        assert_eq!(refused(SsdSpec { length: 0, ..ssd() }), "length is 0, expected at least 1");
        assert_eq!(
            refused(ssd().sequences(Sequences::Packed(vec![0, 4, 8]))),
            "the last sequence's end is 8, expected the length, 9"
        );
        let packed = Mamba2Spec { ssd: ssd().sequences(Sequences::Packed(vec![0, 4, 9])), ..spec.clone() };
        assert_eq!(packed.conv().state_shape(), [2, 64, 3]);
        assert!(packed.check().is_ok());
        let wide = Mamba2Spec { width: 5, ..spec.clone() }.check().unwrap_err().to_string();
        assert_eq!(wide, "width is 5, expected 2 to 4");
        let one = MambaSpec::new(DType::F32, 1, 0, 9, 4).check().unwrap_err().to_string();
        assert_eq!(one, "channels is 0, expected at least 1");
        assert!(spec.check().is_ok());
    }
}
