//! Until the ops are merged.
use crate::Tensor;
/// q, k, v.
#[derive(Clone, Copy, Debug)]
pub struct AttentionInputs<'a, T> {
    /// q
    pub q: &'a Tensor<T>,
    /// k
    pub k: &'a Tensor<T>,
    /// v
    pub v: &'a Tensor<T>,
    /// slopes
    pub alibi_slopes: Option<&'a Tensor<f32>>,
}
