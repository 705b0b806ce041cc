//! Exact transforms through the kernels, in f32, against their definitions.

use tilewise::transforms::{self, Transform};
use tilewise::verify::Inputs;
use tilewise::{Butterfly, ButterflyInputs, DType, Gpu, Tensor};

use crate::common;

const ROWS: usize = 3;

/// Runs the transform on rows that are interleaved if it is complex.
fn on_gpu(gpu: &Gpu, transform: &Transform, rows: &[f64]) -> Vec<f64> {
    let narrow: Vec<f32> = transform.inputs(rows).into_iter().map(|x| x as f32).collect();
    let spec = transform.spec(DType::F32, ROWS);
    let x = Tensor::from_slice(gpu, &spec.x_shape(), &narrow).unwrap();
    let twiddle = Tensor::from_slice(gpu, &spec.twiddle_shape(), &transform.twiddle::<f32>()).unwrap();
    let y = Butterfly::new(gpu, spec).unwrap().run(ButterflyInputs { x: &x, twiddle: &twiddle }).unwrap();
    let y: Vec<f64> = y.read_blocking().unwrap().into_iter().map(f64::from).collect();
    transform.outputs(&y)
}

/// The tolerance of the acceptance, and a reference that zeros would not meet.
fn assert_close(name: &str, ours: &[f64], expected: &[f64]) {
    assert_eq!(ours.len(), expected.len(), "{name}");
    let scale = (expected.iter().map(|x| x * x).sum::<f64>() / expected.len() as f64).sqrt();
    assert!(scale > 0.01, "{name}: a reference of zeros");
    for (i, (x, y)) in ours.iter().zip(expected).enumerate() {
        // An element that is small by cancellation has the error of the terms that cancel.
        assert!((x - y).abs() <= 1e-3 * y.abs() + 1e-5 * scale.max(1.0), "{name} at {i}: {x} for {y}");
    }
}

fn normal(count: usize) -> Vec<f64> {
    Inputs::new(count as u64).normal(count, 1.0)
}

fn interleaved(reals: &[f64]) -> Vec<f64> {
    reals.iter().flat_map(|&re| [re, 0.0]).collect()
}

/// Each row through a function of its own, which knows nothing of butterflies.
fn by_row(rows: &[f64], transform: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    rows.chunks_exact(rows.len() / ROWS).flat_map(transform).collect()
}

fn fourier(row: &[f64]) -> Vec<f64> {
    let mut values: Vec<_> =
        row.chunks_exact(2).map(|c| rustfft::num_complex::Complex64::new(c[0], c[1])).collect();
    rustfft::FftPlanner::new().plan_fft_forward(values.len()).process(&mut values);
    values.into_iter().flat_map(|c| [c.re, c.im]).collect()
}

#[test]
fn fourier_transforms_agree_with_rustfft() {
    for (name, gpu) in common::gpus() {
        for n in [2, 64, 1024, 1 << 14] {
            let x = normal(2 * n * ROWS);
            let expected = by_row(&x, fourier);
            assert_close(
                &format!("fft {n} ({name})"),
                &on_gpu(&gpu, &transforms::fft(n).unwrap(), &x),
                &expected,
            );
            let inverse = transforms::inverse_fft(n).unwrap();
            assert_close(&format!("inverse fft {n} ({name})"), &on_gpu(&gpu, &inverse, &expected), &x);
        }
    }
}

#[test]
fn real_transforms_agree_with_their_definitions() {
    let n = 64;
    let x = normal(n * ROWS);
    let orders: Vec<usize> = (0..n).map(|i| (37 * i + 5) % n).collect();
    for (name, gpu) in common::gpus() {
        let check = |what: &str, transform: Transform, entry: &dyn Fn(usize, usize) -> f64| {
            let expected = by_row(&x, |row| {
                (0..n).map(|i| row.iter().enumerate().map(|(j, x)| entry(i, j) * x).sum()).collect()
            });
            let y = if transform.complex {
                on_gpu(&gpu, &transform, &interleaved(&x)).into_iter().step_by(2).collect()
            } else {
                on_gpu(&gpu, &transform, &x)
            };
            assert_close(&format!("{what} ({name})"), &y, &expected);
        };
        let angle = |k: usize, j: usize| std::f64::consts::PI * (k * (2 * j + 1)) as f64 / (2 * n) as f64;
        check("dct", transforms::dct2(n).unwrap(), &|k, j| 2.0 * angle(k, j).cos());
        check("dst", transforms::dst2(n).unwrap(), &|k, j| 2.0 * angle(k + 1, j).sin());
        check("hadamard", transforms::hadamard(n).unwrap(), &|i, j| {
            if (i & j).count_ones() % 2 == 0 { 1.0 } else { -1.0 }
        });
        let column = normal(n);
        check("circulant", transforms::circulant(&column).unwrap(), &|i, j| column[(n + i - j) % n]);
        let mut row: Vec<f64> = normal(n + 1)[..n].to_vec();
        row[0] = column[0];
        check("toeplitz", transforms::toeplitz(&column, &row).unwrap(), &|i, j| {
            if i >= j { column[i - j] } else { row[j - i] }
        });
        check("permutation", transforms::permutation(&orders).unwrap(), &|i, j| {
            f64::from(u8::from(orders[i] == j))
        });
        // Row i of level l: the i-th of 2^l intervals, up in its first half and down in its second.
        check("haar", transforms::haar(n).unwrap(), &|i, j| {
            if i == 0 {
                return (n as f64).powf(-0.5);
            }
            let level = i.ilog2();
            let width = n >> level;
            let (interval, within) = (j / width, j % width);
            let sign = if within < width / 2 { 1.0 } else { -1.0 };
            if interval == i - (1 << level) { sign * (width as f64).powf(-0.5) } else { 0.0 }
        });
    }
}

/// Fourier transforms as Monarch products: in closed form, and as the nearest to the dense matrix of the transform.
#[cfg(feature = "project")]
mod monarch {
    use tilewise::project::{self, MonarchFactors, c64};
    use tilewise::{Monarch, MonarchInputs, MonarchSpec};

    use super::*;

    /// The tolerance of the acceptance for projections.
    const TOLERANCE: f64 = 1e-4;

    /// Runs complex factors on rows that are interleaved, after their elements are put into these places.
    fn on_gpu(
        gpu: &Gpu,
        (spec, factors): (&MonarchSpec, &MonarchFactors<c64>),
        places: &[usize],
        rows: &[f64],
    ) -> Vec<f64> {
        let (spec, factors) = project::monarch_of_reals(spec, factors).unwrap();
        let spec = MonarchSpec { batch: ROWS, ..spec };
        let (n, p) = (places.len(), spec.w1[2] / 2);
        // A block has its real parts first, then its imaginary ones.
        let input = |at: usize| {
            let (row, block, within) = (at / (2 * n), at % (2 * n) / (2 * p), at % (2 * p));
            rows[2 * (row * n + places[block * p + within % p]) + within / p] as f32
        };
        let x: Vec<f32> = (0..ROWS * 2 * n).map(input).collect();
        let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
        let x = Tensor::from_slice(gpu, &[ROWS, 2 * n], &x).unwrap();
        let w1 = Tensor::from_slice(gpu, &spec.w1, &narrow(&factors.w1)).unwrap();
        let w2 = Tensor::from_slice(gpu, &spec.w2, &narrow(&factors.w2)).unwrap();
        let y = Monarch::new(gpu, spec).unwrap().run(MonarchInputs { x: &x, w1: &w1, w2: &w2 }).unwrap();
        let y: Vec<f64> = y.read_blocking().unwrap().into_iter().map(f64::from).collect();
        let whole = |row: &[f64]| (0..n).flat_map(|i| [row[i], row[n + i]]).collect::<Vec<_>>();
        y.chunks_exact(2 * n).flat_map(whole).collect()
    }

    #[test]
    fn fourier_transforms_and_their_projections_agree_with_rustfft() {
        let sizes = [(3, 5), (3, 9), (6, 6), (6, 7), (6, 8), (5, 17), (12, 14), (14, 14), (16, 32)];
        let gpus = common::gpus();
        for (s0, s1) in sizes {
            let n = s0 * s1;
            let x = normal(2 * n * ROWS);
            let expected = by_row(&x, fourier);
            let (spec, closed, places) = project::fourier(s0, s1).unwrap();
            let angle = |f: usize, u: usize| -std::f64::consts::TAU * (f * places[u] % n) as f64 / n as f64;
            let dense: Vec<c64> = (0..n * n).map(|at| c64::from_polar(1.0, angle(at / n, at % n))).collect();
            let projected = project::monarch(&spec, &dense).unwrap().factors;
            for (what, factors) in [("closed form", &closed), ("projection", &projected)] {
                for (name, gpu) in &gpus {
                    let y = on_gpu(gpu, (&spec, factors), &places, &x);
                    for (i, (y, expected)) in y.iter().zip(&expected).enumerate() {
                        let allowed = TOLERANCE * expected.abs() + TOLERANCE;
                        assert!(
                            (y - expected).abs() <= allowed,
                            "{what} of {n} ({name}) at {i}: {y} for {expected}"
                        );
                    }
                }
            }
        }
    }
}
