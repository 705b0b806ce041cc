//! What the yardsticks have in common, for those who measure them.

use super::{
    Conv1dBackwardScratch, DirectLongConv, LongConvBackwardScratch, LongConvScratch, PlainRecurrenceBackward,
    RecurrenceScratch, ScanScratch, SequentialAttention, SequentialConv1d, SequentialConv1dBackward,
    SequentialLinearScan, SequentialLinearScanBackward, SequentialLongConv, SequentialLongConvBackward,
    SequentialRecurrence, SequentialS4d, SsdScratch, UnfusedConv1d, UnfusedConv1dBackward, UnfusedDeltaRule,
    UnfusedLinearScan, UnfusedLinearScanBackward, UnfusedLongConv, UnfusedLongConvBackward,
    UnfusedRecurrence, UnfusedRecurrenceScratch, UnfusedSsd,
};
use crate::{Error, Tensor};

/// A yardstick with its compiled kernels.
pub(crate) trait Baseline {
    /// The tensors between its kernels.
    type Scratch;

    /// How it runs here, in words.
    fn plan(&self) -> String;

    /// Allocates the tensors between its kernels.
    fn scratch(&self) -> Result<Self::Scratch, Error>;
}

macro_rules! baselines {
    ($($baseline:ident: $scratch:ty),* $(,)?) => {$(
        impl Baseline for $baseline {
            type Scratch = $scratch;

            fn plan(&self) -> String {
                Self::plan(self).to_string()
            }

            fn scratch(&self) -> Result<$scratch, Error> {
                Self::scratch(self)
            }
        }
    )*};
}

baselines! {
    PlainRecurrenceBackward: RecurrenceScratch,
    SequentialConv1dBackward: Tensor<f32>,
    SequentialRecurrence: Tensor<f32>,
    SequentialS4d: Tensor<f32>,
    UnfusedConv1d: Tensor<f32>,
    UnfusedConv1dBackward: Conv1dBackwardScratch,
    UnfusedDeltaRule: Tensor<f32>,
    UnfusedLinearScan: ScanScratch,
    UnfusedLinearScanBackward: ScanScratch,
    UnfusedLongConv: LongConvScratch,
    UnfusedLongConvBackward: LongConvBackwardScratch,
    UnfusedRecurrence: UnfusedRecurrenceScratch,
    UnfusedSsd: SsdScratch,
}

macro_rules! without_scratch {
    ($($baseline:ident),* $(,)?) => {$(
        impl Baseline for $baseline {
            type Scratch = ();

            fn plan(&self) -> String {
                Self::plan(self).to_string()
            }

            fn scratch(&self) -> Result<(), Error> {
                Ok(())
            }
        }
    )*};
}

without_scratch! {
    DirectLongConv,
    SequentialAttention,
    SequentialConv1d,
    SequentialLinearScan,
    SequentialLinearScanBackward,
    SequentialLongConv,
    SequentialLongConvBackward,
}

/// One after the other.
impl<A: Baseline, B: Baseline> Baseline for (A, B) {
    type Scratch = (A::Scratch, B::Scratch);

    fn plan(&self) -> String {
        format!("{}; then {}", self.0.plan(), self.1.plan())
    }

    fn scratch(&self) -> Result<Self::Scratch, Error> {
        Ok((self.0.scratch()?, self.1.scratch()?))
    }
}

/// Yardsticks of parts, with tensors between them.
pub(crate) struct Parts<B, F> {
    pub parts: B,
    pub between: F,
}

impl<X, B: Baseline, F: Fn() -> Result<X, Error>> Baseline for Parts<B, F> {
    type Scratch = (X, B::Scratch);

    fn plan(&self) -> String {
        self.parts.plan()
    }

    fn scratch(&self) -> Result<Self::Scratch, Error> {
        Ok(((self.between)()?, self.parts.scratch()?))
    }
}
