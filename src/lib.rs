//! Hardware-aware machine-learning kernels for every GPU.
#![doc = ""]

pub mod baseline;
pub mod bench;
pub mod caps;
mod dtype;
mod error;
mod gpu;
pub mod kernel;
pub mod ops;
pub mod oracle;
pub mod plan;
pub mod shader;
mod spec;
mod tensor;
pub mod timing;
pub mod verify;

pub use caps::{Bytes, Caps};
pub use dtype::{DType, Element};
pub use error::{Error, PlanError, SpecError};
pub use gpu::{Gpu, GpuOptions, Memory, instance};
pub use ops::{Attention, AttentionInputs, AttentionOutputs};
pub use ops::{LinearScan, LinearScanInputs, LinearScanOutputs, Monarch, MonarchInputs};
pub use spec::{Alibi, AttentionSpec, LinearScanSpec, MonarchSpec, Window};
pub use tensor::Tensor;
pub use wgpu;
