//! Inputs that are the same on every machine and in every version: a figure or a failure can be repeated anywhere.

use std::f64::consts::TAU;

/// A stream of pseudo-random values, each a pure function of the seed and its place (SplitMix64, Steele et al. 2014).
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    state: u64,
}

impl Inputs {
    /// Different seeds give unrelated streams.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `low..high`.
    pub fn uniform(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        self.uniforms(low, high).take(count).collect()
    }

    /// The same without end.
    pub fn uniforms(&mut self, low: f64, high: f64) -> impl Iterator<Item = f64> {
        std::iter::repeat_with(move || low + (high - low) * self.unit())
    }

    /// Normal with mean 0 and the given standard deviation.
    pub fn normal(&mut self, count: usize, deviation: f64) -> Vec<f64> {
        (0..count)
            .map(|_| {
                // 1 - u is never 0, whose logarithm would be infinite.
                let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
                deviation * radius * (TAU * self.unit()).cos()
            })
            .collect()
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
