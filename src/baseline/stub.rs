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
/// x, w1, w2.
#[derive(Clone, Copy, Debug)]
pub struct MonarchInputs<'a, T> {
    /// x
    pub x: &'a Tensor<T>,
    /// w1
    pub w1: &'a Tensor<T>,
    /// w2
    pub w2: &'a Tensor<T>,
}
