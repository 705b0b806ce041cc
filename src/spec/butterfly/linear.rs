//! What every structured linear layer has in common.

/// A layer `y = x Wᵀ + bias` whose weight is structured: what it takes, and what a dense layer of the same widths would.
///
/// The specs of the layers implement it. The layers themselves are ops of the same shape: `new(gpu, spec)` plans and
/// compiles; `encode` and `run` are the forward pass, from `x` (batch, `in_features`), the weights in the order of their
/// names and `bias` (`out_features`) to `y` (batch, `out_features`); `encode_backward` and `run_backward` take `dy` beside
/// the same inputs and give the gradient of each under its name with a `d` in front. `initial_weights` of a seed are on the
/// host.
pub trait LinearSpec {
    /// Rows of `x` and `y`.
    fn batch(&self) -> usize;

    /// Width of a row of `x`.
    fn in_features(&self) -> usize;

    /// Width of a row of `y`.
    fn out_features(&self) -> usize;

    /// Whether a bias is added.
    fn has_bias(&self) -> bool;

    /// Trainable numbers, the bias among them.
    fn parameters(&self) -> usize;

    /// Floating-point operations of a forward pass, a multiply and an add each.
    fn flops(&self) -> f64;

    /// Trainable numbers of a dense layer.
    fn dense_parameters(&self) -> usize {
        self.in_features() * self.out_features() + if self.has_bias() { self.out_features() } else { 0 }
    }

    /// Floating-point operations of a dense forward pass.
    fn dense_flops(&self) -> f64 {
        let product: f64 =
            [self.batch(), self.in_features(), self.out_features()].iter().map(|&size| size as f64).product();
        let bias = if self.has_bias() { self.batch() as f64 * self.out_features() as f64 } else { 0.0 };
        2.0 * product + bias
    }

    /// How many times fewer parameters than dense; below 1 where structure costs more.
    fn fewer_parameters(&self) -> f64 {
        self.dense_parameters() as f64 / self.parameters() as f64
    }

    /// How many times fewer operations than dense.
    fn fewer_flops(&self) -> f64 {
        self.dense_flops() / self.flops()
    }
}
