//! `attention` to a cache of keys and values.

use std::fmt;

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{AppendPlan, AttentionPlan, RotatePlan};
use tilewise::{
    Append, AppendInputs, AppendSpec, AttentionSpec, CacheIndex, CacheSpec, CacheView, CachedAttention,
    CachedAttentionInputs, CachedAttentionSpec, Caps, Element, Gpu, KvCache, Mods, Rotary, RotaryPairs,
    RotaryTables, Rotate, RotateSpec, Window, by_dtype,
};

use super::attention::alibi;
use super::attention_mods::{ModOptions, fmt_mods};
use super::{Fields, Operation, Planned, apart, fields};
use crate::failure::Failure;
use crate::tensors::{Output, TensorFile};

/// Whether a file's keys and values are those of a cache.
pub fn is_cached(file: &TensorFile<'_>) -> bool {
    file.has("k_cache") || file.has("block_table")
}

// What a plan of attention is told of a cache. Not a doc comment: clap would give it to the command.
#[derive(Debug, Args)]
pub struct CacheSizes {
    /// Attend to a cache with a slot of k-len keys for each batch
    #[arg(long)]
    cache: bool,
    /// The cache consists of pages of so many keys instead, enough for k-len keys of each batch
    #[arg(long, requires = "cache", value_name = "KEYS")]
    page_len: Option<usize>,
    /// The cache keeps 8-bit integers, with a scale for each head
    #[arg(long, requires = "cache")]
    int8: bool,
    /// New keys of each batch that are appended first; 0 for none [default: one for each query]
    #[arg(long, requires = "cache", value_name = "KEYS")]
    append: Option<usize>,
    /// Turn so many elements of new keys and of queries by their positions
    #[arg(long, requires = "cache", value_name = "DIM")]
    rotary: Option<usize>,
    /// Turn neighbouring elements together, instead of the two halves
    #[arg(long, requires = "rotary")]
    rotary_interleaved: bool,
}

impl CacheSizes {
    /// A step of decoding with that attention, checked, if there is a cache.
    pub fn step(&self, attention: AttentionSpec) -> Result<Option<Box<dyn Operation>>, Failure> {
        if !self.cache {
            return Ok(None);
        }
        let AttentionSpec { dtype, batch, q_len, k_len, kv_heads, head_dim, value_dim, .. } = attention;
        let cache = match self.page_len {
            None => CacheSpec::slots(dtype, batch, k_len, kv_heads, head_dim),
            Some(page_len) => {
                let pages = batch.saturating_mul(k_len.div_ceil(page_len.max(1)));
                CacheSpec::pages(dtype, pages, page_len, kv_heads, head_dim)
            }
        };
        let cache = CacheSpec { int8: self.int8, ..cache.value_dim(value_dim) };
        let spec = CachedAttentionSpec::new(attention, cache);
        spec.check()?;
        let pairs = if self.rotary_interleaved { RotaryPairs::Interleaved } else { RotaryPairs::Half };
        let rotary = self.rotary.map(|dim| Rotary::new(dim, pairs, k_len));
        let new = self.append.unwrap_or(q_len);
        let append = (new > 0).then(|| AppendSpec { rotary, ..AppendSpec::new(cache, batch, new) });
        let rotate = rotary.map(|rotary| rotate(&attention, rotary));
        append.map_or(Ok(()), |append| append.check())?;
        rotate.map_or(Ok(()), |rotate| rotate.check())?;
        let view = CacheView::new(vec![k_len as u32; batch]);
        let (mods, names) = (Mods::new(), NAMES);
        Ok(Some(Box::new(Step { spec, mods, append, rotate, view, names })))
    }
}

/// The names of a cache's tensors.
const NAMES: [&str; 2] = ["k_cache", "v_cache"];

/// How queries are turned.
fn rotate(attention: &AttentionSpec, rotary: Rotary) -> RotateSpec {
    let AttentionSpec { dtype, batch, q_len, heads, head_dim, causal, window, .. } = *attention;
    let spec = RotateSpec::new(dtype, batch, q_len, heads, head_dim, rotary);
    // Without a mask by position all queries stand where the first one does.
    if causal || window != Window::default() { spec } else { spec.in_place() }
}

/// A step of decoding: new keys turned and appended if there are any, queries turned, and attention to it all.
struct Step {
    spec: CachedAttentionSpec,
    mods: Mods,
    append: Option<AppendSpec>,
    rotate: Option<RotateSpec>,
    /// After the append.
    view: CacheView,
    /// The names of the cache's tensors.
    names: [&'static str; 2],
}

/// What the file's tensors say; `complete` adds the options to the attention, `interleaved` says which elements are turned
/// together, and `mods` are those of attention of so many queries and keys.
pub fn operation(
    file: &TensorFile<'_>,
    complete: impl FnOnce(AttentionSpec) -> AttentionSpec,
    interleaved: bool,
    mods: impl FnOnce((usize, usize)) -> Result<Mods, Failure>,
) -> Result<Box<dyn Operation>, Failure> {
    let q = file.get("q")?;
    let [batch, q_len, heads, head_dim] = q.sizes("batch, q_len, heads, head_dim")?;
    // Pages may also go by the names of keys and values, if nothing is to be appended to them.
    let names = if file.has("k_cache") { NAMES } else { ["k", "v"] };
    let [k_shape, v_shape] = [file.shape(names[0])?, file.shape(names[1])?];
    let table = file.find_integers("block_table")?;
    let sizes = |shape: &[usize], name: &str| -> Result<[usize; 4], Failure> {
        shape.try_into().map_err(|_| {
            let expected = "(slots, keys, kv_heads, dim) or (pages, page size, kv_heads, dim)";
            Failure::input(format!("{name} has shape {shape:?}, expected four sizes: {expected}"))
        })
    };
    let [blocks, block_len, kv_heads, _] = sizes(&k_shape, names[0])?;
    let [.., value_dim] = sizes(&v_shape, names[1])?;
    let int8 = file.is_int8(names[0])?;
    let cache = CacheSpec {
        paged: table.is_some(),
        int8,
        ..CacheSpec::slots(q.dtype, blocks, block_len, kv_heads, head_dim).value_dim(value_dim)
    };
    for (name, shape, expected) in
        [(names[0], k_shape, cache.k_shape()), (names[1], v_shape, cache.v_shape())]
    {
        if shape != expected {
            return Err(Failure::input(format!("{name} has shape {shape:?}, expected {expected:?}")));
        }
    }
    let appended = names[0] == "k_cache" && file.has("k");
    let new = if appended { file.get("k")?.sizes::<4>("batch, new keys, kv_heads, head_dim")?[1] } else { 0 };
    let room = match &table {
        Some(table) => {
            let [rows, pages] = *table.shape.as_slice() else {
                let shape = &table.shape;
                return Err(Failure::input(format!(
                    "block_table has shape {shape:?}, expected (batch, max_pages)"
                )));
            };
            if rows != batch {
                return Err(Failure::input(format!(
                    "block_table has {rows} rows, expected {batch}, one a sequence"
                )));
            }
            pages * block_len
        }
        None => block_len,
    };
    let view = view(file, table.map(|table| table.values), (batch, new, room))?;
    view.check(&cache, new)?;

    let attention = AttentionSpec::new(q.dtype, batch, (q_len, view.longest()), heads, head_dim);
    let (slopes, sink) = (file.find("alibi_slopes")?, file.find("sink")?);
    let attention = attention.kv_heads(kv_heads).value_dim(value_dim).alibi(alibi(slopes.as_ref()));
    let attention = complete(if sink.is_some() { attention.sinks() } else { attention });
    if let Some(slopes) = slopes {
        slopes.expect_shape(&attention.alibi_shape())?;
    }
    if let Some(sink) = sink {
        sink.expect_shape(&[heads])?;
    }
    let mods = mods((q_len, attention.k_len))?;
    let rotary = match (file.find("rotary_cos")?, file.find("rotary_sin")?) {
        (None, None) => None,
        (Some(cos), Some(sin)) => {
            let [positions, pairs] = cos.sizes("positions, rotary dim / 2")?;
            sin.expect_shape(&[positions, pairs])?;
            let kind = if interleaved { RotaryPairs::Interleaved } else { RotaryPairs::Half };
            Some(Rotary::new(2 * pairs, kind, positions))
        }
        _ => return Err(Failure::input("rotary_cos and rotary_sin go together; one is missing".to_owned())),
    };
    let rotate = rotary.map(|rotary| rotate(&attention, rotary));
    let append = appended.then(|| AppendSpec { rotary, ..AppendSpec::new(cache, batch, new) });
    if let Some(append) = &append {
        append.check()?;
        file.get("k")?.expect_shape(&append.k_shape())?;
        file.get("v")?.expect_shape(&append.v_shape())?;
    }
    if let Some(rotate) = &rotate {
        rotate.check()?;
    }
    let spec = CachedAttentionSpec::new(attention, cache);
    spec.check()?;
    Ok(Box::new(Step { spec, mods, append, rotate, view, names }))
}

/// Where sequences lie, with the lengths that they have after the append.
fn view(
    file: &TensorFile<'_>,
    table: Option<Vec<u32>>,
    (batch, new, room): (usize, usize, usize),
) -> Result<CacheView, Failure> {
    let of_batch = |name| match file.find_integers(name)? {
        Some(list) if list.shape != [batch] => {
            let shape = &list.shape;
            Err(Failure::input(format!("{name} has shape {shape:?}, expected [{batch}], one a sequence")))
        }
        list => Ok(list.map(|list| list.values)),
    };
    let before = match (of_batch("cache_seqlens")?, file.find_integers("cu_seqlens_k")?) {
        (Some(lengths), _) => lengths,
        (None, Some(sums)) => {
            let increases = sums.values.windows(2).all(|pair| pair[0] <= pair[1]);
            if sums.values.len() != batch + 1 || !increases {
                return Err(Failure::input(format!(
                    "cu_seqlens_k is {:?}, expected {} prefix sums that never decrease",
                    sums.values,
                    batch + 1
                )));
            }
            sums.values.windows(2).map(|pair| pair[1] - pair[0]).collect()
        }
        (None, None) => vec![room.saturating_sub(new) as u32; batch],
    };
    // What is too long is refused with the other lengths.
    let lengths: Vec<_> = before.into_iter().map(|length| length.saturating_add(new as u32)).collect();
    Ok(CacheView {
        lengths,
        slots: of_batch("cache_batch_idx")?,
        left_pad: of_batch("leftpad_k")?,
        block_table: table,
    })
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)?;
        fmt_mods(&self.mods, f)?;
        if let Some(append) = &self.append {
            write!(f, ", {} keys appended", append.len)?;
        }
        self.rotate.map_or(Ok(()), |rotate| write!(f, ", {}", rotate.rotary))
    }
}

impl Operation for Step {
    fn fields(&self) -> Fields {
        fields(&self.spec)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let mut planned = vec![];
        if let Some(append) = &self.append {
            planned.push(Planned::new("append", &AppendPlan::new(append, caps)?, shaders::append)?);
        }
        if let Some(rotate) = &self.rotate {
            planned.push(Planned::new("rotate", &RotatePlan::new(rotate, caps)?, shaders::rotate)?);
        }
        let plan = AttentionPlan::cached_with_mods(&self.spec, &self.mods, caps)?;
        let shaders = |plan: &_| shaders::attention_with_mods(plan, &self.mods);
        planned.push(Planned::new("forward", &plan, shaders)?);
        Ok(planned)
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.spec.attention.dtype, T => apart(|| self.compute_as::<T>(gpu, file)))
    }
}

impl Step {
    fn compute_as<T: Element>(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        let Self { spec: CachedAttentionSpec { attention, cache }, mods, append, rotate, view, .. } = self;
        let buffers = ModOptions::upload(mods, gpu, file)?;
        let read: Vec<_> = buffers.iter().map(|(name, buffer)| (name.as_str(), buffer.table())).collect();
        let kept = self.cache::<T>(gpu, file)?;
        let tables = (file.upload_f32(gpu, "rotary_cos")?, file.upload_f32(gpu, "rotary_sin")?);
        let tables = match &tables {
            (Some(cos), Some(sin)) => Some(RotaryTables { cos, sin }),
            _ => None,
        };
        if let Some(append) = append {
            let (k, v) = (file.upload::<T>(gpu, "k")?, file.upload::<T>(gpu, "v")?);
            let index = CacheIndex::new(gpu, cache, view, append.len)?;
            let rotary = tables.filter(|_| append.rotary.is_some());
            Append::new(gpu, *append)?.run(AppendInputs { k: &k, v: &v, rotary }, &kept, &index)?;
        }
        let mut q = file.upload::<T>(gpu, "q")?;
        if let (Some(rotate), Some(tables)) = (rotate, tables) {
            // Queries stand where the new keys do, and at the end of the sequence where there are none.
            let new = append.map_or(attention.q_len, |append| append.len) as u32;
            let positions: Vec<_> = view.lengths.iter().map(|length| length.saturating_sub(new)).collect();
            q = Rotate::new(gpu, *rotate)?.run(&q, tables, &positions)?;
        }
        let (slopes, sinks) = (file.upload_f32(gpu, "alibi_slopes")?, file.upload_f32(gpu, "sink")?);
        let index = CacheIndex::new(gpu, cache, view, attention.q_len)?;
        let inputs =
            CachedAttentionInputs::new(&q, &kept, &index).alibi(slopes.as_ref()).sinks(sinks.as_ref());
        let outputs = CachedAttention::with_mods(gpu, self.spec, mods)?.run(inputs.tables(&read))?;
        let mut written = vec![Output::on_device("o", &outputs.o), Output::on_device("lse", &outputs.lse)];
        if append.is_some() {
            if let Some((k, v)) = kept.tensors() {
                written.extend([Output::on_device("k_cache", k), Output::on_device("v_cache", v)]);
            }
            if let Some((k, v)) = kept.int8_tensors() {
                written.extend([Output::int8_on_device("k_cache", k), Output::int8_on_device("v_cache", v)]);
            }
        }
        Ok(written)
    }

    fn cache<T: Element>(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<KvCache<T>, Failure> {
        let (cache, [k, v]) = (self.spec.cache, self.names);
        if !cache.int8 {
            let (k, v) = (file.upload::<T>(gpu, k)?, file.upload::<T>(gpu, v)?);
            return Ok(KvCache::from_tensors(gpu, cache, k, v)?);
        }
        let scales = |name| file.get(name)?.values_f32();
        let (k_scales, v_scales) = (scales("k_scale")?, scales("v_scale")?);
        let (k, v) = (file.upload_int8(gpu, k)?, file.upload_int8(gpu, v)?);
        Ok(KvCache::from_int8(gpu, cache, (k, &k_scales), (v, &v_scales))?)
    }
}
