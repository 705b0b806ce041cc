//! Exact transforms as butterfly products: their factors' matrices, computed on the host in f64.
//!
//! Butterflies hold every transform whose fast algorithm mixes pairs: Cooley and Tukey's FFT (1965) gives the Fourier,
//! cosine and sine transforms, two of them circulant and Toeplitz matrices, and Beneš's network (1964) any permutation. They
//! are useful as they are, as the beginning of something trained (Dao et al. 2019, 2020), and as ground truths: the tests
//! compare them with their definitions.
//!
//! ```
//! use tilewise::transforms;
//!
//! let fourier = transforms::fft(4)?;
//! // Complex numbers are interleaved: 1, 2, 3, 4 without imaginary parts.
//! let y = fourier.apply(&[1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0]);
//! for (ours, expected) in y.iter().zip([10.0, 0.0, -2.0, 2.0, -2.0, 0.0, -2.0, -2.0]) {
//!     assert!((ours - expected).abs() < 1e-12);
//! }
//! # Ok::<(), tilewise::SpecError>(())
//! ```

use std::f64::consts::{SQRT_2, TAU};

use crate::oracle::{self, Precision};
use crate::{ButterflySpec, DType, Element, SpecError};

/// A linear map as a butterfly product, between a choice of its inputs and one of its results where it needs them.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// Nodes of the product.
    pub n: usize,
    /// Elements that it takes; those missing to `n` are zero.
    pub n_in: usize,
    /// Elements that it gives: the first of the product's.
    pub n_out: usize,
    /// Elements are complex, real and imaginary parts interleaved.
    pub complex: bool,
    /// Butterflies one after the other.
    pub nblocks: usize,
    /// The first one's strides grow.
    pub increasing_stride: bool,
    /// The matrices, in the shape of [`ButterflySpec::twiddle_shape`].
    pub twiddle: Vec<f64>,
    /// Node `i` of the product takes element `input[i]`; without, element `i`.
    pub input: Option<Vec<usize>>,
    /// Result `i` is what the product gives at node `output[i]`; without, at node `i`.
    pub output: Option<Vec<usize>>,
}

impl Transform {
    /// The product for that many rows.
    pub fn spec(&self, dtype: DType, batch: usize) -> ButterflySpec {
        ButterflySpec {
            n_in: self.n_in,
            nblocks: self.nblocks,
            complex: self.complex,
            increasing_stride: self.increasing_stride,
            ..ButterflySpec::new(dtype, batch, self.n)
        }
    }

    /// The matrices as a tensor holds them.
    pub fn twiddle<T: Element>(&self) -> Vec<T> {
        self.twiddle.iter().map(|&value| T::from_f64(value)).collect()
    }

    /// Rows as the product takes them.
    pub fn inputs<T: Copy>(&self, rows: &[T]) -> Vec<T> {
        self.picked(rows, self.n_in, self.n_in, self.input.as_deref())
    }

    /// Rows as the product gives them as rows of results.
    pub fn outputs<T: Copy>(&self, rows: &[T]) -> Vec<T> {
        self.picked(rows, self.n, self.n_out, self.output.as_deref())
    }

    fn picked<T: Copy>(&self, rows: &[T], width: usize, count: usize, order: Option<&[usize]>) -> Vec<T> {
        let parts = if self.complex { 2 } else { 1 };
        let source = |i: usize| order.map_or(i, |order| order[i]);
        let pick = |row: &[T]| -> Vec<T> {
            let element = |i: usize| (0..parts).map(move |part| source(i) * parts + part);
            (0..count).flat_map(element).map(|i| row[i]).collect()
        };
        rows.chunks_exact(width * parts).flat_map(pick).collect()
    }

    /// The whole transform of rows on the host, in f64.
    pub fn apply(&self, rows: &[f64]) -> Vec<f64> {
        let inputs = self.inputs(rows);
        let width = self.n_in * if self.complex { 2 } else { 1 };
        let spec = self.spec(DType::F32, inputs.len() / width);
        self.outputs(&oracle::butterfly(&spec, Precision::Exact, &inputs, &self.twiddle))
    }

    /// The transform times a number, such as `1 / √n` where it should keep the length of rows.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        let last = self.twiddle.len() - self.factor_len();
        self.twiddle[last..].iter_mut().for_each(|value| *value *= factor);
        self
    }

    /// Numbers of a factor.
    fn factor_len(&self) -> usize {
        2 * self.n * if self.complex { 2 } else { 1 }
    }

    /// Factors as they are made: `matrix(factor, β, t, s)` for the pair of nodes `2sβ+t` and `2sβ+s+t`.
    fn new(
        n: usize,
        nblocks: usize,
        increasing_stride: bool,
        complex: bool,
        matrix: impl Fn(usize, usize, usize, usize) -> [Complex; 4],
    ) -> Result<Self, SpecError> {
        let mut transform = Self {
            n,
            n_in: n,
            n_out: n,
            complex,
            nblocks,
            increasing_stride,
            twiddle: Vec::new(),
            input: None,
            output: None,
        };
        let spec = transform.spec(DType::F32, 1);
        spec.check()?;
        for factor in 0..spec.factors() {
            let s = 1 << spec.stride_bit(factor);
            for pair in 0..n / 2 {
                for entry in matrix(factor, pair / s, pair % s, s) {
                    transform.twiddle.push(entry.re);
                    transform.twiddle.extend(complex.then_some(entry.im));
                }
            }
        }
        Ok(transform)
    }

    /// Multiplies what goes into (`columns`) or comes out of each node of a factor of a complex product.
    fn scale_nodes(&mut self, factor: usize, columns: bool, scale: impl Fn(usize) -> Complex) {
        let s = 1 << self.spec(DType::F32, 1).stride_bit(factor);
        let first = factor * self.factor_len();
        for pair in 0..self.n / 2 {
            for entry in 0..4 {
                let side = if columns { entry % 2 } else { entry / 2 };
                let node = 2 * s * (pair / s) + side * s + pair % s;
                let at = first + (4 * pair + entry) * 2;
                let value = Complex { re: self.twiddle[at], im: self.twiddle[at + 1] }.times(scale(node));
                (self.twiddle[at], self.twiddle[at + 1]) = (value.re, value.im);
            }
        }
    }
}

/// The discrete Fourier transform `y_k = Σ_j x_j exp(-2πi jk/n)`, by decimation in time: strides grow, after the inputs
/// are put into the order of their bits reversed.
pub fn fft(n: usize) -> Result<Transform, SpecError> {
    let matrix = |_, _, t, s| radix_2(-(t as f64) / (2 * s) as f64);
    let transform = Transform::new(n, 1, true, true, matrix)?;
    Ok(Transform { input: Some(bits_reversed(n)), ..transform })
}

/// The inverse of [`fft`].
pub fn inverse_fft(n: usize) -> Result<Transform, SpecError> {
    let matrix = |_, _, t, s| radix_2(t as f64 / (2 * s) as f64);
    let transform = Transform::new(n, 1, true, true, matrix)?;
    Ok(Transform { input: Some(bits_reversed(n)), ..transform }.scaled(1.0 / n as f64))
}

/// The Hadamard transform in Sylvester's order, of entries ±1.
pub fn hadamard(n: usize) -> Result<Transform, SpecError> {
    Transform::new(n, 1, true, false, |_, _, _, _| reals([1.0, 1.0, 1.0, -1.0]))
}

/// The orthonormal Haar wavelet transform: the mean first, then details from coarse to fine. Its results are where the
/// pairs that they are of begin, and are put in order.
pub fn haar(n: usize) -> Result<Transform, SpecError> {
    let half = 1.0 / SQRT_2;
    let matrix = |_, _, t, _| reals(if t == 0 { [half, half, half, -half] } else { [1.0, 0.0, 0.0, 1.0] });
    let transform = Transform::new(n, 1, true, false, matrix)?;
    // The details at distance 2s begin at s: the coarsest is at n/2.
    let details = (0..n.ilog2()).flat_map(|level| {
        let s = n >> (level + 1);
        (0..1 << level).map(move |i| s + 2 * s * i)
    });
    Ok(Transform { output: Some(std::iter::once(0).chain(details).collect()), ..transform })
}

/// The cosine transform of type II, `y_k = 2 Σ_j x_j cos(πk(2j+1)/2n)`, in the real parts of the results for real inputs
/// (Makhoul 1980): a Fourier transform of the inputs, the even ones first and the odd ones backwards.
pub fn dct2(n: usize) -> Result<Transform, SpecError> {
    let mut transform = fft(n)?;
    transform.scale_nodes(n.ilog2() as usize - 1, false, |k| {
        turn(-(k as f64) / (4 * n) as f64).times(Complex::real(2.0))
    });
    Ok(evens_then_odds(transform))
}

/// The sine transform of type II, `y_k = 2 Σ_j x_j sin(π(k+1)(2j+1)/2n)`, in the real parts of the results for real
/// inputs. It is the cosine transform of inputs of alternating sign, read backwards; both are folded into the matrices.
pub fn dst2(n: usize) -> Result<Transform, SpecError> {
    let mut transform = fft(n)?;
    // Element k of the spectrum is to be element k + 1: the inputs turn once more around the circle.
    let order = bits_reversed(n);
    transform.scale_nodes(0, true, |node| {
        let j = order[node];
        let sign = if j < n.div_ceil(2) { 1.0 } else { -1.0 };
        turn(-(j as f64) / n as f64).times(Complex::real(sign))
    });
    transform.scale_nodes(n.ilog2() as usize - 1, false, |k| {
        turn(0.25 - (k + 1) as f64 / (4 * n) as f64).times(Complex::real(2.0))
    });
    Ok(evens_then_odds(transform))
}

/// The circulant matrix of this first column, `y_i = Σ_j c_(i-j mod n) x_j`, complex: a Fourier transform, a product with
/// that of the column, and the inverse. The first leaves its results in the order of their bits reversed and the second
/// takes them so, so that there is nothing to permute.
pub fn circulant(column: &[f64]) -> Result<Transform, SpecError> {
    let n = column.len();
    // The transpose of decimation in time, then its conjugate.
    let matrix = |factor, _, t, s: usize| {
        let angle = t as f64 / (2 * s) as f64;
        if factor < n.ilog2() as usize {
            let [a, b, c, d] = radix_2(-angle);
            [a, c, b, d]
        } else {
            radix_2(angle)
        }
    };
    let mut transform = Transform::new(n, 2, false, true, matrix)?;
    let interleaved: Vec<f64> = column.iter().flat_map(|&c| [c, 0.0]).collect();
    let (spectrum, order) = (fft(n)?.apply(&interleaved), bits_reversed(n));
    transform.scale_nodes(n.ilog2() as usize - 1, false, |node| {
        let at = 2 * order[node];
        Complex { re: spectrum[at], im: spectrum[at + 1] }
    });
    Ok(transform.scaled(1.0 / n as f64))
}

/// The Toeplitz matrix of this first column and first row, whose first element is the column's: complex, as a part of the
/// [`circulant`] matrix of the next power of two that holds both.
pub fn toeplitz(column: &[f64], row: &[f64]) -> Result<Transform, SpecError> {
    let at_least_one = |name, found: usize| match found {
        0 => Err(SpecError::Value { name, found: found.to_string(), expected: "at least 1".to_owned() }),
        _ => Ok(()),
    };
    at_least_one("the length of the column", column.len())?;
    at_least_one("the length of the row", row.len())?;
    if column[0].total_cmp(&row[0]).is_ne() {
        let (found, expected) = (row[0].to_string(), format!("the column's, {}", column[0]));
        return Err(SpecError::Value { name: "the row's first element", found, expected });
    }
    let n = (column.len() + row.len() - 1).next_power_of_two().max(2);
    let mut whole = vec![0.0; n];
    whole[..column.len()].copy_from_slice(column);
    for (i, &value) in row.iter().enumerate().skip(1) {
        whole[n - i] = value;
    }
    let transform = circulant(&whole)?;
    Ok(Transform { n_in: row.len(), n_out: column.len(), ..transform })
}

/// Any permutation, `y_i = x_order[i]`, in two blocks (Beneš 1964): the first halves the strides, the second doubles
/// them. Fails if an element is missing or there twice.
pub fn permutation(order: &[usize]) -> Result<Transform, SpecError> {
    let n = order.len();
    let mut seen = vec![false; n];
    for &element in order {
        if element >= n || std::mem::replace(&mut seen[element], true) {
            let expected = format!("each of 0 to {} once", n.saturating_sub(1));
            return Err(SpecError::Value {
                name: "an element of the order",
                found: element.to_string(),
                expected,
            });
        }
    }
    ButterflySpec::new(DType::F32, 1, n).check()?;
    let levels = n.ilog2() as usize;
    let mut crossed = vec![vec![false; n / 2]; 2 * levels];
    route(order, 0, 0, &mut crossed);
    let switch = |crossed| reals(if crossed { [0.0, 1.0, 1.0, 0.0] } else { [1.0, 0.0, 0.0, 1.0] });
    Transform::new(n, 2, false, false, |factor, beta, t, s| switch(crossed[factor][beta * s + t]))
}

/// Sets the switches of the network on `order.len()` nodes from `first` on, whose outer ones are the factors `level` from
/// either end. Nodes that are half the length apart share a switch on either side, and of those one goes through the upper
/// half of what lies between and one through the lower.
fn route(order: &[usize], first: usize, level: usize, crossed: &mut [Vec<bool>]) {
    let half = order.len() / 2;
    let last = crossed.len() - 1;
    let pair = first / 2;
    if half == 1 {
        crossed[level][pair] = order[0] == 1;
        return;
    }
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(to, &from)| places[from] = to);
    let other = |node: usize| (node + half) % (2 * half);
    // Which half each output comes through. Taking one decides its neighbour, whose input decides its own neighbour, and so
    // around a loop.
    let mut lower = vec![None; order.len()];
    for start in 0..order.len() {
        let mut to = start;
        while lower[to].is_none() {
            lower[to] = Some(false);
            lower[other(to)] = Some(true);
            // The neighbour's input goes through the lower half, so that input's neighbour goes through the upper.
            to = places[other(order[other(to)])];
        }
    }
    let mut halves = [vec![0; half], vec![0; half]];
    for (to, &from) in order.iter().enumerate() {
        let through = lower[to].unwrap_or_default();
        halves[usize::from(through)][to % half] = from % half;
        // A switch is crossed where its first node goes to the lower half.
        if from < half {
            crossed[level][pair + from] = through;
        }
        if to < half {
            crossed[last - level][pair + to] = through;
        }
    }
    route(&halves[0], first, level + 1, crossed);
    route(&halves[1], first + half, level + 1, crossed);
}

/// Puts the inputs of a Fourier transform into Makhoul's order, before that of their bits reversed.
fn evens_then_odds(transform: Transform) -> Transform {
    let n = transform.n;
    let source = |j: usize| if 2 * j < n { 2 * j } else { 2 * (n - j) - 1 };
    let input = transform.input.map(|order| order.into_iter().map(source).collect());
    Transform { input, ..transform }
}

fn bits_reversed(n: usize) -> Vec<usize> {
    let unused = usize::BITS - n.ilog2();
    (0..n).map(|i| i.reverse_bits() >> unused).collect()
}

/// `[[1, w], [1, -w]]` for the `w` at that turn of the unit circle.
fn radix_2(turns: f64) -> [Complex; 4] {
    let w = turn(turns);
    let one = Complex::real(1.0);
    [one, w, one, Complex { re: -w.re, im: -w.im }]
}

fn turn(turns: f64) -> Complex {
    // Quarters of a turn are exact in neither sine nor cosine of a rounded angle.
    let (im, re) = match turns * 4.0 {
        0.0 => (0.0, 1.0),
        1.0 => (1.0, 0.0),
        -1.0 => (-1.0, 0.0),
        _ => (TAU * turns).sin_cos(),
    };
    Complex { re, im }
}

fn reals(entries: [f64; 4]) -> [Complex; 4] {
    entries.map(Complex::real)
}

#[derive(Clone, Copy)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    fn real(re: f64) -> Self {
        Self { re, im: 0.0 }
    }

    fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use rustfft::FftPlanner;
    use rustfft::num_complex::Complex64;

    use super::*;
    use crate::verify::Inputs;

    const SIZES: [usize; 7] = [2, 4, 8, 16, 64, 256, 1024];

    fn normal(seed: usize, count: usize) -> Vec<f64> {
        Inputs::new(seed as u64).normal(count, 1.0)
    }

    fn assert_close(name: &str, ours: &[f64], expected: &[f64]) {
        assert_eq!(ours.len(), expected.len(), "{name}");
        for (i, (x, y)) in ours.iter().zip(expected).enumerate() {
            assert!((x - y).abs() < 1e-10 * expected.len() as f64, "{name} at {i}: {x} for {y}");
        }
    }

    fn interleaved(reals: &[f64]) -> Vec<f64> {
        reals.iter().flat_map(|&re| [re, 0.0]).collect()
    }

    fn real_parts(values: &[f64]) -> Vec<f64> {
        values.iter().copied().step_by(2).collect()
    }

    #[test]
    fn fourier_transforms_are_those_of_rustfft() {
        for n in SIZES {
            let x = normal(n, 2 * n);
            let mut expected: Vec<_> = x.chunks_exact(2).map(|c| Complex64::new(c[0], c[1])).collect();
            FftPlanner::new().plan_fft_forward(n).process(&mut expected);
            let expected: Vec<f64> = expected.iter().flat_map(|c| [c.re, c.im]).collect();
            let y = fft(n).unwrap().apply(&x);
            assert_close(&format!("fft {n}"), &y, &expected);
            assert_close(&format!("inverse fft {n}"), &inverse_fft(n).unwrap().apply(&y), &x);
        }
    }

    #[test]
    fn cosine_and_sine_transforms_are_their_sums() {
        for n in SIZES {
            let x = normal(n, n);
            let sum = |k: usize, wave: fn(f64) -> f64| -> f64 {
                let term =
                    |(j, x): (usize, &f64)| x * wave(PI * k as f64 * (2 * j + 1) as f64 / (2 * n) as f64);
                2.0 * x.iter().enumerate().map(term).sum::<f64>()
            };
            let cosines: Vec<f64> = (0..n).map(|k| sum(k, f64::cos)).collect();
            let sines: Vec<f64> = (1..=n).map(|k| sum(k, f64::sin)).collect();
            let apply = |transform: Transform| real_parts(&transform.apply(&interleaved(&x)));
            assert_close(&format!("dct {n}"), &apply(dct2(n).unwrap()), &cosines);
            assert_close(&format!("dst {n}"), &apply(dst2(n).unwrap()), &sines);
        }
    }

    #[test]
    fn hadamard_transforms_have_the_signs_of_sylvester() {
        for n in SIZES {
            let x = normal(n, n);
            let sign = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
            let expected: Vec<f64> = (0..n).map(|i| (0..n).map(|j| sign(i, j) * x[j]).sum()).collect();
            assert_close(&format!("hadamard {n}"), &hadamard(n).unwrap().apply(&x), &expected);
        }
        let twice = hadamard(8).unwrap().scaled(8_f64.powf(-0.5));
        assert_close("orthonormal", &twice.apply(&twice.apply(&normal(1, 8))), &normal(1, 8));
    }

    #[test]
    fn haar_transforms_are_means_and_details() {
        assert_close(
            "by hand",
            &haar(4).unwrap().apply(&[1.0, 3.0, 5.0, 11.0]),
            &[10.0, -6.0, -SQRT_2, -3.0 * SQRT_2],
        );
        for n in SIZES {
            let x = normal(n, n);
            let (mut means, mut expected) = (x.clone(), Vec::new());
            while means.len() > 1 {
                let part = |sign: f64| {
                    means.chunks_exact(2).map(|pair| (pair[0] + sign * pair[1]) / SQRT_2).collect::<Vec<_>>()
                };
                let (next, details) = (part(1.0), part(-1.0));
                expected.splice(0..0, details);
                means = next;
            }
            expected.insert(0, means[0]);
            assert_close(&format!("haar {n}"), &haar(n).unwrap().apply(&x), &expected);
        }
    }

    #[test]
    fn circulant_and_toeplitz_matrices_are_their_diagonals() {
        for n in SIZES {
            let (column, x) = (normal(n, n), normal(n + 1, n));
            let expected: Vec<f64> =
                (0..n).map(|i| (0..n).map(|j| column[(n + i - j) % n] * x[j]).sum()).collect();
            let y = circulant(&column).unwrap().apply(&interleaved(&x));
            assert_close(&format!("circulant {n}"), &y, &interleaved(&expected));
        }
        for (rows, columns) in [(1, 1), (3, 5), (8, 8), (97, 40), (1, 9), (7, 1)] {
            let (column, mut row) = (normal(rows, rows), normal(columns + 1, columns));
            row[0] = column[0];
            let x = normal(2, columns);
            let entry = |i: usize, j: usize| if i >= j { column[i - j] } else { row[j - i] };
            let expected: Vec<f64> =
                (0..rows).map(|i| (0..columns).map(|j| entry(i, j) * x[j]).sum()).collect();
            let y = toeplitz(&column, &row).unwrap().apply(&interleaved(&x));
            assert_close(&format!("toeplitz {rows} × {columns}"), &y, &interleaved(&expected));
        }
    }

    #[test]
    fn every_permutation_is_two_butterflies() {
        let check = |order: &[usize]| {
            let x: Vec<f64> = (0..order.len()).map(|i| i as f64).collect();
            let expected: Vec<f64> = order.iter().map(|&i| i as f64).collect();
            assert_eq!(permutation(order).unwrap().apply(&x), expected, "{order:?}");
        };
        // All of eight elements, in the order of Heap's algorithm.
        let (mut order, mut counts, mut i) = ([0, 1, 2, 3, 4, 5, 6, 7], [0; 8], 0);
        check(&order);
        while i < 8 {
            if counts[i] < i {
                order.swap(if i % 2 == 0 { 0 } else { counts[i] }, i);
                check(&order);
                counts[i] += 1;
                i = 0;
            } else {
                counts[i] = 0;
                i += 1;
            }
        }
        for n in SIZES {
            let keys = normal(n, n);
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
            check(&order);
        }
    }

    #[test]
    fn what_is_no_transform_is_refused_with_numbers() {
        let refused = |transform: Result<Transform, SpecError>| transform.unwrap_err().to_string();
        for n in [0, 1, 3, 12] {
            let expected = format!("n is {n}, expected a power of two, at least 2");
            for transform in [fft(n), inverse_fft(n), hadamard(n), haar(n), dct2(n), dst2(n)] {
                assert_eq!(refused(transform), expected);
            }
            assert_eq!(refused(circulant(&vec![1.0; n])), expected);
            assert_eq!(refused(permutation(&(0..n).collect::<Vec<_>>())), expected);
        }
        assert_eq!(refused(toeplitz(&[1.0], &[])), "the length of the row is 0, expected at least 1");
        assert_eq!(
            refused(toeplitz(&[1.0, 2.0], &[3.0])),
            "the row's first element is 3, expected the column's, 1"
        );
        for order in [[0, 1, 1, 3], [0, 1, 2, 4]] {
            assert!(refused(permutation(&order)).ends_with("expected each of 0 to 3 once"));
        }
    }
}
