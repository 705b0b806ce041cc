//! Numbers that may be complex.

use crate::oracle::Precision;

/// A complex number; a real one has no imaginary part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Number {
    pub re: f64,
    pub im: f64,
}

impl Number {
    pub fn load(values: &[f64], place: usize, parts: usize) -> Self {
        let im = if parts == 2 { values[2 * place + 1] } else { 0.0 };
        Self { re: values[parts * place], im }
    }

    pub fn add_to(self, values: &mut [f64], place: usize, parts: usize, precision: Precision) {
        for (part, term) in [self.re, self.im].into_iter().take(parts).enumerate() {
            let sum = &mut values[parts * place + part];
            *sum = precision.sum(*sum + term);
        }
    }

    pub fn plus(self, other: Self, precision: Precision) -> Self {
        Self { re: precision.sum(self.re + other.re), im: precision.sum(self.im + other.im) }
    }

    pub fn times(self, other: Self, precision: Precision) -> Self {
        Self {
            re: precision.sum(self.re * other.re - self.im * other.im),
            im: precision.sum(self.re * other.im + self.im * other.re),
        }
    }

    pub fn by(self, factor: f64, precision: Precision) -> Self {
        Self { re: precision.sum(self.re * factor), im: precision.sum(self.im * factor) }
    }

    pub fn conjugate(self) -> Self {
        Self { re: self.re, im: -self.im }
    }

    pub fn exp(self, precision: Precision) -> Self {
        let size = precision.sum(self.re.exp());
        Self { re: precision.sum(size * self.im.cos()), im: precision.sum(size * self.im.sin()) }
    }

    /// The number as a tensor holds it.
    pub fn store(self, precision: Precision, parts: usize) -> impl Iterator<Item = f64> {
        [self.re, self.im].into_iter().take(parts).map(move |part| precision.store(part))
    }

    /// Its parts.
    pub fn parts(self, parts: usize) -> impl Iterator<Item = f64> {
        [self.re, self.im].into_iter().take(parts)
    }

    /// Puts the number, as a tensor holds it, in its place.
    pub fn put(self, values: &mut [f64], place: usize, parts: usize, precision: Precision) {
        for (part, value) in self.store(precision, parts).enumerate() {
            values[parts * place + part] = value;
        }
    }
}
