//! The acceptance grid of S4D: kernels, convolution, and the gradients of its parameters.

use super::long_conv::TRANSFORMS;
use super::share;
use crate::oracle::{self, LongConvOperands, Precision};
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, download, poisoned, rounded, upload};
use crate::{
    DType, Element, Error, Gpu, LongConvSpec, S4d, S4dBackward, S4dGradients, S4dInputs, S4dParameters,
    S4dSpec, by_dtype,
};

/// Both rules, kernels shorter and longer than a tile, more modes than lanes.
pub(super) fn cases(grid: Grid) -> Vec<S4dSpec> {
    let sizes: &[(usize, usize, usize, usize)] = match grid {
        Grid::Thin => &[(2, 3, 1, 1), (1, 2, 97, 32), (2, 1, 1134, 8)],
        Grid::Full => &[(2, 3, 1, 1), (1, 2, 97, 32), (2, 1, 1134, 8), (1, 3, 784, 1), (1, 1, 300, 300)],
    };
    let case = |(i, &(batch, channels, length, pairs)): (usize, &(usize, usize, usize, usize))| {
        let conv = LongConvSpec::new(DType::ALL[i % 3], batch, channels, length);
        let spec = S4dSpec::new(if i % 2 == 0 { conv.skip() } else { conv.post_gate() }, pairs);
        if i % 2 == 0 { spec } else { spec.bilinear() }
    };
    sizes.iter().enumerate().map(case).collect()
}

impl Case for S4dSpec {
    fn dtype(&self) -> DType {
        self.conv.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, *self)))
    }
}

/// Parameters near those that a model begins with.
pub(super) fn parameters(random: &mut Inputs, spec: &S4dSpec) -> S4dParameters {
    let mut parameters = S4dParameters::lin(spec, 0.01);
    let moved = |values: &mut Vec<f64>, by: Vec<f64>| values.iter_mut().zip(by).for_each(|(x, by)| *x += by);
    moved(&mut parameters.log_dt, random.uniform(spec.conv.channels, -1.0, 1.0));
    moved(&mut parameters.log_a_re, random.uniform(spec.modes(), -0.5, 0.5));
    moved(&mut parameters.a_im, random.uniform(spec.modes(), -1.0, 1.0));
    parameters.c_re = random.normal(spec.modes(), 1.0);
    parameters.c_im = random.normal(spec.modes(), 1.0);
    parameters
}

/// One of the parameters.
type Parameter = fn(&mut S4dParameters) -> &mut Vec<f64>;

/// How far a parameter is moved: the error of a central difference grows with its square.
const STEP: f64 = 1e-5;

/// The derivative of `Σ dK K` by each value of a parameter, as the oracle's kernels change with it.
pub(super) fn differences(spec: &S4dSpec, at: &S4dParameters, dk: &[f64], parameter: Parameter) -> Vec<f64> {
    let mut at = at.clone();
    let count = parameter(&mut at).len();
    let mut loss = |i: usize, by: f64| {
        let before = parameter(&mut at)[i];
        parameter(&mut at)[i] = before + by;
        let k = oracle::s4d_kernel(spec, &at);
        parameter(&mut at)[i] = before;
        k.iter().zip(dk).map(|(k, dk)| k * dk).sum::<f64>()
    };
    (0..count).map(|i| (loss(i, STEP) - loss(i, -STEP)) / (2.0 * STEP)).collect()
}

/// What a mode's power may be wrong by: the product of at most 24 of the host's, each of which is rounded and then
/// multiplied, as a share of the largest value.
pub(super) const POWERS: f64 = 24.0 * f32::EPSILON as f64;

async fn run<T: Element>(gpu: &Gpu, spec: S4dSpec) -> Result<Vec<Outcome>, Error> {
    let conv = spec.conv;
    let count = conv.rows() * conv.length;
    let mut random = Inputs::new(count as u64);
    let parameters = parameters(&mut random, &spec);
    let sequences = [(); 3].map(|()| rounded::<T>(&random.normal(count, 1.0)));
    let [u, post, dy] = &sequences;
    let skip = rounded::<f32>(&random.normal(conv.channels, 1.0));

    let (forward, backward) = (S4d::new(gpu, spec)?, S4dBackward::new(gpu, spec)?);
    let modes = forward.modes(&parameters)?;
    let (given_u, given_dy) = (upload::<T>(gpu, &conv.shape(), u)?, upload::<T>(gpu, &conv.shape(), dy)?);
    let given_post = conv.post_gate.then(|| upload::<T>(gpu, &conv.shape(), post)).transpose()?;
    let given_skip = conv.skip.then(|| upload::<f32>(gpu, &[conv.channels], &skip)).transpose()?;
    let inputs = S4dInputs {
        u: &given_u,
        modes: &modes,
        skip: given_skip.as_ref(),
        pre: None,
        post: given_post.as_ref(),
    };
    let k = poisoned::<f32>(gpu, &conv.kernel_shape())?;
    let y = poisoned::<T>(gpu, &conv.shape())?;
    let gradients = S4dGradients {
        du: poisoned::<T>(gpu, &conv.shape())?,
        dmodes: poisoned(gpu, &[conv.channels, spec.pairs, 2, 2])?,
        ..backward.gradients()?
    };
    let mut encoder = gpu.encoder();
    forward.encode_kernel(&mut encoder, &modes, &k)?;
    forward.encode(&mut encoder, inputs, &y)?;
    backward.encode(&mut encoder, inputs, &given_dy, &gradients)?;
    gpu.submit(encoder)?;

    let reference = oracle::s4d_kernel(&spec, &parameters);
    let kernel = Outcome::new("k", &download(&k).await?, &reference, &reference, share(&reference, POWERS));
    let [exact, plain] = [Precision::Exact, Precision::Stored(conv.dtype)].map(|precision| {
        let operands = LongConvOperands {
            u,
            k: &reference,
            skip: conv.skip.then_some(skip.as_slice()),
            pre: None,
            post: conv.post_gate.then_some(post.as_slice()),
        };
        let oracle = oracle::LongConv::new(&conv, precision, operands);
        let gradients = oracle.gradients(dy);
        let each = |value: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..count).map(|i| value(i / conv.length, i % conv.length)).collect()
        };
        let y = each(&|row, t| oracle.y(row, t));
        let du = each(&|row, t| gradients.du(row, t));
        let dk: Vec<_> =
            (0..reference.len()).map(|i| gradients.dk(i / conv.length, i % conv.length)).collect();
        (y, du, dk)
    });
    let mut outcomes = vec![
        kernel,
        Outcome::new("y", &download(&y).await?, &exact.0, &plain.0, share(&exact.0, TRANSFORMS)),
        Outcome::new("du", &download(&gradients.du).await?, &exact.1, &plain.1, share(&exact.1, TRANSFORMS)),
    ];
    let ours = parameters.gradients(&spec, &gradients.dmodes.read().await?)?;
    let each: [(_, Parameter); 5] = [
        ("dlog_a_re", |parameters| &mut parameters.log_a_re),
        ("da_im", |parameters| &mut parameters.a_im),
        ("dc_re", |parameters| &mut parameters.c_re),
        ("dc_im", |parameters| &mut parameters.c_im),
        ("dlog_dt", |parameters| &mut parameters.log_dt),
    ];
    // δ and A come as a product: the derivative by log δ is a sum of those by A of all modes, and as large as they are
    // are its roundings.
    let mut terms = vec![0.0; conv.channels];
    for (name, parameter) in each {
        let [reference, plain] =
            [&exact.2, &plain.2].map(|dk| differences(&spec, &parameters, dk, parameter));
        let found = parameter(&mut ours.clone()).clone();
        let mut tolerance = share(&reference, POWERS + TRANSFORMS);
        match name {
            "dlog_a_re" => add_sizes(&mut terms, &reference, |_| 1.0),
            "da_im" => add_sizes(&mut terms, &reference, |i| parameters.a_im[i]),
            // A single sum may cancel, but not to more than a ten-thousandth.
            "dlog_dt" => {
                let most = share(&reference, 1e-4).atol;
                tolerance.atol = share(&terms, POWERS + TRANSFORMS).atol.min(most);
            }
            _ => {}
        }
        outcomes.push(Outcome::new(name, &found, &reference, &plain, tolerance));
    }
    Ok(outcomes)
}

/// Adds up, channel by channel, how large each mode's term is.
fn add_sizes(channels: &mut [f64], modes: &[f64], factor: impl Fn(usize) -> f64) {
    let pairs = modes.len() / channels.len();
    modes.iter().enumerate().for_each(|(i, mode)| channels[i / pairs] += (mode * factor(i)).abs());
}
