//! The operations of tilewise by name, on tensors by name: what its command line and its browser package share.
//!
//! [`ops`] has a file for each operation: which tensors it reads, which options it takes, which plans and results come of
//! them. [`tensors`] are those of a safetensors file or of a call from a page. [`record`] is what a benchmark leaves behind.

pub mod adapter;
pub mod args;
mod failure;
pub mod ops;
pub mod options;
pub mod record;
pub mod tensors;

pub use failure::{Failure, Why};
