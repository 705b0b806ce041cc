//! Measuring attention to caches, which is bound by how fast keys and values are read.

use super::{Sample, contend};
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::{Bench, centred, fetch};
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Workload, Yardstick};
use crate::verify::{Family, Inputs, poisoned};
use crate::{
    Attention, AttentionInputs, AttentionOutputs, AttentionSpec, CacheIndex, CacheSpec, CacheView,
    CachedAttention, CachedAttentionInputs, CachedAttentionSpec, DType, Element, Error, Gpu, KvCache, Tensor,
    by_dtype,
};

/// Keys of a page: as few as serving frameworks take.
const PAGE: usize = 16;

/// The scale of every head of an 8-bit cache: a power of two, so that every storage holds what integers stand for.
const SCALE: f32 = 1.0 / 32.0;

/// One new token against pages, in f16 and in 8-bit integers, with as many query heads as key heads and with eight times as
/// many.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<CachedAttentionSpec> {
    if depth == Depth::Quick {
        return vec![];
    }
    let (kv_heads, lengths): (usize, &[usize]) = match scale {
        Scale::Software => (1, &[16_384]),
        Scale::Modest => (2, &[16_384, 131_072]),
        Scale::Large => (8, &[16_384, 131_072]),
    };
    let spec = |keys: usize, group: usize, int8: bool| {
        let attention =
            AttentionSpec::new(DType::F16, 1, (1, keys), group * kv_heads, 128).kv_heads(kv_heads);
        let cache = CacheSpec::pages(DType::F16, keys.div_ceil(PAGE), PAGE, kv_heads, 128);
        CachedAttentionSpec::new(attention, if int8 { cache.int8() } else { cache })
    };
    let of_length = |&keys: &usize| {
        [(1, false), (8, false), (1, true), (8, true)].map(|(group, int8)| spec(keys, group, int8))
    };
    lengths.iter().flat_map(of_length).collect()
}

impl Workload for CachedAttentionSpec {
    fn family(&self) -> Family {
        Family::Attention
    }

    fn dtype(&self) -> DType {
        self.attention.dtype
    }

    fn flops(&self) -> f64 {
        self.attention.flops()
    }

    fn least_bytes(&self) -> u64 {
        self.least_bytes()
    }

    fn case(&self) -> String {
        let kept = if self.cache.int8 { "8-bit pages" } else { "pages" };
        format!("{}, in {kept}", self.attention.case())
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.attention.dtype, T => Box::pin(measure::<T>(bench, self)))
    }
}

/// Whole sequences in pages that lie in disorder, or each in its slot.
fn view(CachedAttentionSpec { attention, cache }: &CachedAttentionSpec) -> CacheView {
    let AttentionSpec { batch, k_len, .. } = *attention;
    let view = CacheView::new(vec![k_len as u32; batch]);
    if !cache.paged {
        return view;
    }
    let count = cache.blocks;
    // No divisor of the count, so that every page comes once.
    let step = [7919, 104_729, 1_299_709].into_iter().find(|step| !count.is_multiple_of(*step)).unwrap_or(1);
    let pages = batch * k_len.div_ceil(cache.block_len);
    view.block_table((0..pages).map(|i| (i * step % count) as u32).collect::<Vec<_>>())
}

/// Keys or values, or what an 8-bit cache keeps of them.
struct Rows<T> {
    dense: Vec<T>,
    integers: Vec<i8>,
}

impl<T: Element> Rows<T> {
    fn new(inputs: &mut Inputs, spec: &CachedAttentionSpec, width: usize) -> Self {
        let AttentionSpec { batch, k_len, kv_heads, .. } = spec.attention;
        let dense: Vec<T> = centred(inputs, batch * k_len * kv_heads * width, 1.0);
        if !spec.cache.int8 {
            return Self { dense, integers: vec![] };
        }
        let values: Vec<_> = dense.iter().map(|value| value.to_f64() as f32).collect();
        let integers = crate::ops::quantise(&values, SCALE);
        let stands_for = |integer: &i8| T::from_f64(f64::from(SCALE) * f64::from(*integer));
        Self { dense: integers.iter().map(stands_for).collect(), integers }
    }
}

/// The rows of all sequences where the cache has them.
fn scattered<V: Copy>(
    spec: &CachedAttentionSpec,
    view: &CacheView,
    (rows, width): (&[V], usize),
    nothing: V,
) -> Vec<V> {
    let CachedAttentionSpec { attention: AttentionSpec { batch, k_len, kv_heads, .. }, cache } = spec;
    let width = kv_heads * width;
    let mut all = vec![nothing; cache.blocks * cache.block_len * width];
    for (at, row) in rows.chunks_exact(width).enumerate().take(batch * k_len) {
        let place = view.key(cache, at / k_len, at % k_len);
        all[place * width..][..width].copy_from_slice(row);
    }
    all
}

fn upload<T: Element>(
    gpu: &Gpu,
    spec: &CachedAttentionSpec,
    view: &CacheView,
    [k, v]: [&Rows<T>; 2],
) -> Result<KvCache<T>, Error> {
    let cache = spec.cache;
    let (k_shape, v_shape) = (cache.k_shape(), cache.v_shape());
    if cache.int8 {
        let scales = vec![SCALE; cache.kv_heads];
        let k = scattered(spec, view, (&k.integers, cache.head_dim), 0);
        let v = scattered(spec, view, (&v.integers, cache.value_dim), 0);
        let (k, v) = (Tensor::from_slice(gpu, &k_shape, &k)?, Tensor::from_slice(gpu, &v_shape, &v)?);
        return KvCache::from_int8(gpu, cache, (k, &scales), (v, &scales));
    }
    let zero = T::from_f64(0.0);
    let k = scattered(spec, view, (&k.dense, cache.head_dim), zero);
    let v = scattered(spec, view, (&v.dense, cache.value_dim), zero);
    let (k, v) = (Tensor::from_slice(gpu, &k_shape, &k)?, Tensor::from_slice(gpu, &v_shape, &v)?);
    KvCache::from_tensors(gpu, cache, k, v)
}

/// Beside it attention to the same keys and values as dense tensors, in the type of the queries.
async fn measure<T: Element>(
    bench: &Bench<'_>,
    spec: &CachedAttentionSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let (gpu, attention) = (bench.gpu, &spec.attention);
    let mut inputs = Inputs::new(1);
    let q: Vec<T> = centred(&mut inputs, attention.q_shape().iter().product(), 1.0);
    let k = Rows::<T>::new(&mut inputs, spec, attention.head_dim);
    let v = Rows::<T>::new(&mut inputs, spec, attention.value_dim);
    let view = view(spec);
    let kept = upload(gpu, spec, &view, [&k, &v])?;
    let index = CacheIndex::new(gpu, &spec.cache, &view, attention.q_len)?;
    let host = [q, k.dense, v.dense];
    let sample = Sample::new(attention, &host);
    let q = Tensor::from_slice(gpu, &attention.q_shape(), &host[0])?;
    let op = CachedAttention::new(gpu, *spec)?;
    let given = CachedAttentionInputs::new(&q, &kept, &index);
    let figures = bench
        .contend(
            "fused",
            op.plan(),
            || {
                Ok(AttentionOutputs {
                    o: poisoned::<T>(gpu, &attention.o_shape())?,
                    lse: poisoned::<f32>(gpu, &attention.lse_shape())?,
                })
            },
            |encoder, outputs| op.encode(encoder, given, outputs),
            async |outputs| {
                Ok(vec![
                    sample.check_o(fetch(&outputs.o).await?),
                    sample.check_lse(fetch(&outputs.lse).await?),
                ])
            },
        )
        .await?;
    let dense = Bench::yardstick("contiguous", async || {
        let k = Tensor::from_slice(gpu, &attention.k_shape(), &host[1])?;
        let v = Tensor::from_slice(gpu, &attention.v_shape(), &host[2])?;
        let op = Attention::new(gpu, *attention)?;
        contend(bench, "contiguous", &op, AttentionInputs::new(&q, &k, &v), attention, &sample).await
    })
    .await?;
    Ok((figures, vec![dense]))
}
