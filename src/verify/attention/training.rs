//! The acceptance grid of attention as it is trained: forward with every option, and backward.

use std::fmt;

use super::mods::sums;
use super::{
    DIMS, EDGES, LARGE_SCORES, LENGTHS, LSE, batches, heads, in_turn, of_few, of_few_drawn, of_weights,
};
use crate::oracle::{AttentionGiven, attention_backward, attention_of};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, download, poisoned, rounded, upload,
};
use crate::{
    Alibi, Attention, AttentionBackward, AttentionGradients, AttentionInputs, AttentionOutputs,
    AttentionProbabilities, AttentionSpec, CuSeqlens, DType, Element, Error, Gpu, by_dtype,
};

/// One row of the grid.
#[derive(Clone, Debug)]
pub(super) struct Training {
    pub spec: AttentionSpec,
    /// Standard deviation of the queries.
    queries: f64,
    /// Standard deviation of the keys and of the values.
    keys: f64,
    /// What gradients may differ by, beside what rows that see a key or two are allowed.
    tolerance: Tolerance,
    /// Whether rows may see a key or two.
    few: bool,
    /// Queries and keys of each sequence, where they are packed.
    lengths: Vec<(usize, usize)>,
}

impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, backward", self.spec)?;
        if (self.queries, self.keys) != (1.0, 1.0) {
            write!(f, ", q × {}, k and v × {}", self.queries, self.keys)?;
        }
        Ok(())
    }
}

/// What gradients may differ by.
pub(super) const GRADIENTS: Tolerance = Tolerance { multiple: 3.0, atol: 0.0 };

/// Lengths of packed sequences: some without queries, some without keys, some without either.
const PACKED: [&[(usize, usize)]; 4] = [
    &[(113, 203), (1, 1), (0, 17), (64, 64), (33, 0), (0, 0), (97, 113)],
    &[(1, 130), (1, 7), (1, 0), (1, 300)],
    &[(0, 0), (70, 70)],
    &[(5, 3), (130, 129), (3, 5)],
];

/// The suites of the specification for gradients. Options take turns from case to case.
pub(super) fn cases(grid: Grid) -> Vec<Training> {
    let mut cases = vec![];
    let mut next = |dtype, lengths, dim| {
        let turn = cases.len() * 31 + cases.len() / 3;
        cases.push(in_turns(AttentionSpec::new(dtype, batches(lengths), lengths, heads(lengths), dim), turn));
    };
    match grid {
        Grid::Thin => {
            // Compiling takes a software adapter longest: few dimensions, as awkward as any.
            for (i, dim) in [3, 64, 111, 256].into_iter().enumerate() {
                next(DType::ALL[i % 3], LENGTHS[i % 3], dim);
            }
            next(DType::F16, (97, 1), 64);
            next(DType::Bf16, (1, 97), 64);
        }
        Grid::Full => {
            for (lengths, dim) in LENGTHS.into_iter().flat_map(|lengths| DIMS.map(|dim| (lengths, dim))) {
                for dtype in DType::ALL {
                    next(dtype, lengths, dim);
                }
            }
        }
    }
    let every = if grid == Grid::Full { 1 } else { 3 };
    cases.extend(packed().step_by(every));
    cases.extend(edges(grid).chain(large_scores()).chain(long(grid)));
    cases
}

/// The options of the forward grid, and dropout and sinks, which take turns of other lengths.
fn in_turns(spec: AttentionSpec, turn: usize) -> Training {
    let spec = in_turn(spec, turn).spec;
    let spec = AttentionSpec { sinks: turn % 5 >= 3, ..spec };
    // Types take turns with the parity of the turn itself.
    let spec = if turn / 2 % 2 == 1 { spec.dropout(0.17) } else { spec };
    Training::new(spec)
}

fn packed() -> impl Iterator<Item = Training> {
    PACKED.into_iter().enumerate().flat_map(|(i, lengths)| {
        let sum = |side: fn(&(usize, usize)) -> usize| lengths.iter().map(side).sum::<usize>();
        let most = |side: fn(&(usize, usize)) -> usize| lengths.iter().map(side).max().unwrap_or(0);
        let longest = (most(|l| l.0), most(|l| l.1));
        let dim = [40, 59, 64, 128][i];
        let spec = AttentionSpec::new(DType::ALL[i % 3], lengths.len(), longest, 4, dim);
        let spec = spec.packed(sum(|l| l.0), sum(|l| l.1)).value_dim([64, 59, 40, 128][i]);
        [31 * i, 31 * i + 48].map(|turn| Training { lengths: lengths.to_vec(), ..in_turns(spec, turn) })
    })
}

fn edges(grid: Grid) -> impl Iterator<Item = Training> {
    let step = if grid == Grid::Full { 1 } else { 4 };
    let both_orders = EDGES.into_iter().flat_map(|(q_len, k_len)| [(q_len, k_len), (k_len, q_len)]);
    both_orders.step_by(step).zip(DType::ALL.into_iter().cycle()).map(|(lengths, dtype)| {
        let spec = AttentionSpec::new(dtype, 1, lengths, 2, 64).kv_heads(1).causal();
        Training { few: true, ..Training::new(spec) }
    })
}

fn large_scores() -> impl Iterator<Item = Training> {
    DType::ALL.into_iter().flat_map(|dtype| LARGE_SCORES.map(|lengths| (dtype, lengths))).map(
        |(dtype, lengths)| {
            let spec = AttentionSpec::new(dtype, 2, lengths, 4, 64);
            let tolerance = Tolerance { multiple: 5.0, atol: 1e-3 };
            Training { queries: 5.0, keys: 3.0, tolerance, few: true, ..Training::new(spec) }
        },
    )
}

/// So few tiles, and so much for each to visit, that plans split it.
fn long(grid: Grid) -> impl Iterator<Item = Training> {
    let lengths: &[(usize, usize)] =
        if grid == Grid::Full { &[(3, 8000), (8000, 3), (1000, 4000)] } else { &[(3, 3000), (3000, 3)] };
    lengths.iter().enumerate().map(|(i, &lengths)| {
        // In f16 the plain slopes' gradient is noise: it sums thousands of rounded terms of either sign.
        let dtype = [DType::F32, DType::F32, DType::F16][i];
        let spec = AttentionSpec::new(dtype, 1, lengths, 4, 40).kv_heads(1);
        // Where a query is thousands of positions from every key, biases make its scores so large that f32 keeps four
        // decimals of them: the plain computation errs by as much.
        let spec = if i <= 1 { spec.alibi(Alibi::PerHead) } else { spec };
        let spec = spec.value_dim([40, 59, 40][i]).dropout(0.17);
        Training { few: true, ..Training::new(spec) }
    })
}

impl Training {
    fn new(spec: AttentionSpec) -> Self {
        Self { spec, queries: 1.0, keys: 1.0, tolerance: GRADIENTS, few: false, lengths: vec![] }
    }
}

impl Case for Training {
    fn dtype(&self) -> DType {
        self.spec.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, case: &Training) -> Result<Vec<Outcome>, Error> {
    let Training { spec, queries, keys, tolerance, few, .. } = *case;
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let mut inputs = Inputs::new(count(&[spec.q_len, spec.k_len, spec.head_dim]) as u64);
    let q = rounded::<T>(&inputs.normal(count(&spec.q_shape()), queries));
    let k = rounded::<T>(&inputs.normal(count(&spec.k_shape()), keys));
    let v = rounded::<T>(&inputs.normal(count(&spec.v_shape()), keys));
    let d_o = rounded::<T>(&inputs.normal(count(&spec.o_shape()), 1.0));
    let slopes = rounded::<f32>(&inputs.uniform(spec.batch * spec.heads, 0.0, 0.3));
    let alibi = (spec.alibi != Alibi::None).then(|| &slopes[..count(&spec.alibi_shape())]);
    let logits = rounded::<f32>(&inputs.normal(spec.heads, 1.0));
    let sinks = spec.sinks.then_some(logits.as_slice());
    let (q_sums, k_sums) = (sums(&case.lengths, |l| l.0), sums(&case.lengths, |l| l.1));
    let cu_seqlens = spec.packed.map(|_| CuSeqlens { q: &q_sums, k: &k_sums });
    // Both halves of a seed count.
    let seed = 0x1234_5678_9abc_def0;
    let given = AttentionGiven { alibi, sinks, cu_seqlens, seed, ..AttentionGiven::new(&q, &k, &v) };
    let (reference, plain) = both(spec.dtype, |precision| {
        (attention_of(&spec, precision, &given), attention_backward(&spec, precision, &given, &d_o))
    });

    let alibi = alibi.map(|slopes| upload::<f32>(gpu, &spec.alibi_shape(), slopes)).transpose()?;
    let sinks = sinks.map(|logits| upload::<f32>(gpu, &[spec.heads], logits)).transpose()?;
    let q = upload::<T>(gpu, &spec.q_shape(), &q)?;
    let k = upload::<T>(gpu, &spec.k_shape(), &k)?;
    let v = upload::<T>(gpu, &spec.v_shape(), &v)?;
    let d_o = upload::<T>(gpu, &spec.o_shape(), &d_o)?;
    let outputs = AttentionOutputs {
        o: poisoned::<T>(gpu, &spec.o_shape())?,
        lse: poisoned::<f32>(gpu, &spec.lse_shape())?,
    };
    let slopes_shape = spec.alibi_shape();
    let gradients = AttentionGradients {
        dq: poisoned::<T>(gpu, &spec.q_shape())?,
        dk: poisoned::<T>(gpu, &spec.k_shape())?,
        dv: poisoned::<T>(gpu, &spec.v_shape())?,
        dalibi: alibi.as_ref().map(|_| poisoned::<f32>(gpu, &slopes_shape)).transpose()?,
        dsinks: sinks.as_ref().map(|_| poisoned::<f32>(gpu, &[spec.heads])).transpose()?,
    };
    let probabilities = poisoned::<T>(gpu, &spec.probabilities_shape())?;
    let inputs = AttentionInputs::new(&q, &k, &v)
        .alibi(alibi.as_ref())
        .sinks(sinks.as_ref())
        .cu_seqlens(cu_seqlens)
        .seed(spec.dropout.map(|_| seed));
    let mut encoder = gpu.encoder();
    Attention::new(gpu, spec)?.encode(&mut encoder, inputs, &outputs)?;
    AttentionBackward::new(gpu, spec)?.encode(&mut encoder, inputs, &outputs, &d_o, &gradients)?;
    AttentionProbabilities::new(gpu, spec)?.encode(&mut encoder, inputs, &outputs.lse, &probabilities)?;
    gpu.submit(encoder)?;

    // The one weight of a row is 1 whatever the scores are.
    let flat = spec.k_len == 1 && !spec.sinks;
    let ((reference, d_reference), (plain, d_plain)) = (reference, plain);
    let outcome = |name, ours: Vec<f64>, [exact, plain]: [&Vec<f64>; 2], tolerance: Tolerance| {
        let atol = tolerance.atol + if few { of_few_drawn(spec.dtype, keys, exact) } else { 0.0 };
        Outcome::new(name, &ours, exact, plain, Tolerance { atol, ..tolerance })
    };
    let (o, lse) = (download(&outputs.o).await?, download(&outputs.lse).await?);
    let p = download(&probabilities).await?;
    let mut outcomes = vec![
        outcome("o", o, [&reference.o, &plain.o], Tolerance { multiple: 2.0, atol: 0.0 }),
        Outcome::new("lse", &lse, &reference.lse, &plain.lse, LSE),
        outcome("p", p, [&reference.probabilities, &plain.probabilities], of_weights(&reference, 1e-5)),
        outcome("dv", download(&gradients.dv).await?, [&d_reference.dv, &d_plain.dv], tolerance),
    ];
    for (name, tensor, exact, plain) in [
        ("dq", &gradients.dq, &d_reference.dq, &d_plain.dq),
        ("dk", &gradients.dk, &d_reference.dk, &d_plain.dk),
    ] {
        let found = download(tensor).await?;
        outcomes.push(if flat {
            // Zeros, which an outcome does not take for an answer: they are compared as ones. Left of a zero are the f32
            // sums of two orders, and, where dropout takes a factor to the values, the rounding of the stored output, of
            // which D is made: half a unit of it for each element, times a key, and the scale takes off what the width of a
            // head adds up to.
            let rounded = if spec.dropout.is_some() { of_few(spec.dtype, &reference.o) } else { 1e-5 };
            let ones = |values: &[f64]| values.iter().map(|value| 1.0 + value).collect::<Vec<_>>();
            let tolerance = Tolerance { atol: tolerance.atol + rounded, ..tolerance };
            Outcome::new(name, &ones(&found), &ones(exact), &ones(plain), tolerance)
        } else {
            outcome(name, found, [exact, plain], tolerance)
        });
    }
    for (name, found, exact, plain) in [
        ("dalibi", gradients.dalibi.as_ref().filter(|_| !flat), &d_reference.dalibi, &d_plain.dalibi),
        ("dsinks", gradients.dsinks.as_ref(), &d_reference.dsinks, &d_plain.dsinks),
    ] {
        if let Some(found) = found {
            outcomes.push(outcome(name, download(found).await?, [exact, plain], tolerance));
        }
    }
    Ok(outcomes)
}
