//! Operations of the attention family.

use super::zeros;
use tilewise::caps::PROFILES;
use tilewise::{
    Alibi, Append, AppendInputs, AppendSpec, Attention, AttentionInputs, AttentionOutputs, AttentionSpec,
    BlockMask, CacheIndex, CacheSpec, CacheView, CachedAttention, CachedAttentionInputs, CachedAttentionSpec,
    DType, Element, Gpu, KvCache, Merge, MergeSpec, Mods, Rotary, RotaryPairs, RotaryTables, Rotate,
    RotateSpec, Table, Tensor, by_dtype, mods,
};

pub fn attention<T: Element>(gpu: &Gpu, spec: AttentionSpec) {
    let (q, k, v) =
        (zeros::<T>(gpu, &spec.q_shape()), zeros(gpu, &spec.k_shape()), zeros(gpu, &spec.v_shape()));
    let inputs = AttentionInputs::new(&q, &k, &v);
    Attention::new(gpu, spec).unwrap().run(inputs).unwrap();
}

fn merge<T: Element>(gpu: &Gpu, spec: MergeSpec) {
    let part = AttentionOutputs { o: zeros::<T>(gpu, &spec.o_shape()), lse: zeros(gpu, &spec.lse_shape()) };
    Merge::new(gpu, spec).unwrap().run(&part, &part).unwrap();
}

/// A step of decoding: new keys turned and appended, and queries turned.
fn step<T: Element>(gpu: &Gpu, cache: CacheSpec, view: &CacheView) {
    let rotary = Rotary::new(32, RotaryPairs::Half, 100);
    let spec = AppendSpec::new(cache, 2, 3).rotary(rotary);
    let (k, v) = (zeros::<T>(gpu, &spec.k_shape()), zeros::<T>(gpu, &spec.v_shape()));
    let (cos, sin) = (zeros(gpu, &rotary.table_shape()), zeros(gpu, &rotary.table_shape()));
    let tables = RotaryTables { cos: &cos, sin: &sin };
    let kept = if cache.int8 {
        KvCache::zeros_int8(gpu, cache, &[0.1; 2], &[0.1; 2]).unwrap()
    } else {
        KvCache::zeros(gpu, cache).unwrap()
    };
    let index = CacheIndex::new(gpu, &cache, view, 3).unwrap();
    let inputs = AppendInputs { k: &k, v: &v, rotary: Some(tables) };
    Append::new(gpu, spec).unwrap().run(inputs, &kept, &index).unwrap();
    let spec = RotateSpec::new(T::DTYPE, 2, 3, 4, 64, rotary);
    let x = zeros::<T>(gpu, &spec.shape());
    let q = Rotate::new(gpu, spec).unwrap().run(&x, tables, index.positions()).unwrap();
    let attention = AttentionSpec::new(T::DTYPE, 2, (3, 30), 4, 64).kv_heads(2).causal();
    let spec = CachedAttentionSpec::new(attention, cache);
    let attention = CachedAttention::new(gpu, spec).unwrap();
    attention.run(CachedAttentionInputs::new(&q, &kept, &index)).unwrap();
}

/// With more buffers than some profiles bind.
fn modified(gpu: &Gpu) {
    let spec = AttentionSpec::new(DType::F32, 2, (97, 113), 6, 64).kv_heads(2);
    let mods = Mods::new()
        .score(mods::alibi())
        .score(mods::relative_bias(4))
        .mask(mods::documents())
        .mask(mods::prefix_lm())
        .blocks(BlockMask::from_fn(&spec, (20, 30), |q, k| q != k).unwrap());
    let (slopes, bias) = (zeros::<f32>(gpu, &[6]), zeros::<f32>(gpu, &[6, 9]));
    let documents = Tensor::from_slice(gpu, &[2, 113], &[0_u32; 226]).unwrap();
    let prefix = Tensor::from_slice(gpu, &[2], &[5_u32, 7]).unwrap();
    let tables = [
        ("documents", Table::from(&documents)),
        ("prefix", Table::from(&prefix)),
        ("slopes", Table::from(&slopes)),
        ("bias", Table::from(&bias)),
    ];
    let (q, k, v) =
        (zeros::<f32>(gpu, &spec.q_shape()), zeros(gpu, &spec.k_shape()), zeros(gpu, &spec.v_shape()));
    let attention = Attention::with_mods(gpu, spec, &mods).unwrap();
    attention.run(AttentionInputs::new(&q, &k, &v).tables(&tables)).unwrap();
}

/// An 8-bit cache with everything of each head.
fn decoding(gpu: &Gpu) {
    let attention = AttentionSpec::new(DType::F32, 2, (1, 30), 4, 64).kv_heads(2).sinks();
    let attention = attention.alibi(Alibi::PerBatchHead);
    let cache = CacheSpec::slots(DType::F32, 2, 30, 2, 64).int8();
    let kept = KvCache::zeros_int8(gpu, cache, &[0.1; 2], &[0.1; 2]).unwrap();
    let index = CacheIndex::new(gpu, &cache, &CacheView::new([9, 30]), 1).unwrap();
    let (q, slopes) = (zeros::<f32>(gpu, &attention.q_shape()), zeros::<f32>(gpu, &[2, 4]));
    let sinks = zeros::<f32>(gpu, &[4]);
    let prefix = Tensor::from_slice(gpu, &[2], &[5_u32, 7]).unwrap();
    let tables = [("prefix", Table::from(&prefix))];
    let inputs = CachedAttentionInputs::new(&q, &kept, &index).alibi(&slopes).sinks(&sinks).tables(&tables);
    let mods = Mods::new().mask(mods::prefix_lm());
    let spec = CachedAttentionSpec::new(attention, cache);
    CachedAttention::with_mods(gpu, spec, &mods).unwrap().run(inputs).unwrap();
}

pub fn run_all(gpu: &Gpu) {
    for dtype in DType::ALL {
        for (head_dim, q_len) in [(64, 97), (111, 1), (256, 203)] {
            let spec = AttentionSpec::new(dtype, 2, (q_len, 113), 6, head_dim).kv_heads(2).causal();
            by_dtype!(dtype, T => attention::<T>(gpu, spec));
            by_dtype!(dtype, T => merge::<T>(gpu, MergeSpec::of(&spec)));
        }
        let slots = (CacheSpec::slots(dtype, 4, 50, 2, 64), CacheView::new([9, 30]).slots([3, 1]));
        let pages =
            (CacheSpec::pages(dtype, 8, 10, 2, 64), CacheView::new([9, 30]).block_table([5, 0, 0, 1, 2, 7]));
        for (cache, view) in [slots, pages] {
            by_dtype!(dtype, T => step::<T>(gpu, cache, &view));
            by_dtype!(dtype, T => step::<T>(gpu, cache.int8(), &view));
        }
    }
    modified(gpu);
    decoding(gpu);
}

#[test]
fn steps_that_do_not_go_together_are_refused_with_numbers() {
    let gpu = super::pose(&PROFILES[0]);
    let cache = CacheSpec::slots(DType::F32, 4, 50, 2, 64);
    let attention = AttentionSpec::new(DType::F32, 2, (1, 40), 4, 64).kv_heads(2);
    let op = CachedAttention::new(&gpu, CachedAttentionSpec::new(attention, cache)).unwrap();
    let (q, kept) = (zeros::<f32>(&gpu, &attention.q_shape()), KvCache::zeros(&gpu, cache).unwrap());
    let index = |view: CacheView, q_len| CacheIndex::new(&gpu, &cache, &view, q_len).unwrap();
    let attended = |index: &CacheIndex| op.run(CachedAttentionInputs::new(&q, &kept, index)).unwrap_err();
    assert_eq!(
        attended(&index(CacheView::new([41, 3]), 1)).to_string(),
        "the longest sequence is 41, expected at most k_len = 40, as planned"
    );
    assert_eq!(
        attended(&index(CacheView::new([40, 3]), 2)).to_string(),
        "the cache's index is of 2 sequences of 2 queries, expected 2 of 1"
    );

    let rotary = Rotary::new(32, RotaryPairs::Half, 40);
    let spec = AppendSpec::new(cache, 2, 1).rotary(rotary);
    let (k, v) = (zeros::<f32>(&gpu, &spec.k_shape()), zeros::<f32>(&gpu, &spec.v_shape()));
    let table = zeros(&gpu, &rotary.table_shape());
    let inputs = AppendInputs { k: &k, v: &v, rotary: Some(RotaryTables { cos: &table, sin: &table }) };
    let append = Append::new(&gpu, spec).unwrap();
    let appended = |inputs, view| append.run(inputs, &kept, &index(view, 1)).unwrap_err().to_string();
    assert_eq!(
        appended(inputs, CacheView::new([3, 3]).slots([1, 1])),
        "where a new key goes is key 2 of block 1 for sequences 0 and 1, expected a place for each"
    );
    assert_eq!(
        appended(inputs, CacheView::new([3, 41])),
        "a rotary position is 40, expected below 40, the positions of the rotary tables"
    );
    assert_eq!(
        appended(AppendInputs { rotary: None, ..inputs }, CacheView::new([3, 4])),
        "a rotary table is missing, but the spec needs it"
    );
    assert_eq!(
        appended(AppendInputs { k: &v, v: &q, ..inputs }, CacheView::new([3, 4])),
        "v has shape [2, 1, 4, 64], expected [2, 1, 2, 64]"
    );
}
