//! The suite of mods: each ready-made one, snippets with buffers of their own, masks of blocks, and some together.

use std::fmt;
use std::sync::Arc;

use super::training::GRADIENTS;
use super::{LSE, largest, of_weights};
use crate::oracle::{AttentionGiven, HostMods, Place, attention_backward, attention_of};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, boxed, download, poisoned, rounded, upload,
};
use crate::{
    Alibi, Attention, AttentionBackward, AttentionGradients, AttentionInputs, AttentionOutputs,
    AttentionProbabilities, AttentionSpec, BlockMask, CuSeqlens, DType, Element, Error, Gpu, Mods, Snippet,
    Table, Tensor, Word, by_dtype, mods,
};

/// One row of the suite.
#[derive(Clone, Debug)]
struct ModsCase {
    spec: AttentionSpec,
    modified: Modified,
    /// Whether the gradients and the probabilities are asked for too.
    backward: bool,
    /// Queries and keys of each sequence.
    lengths: Vec<(usize, usize)>,
}

/// Queries and keys of packed sequences: some without queries, some without keys, and of one.
const PACKED: [(usize, usize); 6] = [(113, 203), (1, 1), (0, 17), (33, 0), (64, 50), (5, 97)];

/// The mods whose gradients the thin grid asks for: on a software adapter compiling them takes longer than all else.
const THIN_GRADIENTS: [&str; 6] = [
    "softcap mod",
    "aux-indexed",
    "documents",
    "softcap, ALiBi, documents and causal",
    "blocks of 64 × 32 by head",
    "blocks, dilated and scaled",
];

impl fmt::Display for ModsCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.spec, self.modified.name)
    }
}

/// Lengths of queries and keys: whole tiles and cut ones, and rows that stand before the first key.
const LENGTHS: [(usize, usize); 5] = [(113, 203), (128, 217), (203, 113), (256, 512), (1023, 1024)];

/// Every mod, with lengths, dimensions and types by turns; the full grid crosses them.
pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    let spec = |dtype, lengths, dim| AttentionSpec::new(dtype, 2, lengths, 4, dim).kv_heads(2);
    let specs: Vec<_> = match grid {
        Grid::Thin => (0..3).map(|n| spec(DType::ALL[n], LENGTHS[n], [16, 8, 11][n])).collect(),
        Grid::Full => DType::ALL
            .into_iter()
            .flat_map(|dtype| {
                LENGTHS.map(|lengths| spec(dtype, lengths, if lengths.0 > 500 { 128 } else { 59 }))
            })
            .collect(),
    };
    let mut cases = Vec::new();
    for (turn, spec) in specs.iter().enumerate() {
        let all = all(spec, &even(spec)).into_iter().enumerate();
        let taken = all.filter(|(n, _)| grid == Grid::Full || n % 3 == turn);
        let backward = |modified: &Modified| grid == Grid::Full || THIN_GRADIENTS.contains(&modified.name);
        cases.extend(taken.map(|(_, modified)| ModsCase {
            spec: *spec,
            backward: backward(&modified),
            modified,
            lengths: even(spec),
        }));
    }
    cases.extend(packed(grid));
    // Options of the spec apply together with mods.
    let spec = spec(DType::F32, (113, 203), 24).causal().softcap(20.0).window(Some(60), None);
    let chosen = ["aux-indexed", "documents", "blocks of 48 × 40"];
    let together = all(&spec, &even(&spec)).into_iter().filter(|modified| chosen.contains(&modified.name));
    let backward = |modified: &Modified| grid == Grid::Full || modified.name == "blocks of 48 × 40";
    let lengths = even(&spec);
    cases.extend(together.map(|modified| ModsCase {
        spec,
        backward: backward(&modified),
        modified,
        lengths: lengths.clone(),
    }));
    boxed(cases)
}

/// The same lengths for every batch.
fn even(spec: &AttentionSpec) -> Vec<(usize, usize)> {
    vec![(spec.q_len, spec.k_len); spec.batch]
}

/// Packed sequences, with slopes and sinks beside the mods: more than a kernel binds on the least adapter. No table is made
/// for them, and a mask of blocks has no shape.
fn packed(grid: Grid) -> impl Iterator<Item = ModsCase> {
    let sum = |side: fn(&(usize, usize)) -> usize| PACKED.iter().map(side).sum();
    let spec = AttentionSpec::new(DType::F32, PACKED.len(), (113, 203), 4, 24)
        .kv_heads(2)
        .alibi(Alibi::PerBatchHead)
        .sinks()
        .packed(sum(|lengths| lengths.0), sum(|lengths| lengths.1));
    let chosen = ["softcap mod", "aux-indexed", "prefix-LM", "a mask that loops"];
    let taken = move |modified: &Modified| match grid {
        Grid::Thin => chosen.contains(&modified.name),
        // The table of documents is for sequences of one length.
        Grid::Full => modified.mods.blocks.is_none() && !modified.name.contains("documents"),
    };
    let backward = move |modified: &Modified| grid == Grid::Full || modified.name == "aux-indexed";
    let cases = all(&spec, &PACKED).into_iter().filter(taken).enumerate();
    cases.map(move |(n, modified)| {
        let spec = AttentionSpec { dtype: DType::ALL[n % 3], ..spec };
        let spec = if n % 2 == 0 { spec.causal() } else { spec };
        ModsCase { spec, backward: backward(&modified), modified, lengths: PACKED.to_vec() }
    })
}

impl Case for ModsCase {
    fn dtype(&self) -> DType {
        self.spec.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.spec.dtype, T => Box::pin(run::<T>(gpu, self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, case: &ModsCase) -> Result<Vec<Outcome>, Error> {
    let ModsCase { spec, modified, backward, lengths } = case;
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let mut inputs = Inputs::new(count(&[spec.q_len, spec.k_len, spec.head_dim]) as u64);
    let mut drawn = |shape: &[usize]| rounded::<T>(&inputs.normal(count(shape), 1.0));
    let (q, k, v) = (drawn(&spec.q_shape()), drawn(&spec.k_shape()), drawn(&spec.v_shape()));
    let d_o = drawn(&spec.o_shape());
    let slopes = rounded::<f32>(&inputs.uniform(spec.batch * spec.heads, 0.0, 0.3));
    let alibi = (spec.alibi != Alibi::None).then_some(slopes.as_slice());
    let logits = rounded::<f32>(&inputs.normal(spec.heads, 1.0));
    let sinks = spec.sinks.then_some(logits.as_slice());
    let (q_sums, k_sums) = (sums(lengths, |lengths| lengths.0), sums(lengths, |lengths| lengths.1));
    let cu_seqlens = spec.packed.map(|_| CuSeqlens { q: &q_sums, k: &k_sums });
    let mods = Some(&modified.host);
    let given = AttentionGiven { alibi, sinks, cu_seqlens, mods, ..AttentionGiven::new(&q, &k, &v) };
    let (reference, plain) = both(spec.dtype, |precision| attention_of(spec, precision, &given));

    let tables = modified.upload(gpu)?;
    let tables: Vec<_> = tables.iter().map(|(name, table)| (*name, table.table())).collect();
    let [q, k, v] = [
        upload::<T>(gpu, &spec.q_shape(), &q)?,
        upload::<T>(gpu, &spec.k_shape(), &k)?,
        upload::<T>(gpu, &spec.v_shape(), &v)?,
    ];
    let slopes = alibi.map(|slopes| upload::<f32>(gpu, &spec.alibi_shape(), slopes)).transpose()?;
    let logits = sinks.map(|logits| upload::<f32>(gpu, &[spec.heads], logits)).transpose()?;
    let inputs = AttentionInputs::new(&q, &k, &v)
        .alibi(slopes.as_ref())
        .sinks(logits.as_ref())
        .cu_seqlens(cu_seqlens)
        .tables(&tables);
    let outputs = AttentionOutputs {
        o: poisoned::<T>(gpu, &spec.o_shape())?,
        lse: poisoned::<f32>(gpu, &spec.lse_shape())?,
    };
    let mut encoder = gpu.encoder();
    Attention::with_mods(gpu, *spec, &modified.mods)?.encode(&mut encoder, inputs, &outputs)?;
    gpu.submit(encoder)?;
    let (o, lse) = (download(&outputs.o).await?, download(&outputs.lse).await?);
    let mut outcomes = vec![
        Outcome::new("o", &o, &reference.o, &plain.o, Tolerance { multiple: 2.0, atol: 0.0 }),
        Outcome::new("lse", &lse, &reference.lse, &plain.lse, LSE),
    ];
    if !backward {
        return Ok(outcomes);
    }

    let p = poisoned::<T>(gpu, &spec.probabilities_shape())?;
    let mut encoder = gpu.encoder();
    let op = AttentionProbabilities::with_mods(gpu, *spec, &modified.mods)?;
    op.encode(&mut encoder, inputs, &outputs.lse, &p)?;
    gpu.submit(encoder)?;
    let pair = [&reference.probabilities, &plain.probabilities];
    let tolerance = of_weights(&reference, 4.0 * f64::from(f32::EPSILON) * largest(pair[0]));
    outcomes.push(Outcome::new("p", &download(&p).await?, pair[0], pair[1], tolerance));

    let (reference, plain) = both(spec.dtype, |precision| attention_backward(spec, precision, &given, &d_o));
    let d_o = upload::<T>(gpu, &spec.o_shape(), &d_o)?;
    let found = AttentionGradients {
        dq: poisoned::<T>(gpu, &spec.q_shape())?,
        dk: poisoned::<T>(gpu, &spec.k_shape())?,
        dv: poisoned::<T>(gpu, &spec.v_shape())?,
        dalibi: alibi.map(|_| poisoned::<f32>(gpu, &spec.alibi_shape())).transpose()?,
        dsinks: sinks.map(|_| poisoned::<f32>(gpu, &[spec.heads])).transpose()?,
    };
    let mut encoder = gpu.encoder();
    let op = AttentionBackward::with_mods(gpu, *spec, &modified.mods)?;
    op.encode(&mut encoder, inputs, &outputs, &d_o, &found)?;
    gpu.submit(encoder)?;
    for (name, found, reference, plain) in [
        ("dq", &found.dq, &reference.dq, &plain.dq),
        ("dk", &found.dk, &reference.dk, &plain.dk),
        ("dv", &found.dv, &reference.dv, &plain.dv),
    ] {
        outcomes.push(Outcome::new(name, &download(found).await?, reference, plain, GRADIENTS));
    }
    for (name, found, reference, plain) in [
        ("dalibi", &found.dalibi, &reference.dalibi, &plain.dalibi),
        ("dsinks", &found.dsinks, &reference.dsinks, &plain.dsinks),
    ] {
        if let Some(found) = found {
            outcomes.push(Outcome::new(name, &download(found).await?, reference, plain, GRADIENTS));
        }
    }
    Ok(outcomes)
}

/// Prefix sums of one side of the lengths.
pub(super) fn sums(lengths: &[(usize, usize)], side: impl Fn(&(usize, usize)) -> usize) -> Vec<u32> {
    let ends = lengths.iter().scan(0, |sum, lengths| {
        *sum += side(lengths) as u32;
        Some(*sum)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Mods on both sides, with the buffers that they read.
#[derive(Clone, Debug)]
pub(super) struct Modified {
    /// What they are called.
    pub name: &'static str,
    /// As WGSL.
    pub mods: Mods,
    /// In Rust.
    pub host: HostMods,
    /// The buffers.
    pub tables: Vec<(&'static str, Values)>,
}

impl fmt::Display for Modified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a buffer holds.
#[derive(Clone, Debug)]
pub(super) enum Values {
    F32(Vec<f32>),
    U32(Vec<u32>),
    I32(Vec<i32>),
}

/// A buffer on the device.
#[derive(Clone, Debug)]
pub(super) enum Uploaded {
    F32(Tensor<f32>),
    U32(Tensor<u32>),
    I32(Tensor<i32>),
}

impl Uploaded {
    /// The buffer, to be given to an operation.
    pub fn table(&self) -> Table<'_> {
        match self {
            Self::F32(tensor) => tensor.into(),
            Self::U32(tensor) => tensor.into(),
            Self::I32(tensor) => tensor.into(),
        }
    }
}

impl Modified {
    fn new(name: &'static str, mods: Mods, host: HostMods) -> Self {
        Self { name, mods, host, tables: vec![] }
    }

    fn table(mut self, name: &'static str, values: Values) -> Self {
        self.tables.push((name, values));
        self
    }

    /// The buffers on the device.
    pub fn upload(&self, gpu: &Gpu) -> Result<Vec<(&'static str, Uploaded)>, Error> {
        let upload = |(name, values): &(&'static str, Values)| {
            Ok((
                *name,
                match values {
                    Values::F32(values) => Uploaded::F32(Tensor::from_slice(gpu, &[values.len()], values)?),
                    Values::U32(values) => Uploaded::U32(Tensor::from_slice(gpu, &[values.len()], values)?),
                    Values::I32(values) => Uploaded::I32(Tensor::from_slice(gpu, &[values.len()], values)?),
                },
            ))
        };
        self.tables.iter().map(upload).collect()
    }
}

/// Score by index into buffers: a weight for each key, found through an order of the keys.
const INDEXED: &str = "
alias Weight = f32; // a name of its own, and comments, are the snippet's affair

fn weight(j: u32) -> Weight {
    /* `order` counts from -1 */
    return weights(u32(order(j) + 1));
}

fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
    return score * weight(key);
}

fn score_mod_bwd(dscore_out: f32, score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
    return dscore_out * weight(key);
}
";

/// A mask that loops and indexes, which takes the driver's checks: keys whose number has an even count of ones.
const LOOPING: &str = "
const halves = array<u32, 2>(65535u, 4294901760u);

fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {
    var ones = 0u;
    for (var half = 0u; half < 2u; half++) {
        ones += countOneBits(j & halves[half]);
    }
    return ones % 2u == 0u;
}
";

/// All of them, for tensors of such a spec whose sequences are so long. The masks of blocks and documents are for sequences of
/// one length.
pub(super) fn all(spec: &AttentionSpec, lengths: &[(usize, usize)]) -> Vec<Modified> {
    let &AttentionSpec { batch, k_len, heads, .. } = spec;
    let moved: Arc<[isize]> =
        lengths.iter().map(|&(q_len, k_len)| k_len.cast_signed() - q_len.cast_signed()).collect();
    // The key at which a query stands, and how far a key lies after it.
    let position = move |b: usize, i: usize| i.cast_signed() + moved[b];
    let after = {
        let position = position.clone();
        move |[b, _, i, j]: Place| j.cast_signed() - position(b, i)
    };
    let mut inputs = Inputs::new(3);
    let mut uniform =
        |count, low, high| inputs.uniform(count, low, high).into_iter().map(|x| x as f32).collect::<Vec<_>>();
    let keep = |d: f64, _: f64, _: Place| d;
    let causal = {
        let after = after.clone();
        move |place| after(place) <= 0
    };

    let slopes = uniform(heads, 0.0, 0.3);
    let bias = uniform(heads * 33, -1.0, 1.0);
    let weights = uniform(k_len, -1.0, 2.0);
    let order: Vec<_> = (0..k_len).map(|j| (j as u32 * 7 % k_len as u32).cast_signed() - 1).collect();
    let prefix: Vec<_> = (0..batch).map(|b| (20 + 30 * b) as u32).collect();
    // Documents of 40 positions and one that is not there, numbered unlike in each batch.
    let documents: Vec<_> =
        (0..batch * k_len).map(|n| ((n % k_len + 11 * (n / k_len)) / 40) as u32).collect();

    let host_alibi = {
        let (slopes, after) = (slopes.clone(), after.clone());
        move |s: f64, place: Place| s - f64::from(slopes[place[1]]) * after(place).abs() as f64
    };
    let host_bias = {
        let (bias, after) = (bias.clone(), after.clone());
        move |s: f64, place: Place| {
            s + f64::from(bias[place[1] * 33 + (after(place).clamp(-16, 16) + 16) as usize])
        }
    };
    let host_documents = {
        let (documents, position) = (documents.clone(), position.clone());
        move |[b, _, i, j]: Place| {
            let stands = usize::try_from(position(b, i));
            stands.is_ok_and(|stands| documents[b * k_len + stands] == documents[b * k_len + j])
        }
    };
    let host_weight = {
        let (weights, order) = (weights.clone(), order.clone());
        move |j: usize| f64::from(weights[(order[j] + 1) as usize])
    };
    let host_weight_bwd = host_weight.clone();
    let host_prefix = {
        let (prefix, after) = (prefix.clone(), after.clone());
        move |place: Place| place[3] < prefix[place[0]] as usize || after(place) <= 0
    };
    let cap = |s: f64, c: f64| c * (s / c).tanh();
    let cap_bwd = |d: f64, s: f64, c: f64| d * (1.0 - (s / c).tanh().powi(2));

    let score = |snippet| Mods::new().score(snippet);
    let mask = |snippet| Mods::new().mask(snippet);
    let host = HostMods::new;
    let mut all = vec![
        Modified::new("identity", score(mods::identity()), host()),
        Modified::new("times 2", score(mods::scaled(2.0)), host().score(|s, _| 2.0 * s, |d, _, _| 2.0 * d)),
        Modified::new(
            "softcap mod",
            score(mods::softcap(2.0)),
            host().score(move |s, _| cap(s, 2.0), move |d, s, _| cap_bwd(d, s, 2.0)),
        ),
        Modified::new("ALiBi mod", score(mods::alibi()), host().score(host_alibi.clone(), keep))
            .table("slopes", Values::F32(slopes.clone())),
        Modified::new("relative bias", score(mods::relative_bias(16)), host().score(host_bias, keep))
            .table("bias", Values::F32(bias)),
        Modified::new(
            "aux-indexed",
            score(Snippet::new("indexed", INDEXED).buffer("weights", Word::F32).buffer("order", Word::I32)),
            host().score(move |s, [.., j]| s * host_weight(j), move |d, _, [.., j]| d * host_weight_bwd(j)),
        )
        .table("order", Values::I32(order))
        .table("weights", Values::F32(weights)),
        Modified::new("causal mod", mask(mods::causal()), host().mask(causal.clone())),
        Modified::new(
            "window mod",
            mask(mods::window(17, 5)),
            host().mask({
                let after = after.clone();
                move |place| (-17..=5).contains(&after(place))
            }),
        ),
        Modified::new(
            "block-diagonal",
            mask(mods::block_diagonal(48)),
            host().mask(move |[b, _, i, j]| position(b, i).div_euclid(48) == j.cast_signed() / 48),
        ),
        Modified::new("prefix-LM", mask(mods::prefix_lm()), host().mask(host_prefix))
            .table("prefix", Values::U32(prefix)),
        Modified::new("dilated", mask(mods::dilated(3)), host().mask(move |place| after(place) % 3 == 0)),
        Modified::new("documents", mask(mods::documents()), host().mask(host_documents.clone()))
            .table("documents", Values::U32(documents.clone())),
        Modified::new(
            "a mask that loops",
            mask(Snippet::new("looping", LOOPING)),
            host().mask(|[.., j]| j.count_ones() % 2 == 0),
        ),
        Modified::new(
            "softcap, ALiBi, documents and causal",
            score(mods::softcap(5.0)).score(mods::alibi()).mask(mods::documents()).mask(mods::causal()),
            host()
                .score(move |s, _| cap(s, 5.0), move |d, s, _| cap_bwd(d, s, 5.0))
                .score(host_alibi, keep)
                .mask(host_documents)
                .mask(causal),
        )
        .table("documents", Values::U32(documents))
        .table("slopes", Values::F32(slopes)),
    ];
    all.extend(blocks(spec));
    all
}

/// Masks of blocks: of whole tiles, across tiles and smaller than any; for all heads, for each, and for each of each batch;
/// with a row of blocks that sees nothing; and together with a mod.
fn blocks(spec: &AttentionSpec) -> Vec<Modified> {
    let host = |mask: &BlockMask| {
        let mask = mask.clone();
        HostMods::new().mask(move |[b, h, i, j]| mask.shows(b, h, i, j))
    };
    let alike = |block, shows: fn(usize, usize) -> bool| {
        BlockMask::from_fn(spec, block, shows).expect("the mask fits the spec")
    };
    let whole = alike((128, 128), |q, k| q != 1 && (q + k) % 2 == 0);
    let across = alike((48, 40), |q, k| (q * 5 + k * 3) % 4 == 0);
    let small = alike((5, 12), |q, k| (q * 3 + k) % 7 == 0 && q % 6 != 5);
    let shape = [spec.batch, spec.heads, spec.q_len.div_ceil(64), spec.k_len.div_ceil(32)];
    let drawn: Vec<_> =
        Inputs::new(5).uniform(shape.iter().product(), 0.0, 1.0).into_iter().map(|x| x < 0.4).collect();
    let by_head = BlockMask::new((64, 32), &shape, &drawn).expect("the mask fills its shape");
    let with_mod = Mods::new().blocks(across.clone()).mask(mods::dilated(2)).score(mods::scaled(0.5));
    let delta = spec.k_len + spec.q_len;
    let of_mod = host(&across)
        .mask(move |[.., i, j]| (j + delta - i).is_multiple_of(2))
        .score(|s, _| 0.5 * s, |d, _, _| 0.5 * d);
    vec![
        Modified::new("blocks of 128 × 128", Mods::new().blocks(whole.clone()), host(&whole)),
        Modified::new("blocks of 48 × 40", Mods::new().blocks(across.clone()), host(&across)),
        Modified::new("blocks of 5 × 12", Mods::new().blocks(small.clone()), host(&small)),
        Modified::new("blocks of 64 × 32 by head", Mods::new().blocks(by_head.clone()), host(&by_head)),
        Modified::new("blocks, dilated and scaled", with_mod, of_mod),
    ]
}
