//! Specs of the butterfly family.

mod block_pattern;
mod block_sparse;
mod butterfly_linear;
mod linear;
mod monarch;
mod monarch_linear;
mod pixelfly;
mod product;

pub use block_pattern::BlockPattern;
pub use block_sparse::{BlockSoftmaxSpec, BlockSparseMode, BlockSparseSpec};
pub use butterfly_linear::ButterflyLinearSpec;
pub use linear::LinearSpec;
pub use monarch::MonarchSpec;
pub use monarch_linear::{MonarchLinearSpec, MonarchLinearWeights};
pub use pixelfly::{PixelflyConfig, PixelflySpec, PixelflyWeights};
pub use product::ButterflySpec;
