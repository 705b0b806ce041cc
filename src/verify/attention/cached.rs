//! The acceptance grid of attention to a cache: whole steps of decoding.

use std::fmt;

use super::append::tables;
use super::mods::{self, Modified};
use super::of_few;
use crate::ops::quantise;
use crate::oracle::{self, AttentionGiven, Tables};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, boxed, download, poisoned, rounded, upload,
};
use crate::{
    Alibi, Append, AppendInputs, AppendSpec, AttentionOutputs, AttentionSpec, CacheIndex, CacheSpec,
    CacheView, CachedAttention, CachedAttentionInputs, CachedAttentionSpec, DType, Element, Error, Gpu,
    KvCache, Mods, Rotary, RotaryPairs, RotaryTables, Rotate, RotateSpec, Window, by_dtype,
};

/// Queries of a step and keys of the longest sequence.
const THIN: [(usize, usize); 11] = [
    (1, 1),
    (1, 97),
    (2, 1025),
    (1, 16_384),
    (3, 513),
    (1, 113),
    (5, 203),
    (1, 4099),
    (16, 1031),
    (4, 255),
    (1, 1025),
];

/// Those of the whole grid beside them.
const FULL: [(usize, usize); 6] =
    [(1, 131_072), (16, 131_072), (4, 30_001), (64, 8192), (128, 339), (200, 1024)];

pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    let dtypes = DType::ALL.into_iter().cycle();
    let lengths = match grid {
        Grid::Thin => THIN.to_vec(),
        Grid::Full => [THIN.repeat(8), FULL.repeat(3)].concat(),
    };
    // Periods that are coprime to that of the lengths, so that options meet in many ways.
    let in_turn = lengths
        .into_iter()
        .zip(dtypes)
        .enumerate()
        .map(|(turn, (lengths, dtype))| Step::new(dtype, lengths, turn));
    boxed(in_turn.chain(everything()))
}

/// Slopes, sinks and scales together, in slots and in pages, without mods and with those that read buffers: more than a kernel
/// binds on the least adapter.
fn everything() -> impl Iterator<Item = Step> {
    let steps = [(DType::F32, (3, 513), 3), (DType::F16, (1, 1025), 7), (DType::Bf16, (5, 203), 7)];
    let steps = steps.map(|(dtype, lengths, turn)| Step::new(dtype, lengths, turn)).into_iter().enumerate();
    steps.map(|(n, step)| {
        let cache = step.spec.cache.int8();
        let attention = AttentionSpec { window: Window::default(), ..step.spec.attention };
        let attention = attention.causal().sinks().alibi(Alibi::PerBatchHead);
        let lengths: Vec<_> = (0..attention.batch)
            .map(|i| (attention.q_len, step.view.lengths[i] as usize - step.view.pad(i)))
            .collect();
        let chosen = ["", "aux-indexed", "prefix-LM"][n];
        let modified = mods::all(&attention, &lengths).into_iter().find(|modified| modified.name == chosen);
        Step { spec: CachedAttentionSpec::new(attention, cache), rotary: None, modified, ..step }
    })
}

/// A step of decoding: new keys turned and appended, queries turned, and attention to it all.
struct Step {
    spec: CachedAttentionSpec,
    rotary: Option<Rotary>,
    view: CacheView,
    modified: Option<Modified>,
}

impl Step {
    /// The options of that number.
    fn new(dtype: DType, (q_len, longest): (usize, usize), turn: usize) -> Self {
        let (heads, kv_heads) = [(8, 1), (6, 2), (2, 2), (4, 1), (9, 3)][turn % 5];
        let (head_dim, value_dim) =
            [(64, 64), (59, 59), (128, 128), (40, 64), (256, 256), (64, 3), (8, 8)][turn % 7];
        // A few long sequences take the oracle long enough.
        let (heads, kv_heads) = if q_len * longest > 3000 { (2, 1) } else { (heads, kv_heads) };
        let batch = if longest > 10_000 { 1 } else { 3 };
        let pads = if longest > 100 { [longest as u32 / 5, 0, 3] } else { [0; 3] };
        let lengths = [longest, longest.div_ceil(3), longest.div_ceil(7)];
        let lengths: Vec<_> =
            lengths.iter().zip(pads).map(|(&length, pad)| length.max(q_len + pad as usize) as u32).collect();
        let longest = lengths.iter().copied().max().unwrap_or(1) as usize;
        let view = CacheView::new(&lengths[..batch]).left_pad(&pads[..batch]);
        let paged = !turn.is_multiple_of(3);
        let (cache, view) = if paged {
            let page = [16, 1, 37, 256][turn % 4];
            let pages = longest.div_ceil(page);
            // Pages in an order of their own, none twice.
            let count = pages * batch + 1;
            let step = [7, 5, 3, 2].into_iter().find(|step| count % step != 0).unwrap_or(1);
            let table: Vec<_> = (0..pages * batch).map(|i| ((i * step + 1) % count) as u32).collect();
            (CacheSpec::pages(dtype, count, page, kv_heads, head_dim), view.block_table(table))
        } else {
            let slots: Vec<_> = [3, 0, 1][..batch].to_vec();
            (CacheSpec::slots(dtype, 4, longest, kv_heads, head_dim), view.slots(slots))
        };
        let cache = cache.value_dim(value_dim);
        let cache = if turn % 4 == 3 { cache.int8() } else { cache };
        let attention = AttentionSpec::new(dtype, batch, (q_len, longest), heads, head_dim)
            .kv_heads(kv_heads)
            .value_dim(value_dim);
        let attention = match turn % 6 {
            0 | 3 => attention.causal(),
            1 => attention.window(Some(1000), Some(0)),
            2 => attention.alibi(Alibi::PerHead).causal(),
            4 => attention.alibi(Alibi::PerBatchHead).softcap(30.0),
            _ => attention.sinks(),
        };
        let turned = [0, head_dim, head_dim / 2][turn / 2 % 3] / 2 * 2;
        let pairs = [RotaryPairs::Half, RotaryPairs::Interleaved][turn % 2];
        let rotary = (turned > 0 && !cache.int8).then(|| Rotary::new(turned, pairs, longest));
        Self { spec: CachedAttentionSpec::new(attention, cache), rotary, view, modified: None }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)?;
        self.rotary.map_or(Ok(()), |rotary| write!(f, ", {rotary}"))?;
        self.modified.as_ref().map_or(Ok(()), |modified| write!(f, ", {modified}"))
    }
}

impl Case for Step {
    fn dtype(&self) -> DType {
        self.spec.attention.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, self)))
    }
}

/// What a cache holds before the step, and the scales of an 8-bit one.
struct Before {
    k: Vec<f64>,
    v: Vec<f64>,
    scales: [Vec<f32>; 2],
}

/// One scale for each head, which every value fits.
fn scales(values: &[f64], width: usize, heads: usize) -> Vec<f32> {
    let mut largest = vec![0.0_f64; heads];
    for (row, values) in values.chunks_exact(width).enumerate() {
        let head = &mut largest[row % heads];
        *head = values.iter().fold(*head, |max, value| max.max(value.abs()));
    }
    largest.into_iter().map(|largest| (largest / 127.0) as f32).collect()
}

/// The integers of an 8-bit cache, and what they stand for.
fn quantised(values: &[f64], width: usize, scales: &[f32]) -> (Vec<i8>, Vec<f64>) {
    let rows = values.chunks_exact(width).enumerate().flat_map(|(row, values)| {
        let scale = scales[row % scales.len()];
        let values: Vec<_> = values.iter().map(|&value| value as f32).collect();
        quantise(&values, scale)
            .into_iter()
            .map(move |integer| (integer, f64::from(scale) * f64::from(integer)))
    });
    rows.unzip()
}

async fn run<T: Element>(gpu: &Gpu, step: &Step) -> Result<Vec<Outcome>, Error> {
    let Step { spec, rotary, view, modified } = step;
    let CachedAttentionSpec { attention, cache } = spec;
    let AttentionSpec { batch, q_len, heads, .. } = *attention;
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let append = AppendSpec { rotary: *rotary, ..AppendSpec::new(*cache, batch, q_len) };
    let rotate = rotary.map(|rotary| {
        let spec = RotateSpec::new(cache.dtype, batch, q_len, heads, cache.head_dim, rotary);
        if attention.causal { spec } else { spec.in_place() }
    });
    let positions: Vec<_> = view.lengths.iter().map(|length| length - q_len as u32).collect();

    let mut inputs = Inputs::new(count(&[q_len, attention.k_len, cache.head_dim]) as u64);
    let mut draw = |shape: &[usize]| rounded::<T>(&inputs.normal(count(shape), 1.0));
    let q = draw(&attention.q_shape());
    let (k, v) = (draw(&append.k_shape()), draw(&append.v_shape()));
    let (k_before, v_before) = (draw(&cache.k_shape()), draw(&cache.v_shape()));
    let slopes = rounded::<f32>(&inputs.uniform(batch * heads, 0.0, 0.3));
    let slopes = (attention.alibi != Alibi::None).then(|| &slopes[..count(&attention.alibi_shape())]);
    let sinks = attention.sinks.then(|| rounded::<f32>(&inputs.normal(heads, 2.0)));
    let scales = [
        scales(&[k_before.as_slice(), &k].concat(), cache.head_dim, cache.kv_heads),
        scales(&[v_before.as_slice(), &v].concat(), cache.value_dim, cache.kv_heads),
    ];
    let before = Before { k: k_before, v: v_before, scales };
    let host = rotary.as_ref().map(tables);
    // What an 8-bit cache stands for is what the oracle attends to.
    let kept = |values: &[f64], width, scales: &[f32]| {
        if cache.int8 { quantised(values, width, scales).1 } else { values.to_vec() }
    };
    let kept_k = |values: &[f64]| kept(values, cache.head_dim, &before.scales[0]);
    let kept_v = |values: &[f64]| kept(values, cache.value_dim, &before.scales[1]);
    let (reference, plain) = both(cache.dtype, |precision| {
        let (mut k_cache, mut v_cache) = (kept_k(&before.k), kept_v(&before.v));
        let tables = host.as_ref().map(|[cos, sin]| Tables { cos, sin });
        let new = (kept_k(&k), kept_v(&v));
        oracle::append(&append, precision, view, tables, (&new.0, &new.1), (&mut k_cache, &mut v_cache));
        let q = match (&rotate, tables) {
            (Some(rotate), Some(tables)) => oracle::rotate(rotate, precision, &q, tables, &positions),
            _ => q.clone(),
        };
        let given = AttentionGiven {
            alibi: slopes,
            sinks: sinks.as_deref(),
            mods: modified.as_ref().map(|modified| &modified.host),
            ..AttentionGiven::new(&q, &k_cache, &v_cache)
        };
        oracle::cached_attention(spec, precision, &given, view)
    });

    let kept = before.upload::<T>(gpu, cache)?;
    let index = CacheIndex::new(gpu, cache, view, q_len)?;
    let (k, v) = (upload::<T>(gpu, &append.k_shape(), &k)?, upload::<T>(gpu, &append.v_shape(), &v)?);
    let mut q = upload::<T>(gpu, &attention.q_shape(), &q)?;
    let alibi = slopes.map(|slopes| upload::<f32>(gpu, &attention.alibi_shape(), slopes)).transpose()?;
    let sinks = sinks.map(|sinks| upload::<f32>(gpu, &[heads], &sinks)).transpose()?;
    let tables = match (&host, rotary) {
        (Some([cos, sin]), Some(rotary)) => {
            let shape = rotary.table_shape();
            Some((upload::<f32>(gpu, &shape, cos)?, upload::<f32>(gpu, &shape, sin)?))
        }
        _ => None,
    };
    let tables = tables.as_ref().map(|(cos, sin)| RotaryTables { cos, sin });
    let outputs = AttentionOutputs {
        o: poisoned::<T>(gpu, &attention.o_shape())?,
        lse: poisoned::<f32>(gpu, &attention.lse_shape())?,
    };
    let mut encoder = gpu.encoder();
    Append::new(gpu, append)?.encode(
        &mut encoder,
        AppendInputs { k: &k, v: &v, rotary: tables },
        &kept,
        &index,
    )?;
    if let (Some(rotate), Some(tables)) = (rotate, tables) {
        let turned = poisoned::<T>(gpu, &attention.q_shape())?;
        Rotate::new(gpu, rotate)?.encode(&mut encoder, &q, tables, index.positions(), &turned)?;
        q = turned;
    }
    let buffers = modified.as_ref().map_or(Ok(vec![]), |modified| modified.upload(gpu))?;
    let read: Vec<_> = buffers.iter().map(|(name, buffer)| (*name, buffer.table())).collect();
    let inputs = CachedAttentionInputs::new(&q, &kept, &index)
        .alibi(alibi.as_ref())
        .sinks(sinks.as_ref())
        .tables(&read);
    let mods = modified.as_ref().map_or_else(Mods::new, |modified| modified.mods.clone());
    CachedAttention::with_mods(gpu, *spec, &mods)?.encode(&mut encoder, inputs, &outputs)?;
    gpu.submit(encoder)?;
    let (o, lse) = (download(&outputs.o).await?, download(&outputs.lse).await?);
    let atol = of_few(cache.dtype, &reference.o);
    Ok(vec![
        Outcome::new("o", &o, &reference.o, &plain.o, Tolerance { multiple: 3.0, atol }),
        Outcome::new("lse", &lse, &reference.lse, &plain.lse, Tolerance { multiple: 3.0, atol: 1e-5 }),
    ])
}

impl Before {
    fn upload<T: Element>(&self, gpu: &Gpu, cache: &CacheSpec) -> Result<KvCache<T>, Error> {
        let (k_shape, v_shape) = (cache.k_shape(), cache.v_shape());
        if !cache.int8 {
            let (k, v) = (upload::<T>(gpu, &k_shape, &self.k)?, upload::<T>(gpu, &v_shape, &self.v)?);
            return KvCache::from_tensors(gpu, *cache, k, v);
        }
        let [k_scales, v_scales] = &self.scales;
        let k = quantised(&self.k, cache.head_dim, k_scales).0;
        let v = quantised(&self.v, cache.value_dim, v_scales).0;
        let k = crate::Tensor::from_slice(gpu, &k_shape, &k)?;
        let v = crate::Tensor::from_slice(gpu, &v_shape, &v)?;
        KvCache::from_int8(gpu, *cache, (k, k_scales), (v, v_scales))
    }
}
