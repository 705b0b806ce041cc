//! Diagonal state-space models as convolutions.

use std::f64::consts::PI;
use std::fmt;
use std::ops::{Add, Div, Mul, Sub};

use crate::spec::{at_least_one, elements, wrong};
use crate::{LongConvSpec, SpecError, math};

/// A diagonal state-space model (S4D, Gu et al. 2022), as the long convolution that it is: `h_t = Ā h_(t-1) + B̄ v_t`,
/// `y = post ∘ (2 Re(C h) + D v)` with `v = pre ∘ u` and `B = 1`, so that its kernel is `K_l = 2 Re Σ C B̄ Ā^l` over
/// half of the conjugate pairs of its states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct S4dSpec {
    /// The convolution: sequences, gates and skip. Its kernels are as long as the sequences.
    pub conv: LongConvSpec,
    /// Conjugate pairs of states of a channel, N / 2.
    pub pairs: usize,
    /// How `A` and `B` become those of a step.
    pub rule: Discretization,
}

/// How a continuous system becomes one of steps of `δ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Discretization {
    /// The input holds still over a step: `Ā = exp(δA)`, `B̄ = (exp(δA) - 1) / A`.
    ZeroOrderHold,
    /// The trapezoid: `Ā = (1 + δA/2) / (1 - δA/2)`, `B̄ = δ / (1 - δA/2)`.
    Bilinear,
}

impl S4dSpec {
    /// A model of these sequences, with that many pairs of states a channel and zero-order hold.
    pub fn new(conv: LongConvSpec, pairs: usize) -> Self {
        Self { conv, pairs, rule: Discretization::ZeroOrderHold }
    }

    /// Discretizes by the bilinear rule.
    #[must_use]
    pub fn bilinear(self) -> Self {
        Self { rule: Discretization::Bilinear, ..self }
    }

    /// Modes of all channels.
    pub fn modes(&self) -> usize {
        self.conv.channels * self.pairs
    }

    /// Floating-point operations of the convolution, and of kernels that are powers of every mode.
    pub fn flops(&self) -> f64 {
        self.conv.flops() + 8.0 * (self.modes() * self.conv.length) as f64
    }

    /// Bytes that must move at least: the convolution's, but with a power and a weight of each mode for its kernels.
    pub fn least_bytes(&self) -> u64 {
        let of_kernels = self.conv.channels * self.conv.taps * 4;
        self.conv.least_bytes() - of_kernels as u64 + (self.modes() * 4 * 4) as u64
    }

    /// Fails if the convolution is wrong, its kernels are shorter than its sequences, or there are no states.
    pub fn check(&self) -> Result<(), SpecError> {
        self.conv.check()?;
        at_least_one(&[("pairs", self.pairs)])?;
        let LongConvSpec { batch, channels, length, taps, .. } = self.conv;
        if taps != length {
            return Err(wrong("taps", &taps, format!("the length, {length}")));
        }
        elements("the states", &[batch, channels, self.pairs, 2]).map(drop)
    }
}

impl fmt::Display for S4dSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            Discretization::ZeroOrderHold => "zero-order hold",
            Discretization::Bilinear => "bilinear",
        };
        write!(f, "S4D of {} pairs, {rule}: {}", self.pairs, self.conv)
    }
}

/// The parameters of an [`S4dSpec`], on the host: a few thousand numbers, of which powers up to the length are to be
/// right. All of shape (channels, pairs), but `log_dt`.
#[derive(Clone, Debug, PartialEq)]
pub struct S4dParameters {
    /// Logarithms of the steps `δ`, (channels).
    pub log_dt: Vec<f64>,
    /// Logarithms of the decay rates: `A = -exp(log_a_re) + i a_im`.
    pub log_a_re: Vec<f64>,
    /// Frequencies.
    pub a_im: Vec<f64>,
    /// Real parts of `C`.
    pub c_re: Vec<f64>,
    /// Imaginary parts of `C`.
    pub c_im: Vec<f64>,
}

impl S4dParameters {
    /// S4D-Lin: `A_n = -1/2 + iπn`, with `C = 1` and one step for all channels.
    pub fn lin(spec: &S4dSpec, dt: f64) -> Self {
        let of_pairs =
            |value: &dyn Fn(usize) -> f64| (0..spec.modes()).map(|i| value(i % spec.pairs)).collect();
        Self {
            log_dt: vec![dt.ln(); spec.conv.channels],
            log_a_re: of_pairs(&|_| 0.5_f64.ln()),
            a_im: of_pairs(&|n| PI * n as f64),
            c_re: of_pairs(&|_| 1.0),
            c_im: of_pairs(&|_| 0.0),
        }
    }

    /// Fails unless there are as many values as the spec says.
    pub fn check(&self, spec: &S4dSpec) -> Result<(), SpecError> {
        let (channels, modes) = (spec.conv.channels, spec.modes());
        let lengths = [
            ("the number of log_dt", self.log_dt.len(), channels),
            ("the number of log_a_re", self.log_a_re.len(), modes),
            ("the number of a_im", self.a_im.len(), modes),
            ("the number of c_re", self.c_re.len(), modes),
            ("the number of c_im", self.c_im.len(), modes),
        ];
        match lengths.into_iter().find(|(_, found, expected)| found != expected) {
            Some((name, found, expected)) => Err(wrong(name, &found, expected.to_string())),
            None => Ok(()),
        }
    }

    /// The step and `A` of a mode.
    pub(crate) fn continuous(&self, spec: &S4dSpec, mode: usize) -> (f64, Complex) {
        let a = Complex { re: -math::exp(self.log_a_re[mode]), im: self.a_im[mode] };
        (math::exp(self.log_dt[mode / spec.pairs]), a)
    }

    /// `C` of a mode.
    pub(crate) fn c(&self, mode: usize) -> Complex {
        Complex { re: self.c_re[mode], im: self.c_im[mode] }
    }
}

/// A complex number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Complex {
    pub re: f64,
    pub im: f64,
}

impl Complex {
    pub const ONE: Self = Self { re: 1.0, im: 0.0 };

    pub fn scale(self, by: f64) -> Self {
        Self { re: self.re * by, im: self.im * by }
    }

    pub fn exp(self) -> Self {
        Self { re: math::cos(self.im), im: math::sin(self.im) }.scale(math::exp(self.re))
    }
}

impl Add for Complex {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Sub for Complex {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }
}

impl Mul for Complex {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let re = self.re * other.re - self.im * other.im;
        Self { re, im: self.re * other.im + self.im * other.re }
    }
}

impl Div for Complex {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let square = other.re * other.re + other.im * other.im;
        (self * Self { re: other.re, im: -other.im }).scale(1.0 / square)
    }
}
