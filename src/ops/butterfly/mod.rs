//! Operations of the butterfly family.

mod butterfly_linear;
mod monarch;
mod product;

pub use butterfly_linear::{
    ButterflyLinear, ButterflyLinearGradients, ButterflyLinearInputs, shaders as butterfly_linear_shaders,
};
pub use monarch::{Monarch, MonarchInputs, shaders as monarch_shaders};
pub use product::{
    Butterfly, ButterflyBackward, ButterflyGradients, ButterflyInputs,
    backward_shaders as butterfly_backward_shaders, shaders as butterfly_shaders,
};
