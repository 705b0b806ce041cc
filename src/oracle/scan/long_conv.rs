//! The long convolution.

use crate::LongConvSpec;
use crate::oracle::Precision;

/// What a long convolution takes; layouts as in [`LongConvSpec`].
#[derive(Clone, Copy, Debug)]
pub struct LongConvOperands<'a> {
    /// Sequences.
    pub u: &'a [f64],
    /// Kernels.
    pub k: &'a [f64],
    /// `D`, if the spec has it.
    pub skip: Option<&'a [f64]>,
    /// The gate of `u`, if the spec has it.
    pub pre: Option<&'a [f64]>,
    /// The gate of the result, if the spec has it.
    pub post: Option<&'a [f64]>,
}

/// A long convolution and its gradients as direct sums. Each value is a sum of its own, so that a long one can be
/// checked in a few places.
#[derive(Clone, Debug)]
pub struct LongConv<'a> {
    spec: LongConvSpec,
    precision: Precision,
    operands: LongConvOperands<'a>,
    /// `pre ∘ u`.
    v: Vec<f64>,
}

impl<'a> LongConv<'a> {
    /// Gates the sequences.
    pub fn new(spec: &LongConvSpec, precision: Precision, operands: LongConvOperands<'a>) -> Self {
        let v = gated(precision, operands.u, operands.pre);
        Self { spec: *spec, precision, operands, v }
    }

    /// `y` of a row (batch and channel) at a time.
    pub fn y(&self, row: usize, t: usize) -> f64 {
        let convolved = self.convolved(row, t);
        let post = self.operands.post.map(|post| post[row * self.spec.length + t]);
        post.map_or(convolved, |post| self.precision.store(post * convolved))
    }

    /// `v * k + D v`.
    fn convolved(&self, row: usize, t: usize) -> f64 {
        let (v, k) = (self.row(&self.v, row), self.kernel(row));
        let from = (t + 1).saturating_sub(self.spec.taps);
        let sum = self.precision.dot((from..=t).map(|s| (k[t - s], v[s])));
        self.precision.store(self.precision.sum(sum + self.precision.sum(self.skip(row) * v[t])))
    }

    /// The gradients of a loss whose gradient by `y` is given.
    pub fn gradients(&self, dy: &[f64]) -> LongConvGradients<'_> {
        LongConvGradients { dy: dy.to_vec(), g: gated(self.precision, dy, self.operands.post), of: self }
    }

    fn row<'b>(&self, values: &'b [f64], row: usize) -> &'b [f64] {
        &values[row * self.spec.length..][..self.spec.length]
    }

    fn kernel(&self, row: usize) -> &[f64] {
        &self.operands.k[row % self.spec.channels * self.spec.taps..][..self.spec.taps]
    }

    fn skip(&self, row: usize) -> f64 {
        self.operands.skip.map_or(0.0, |skip| skip[row % self.spec.channels])
    }
}

/// The gradients of a [`LongConv`].
#[derive(Clone, Debug)]
pub struct LongConvGradients<'a> {
    of: &'a LongConv<'a>,
    dy: Vec<f64>,
    /// `post ∘ dy`.
    g: Vec<f64>,
}

impl LongConvGradients<'_> {
    /// The gradient of `u`.
    pub fn du(&self, row: usize, t: usize) -> f64 {
        let pre = self.of.operands.pre.map(|pre| pre[row * self.of.spec.length + t]);
        pre.map_or(self.dv(row, t), |pre| self.of.precision.store(pre * self.dv(row, t)))
    }

    /// The gradient of the gate of `u`.
    pub fn dpre(&self, row: usize, t: usize) -> f64 {
        self.of.precision.store(self.of.operands.u[row * self.of.spec.length + t] * self.dv(row, t))
    }

    /// The gradient of the gate of the result.
    pub fn dpost(&self, row: usize, t: usize) -> f64 {
        self.of.precision.store(self.dy[row * self.of.spec.length + t] * self.of.convolved(row, t))
    }

    /// `dv_s = Σ_(t ≥ s) k_(t-s) g_t + D g_s`.
    fn dv(&self, row: usize, s: usize) -> f64 {
        let LongConv { spec, precision, .. } = self.of;
        let (g, k) = (self.of.row(&self.g, row), self.of.kernel(row));
        let end = spec.length.min(s + spec.taps);
        let sum = precision.dot((s..end).map(|t| (k[t - s], g[t])));
        precision.store(precision.sum(sum + precision.sum(self.of.skip(row) * g[s])))
    }

    /// The gradient of a kernel at a lag, `Σ g_t v_(t-lag)` over all sequences and times. It is f32, as `k` is.
    pub fn dk(&self, channel: usize, lag: usize) -> f64 {
        let LongConv { spec, precision, .. } = self.of;
        let rows = (0..spec.batch).map(|batch| batch * spec.channels + channel);
        let pairs = rows.flat_map(|row| {
            let (g, v) = (self.of.row(&self.g, row), self.of.row(&self.of.v, row));
            (lag..spec.length).map(move |t| (g[t], v[t - lag]))
        });
        precision.dot(pairs)
    }

    /// The gradient of `D`: that of the kernel at lag 0.
    pub fn dskip(&self, channel: usize) -> f64 {
        self.dk(channel, 0)
    }
}

fn gated(precision: Precision, values: &[f64], gate: Option<&[f64]>) -> Vec<f64> {
    let Some(gate) = gate else { return values.to_vec() };
    values.iter().zip(gate).map(|(value, gate)| precision.store(value * gate)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    const OPERANDS: LongConvOperands<'_> = LongConvOperands {
        u: &[1.0, 2.0, 3.0],
        k: &[1.0, 10.0, 100.0],
        skip: Some(&[1000.0]),
        pre: Some(&[1.0, 1.0, 2.0]),
        post: Some(&[1.0, 3.0, 1.0]),
    };

    fn each(count: usize, value: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..count).map(value).collect()
    }

    #[test]
    fn three_samples_by_hand() {
        let spec = LongConvSpec::new(DType::F32, 1, 1, 3).pre_gate().post_gate().skip();
        let conv = LongConv::new(&spec, Precision::Exact, OPERANDS);
        // v is 1, 2, 6; convolved 1, 2 + 10, 6 + 20 + 100.
        assert_eq!(each(3, |t| conv.y(0, t)), [1001.0, 3.0 * 2012.0, 6126.0]);
        // g is 1, 6, 3.
        let gradients = conv.gradients(&[1.0, 2.0, 3.0]);
        let dv = [1.0 + 60.0 + 300.0 + 1000.0, 6.0 + 30.0 + 6000.0, 3.0 + 3000.0];
        assert_eq!(each(3, |t| gradients.du(0, t)), [dv[0], dv[1], 2.0 * dv[2]]);
        assert_eq!(each(3, |t| gradients.dpre(0, t)), [dv[0], 2.0 * dv[1], 3.0 * dv[2]]);
        assert_eq!(each(3, |t| gradients.dpost(0, t)), [1001.0, 2.0 * 2012.0, 3.0 * 6126.0]);
        assert_eq!(each(3, |lag| gradients.dk(0, lag)), [1.0 + 12.0 + 18.0, 6.0 + 6.0, 3.0]);
        assert_eq!(each(1, |channel| gradients.dskip(channel)), [31.0]);
    }

    #[test]
    fn short_kernels_end_early() {
        let spec = LongConvSpec::new(DType::F32, 1, 1, 3).taps(2).pre_gate().post_gate().skip();
        let conv = LongConv::new(&spec, Precision::Exact, OPERANDS);
        assert_eq!(each(3, |t| conv.y(0, t)), [1001.0, 3.0 * 2012.0, 6026.0]);
        let gradients = conv.gradients(&[1.0, 2.0, 3.0]);
        assert_eq!(each(1, |t| gradients.du(0, t)), [1.0 + 60.0 + 1000.0]);
    }

    #[test]
    fn batches_share_a_kernel_and_its_gradient() {
        let spec = LongConvSpec::new(DType::F32, 2, 2, 2);
        let operands = LongConvOperands {
            u: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
            k: &[1.0, 0.0, 0.0, 1.0],
            skip: None,
            pre: None,
            post: None,
        };
        let conv = LongConv::new(&spec, Precision::Exact, operands);
        assert_eq!(each(4, |row| conv.y(row, 1)), [2.0, 3.0, 6.0, 7.0]);
        let gradients = conv.gradients(&[1.0; 8]);
        assert_eq!(each(2, |lag| gradients.dk(0, lag)), [14.0, 6.0]);
        assert_eq!(each(2, |lag| gradients.dk(1, lag)), [22.0, 10.0]);
    }
}
