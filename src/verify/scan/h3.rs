//! The acceptance grid of H3 and its gradients.

use super::long_conv::TRANSFORMS;
use super::s4d::{POWERS, parameters};
use super::share;
use crate::oracle::{self, H3Operands, Precision};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, download, largest_error, poisoned, rounded, upload,
};
use crate::{DType, Element, Error, Gpu, H3, H3Backward, H3Gradients, H3Inputs, H3Spec, by_dtype};

/// Shifts of one sample, of a few and of all.
pub(super) fn cases(grid: Grid) -> Vec<H3Spec> {
    let sizes: &[([usize; 3], usize, usize)] = match grid {
        Grid::Thin => &[([2, 3, 97], 4, 4)],
        Grid::Full => &[([2, 3, 1], 1, 1), ([1, 2, 97], 97, 8), ([2, 3, 784], 64, 32), ([3, 2, 1025], 4, 4)],
    };
    let of_type =
        |&(shape, shift, pairs)| DType::ALL.map(move |dtype| H3Spec::new(dtype, shape, shift, pairs));
    sizes.iter().flat_map(of_type).collect()
}

impl Case for H3Spec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, *self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: H3Spec) -> Result<Vec<Outcome>, Error> {
    let H3Spec { channels, shift, pairs, .. } = spec;
    let count = spec.shape().iter().product();
    let mut random = Inputs::new(count as u64);
    let parameters = parameters(&mut random, &spec.diagonal());
    let [q, k, v, dout] = [(); 4].map(|()| rounded::<T>(&random.normal(count, 1.0)));
    let kernels = rounded::<f32>(&random.normal(channels * shift, 1.0 / (shift as f64).sqrt()));
    let [shift_skip, skip] = [(); 2].map(|()| rounded::<f32>(&random.normal(channels, 1.0)));

    let (forward, backward) = (H3::new(gpu, spec)?, H3Backward::new(gpu, spec)?);
    let sequences = |values: &[f64]| upload::<T>(gpu, &spec.shape(), values);
    let (given_q, given_k, given_v, given_dout) =
        (sequences(&q)?, sequences(&k)?, sequences(&v)?, sequences(&dout)?);
    let in_f32 = |shape: &[usize], values: &[f64]| upload::<f32>(gpu, shape, values);
    let inputs = H3Inputs {
        q: &given_q,
        k: &given_k,
        v: &given_v,
        shift: &in_f32(&[channels, shift], &kernels)?,
        shift_skip: &in_f32(&[channels], &shift_skip)?,
        modes: &forward.modes(&parameters)?,
        skip: &in_f32(&[channels], &skip)?,
    };
    let out = poisoned::<T>(gpu, &spec.shape())?;
    let poisoned_f32 = |shape: &[usize]| poisoned::<f32>(gpu, shape);
    let gradients = H3Gradients {
        dq: poisoned::<T>(gpu, &spec.shape())?,
        dk: poisoned(gpu, &spec.shape())?,
        dv: poisoned(gpu, &spec.shape())?,
        dshift: poisoned_f32(&[channels, shift])?,
        dshift_skip: poisoned_f32(&[channels])?,
        dmodes: poisoned_f32(&[channels, pairs, 2, 2])?,
        dskip: poisoned_f32(&[channels])?,
    };
    let mut encoder = gpu.encoder();
    forward.encode(&mut encoder, inputs, &out)?;
    backward.encode(&mut encoder, inputs, &given_dout, &gradients)?;
    gpu.submit(encoder)?;

    let kernel = oracle::s4d_kernel(&spec.diagonal(), &parameters);
    let operands = H3Operands {
        q: &q,
        k: &k,
        v: &v,
        shift: &kernels,
        shift_skip: &shift_skip,
        kernel: &kernel,
        skip: &skip,
    };
    let [exact, plain] = [Precision::Exact, Precision::Stored(spec.dtype)]
        .map(|precision| oracle::h3(&spec, precision, operands, &dout));
    // One convolution after the other, the second by a kernel made of powers.
    let allowed = 2.0 * TRANSFORMS + POWERS;
    let outcome = |name, ours: &[f64], exact: &[f64], plain: &[f64]| {
        Outcome::new(name, ours, exact, plain, share(exact, allowed))
    };
    // A channel's D is one value, whose rounding is luck: what is fair is what a whole kernel has.
    let few = |name, ours: &[f64], exact: &[f64], of_kernel: [&[f64]; 2]| {
        let atol = 2.0 * largest_error(of_kernel[0], of_kernel[1]) + share(of_kernel[1], allowed).atol;
        Outcome::new(name, ours, exact, exact, Tolerance { multiple: 0.0, atol })
    };
    // The modes' gradients are linear in the kernels', as those of C show.
    let ours = parameters.gradients(&spec.diagonal(), &gradients.dmodes.read().await?)?;
    let [dc, dc_plain] = [&exact.dkernel, &plain.dkernel].map(|dk| {
        super::s4d::differences(&spec.diagonal(), &parameters, dk, |parameters| &mut parameters.c_re)
    });
    Ok(vec![
        outcome("out", &download(&out).await?, &exact.out, &plain.out),
        outcome("dq", &download(&gradients.dq).await?, &exact.dq, &plain.dq),
        outcome("dk", &download(&gradients.dk).await?, &exact.dk, &plain.dk),
        outcome("dv", &download(&gradients.dv).await?, &exact.dv, &plain.dv),
        outcome("dshift", &download(&gradients.dshift).await?, &exact.dshift, &plain.dshift),
        few(
            "dD_k",
            &download(&gradients.dshift_skip).await?,
            &exact.dshift_skip,
            [&plain.dshift, &exact.dshift],
        ),
        few("dD", &download(&gradients.dskip).await?, &exact.dskip, [&plain.dkernel, &exact.dkernel]),
        Outcome::new("dc_re", &ours.c_re, &dc, &dc_plain, share(&dc, allowed)),
    ])
}
