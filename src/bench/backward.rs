//! Backward passes as workloads of their own.

use std::fmt;

use super::{Bench, Contest, Pass, Workload};
use crate::DType;
use crate::verify::Family;

/// A workload whose backward pass is measured too.
pub trait Trainable: Workload {
    /// Floating-point operations that the gradients need, a multiply and an add each.
    fn backward_flops(&self) -> f64;

    /// Bytes that must move at least for them: every input once, every gradient once.
    fn backward_least_bytes(&self) -> u64;

    /// [`Workload::contend`] of the backward pass.
    fn contend_backward<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a>;
}

/// The backward pass of a spec.
#[derive(Clone, Debug)]
pub struct Backward<S>(pub S);

impl<S: fmt::Display> fmt::Display for Backward<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, backward", self.0)
    }
}

impl<S: Trainable> Workload for Backward<S> {
    fn family(&self) -> Family {
        self.0.family()
    }

    fn dtype(&self) -> DType {
        self.0.dtype()
    }

    fn flops(&self) -> f64 {
        self.0.backward_flops()
    }

    fn least_bytes(&self) -> u64 {
        self.0.backward_least_bytes()
    }

    fn pass(&self) -> Pass {
        Pass::Backward
    }

    fn kind(&self) -> String {
        format!("{}, backward,", self.0.kind())
    }

    fn case(&self) -> String {
        format!("{}, backward", self.0.case())
    }

    fn length(&self) -> Option<usize> {
        self.0.length()
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        self.0.fields()
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        self.0.contend_backward(bench)
    }
}
