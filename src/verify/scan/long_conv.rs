//! The acceptance grid of the long convolution and its gradients.

use std::fmt;

use super::share;
use crate::oracle::{LongConv as Oracle, LongConvOperands, Precision};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, download, poisoned, rounded, upload,
};
use crate::{
    DType, Element, Error, Gpu, LongConv, LongConvBackward, LongConvGradients, LongConvInputs, LongConvSpec,
    Tensor, by_dtype,
};

/// A convolution, and the tile to run it with if it is not the planner's.
#[derive(Clone, Copy, Debug)]
pub(super) struct LongConvCase {
    spec: LongConvSpec,
    tile: Option<u32>,
}

/// Powers of two, primes, the lengths of published grids, and lengths past one pass; small tiles, with which short
/// sequences take two passes and many chunks.
pub(super) fn cases(grid: Grid) -> Vec<LongConvCase> {
    let sizes: &[(usize, usize, usize)] = match grid {
        Grid::Thin => &[(1, 1, 1), (2, 70, 13), (1, 3, 372), (5, 2, 1025), (1, 2, 8192)],
        Grid::Full => &[
            (1, 1, 1),
            (2, 3, 2),
            (2, 3, 3),
            (2, 3, 7),
            (3, 2, 8),
            (2, 70, 13),
            (2, 5, 97),
            (1, 3, 372),
            (2, 3, 509),
            (2, 3, 784),
            (5, 2, 1024),
            (5, 2, 1025),
            (2, 3, 1134),
            (2, 3, 2048),
            (2, 3, 2049),
            (1, 3, 4093),
            (4, 2, 8192),
            (2, 2, 16_381),
            (1, 2, 65_536),
            (1, 2, 100_003),
            (1, 1, 1 << 20),
            (1, 1, 1_048_583),
            (1, 1, 3_000_000),
        ],
    };
    let tiled: &[(usize, usize, usize, u32)] = match grid {
        Grid::Thin => &[(2, 3, 200, 32), (1, 2, 1134, 32), (3, 2, 784, 64)],
        Grid::Full => {
            &[(2, 3, 200, 32), (1, 2, 1134, 32), (3, 2, 784, 64), (2, 2, 3000, 64), (2, 3, 5000, 128)]
        }
    };
    let sizes = sizes.iter().map(|&(batch, channels, length)| (batch, channels, length, None));
    let tiled = tiled.iter().map(|&(batch, channels, length, tile)| (batch, channels, length, Some(tile)));
    let mut cases = Vec::new();
    for (i, (batch, channels, length, tile)) in sizes.chain(tiled).enumerate() {
        for (j, dtype) in DType::ALL.into_iter().enumerate() {
            // Software adapters spend their time compiling: each size meets one type. Past half a million samples it is
            // the oracle that takes long.
            if (grid == Grid::Thin && j != i % 3) || (length > 1 << 19 && j > 0) {
                continue;
            }
            let spec = LongConvSpec::new(dtype, batch, channels, length);
            let gates = [(false, false), (true, true), (true, false), (false, true)][(i + j) % 4];
            let spec = if (i + j) % 4 == 3 { spec.taps(length / 3 + 1) } else { spec };
            let spec = LongConvSpec { pre_gate: gates.0, post_gate: gates.1, skip: (i + j) % 3 != 1, ..spec };
            cases.push(LongConvCase { spec, tile });
        }
    }
    cases
}

impl fmt::Display for LongConvCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.spec)?;
        self.tile.map_or(Ok(()), |tile| write!(f, ", with a tile of {tile}"))
    }
}

impl Case for LongConvCase {
    fn dtype(&self) -> DType {
        self.spec.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, *self)))
    }
}

/// What a transform gathers in rounding, which is spread over all samples alike, the small ones too: sixteen units in the
/// last place of the largest value.
pub(super) const TRANSFORMS: f64 = 16.0 * f32::EPSILON as f64;

fn tolerance(reference: &[f64]) -> Tolerance {
    share(reference, TRANSFORMS)
}

async fn run<T: Element>(
    gpu: &Gpu,
    LongConvCase { spec, tile }: LongConvCase,
) -> Result<Vec<Outcome>, Error> {
    let count = spec.rows() * spec.length;
    let mut random = Inputs::new(count as u64);
    let mut sequences = |deviation| rounded::<T>(&random.normal(count, deviation));
    let (u, dy) = (sequences(1.0), sequences(1.0));
    let (pre, post) = (sequences(1.0), sequences(1.0));
    // Such kernels keep the size of what passes through.
    let deviation = 1.0 / (spec.length as f64).sqrt();
    let k = rounded::<f32>(&random.normal(spec.channels * spec.taps, deviation));
    let skip = rounded::<f32>(&random.normal(spec.channels, 1.0));
    let operands = LongConvOperands {
        u: &u,
        k: &k,
        skip: spec.skip.then_some(skip.as_slice()),
        pre: spec.pre_gate.then_some(pre.as_slice()),
        post: spec.post_gate.then_some(post.as_slice()),
    };

    let kernels = upload::<f32>(gpu, &spec.kernel_shape(), &k)?;
    let sequence = |values: &[f64]| upload::<T>(gpu, &spec.shape(), values);
    let optional = |values: Option<&[f64]>| values.map(sequence).transpose();
    let (u, dy_given, pre, post) =
        (sequence(&u)?, sequence(&dy)?, optional(operands.pre)?, optional(operands.post)?);
    let skip = operands.skip.map(|skip| upload::<f32>(gpu, &[spec.channels], skip)).transpose()?;
    let inputs =
        LongConvInputs { u: &u, k: &kernels, skip: skip.as_ref(), pre: pre.as_ref(), post: post.as_ref() };
    let y = poisoned::<T>(gpu, &spec.shape())?;
    let gradients = poisoned_gradients::<T>(gpu, &spec)?;
    let (forward, backward) = match tile {
        None => (LongConv::new(gpu, spec)?, LongConvBackward::new(gpu, spec)?),
        Some(tile) => (LongConv::with_tile(gpu, spec, tile)?, LongConvBackward::with_tile(gpu, spec, tile)?),
    };
    let mut encoder = gpu.encoder();
    forward.encode(&mut encoder, inputs, &y)?;
    backward.encode(&mut encoder, inputs, &dy_given, &gradients)?;
    gpu.submit(encoder)?;

    let [exact, plain] = [Precision::Exact, Precision::Stored(spec.dtype)]
        .map(|precision| Oracle::new(&spec, precision, operands));
    let (exact_gradients, plain_gradients) = (exact.gradients(&dy), plain.gradients(&dy));
    let places = Places::new(spec.rows(), spec.length);
    let lags = Places::new(spec.rows(), spec.taps);
    let mut outcomes =
        vec![places.compare("y", &y, |row, t| exact.y(row, t), |row, t| plain.y(row, t)).await?];
    let (exact, plain) = (&exact_gradients, &plain_gradients);
    outcomes.push(
        places.compare("du", &gradients.du, |row, t| exact.du(row, t), |row, t| plain.du(row, t)).await?,
    );
    outcomes
        .push(lags.compare("dk", &gradients.dk, |row, t| exact.dk(row, t), |row, t| plain.dk(row, t)).await?);
    if let Some(dpre) = &gradients.dpre {
        outcomes.push(
            places.compare("dpre", dpre, |row, t| exact.dpre(row, t), |row, t| plain.dpre(row, t)).await?,
        );
    }
    if let Some(dpost) = &gradients.dpost {
        outcomes.push(
            places
                .compare("dpost", dpost, |row, t| exact.dpost(row, t), |row, t| plain.dpost(row, t))
                .await?,
        );
    }
    if let Some(dskip) = &gradients.dskip {
        let each = |dskip: &dyn Fn(usize) -> f64| (0..spec.channels).map(dskip).collect::<Vec<_>>();
        let reference = each(&|channel| exact.dskip(channel));
        // Few values are a small sample of roundings; they are some of dk's, whose size says what is fair.
        let atol = outcomes[2].largest * TRANSFORMS;
        let tolerance = Tolerance { multiple: 2.0, atol };
        let plain = each(&|channel| plain.dskip(channel));
        outcomes.push(Outcome::new("dD", &download(dskip).await?, &reference, &plain, tolerance));
    }
    Ok(outcomes)
}

fn poisoned_gradients<T: Element>(gpu: &Gpu, spec: &LongConvSpec) -> Result<LongConvGradients<T>, Error> {
    let sequences = || poisoned::<T>(gpu, &spec.shape());
    Ok(LongConvGradients {
        du: sequences()?,
        dk: poisoned(gpu, &spec.kernel_shape())?,
        dskip: spec.skip.then(|| poisoned(gpu, &[spec.channels])).transpose()?,
        dpre: spec.pre_gate.then(sequences).transpose()?,
        dpost: spec.post_gate.then(sequences).transpose()?,
    })
}

/// Where a sequence is compared: everywhere if it is short, else at its ends, around powers of two, and in between.
struct Places {
    length: usize,
    times: Vec<usize>,
}

/// Each value costs the oracle a sum as long as the sequence.
const MOST_PLACES: usize = 400;

impl Places {
    fn new(rows: usize, length: usize) -> Self {
        if length <= MOST_PLACES {
            return Self { length, times: (0..length).collect() };
        }
        let many = (MOST_PLACES / 4).min(200_000_000 / length / rows).max(8);
        let between = (0..many).map(|i| i * (length - 1) / (many - 1));
        let powers = (0..=length.ilog2()).flat_map(|bits| [(1 << bits) - 1, 1 << bits]);
        let mut times: Vec<_> = between.chain(powers).filter(|&t| t < length).collect();
        times.sort_unstable();
        times.dedup();
        Self { length, times }
    }

    /// Compares a tensor of sequences; every element must be a number, compared or not.
    async fn compare<T: Element>(
        &self,
        name: &'static str,
        ours: &Tensor<T>,
        exact: impl Fn(usize, usize) -> f64,
        plain: impl Fn(usize, usize) -> f64,
    ) -> Result<Outcome, Error> {
        let ours = download(ours).await?;
        let rows = ours.len() / self.length;
        let whole = ours.iter().all(|value| value.is_finite());
        let at = |value: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..rows).flat_map(|row| self.times.iter().map(move |&t| value(row, t))).collect()
        };
        let ours = at(&|row, t| if whole { ours[row * self.length + t] } else { f64::NAN });
        let (reference, plain) = (at(&exact), at(&plain));
        let tolerance = tolerance(&reference);
        Ok(Outcome::new(name, &ours, &reference, &plain, tolerance))
    }
}
