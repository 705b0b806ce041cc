//! Operations of the butterfly family.

mod monarch;

pub use monarch::shaders as monarch_shaders;
pub use monarch::{Monarch, MonarchInputs};
