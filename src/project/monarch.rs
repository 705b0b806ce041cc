//! The Monarch matrix nearest to a dense one, and back.

use std::f64::consts::TAU;

use faer::{Mat, c64};

use super::Number;
use crate::spec::wrong;
use crate::{DType, MonarchSpec, SpecError};

/// The factors of a Monarch matrix, of the shapes of a [`MonarchSpec`].
#[derive(Clone, Debug, PartialEq)]
pub struct MonarchFactors<F> {
    /// The first.
    pub w1: Vec<F>,
    /// The second.
    pub w2: Vec<F>,
}

/// The Monarch matrix nearest to a dense one, and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct MonarchProjection<F> {
    /// Its factors.
    pub factors: MonarchFactors<F>,
    /// The Frobenius norm of the difference.
    pub error: f64,
    /// That of the dense matrix.
    pub norm: f64,
}

impl<F> MonarchProjection<F> {
    /// The difference as a share of the matrix; 0 for a matrix of zeros.
    pub fn relative_error(&self) -> f64 {
        if self.norm > 0.0 { self.error / self.norm } else { 0.0 }
    }
}

/// The shapes of the factors for a dense matrix of `size` (rows, columns) in `blocks` (of rows, of columns), with a matrix
/// of that rank in place of each. Fails if a count is 0, a block size does not divide, or the rank is more than a block
/// can have.
pub fn monarch_shape(
    dtype: DType,
    size: [usize; 2],
    blocks: [usize; 2],
    rank: usize,
) -> Result<MonarchSpec, SpecError> {
    let ([rows, columns], [l, k]) = (size, blocks);
    for (name, size, blocks) in [("rows", rows, l), ("columns", columns, k)] {
        if size == 0 || blocks == 0 || !size.is_multiple_of(blocks) {
            let name = if name == "rows" {
                "the number of blocks of rows"
            } else {
                "the number of blocks of columns"
            };
            return Err(wrong(name, &blocks, format!("a divisor of {size}")));
        }
    }
    let (s, p) = (rows / l, columns / k);
    if rank == 0 || rank > s.min(p) {
        return Err(wrong("rank", &rank, format!("1 to {}, of slices of {s} × {p}", s.min(p))));
    }
    let spec = MonarchSpec::new(dtype, 1, [k, l * rank, p], [l, s, k * rank]);
    spec.check()?;
    Ok(spec)
}

/// The rank of the slices of a Monarch matrix that can be projected to: `q = l rank` and `r = k rank`.
fn rank(spec: &MonarchSpec) -> Result<usize, SpecError> {
    spec.check()?;
    let ([k, q, _], [l, _, r]) = (spec.w1, spec.w2);
    if q.is_multiple_of(l) && r == k * (q / l) {
        return Ok(q / l);
    }
    Err(wrong("q", &q, format!("a multiple of l = {l}, and r = {r} as many times k = {k}")))
}

/// The Monarch matrix of the spec's shapes nearest to `dense` (`n_out`, `n_in`) in the Frobenius norm.
///
/// With `q = l rank` and `r = k rank`, rows `σl + λ` and columns `κp + i` of a Monarch matrix are, for each λ and κ, a matrix
/// (σ, i) of that rank, and none shares a weight with another: the nearest is a truncated singular value decomposition of
/// each (Dao et al. 2022). Each factor takes the roots of the singular values.
///
/// Fails if the shapes are not of that kind, if `dense` has another length, or if a value is not finite.
pub fn monarch<F: Number>(spec: &MonarchSpec, dense: &[F]) -> Result<MonarchProjection<F>, SpecError> {
    let rank = rank(spec)?;
    let ([k, q, p], [l, s, r]) = (spec.w1, spec.w2);
    let (n_in, n_out) = (spec.n_in(), spec.n_out());
    if dense.len() != n_in * n_out {
        return Err(wrong("the length of the dense matrix", &dense.len(), format!("{n_out} × {n_in}")));
    }
    if let Some(at) = dense.iter().position(|value| !value.modulus().is_finite()) {
        let (row, column) = (at / n_in, at % n_in);
        return Err(wrong(
            "the dense matrix",
            &dense[at],
            format!("finite numbers, also in row {row}, column {column}"),
        ));
    }
    let mut factors = MonarchFactors { w1: vec![F::default(); k * q * p], w2: vec![F::default(); l * s * r] };
    for (kappa, lambda) in (0..k).flat_map(|kappa| (0..l).map(move |lambda| (kappa, lambda))) {
        let slice = Mat::from_fn(s, p, |sigma, i| dense[(sigma * l + lambda) * n_in + kappa * p + i]);
        for (t, (value, left, right)) in largest(&slice, rank)?.into_iter().enumerate() {
            let root = value.sqrt();
            for (i, &entry) in right.iter().enumerate() {
                factors.w1[(kappa * q + t * l + lambda) * p + i] = entry.scaled(root);
            }
            for (sigma, &entry) in left.iter().enumerate() {
                factors.w2[(lambda * s + sigma) * r + kappa * rank + t] = entry.scaled(root);
            }
        }
    }
    let near = monarch_dense(spec, &factors)?;
    let norm = |values: &mut dyn Iterator<Item = F>| values.map(|x| x.modulus().powi(2)).sum::<f64>().sqrt();
    let error = norm(&mut dense.iter().zip(&near).map(|(&a, &b)| a - b));
    Ok(MonarchProjection { factors, error, norm: norm(&mut dense.iter().copied()) })
}

/// A singular value with its left vector and the conjugate of its right one, of which a matrix is a sum.
type Triple<F> = (f64, Vec<F>, Vec<F>);

/// The triples of the largest singular values.
fn largest<F: Number>(slice: &Mat<F>, rank: usize) -> Result<Vec<Triple<F>>, SpecError> {
    let (rows, columns) = (slice.nrows(), slice.ncols());
    let entries = || (0..columns).flat_map(|j| (0..rows).map(move |i| slice[(i, j)]));
    // Scaled to about 1, so that the squares of tiny or huge values are numbers. Zeros have no scale.
    let scale = entries().fold(0.0, |max: f64, entry| max.max(entry.modulus()));
    if scale == 0.0 {
        return Ok(vec![(0.0, vec![F::default(); rows], vec![F::default(); columns]); rank]);
    }
    let scaled = Mat::from_fn(rows, columns, |i, j| slice[(i, j)].scaled(1.0 / scale));
    let svd = scaled.thin_svd().map_err(|_| {
        let found = format!("a slice of {rows} × {columns}");
        wrong("the dense matrix", &found, "one whose singular values are found")
    })?;
    let (left, right) = (svd.U(), svd.V());
    let triple = |t: usize| {
        let value = (svd.S()[t].modulus() * scale).max(0.0);
        let left = (0..rows).map(|i| left[(i, t)]).collect();
        (value, left, (0..columns).map(|j| right[(j, t)].conjugate()).collect())
    };
    // They come in descending order.
    Ok((0..rank).map(triple).collect())
}

/// The dense matrix (`n_out`, `n_in`) that a Monarch matrix is, whatever its shapes. Fails if the spec is wrong or a factor
/// has another length.
pub fn monarch_dense<F: Number>(
    spec: &MonarchSpec,
    factors: &MonarchFactors<F>,
) -> Result<Vec<F>, SpecError> {
    spec.check()?;
    let ([_, q, p], [l, s, r]) = (spec.w1, spec.w2);
    check_lengths(spec, factors)?;
    let MonarchFactors { w1, w2 } = factors;
    let (n_in, n_out) = (spec.n_in(), spec.n_out());
    crate::spec::elements("the dense matrix", &[n_out, n_in])?;
    let mut dense = vec![F::default(); n_out * n_in];
    for v in 0..n_out {
        let (sigma, lambda) = (v / l, v % l);
        for rho in 0..r {
            let weight = w2[(lambda * s + sigma) * r + rho];
            // The element between the factors, and the columns that its block reads.
            let u = rho * l + lambda;
            let first = v * n_in + u / q * p;
            for (entry, &other) in dense[first..first + p].iter_mut().zip(&w1[u * p..(u + 1) * p]) {
                *entry += weight * other;
            }
        }
    }
    Ok(dense)
}

fn check_lengths<F>(spec: &MonarchSpec, factors: &MonarchFactors<F>) -> Result<(), SpecError> {
    let MonarchFactors { w1, w2 } = factors;
    for (name, found, shape) in
        [("the length of w1", w1.len(), spec.w1), ("the length of w2", w2.len(), spec.w2)]
    {
        if found != shape.iter().product::<usize>() {
            return Err(wrong(name, &found, format!("{shape:?}")));
        }
    }
    Ok(())
}

/// The discrete Fourier transform of `s0 s1` points as a Monarch matrix of the permuted input: the spec, its factors, and
/// the input's places. Element `u` of the Monarch product's input is element `places[u]` of the transform's (Cooley and
/// Tukey 1965; Dao et al. 2022). [`monarch_of_reals`] makes of it what the kernels run.
pub fn fourier(s0: usize, s1: usize) -> Result<(MonarchSpec, MonarchFactors<c64>, Vec<usize>), SpecError> {
    let spec = MonarchSpec::new(DType::F32, 1, [s0, s1, s1], [s1, s0, s0]);
    spec.check()?;
    let n = s0 * s1;
    // A power of the root of unity of n points. The turn is reduced first, so that it is exact.
    let root = |turns: usize| c64::from_polar(1.0, -TAU * (turns % n) as f64 / n as f64);
    let w1 = (0..s0 * s1 * s1).map(|at| root(at / s1 % s1 * (at % s1) % s1 * s0)).collect();
    let w2 = (0..s1 * s0 * s0)
        .map(|at| {
            let (block, j, i) = (at / (s0 * s0), at / s0 % s0, at % s0);
            root(j * i % s0 * s1 + block * i)
        })
        .collect();
    let places = (0..n).map(|u| u % s1 * s0 + u / s1).collect();
    Ok((spec, MonarchFactors { w1, w2 }, places))
}

/// A complex Monarch matrix as a real one of twice the widths, which the kernels run: the spec and its factors.
///
/// It takes each block of `p` inputs as `p` real parts and then `p` imaginary ones, and gives the real parts of all outputs
/// and then the imaginary ones. Fails if the spec is wrong, if a factor has another length, or unless `q` is a multiple of
/// `l`, as it is for every projection and for [`fourier`].
pub fn monarch_of_reals(
    spec: &MonarchSpec,
    factors: &MonarchFactors<c64>,
) -> Result<(MonarchSpec, MonarchFactors<f64>), SpecError> {
    let rank = rank(spec)?;
    check_lengths(spec, factors)?;
    let ([k, q, p], [l, s, r]) = (spec.w1, spec.w2);
    let doubled = MonarchSpec { w1: [k, 2 * q, 2 * p], w2: [l, 2 * s, 2 * r], ..*spec };
    doubled.check()?;
    // What a real or an imaginary part of an input adds to either part of an output.
    let part = |entry: c64, of_output: usize, of_input: usize| match (of_output, of_input) {
        (0, 1) => -entry.im,
        (1, 0) => entry.im,
        _ => entry.re,
    };
    // Each block of both factors is four blocks of reals. Between the factors, the parts of a block's q lie side by side:
    // as l divides q, either is a whole number of the second factor's inputs.
    let w1 = (0..4 * k * q * p).map(|at| {
        let (row, column) = (at / (2 * p) % (2 * q), at % (2 * p));
        part(factors.w1[(at / (4 * q * p) * q + row % q) * p + column % p], row / q, column / p)
    });
    let w2 = (0..4 * l * s * r).map(|at| {
        let (row, column) = (at / (2 * r) % (2 * s), at % (2 * r));
        let (kappa, of_input, t) = (column / (2 * rank), column / rank % 2, column % rank);
        part(factors.w2[(at / (4 * s * r) * s + row % s) * r + kappa * rank + t], row / s, of_input)
    });
    let factors = MonarchFactors { w1: w1.collect(), w2: w2.collect() };
    Ok((doubled, factors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Inputs;

    fn shape(size: [usize; 2], blocks: [usize; 2], rank: usize) -> MonarchSpec {
        monarch_shape(DType::F32, size, blocks, rank).unwrap()
    }

    fn largest_difference<F: Number>(a: &[F], b: &[F]) -> f64 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).fold(0.0, |max: f64, (&a, &b)| max.max((a - b).modulus()))
    }

    /// Two by two slices of two by two: the slice of the even rows and the first columns is (3, 0; 0, 1).
    #[test]
    fn nearest_by_hand() {
        let spec = shape([4, 4], [2, 2], 1);
        #[rustfmt::skip]
        let dense = [
            3.0, 0.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 0.0,
            0.0, 1.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 5.0,
        ];
        let projection = monarch(&spec, &dense).unwrap();
        // The 1 is the second singular value of its slice, and is lost.
        let mut expected = dense;
        expected[2 * 4 + 1] = 0.0;
        let near = monarch_dense(&spec, &projection.factors).unwrap();
        assert!(largest_difference(&near, &expected) < 1e-14, "{near:?}");
        assert!((projection.error - 1.0).abs() < 1e-14 && (projection.norm - 35_f64.sqrt()).abs() < 1e-14);
        let whole = monarch(&shape([4, 4], [2, 2], 2), &dense).unwrap();
        assert!(whole.error < 1e-14, "rank 2 is all there is: {}", whole.error);
    }

    /// A Monarch matrix is its own projection, of any rank and any proportions.
    #[test]
    fn monarch_matrices_are_their_own_projections() {
        for (size, blocks, rank) in [([12, 10], [3, 5], 1), ([12, 20], [3, 5], 3), ([64, 64], [8, 8], 2)] {
            let spec = shape(size, blocks, rank);
            let mut inputs = Inputs::new(9);
            let [w1, w2] = [spec.w1, spec.w2].map(|shape| inputs.normal(shape.iter().product(), 1.0));
            let dense = monarch_dense(&spec, &MonarchFactors { w1, w2 }).unwrap();
            let projection = monarch(&spec, &dense).unwrap();
            assert!(projection.relative_error() < 1e-12, "{spec}: {}", projection.relative_error());
        }
    }

    /// No Monarch matrix that differs in one weight is nearer: the gradient of the distance is nothing.
    #[test]
    fn projections_are_the_nearest() {
        let spec = shape([8, 12], [2, 3], 2);
        let dense = Inputs::new(4).normal(96, 1.0);
        let projection = monarch(&spec, &dense).unwrap();
        assert!(projection.relative_error() > 0.1, "nothing to lose");
        let distance = |factors: &MonarchFactors<f64>| -> f64 {
            let near = monarch_dense(&spec, factors).unwrap();
            near.iter().zip(&dense).map(|(a, b)| (a - b).powi(2)).sum()
        };
        assert!((distance(&projection.factors).sqrt() - projection.error).abs() < 1e-12);
        for at in 0..projection.factors.w1.len() + projection.factors.w2.len() {
            let moved = |step: f64| {
                let mut factors = projection.factors.clone();
                let first = factors.w1.len();
                *(if at < first { &mut factors.w1[at] } else { &mut factors.w2[at - first] }) += step;
                distance(&factors)
            };
            let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
            assert!(slope.abs() < 1e-9, "weight {at}: {slope}");
        }
    }

    /// The transform in closed form is exact, and so is what is found of it by projection.
    #[test]
    fn fourier_transforms_are_monarch_matrices() {
        let sizes = [(3, 5), (3, 9), (6, 6), (6, 7), (6, 8), (5, 17), (12, 14), (14, 14), (16, 32)];
        for (s0, s1) in sizes {
            let n = s0 * s1;
            let (spec, factors, places) = fourier(s0, s1).unwrap();
            let turns = |f: usize, u: usize| -TAU * (f * places[u] % n) as f64 / n as f64;
            let transform: Vec<_> =
                (0..n * n).map(|at| c64::from_polar(1.0, turns(at / n, at % n))).collect();
            let closed = monarch_dense(&spec, &factors).unwrap();
            assert!(largest_difference(&closed, &transform) < 1e-12, "{n}");
            let projection = monarch(&spec, &transform).unwrap();
            let near = monarch_dense(&spec, &projection.factors).unwrap();
            assert!(largest_difference(&near, &transform) < 1e-10, "{n}: {}", projection.error);
        }
    }

    /// A part of an input gives what the complex matrix has for it: columns of real and of imaginary parts, block by block.
    #[test]
    fn complex_matrices_are_real_ones_of_twice_the_widths() {
        for (size, blocks, rank) in [([6, 10], [3, 5], 1), ([12, 20], [3, 5], 3), ([4, 8], [1, 2], 2)] {
            let spec = shape(size, blocks, rank);
            let mut inputs = Inputs::new(5);
            let [w1, w2] = [spec.w1, spec.w2].map(|shape| {
                let parts = inputs.normal(2 * shape.iter().product::<usize>(), 1.0);
                parts.chunks_exact(2).map(|part| c64::new(part[0], part[1])).collect()
            });
            let factors = MonarchFactors { w1, w2 };
            let dense = monarch_dense(&spec, &factors).unwrap();
            let (doubled, reals) = monarch_of_reals(&spec, &factors).unwrap();
            let found = monarch_dense(&doubled, &reals).unwrap();
            let ([rows, columns], p) = (size, spec.w1[2]);
            for (at, entry) in dense.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let real = column / p * 2 * p + column % p;
                let found = |row: usize, column: usize| found[row * 2 * columns + column];
                let of_real = c64::new(found(row, real), found(row + rows, real));
                let of_imaginary = c64::new(found(row + rows, real + p), -found(row, real + p));
                assert!((of_real - entry).norm() < 1e-12, "{spec} at {at}");
                assert!((of_imaginary - entry).norm() < 1e-12, "{spec} at {at}");
            }
        }
        let other = MonarchSpec::new(DType::F32, 1, [4, 3, 2], [2, 2, 6]);
        let zeros = |shape: [usize; 3]| vec![c64::default(); shape.iter().product()];
        let mut factors = MonarchFactors { w1: zeros(other.w1), w2: zeros(other.w2) };
        assert!(monarch_of_reals(&other, &factors).unwrap_err().to_string().starts_with("q is 3, expected"));
        factors.w1.pop();
        let short = monarch_of_reals(&shape([6, 10], [3, 5], 1), &factors).unwrap_err().to_string();
        assert_eq!(short, "the length of w1 is 23, expected [5, 3, 2]");
    }

    #[test]
    fn zeros_and_singular_matrices_have_projections() {
        let spec = shape([8, 8], [2, 4], 2);
        let zeros = monarch(&spec, &[0.0; 64]).unwrap();
        assert!(zeros.factors.w1.iter().chain(&zeros.factors.w2).all(|weight| *weight == 0.0));
        assert_eq!((zeros.error, zeros.relative_error()), (0.0, 0.0));
        // One row repeated: every slice has rank 1, and a second singular value of nothing.
        let row = Inputs::new(6).normal(8, 1.0);
        for scale in [1.0, 1e-150, 1e150] {
            let singular: Vec<f64> = (0..64).map(|at| scale * row[at % 8]).collect();
            let projection = monarch(&spec, &singular).unwrap();
            let near = monarch_dense(&spec, &projection.factors).unwrap();
            assert!(largest_difference(&near, &singular) < 1e-13 * scale, "scale {scale}");
        }
    }

    #[test]
    fn what_cannot_be_projected_is_refused_with_numbers() {
        let refused =
            |size, blocks, rank| monarch_shape(DType::F32, size, blocks, rank).unwrap_err().to_string();
        assert_eq!(
            refused([8, 9], [2, 4], 1),
            "the number of blocks of columns is 4, expected a divisor of 9"
        );
        assert_eq!(refused([8, 9], [0, 3], 1), "the number of blocks of rows is 0, expected a divisor of 8");
        assert_eq!(refused([8, 9], [2, 3], 4), "rank is 4, expected 1 to 3, of slices of 4 × 3");
        let spec = shape([4, 4], [2, 2], 1);
        let short = monarch(&spec, &[0.0; 15]).unwrap_err().to_string();
        assert_eq!(short, "the length of the dense matrix is 15, expected 4 × 4");
        let mut dense = [0.0; 16];
        dense[6] = f64::NAN;
        let error = monarch(&spec, &dense).unwrap_err().to_string();
        assert_eq!(error, "the dense matrix is NaN, expected finite numbers, also in row 1, column 2");
        let other = MonarchSpec::new(DType::F32, 1, [4, 3, 2], [2, 2, 6]);
        let error = monarch(&other, &[0.0; 32]).unwrap_err().to_string();
        assert_eq!(error, "q is 3, expected a multiple of l = 2, and r = 6 as many times k = 4");
    }
}
