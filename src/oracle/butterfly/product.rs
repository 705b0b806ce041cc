//! The butterfly product and its gradients.

use crate::ButterflySpec;
use crate::oracle::Precision;

/// Gradients of a butterfly product.
#[derive(Clone, Debug, PartialEq)]
pub struct ButterflyGradients {
    /// Of `x`.
    pub dx: Vec<f64>,
    /// Of `twiddle`.
    pub dtwiddle: Vec<f64>,
}

/// `y = B x`, a factor after the other, straight from the definition in [`ButterflySpec`]. What lies between two factors
/// is a tensor of its own, as in a plain implementation.
pub fn butterfly(spec: &ButterflySpec, precision: Precision, x: &[f64], twiddle: &[f64]) -> Vec<f64> {
    let mut y = padded(spec, x);
    for place in 0..spec.factors() {
        y = apply(spec, precision, &factor(spec, place, twiddle), &y);
    }
    y
}

/// The gradients of `x` and `twiddle` where `dy` is that of `y`: a factor's input has the gradient `Tᴴ dy`, its matrix
/// `Σ dy xᴴ` over the batch.
pub fn butterfly_backward(
    spec: &ButterflySpec,
    precision: Precision,
    x: &[f64],
    twiddle: &[f64],
    dy: &[f64],
) -> ButterflyGradients {
    let mut before = vec![padded(spec, x)];
    for place in 0..spec.factors() - 1 {
        before.push(apply(spec, precision, &factor(spec, place, twiddle), &before[place]));
    }
    let mut dtwiddle = vec![0.0; twiddle.len()];
    let mut dy = dy.to_vec();
    for place in (0..spec.factors()).rev() {
        let factor = factor(spec, place, twiddle);
        for at in factor.entries() {
            let terms = spec.batch * spec.nstacks;
            let mut sum = Complex::default();
            for row in (0..terms).filter(|row| row % spec.nstacks == at.stack) {
                let (from, to) = (row * spec.width() + at.column, row * spec.width() + at.row);
                let term = load(spec, &dy, to).times(load(spec, &before[place], from).conjugate(), precision);
                sum = sum.plus(term, precision);
            }
            store(spec, precision, &mut dtwiddle, at.twiddle, sum);
        }
        dy = apply(spec, precision, &factor.adjoint(), &dy);
    }
    ButterflyGradients { dx: trimmed(spec, &dy), dtwiddle }
}

/// The factor applied at this place, whichever way the product runs.
fn factor<'a>(spec: &'a ButterflySpec, place: usize, twiddle: &'a [f64]) -> Factor<'a> {
    Factor { spec, index: spec.factor_at(place), twiddle, transposed: spec.transposed, conjugate: false }
}

struct Factor<'a> {
    spec: &'a ButterflySpec,
    index: usize,
    twiddle: &'a [f64],
    transposed: bool,
    conjugate: bool,
}

/// An entry of a factor as a sparse matrix: where it is, and where its value lies among the elements of `twiddle`.
struct Entry {
    stack: usize,
    row: usize,
    column: usize,
    twiddle: usize,
}

impl Factor<'_> {
    fn adjoint(self) -> Self {
        Self { transposed: !self.transposed, conjugate: true, ..self }
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        let ButterflySpec { nstacks, n, entry: b, .. } = *self.spec;
        let factors = self.spec.factors();
        let s = 1 << self.spec.stride_bit(self.index);
        let per_pair = 4 * b * b;
        (0..nstacks * n / 2 * per_pair).map(move |at| {
            let (stack, pair, within) = (at / (n / 2 * per_pair), at / per_pair % (n / 2), at % per_pair);
            let [i, j, k1, k2] = [within / (2 * b * b), within / (b * b) % 2, within / b % b, within % b];
            let (beta, t) = (pair / s, pair % s);
            let node = |side: usize, k: usize| (2 * s * beta + side * s + t) * b + k;
            let twiddle = ((stack * factors + self.index) * (n / 2) + pair) * per_pair + within;
            let (row, column) = (node(i, k1), node(j, k2));
            let (row, column) = if self.transposed { (column, row) } else { (row, column) };
            Entry { stack, row, column, twiddle }
        })
    }
}

/// The factor times every row.
fn apply(spec: &ButterflySpec, precision: Precision, factor: &Factor<'_>, x: &[f64]) -> Vec<f64> {
    let mut sums = vec![Complex::default(); spec.batch * spec.nstacks * spec.width()];
    for at in factor.entries() {
        let weight = load(spec, factor.twiddle, at.twiddle);
        let weight = if factor.conjugate { weight.conjugate() } else { weight };
        for batch in 0..spec.batch {
            let row = (batch * spec.nstacks + at.stack) * spec.width();
            let term = weight.times(load(spec, x, row + at.column), precision);
            sums[row + at.row] = sums[row + at.row].plus(term, precision);
        }
    }
    let mut y = vec![0.0; sums.len() * spec.parts()];
    for (i, sum) in sums.into_iter().enumerate() {
        store(spec, precision, &mut y, i, sum);
    }
    y
}

/// Rows of `n_in` elements as rows of the product's width.
fn padded(spec: &ButterflySpec, x: &[f64]) -> Vec<f64> {
    resized(x, spec.n_in * spec.parts(), spec.width() * spec.parts())
}

/// Gradients of the elements that were trimmed away are zero.
fn trimmed(spec: &ButterflySpec, dx: &[f64]) -> Vec<f64> {
    resized(dx, spec.width() * spec.parts(), spec.n_in * spec.parts())
}

fn resized(rows: &[f64], from: usize, to: usize) -> Vec<f64> {
    let padding = to.saturating_sub(from);
    let row = |row: &[f64]| -> Vec<f64> {
        row[..from.min(to)].iter().copied().chain(std::iter::repeat_n(0.0, padding)).collect()
    };
    rows.chunks_exact(from).flat_map(row).collect()
}

/// A number with an imaginary part, which is zero in a real product.
#[derive(Clone, Copy, Debug, Default)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    fn conjugate(self) -> Self {
        Self { im: -self.im, ..self }
    }

    fn plus(self, other: Self, precision: Precision) -> Self {
        Self { re: precision.sum(self.re + other.re), im: precision.sum(self.im + other.im) }
    }

    fn times(self, other: Self, precision: Precision) -> Self {
        let product = |a: f64, b: f64| precision.sum(a * b);
        Self {
            re: precision.sum(product(self.re, other.re) - product(self.im, other.im)),
            im: precision.sum(product(self.re, other.im) + product(self.im, other.re)),
        }
    }
}

fn load(spec: &ButterflySpec, values: &[f64], i: usize) -> Complex {
    if spec.complex {
        Complex { re: values[2 * i], im: values[2 * i + 1] }
    } else {
        Complex { re: values[i], im: 0.0 }
    }
}

fn store(spec: &ButterflySpec, precision: Precision, values: &mut [f64], i: usize, value: Complex) {
    if spec.complex {
        values[2 * i] = precision.store(value.re);
        values[2 * i + 1] = precision.store(value.im);
    } else {
        values[i] = precision.store(value.re);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::verify::Inputs;

    fn product(spec: &ButterflySpec, x: &[f64], twiddle: &[f64]) -> Vec<f64> {
        butterfly(spec, Precision::Exact, x, twiddle)
    }

    #[test]
    fn by_hand() {
        // Stride 1 first: (1 + 2·10, 3 + 4·10) and (0, 5·100 + 6·1000); then stride 2, which adds and subtracts.
        let spec = ButterflySpec::new(DType::F32, 1, 4).increasing_stride();
        let twiddle = [
            [1.0, 2.0, 3.0, 4.0],
            [0.0, 0.0, 5.0, 6.0], // pairs (0, 1) and (2, 3)
            [1.0, 1.0, 1.0, -1.0],
            [1.0, 1.0, 1.0, -1.0], // pairs (0, 2) and (1, 3)
        ];
        let y = product(&spec, &[1.0, 10.0, 100.0, 1000.0], twiddle.as_flattened());
        assert_eq!(y, [21.0, 43.0 + 6500.0, 21.0, 43.0 - 6500.0]);
        // The other way round: stride 2 takes the first half of the twiddle.
        let spec = ButterflySpec { increasing_stride: false, ..spec };
        let y = product(&spec, &[1.0, 10.0, 100.0, 1000.0], twiddle.as_flattened());
        let (a, c) = (1.0 + 200.0, 3.0 + 400.0);
        let (b, d) = (0.0, 50.0 + 6000.0);
        assert_eq!(y, [a + b, a - b, c + d, c - d]);
    }

    #[test]
    fn blocks_of_entries_by_hand() {
        // Two nodes of two elements: the one factor is a 4 × 4 matrix, cut into four entries of 2 × 2.
        let spec = ButterflySpec::new(DType::F32, 1, 2).entry(2);
        let twiddle: Vec<f64> = (1..=16).map(f64::from).collect();
        let y = product(&spec, &[1.0, 10.0, 100.0, 1000.0], &twiddle);
        assert_eq!(y[..2], [1.0 + 20.0 + 500.0 + 6000.0, 3.0 + 40.0 + 700.0 + 8000.0]);
        assert_eq!(y[2..], [9.0 + 100.0 + 1300.0 + 14000.0, 11.0 + 120.0 + 1500.0 + 16000.0]);
    }

    #[test]
    fn complex_by_hand() {
        // (1 + 2i)(3 + 4i) = -5 + 10i, with nothing from the other node; and its conjugate's share in the gradient.
        let spec = ButterflySpec::new(DType::F32, 1, 2).complex();
        let twiddle = [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        let x = [3.0, 4.0, 5.0, 6.0];
        assert_eq!(product(&spec, &x, &twiddle), [-5.0, 10.0, -6.0, 5.0]);
        let dy = [1.0, 0.0, 0.0, 0.0];
        let gradients = butterfly_backward(&spec, Precision::Exact, &x, &twiddle, &dy);
        assert_eq!(gradients.dx, [1.0, -2.0, 0.0, 0.0]);
        assert_eq!(gradients.dtwiddle, [3.0, -4.0, 5.0, -6.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn rows_are_padded_and_trimmed() {
        let spec = ButterflySpec::new(DType::F32, 2, 2);
        let swap = [0.0, 1.0, 1.0, 0.0];
        assert_eq!(product(&spec.n_in(1), &[7.0, 8.0], &swap), [0.0, 7.0, 0.0, 8.0]);
        assert_eq!(product(&spec.n_in(3), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &swap), [2.0, 1.0, 5.0, 4.0]);
        let gradients =
            butterfly_backward(&spec.n_in(3), Precision::Exact, &[0.0; 6], &swap, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(gradients.dx, [2.0, 1.0, 0.0, 4.0, 3.0, 0.0]);
    }

    /// Every option at once, against finite differences and ⟨Bᵀ u, v⟩ = ⟨u, B v⟩.
    #[test]
    fn gradients_and_transposes_agree_with_the_product() {
        let plain = ButterflySpec::new(DType::F32, 2, 4).nstacks(2).nblocks(3);
        for spec in [plain, plain.complex(), plain.entry(3).increasing_stride(), plain.complex().entry(2)] {
            for spec in [spec, spec.transposed()] {
                let mut inputs = Inputs::new(3);
                let [x, twiddle, dy] = [spec.x_shape(), spec.twiddle_shape(), spec.y_shape()]
                    .map(|shape| inputs.normal(shape.iter().product(), 1.0));
                let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
                let loss = |x: &[f64], twiddle: &[f64]| dot(&dy, &product(&spec, x, twiddle));
                let gradients = butterfly_backward(&spec, Precision::Exact, &x, &twiddle, &dy);
                let step = 1e-6;
                let nudged = |values: &[f64], i: usize, by: f64| {
                    let mut values = values.to_vec();
                    values[i] += by;
                    values
                };
                for i in [0, 1, x.len() / 2, x.len() - 1] {
                    let [up, down] = [step, -step].map(|by| loss(&nudged(&x, i, by), &twiddle));
                    let slope = (up - down) / (2.0 * step);
                    assert!((slope - gradients.dx[i]).abs() < 1e-4, "{spec}: dx[{i}]");
                }
                for i in [0, 1, twiddle.len() / 2 + 1, twiddle.len() - 1] {
                    let [up, down] = [step, -step].map(|by| loss(&x, &nudged(&twiddle, i, by)));
                    let slope = (up - down) / (2.0 * step);
                    assert!((slope - gradients.dtwiddle[i]).abs() < 1e-4, "{spec}: dtwiddle[{i}]");
                }
                if !spec.complex {
                    let turned = product(&spec.transposed(), &dy, &twiddle);
                    assert!((dot(&turned, &x) - loss(&x, &twiddle)).abs() < 1e-9, "{spec}");
                }
            }
        }
    }
}
