//! The acceptance grid of the attention family.

mod append;
mod cached;
mod merge;
mod mods;
mod repeats;
mod training;

use std::fmt;

use crate::oracle::{AttentionResult, attention};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, boxed, download, poisoned, rounded, upload,
};
use crate::{
    Alibi, Attention, AttentionInputs, AttentionOutputs, AttentionSpec, DType, Element, Error, Gpu, by_dtype,
};

/// One row of the grid.
#[derive(Clone, Copy, Debug)]
struct Forward {
    spec: AttentionSpec,
    /// Standard deviation of the queries.
    queries: f64,
    /// Standard deviation of the keys and of the values.
    keys: f64,
    /// Whether rows may see a key or two.
    few: bool,
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)?;
        if (self.queries, self.keys) != (1.0, 1.0) {
            write!(f, ", q × {}, k and v × {}", self.queries, self.keys)?;
        }
        Ok(())
    }
}

/// Head dimensions: those of the originals' grid, the limits of the range, and one that is no multiple of four.
const DIMS: [usize; 14] = [1, 3, 32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 224, 256];

/// Dimensions of keys and of values that differ.
const DIM_PAIRS: [(usize, usize); 6] = [(64, 96), (96, 64), (40, 59), (59, 40), (192, 128), (8, 256)];

/// Lengths of queries and keys.
const LENGTHS: [(usize, usize); 10] = [
    (113, 203),
    (128, 217),
    (113, 211),
    (108, 256),
    (256, 512),
    (512, 256),
    (1024, 1024),
    (1023, 1024),
    (1024, 1023),
    (2048, 2048),
];

/// Lengths around which a causal mask is easily off by one; each is run in both orders.
const EDGES: [(usize, usize); 7] =
    [(1, 239), (3, 799), (127, 512), (127, 513), (113, 203), (128, 217), (1023, 1024)];

/// Lengths of the suite with large scores.
const LARGE_SCORES: [(usize, usize); 6] = [(1, 1), (2, 2), (5, 5), (17, 17), (128, 128), (256, 1)];

/// The suites of the specification, forward. Options (heads, masks, softcap, biases) take turns from case to case,
/// and the full grid also crosses them all at one size.
pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    let mut cases = boxed(forward_cases(grid));
    cases.extend(boxed(training::cases(grid)));
    cases.extend(boxed(repeats::cases()));
    cases.extend(merge::cases(grid));
    cases.extend(append::cases(grid));
    cases.extend(cached::cases(grid));
    cases.extend(mods::cases(grid));
    cases
}

fn forward_cases(grid: Grid) -> Vec<Forward> {
    let mut cases = vec![];
    let mut next = |dtype, lengths, dim| {
        // 31 is coprime to the number of options; the step between dimensions keeps their period off that of dtypes.
        let turn = cases.len() * 31 + cases.len() / 3;
        cases.push(in_turn(AttentionSpec::new(dtype, batches(lengths), lengths, heads(lengths), dim), turn));
    };
    match grid {
        Grid::Thin => {
            for (i, dim) in DIMS.into_iter().enumerate() {
                for (j, dtype) in DType::ALL.into_iter().enumerate() {
                    next(dtype, LENGTHS[(i + j) % 4], dim);
                }
            }
            next(DType::F32, (256, 512), 64);
            next(DType::F16, (512, 256), 64);
        }
        Grid::Full => {
            for (lengths, dim) in LENGTHS.into_iter().flat_map(|lengths| DIMS.map(|dim| (lengths, dim))) {
                for dtype in DType::ALL {
                    next(dtype, lengths, dim);
                }
            }
            for dtype in DType::ALL {
                let spec = AttentionSpec::new(dtype, 2, (113, 203), 4, 59);
                cases.extend((0..OPTIONS).map(|turn| in_turn(spec, turn)));
            }
        }
    }
    let every = if grid == Grid::Full { 1 } else { 2 };
    cases.extend(value_dims().step_by(every));
    cases.extend(edges().chain(large_scores()).chain(far_windows()).chain(long_keys(grid)));
    cases
}

/// Few batches of long sequences.
fn batches((q_len, k_len): (usize, usize)) -> usize {
    if q_len * k_len > 100_000 { 1 } else { 2 }
}

/// Few heads of the longest, for the oracle's sake.
fn heads((q_len, k_len): (usize, usize)) -> usize {
    if q_len * k_len > 1_000_000 { 2 } else { 4 }
}

/// How many combinations of options there are.
const OPTIONS: usize = 3 * 2 * 4 * 2 * 3;

/// The combination of options of that number.
fn in_turn(spec: AttentionSpec, turn: usize) -> Forward {
    let kv_heads = [spec.heads, spec.heads / 2, 1][turn % 3];
    let causal = turn / 3 % 2 == 1;
    let (left, right) = [(None, None), (Some(17), Some(5)), (None, Some(3)), (Some(40), None)][turn / 6 % 4];
    let softcap = [None, Some(50.0)][turn / 24 % 2];
    let alibi = [Alibi::None, Alibi::PerHead, Alibi::PerBatchHead][turn / 48 % 3];
    let spec = AttentionSpec { causal, softcap, alibi, ..spec.kv_heads(kv_heads).window(left, right) };
    Forward { spec, queries: 1.0, keys: 1.0, few: false }
}

fn value_dims() -> impl Iterator<Item = Forward> {
    let of_dims = |(dim, value_dim)| {
        DType::ALL
            .map(|dtype| in_turn(AttentionSpec::new(dtype, 2, (113, 203), 4, dim).value_dim(value_dim), 0))
    };
    DIM_PAIRS.into_iter().flat_map(of_dims)
}

fn edges() -> impl Iterator<Item = Forward> {
    let both_orders = EDGES.into_iter().flat_map(|(q_len, k_len)| [(q_len, k_len), (k_len, q_len)]);
    both_orders.zip(DType::ALL.into_iter().cycle()).map(|(lengths, dtype)| {
        let spec = AttentionSpec::new(dtype, 1, lengths, 2, 64).kv_heads(1).causal();
        Forward { spec, queries: 1.0, keys: 1.0, few: true }
    })
}

fn large_scores() -> impl Iterator<Item = Forward> {
    DType::ALL.into_iter().flat_map(|dtype| LARGE_SCORES.map(|lengths| (dtype, lengths))).map(
        |(dtype, lengths)| {
            let spec = AttentionSpec::new(dtype, 2, lengths, 4, 64);
            Forward { spec, queries: 5.0, keys: 3.0, few: true }
        },
    )
}

/// So many keys for so few queries that plans split them among workgroups; some splits see nothing.
fn long_keys(grid: Grid) -> impl Iterator<Item = Forward> {
    let lengths: &[(usize, usize)] = match grid {
        Grid::Thin => &[(1, 239), (1, 16_384), (3, 1031), (33, 30_000), (5, 20_001)],
        Grid::Full => {
            &[(1, 239), (1, 16_384), (3, 1031), (33, 30_000), (5, 20_001), (16, 100_000), (40, 70_000)]
        }
    };
    lengths.iter().enumerate().map(|(i, &lengths)| {
        let spec = AttentionSpec::new(DType::ALL[i % 3], 1, lengths, 2, 64).kv_heads(1);
        let spec = if i % 2 == 0 { spec.alibi(Alibi::PerHead).causal() } else { spec };
        let spec = if i == 4 { spec.window(Some(300), Some(7)).value_dim(59) } else { spec };
        Forward { spec, queries: 1.0, keys: 1.0, few: true }
    })
}

/// Windows whose sides no i32 holds.
fn far_windows() -> [Forward; 2] {
    let spec = AttentionSpec::new(DType::F32, 1, (33, 70), 2, 32);
    let case = |left, right| Forward { spec: spec.window(left, right), queries: 1.0, keys: 1.0, few: false };
    [case(Some(usize::MAX), Some(2)), case(Some(2), Some(usize::MAX - 1))]
}

/// What rows that see a key or two are allowed beside a multiple of the plain error: the originals' 1e-5, and half a unit in
/// the last place of the largest value. The originals round their reference to the storage type, ours is not rounded; and
/// the roundings of a few rows are a small sample, in which the plain computation may be luckier than any must be.
fn of_few(dtype: DType, reference: &[f64]) -> f64 {
    1e-5 + 0.5 * unit(dtype) * largest(reference)
}

/// The same where keys and values have that deviation: sums of many of them are allowed no more than two units of a value.
fn of_few_drawn(dtype: DType, deviation: f64, reference: &[f64]) -> f64 {
    of_few(dtype, reference).min(1e-5 + 2.0 * deviation * unit(dtype))
}

/// A unit in the last place of values from 1 to 2.
fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => f64::from(f32::EPSILON),
        DType::F16 => half::f16::EPSILON.to_f64(),
        DType::Bf16 => half::bf16::EPSILON.to_f64(),
    }
}

/// The largest value that is finite.
fn largest(values: &[f64]) -> f64 {
    values.iter().filter(|value| value.is_finite()).fold(0.0, |max, value| max.max(value.abs()))
}

/// Log-sum-exps are one score and a small logarithm where few keys are seen, and the plain one then errs by a rounding or by
/// nothing: as in the suites of edges, 1e-5 stands for the logarithm and exp2 of the GPU.
const LSE: Tolerance = Tolerance { multiple: 2.0, atol: 1e-5 };

/// What probabilities may differ by. They are `exp2(s - L log2 e)` of a log-sum-exp `L` that was stored in f32, since that is
/// all the forward pass leaves. Storing rounds by up to `|L| ε / 2`, the product by as much once more in natural units, and
/// what an exponent is off by, its result is off by as a share. The plain computation divides by its sum instead. `most` is
/// what large log-sum-exps do not excuse.
fn of_weights(reference: &AttentionResult, most: f64) -> Tolerance {
    let rounded = f64::from(f32::EPSILON) * largest(&reference.lse);
    Tolerance { multiple: 2.0, atol: most.min(rounded * largest(&reference.probabilities)) }
}

impl Case for Forward {
    fn dtype(&self) -> DType {
        self.spec.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, case: &Forward) -> Result<Vec<Outcome>, Error> {
    let Forward { spec, queries, keys, few } = *case;
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let mut inputs = Inputs::new(count(&[spec.q_len, spec.k_len, spec.head_dim]) as u64);
    let q = rounded::<T>(&inputs.normal(count(&spec.q_shape()), queries));
    let k = rounded::<T>(&inputs.normal(count(&spec.k_shape()), keys));
    let v = rounded::<T>(&inputs.normal(count(&spec.v_shape()), keys));
    let slopes = rounded::<f32>(&inputs.uniform(spec.batch * spec.heads, 0.0, 0.3));
    let slopes = (spec.alibi != Alibi::None).then(|| &slopes[..count(&spec.alibi_shape())]);
    let (reference, plain) = both(spec.dtype, |precision| attention(&spec, precision, &q, &k, &v, slopes));

    let alibi = slopes.map(|slopes| upload::<f32>(gpu, &spec.alibi_shape(), slopes)).transpose()?;
    let q = upload::<T>(gpu, &spec.q_shape(), &q)?;
    let k = upload::<T>(gpu, &spec.k_shape(), &k)?;
    let v = upload::<T>(gpu, &spec.v_shape(), &v)?;
    let outputs = AttentionOutputs {
        o: poisoned::<T>(gpu, &spec.o_shape())?,
        lse: poisoned::<f32>(gpu, &spec.lse_shape())?,
    };
    let mut encoder = gpu.encoder();
    let inputs = AttentionInputs::new(&q, &k, &v).alibi(alibi.as_ref());
    Attention::new(gpu, spec)?.encode(&mut encoder, inputs, &outputs)?;
    gpu.submit(encoder)?;
    let (o, lse) = (download(&outputs.o).await?, download(&outputs.lse).await?);
    let atol = if few { of_few_drawn(spec.dtype, keys, &reference.o) } else { 0.0 };
    Ok(vec![
        Outcome::new("o", &o, &reference.o, &plain.o, Tolerance { multiple: 2.0, atol }),
        Outcome::new("lse", &lse, &reference.lse, &plain.lse, LSE),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::Window;

    /// The rows of the specification's table of acceptance.
    const SPECIFIED_LENGTHS: [(usize, usize); 10] = [
        (113, 203),
        (128, 217),
        (113, 211),
        (108, 256),
        (256, 512),
        (512, 256),
        (1024, 1024),
        (1023, 1024),
        (1024, 1023),
        (2048, 2048),
    ];
    const SPECIFIED_DIMS: [usize; 12] = [32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 224, 256];

    /// Which value each option has, in its own words.
    fn options(spec: &AttentionSpec) -> Vec<String> {
        let heads = match spec.kv_heads {
            1 => "one key head",
            kv_heads if kv_heads == spec.heads => "as many key heads",
            _ => "few key heads",
        };
        let Window { left, right } = spec.window;
        vec![
            heads.to_owned(),
            format!("causal: {}", spec.causal),
            format!("window: {}, {}", left.is_some(), right.is_some()),
            format!("softcap: {:?}", spec.softcap),
            format!("ALiBi: {:?}", spec.alibi),
            format!("dropout: {:?}", spec.dropout),
            format!("sinks: {}", spec.sinks),
            spec.dtype.to_string(),
        ]
    }

    /// The values of a suite's options, and the pairs of them that meet.
    fn met(specs: &[AttentionSpec]) -> (HashSet<String>, HashSet<[String; 2]>) {
        let all: Vec<_> = specs.iter().map(options).collect();
        let pairs = |options: &Vec<String>| -> Vec<_> {
            let pair = |(n, a): (usize, &String)| -> Vec<_> {
                options[n + 1..].iter().map(|b| [a.clone(), b.clone()]).collect()
            };
            options.iter().enumerate().flat_map(pair).collect()
        };
        (all.iter().flatten().cloned().collect(), all.iter().flat_map(pairs).collect())
    }

    fn suites(grid: Grid) -> [(Vec<AttentionSpec>, usize); 2] {
        let forward = forward_cases(grid).iter().map(|case| case.spec).collect();
        let training = training::cases(grid).iter().map(|case| case.spec).collect();
        // Heads, masks, windows, softcaps, biases and types; for gradients dropout and sinks too.
        [(forward, 3 + 2 + 4 + 2 + 3 + 3 + 1 + 1), (training, 3 + 2 + 4 + 2 + 3 + 3 + 2 + 2)]
    }

    #[test]
    fn the_whole_grid_is_that_of_the_specification() {
        for (specs, _) in suites(Grid::Full) {
            let found: HashSet<_> =
                specs.iter().map(|spec| ((spec.q_len, spec.k_len), spec.head_dim, spec.dtype)).collect();
            for (lengths, dim) in SPECIFIED_LENGTHS.iter().flat_map(|l| SPECIFIED_DIMS.map(|dim| (*l, dim))) {
                assert!(
                    DType::ALL.iter().all(|&dtype| found.contains(&(lengths, dim, dtype))),
                    "{lengths:?}, {dim}"
                );
            }
            let causal: HashSet<_> =
                specs.iter().filter(|spec| spec.causal).map(|spec| (spec.q_len, spec.k_len)).collect();
            for (q, k) in [(1, 239), (3, 799), (127, 512), (127, 513), (113, 203), (128, 217), (1023, 1024)] {
                assert!(causal.contains(&(q, k)) && causal.contains(&(k, q)), "{q} × {k}");
            }
        }
        assert!(suites(Grid::Full)[0].0.iter().any(|spec| (spec.q_len, spec.k_len) == (16, 100_000)));
    }

    #[test]
    fn options_meet() {
        for (specs, values) in suites(Grid::Thin) {
            let (found, _) = met(&specs);
            assert_eq!(found.len(), values, "{found:?}");
            // Odd lengths, and one query or one key.
            for odd in [(113, 203), (1, 239)] {
                assert!(specs.iter().any(|spec| (spec.q_len, spec.k_len) == odd), "{odd:?}");
            }
        }
        for (specs, _) in suites(Grid::Full) {
            let (values, pairs) = met(&specs);
            let option = |value: &str| value.split(':').next().map(str::to_owned);
            let heads = |value: &str| value.contains("key head");
            let dtype = |value: &str| !value.contains(':') && !heads(value);
            let apart = |a: &str, b: &str| {
                option(a) != option(b) && !(heads(a) && heads(b)) && !(dtype(a) && dtype(b))
            };
            for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
                let pair = [a.clone(), b.clone()];
                let turned = [b.clone(), a.clone()];
                assert!(
                    !apart(a, b) || pairs.contains(&pair) || pairs.contains(&turned),
                    "{a} never meets {b}"
                );
            }
        }
    }
}
