//! Attention to caches: what the acceptance grid does not show.

use half::f16;
use tilewise::verify::Inputs;
use tilewise::{
    Alibi, AttentionSpec, BlockMask, CacheIndex, CacheSpec, CacheView, CachedAttention,
    CachedAttentionInputs, CachedAttentionSpec, DType, Gpu, KvCache, Mods, Tensor, caps, mods,
};

use crate::common;

/// Values in [-1, 1].
fn drawn(seed: u64, shape: &[usize]) -> Vec<f32> {
    let values = Inputs::new(seed).uniform(shape.iter().product(), -1.0, 1.0);
    values.into_iter().map(|value| value as f32).collect()
}

/// Two sequences in pages of four keys, in an order of their own.
const TABLE: [u32; 16] = [9, 1, 14, 3, 12, 5, 8, 7, 6, 0, 10, 11, 4, 13, 2, 15];

fn cache() -> CacheSpec {
    CacheSpec::pages(DType::F32, 16, 4, 2, 8)
}

/// The place of a sequence's key in the cache.
fn place(sequence: usize, key: usize) -> usize {
    TABLE[sequence * 8 + key / 4] as usize * 4 + key % 4
}

/// Output and log-sum-exp of one query of each sequence.
fn attend(gpu: &Gpu, view: &CacheView, (k, v): (&[f32], &[f32])) -> (Vec<f32>, Vec<f32>) {
    let cache = cache();
    let attention = AttentionSpec::new(DType::F32, 2, (1, 32), 4, 8).kv_heads(2);
    let upload = |shape: &[usize], values: &[f32]| Tensor::from_slice(gpu, shape, values).unwrap();
    let q = upload(&attention.q_shape(), &drawn(1, &attention.q_shape()));
    let (k, v) = (upload(&cache.k_shape(), k), upload(&cache.v_shape(), v));
    let kept = KvCache::from_tensors(gpu, cache, k, v).unwrap();
    let index = CacheIndex::new(gpu, &cache, view, 1).unwrap();
    let op = CachedAttention::new(gpu, CachedAttentionSpec::new(attention, cache)).unwrap();
    let outputs = op.run(CachedAttentionInputs::new(&q, &kept, &index)).unwrap();
    (outputs.o.read_blocking().unwrap(), outputs.lse.read_blocking().unwrap())
}

#[test]
fn what_other_keys_hold_reaches_no_sequence() {
    for (name, gpu) in common::gpus() {
        let view = CacheView::new([9, 30]).left_pad([3, 0]).block_table(TABLE);
        let (mut k, mut v) = (drawn(2, &cache().k_shape()), drawn(3, &cache().v_shape()));
        let (o, lse) = attend(&gpu, &view, (&k, &v));
        assert!(o.iter().chain(&lse).all(|x| x.is_finite()), "{name}");
        let mut spoil = |place: usize| {
            k[place * 16..][..16].fill(f32::NAN);
            v[place * 16..][..16].fill(f32::INFINITY);
            attend(&gpu, &view, (&k, &v))
        };
        // Padding on the left, a key behind the last of a page that is not full, and a page of nobody's.
        spoil(place(0, 2));
        spoil(place(0, 9));
        let found = spoil(place(0, 30));
        assert!(found == (o.clone(), lse.clone()), "{name}");
        let (spoilt_o, spoilt_lse) = spoil(place(1, 17));
        assert!(spoilt_o[..32] == o[..32] && spoilt_lse[..4] == lse[..4], "{name}: the other sequence's key");
        assert!(spoilt_o[32..].iter().chain(&spoilt_lse[4..]).all(|x| x.is_nan()), "{name}: its own key");
    }
}

#[test]
fn a_sequence_without_keys_has_no_answer_but_zeros() {
    for (name, gpu) in common::gpus() {
        let (k, v) = (drawn(2, &cache().k_shape()), drawn(3, &cache().v_shape()));
        for pad in [0, 5] {
            let view = CacheView::new([pad, 30]).left_pad([pad, 0]).block_table(TABLE);
            let (o, lse) = attend(&gpu, &view, (&k, &v));
            assert!(o[..32].iter().all(|&x| x == 0.0), "{name}: {o:?}");
            assert!(lse[..4].iter().all(|x| x.total_cmp(&f32::NEG_INFINITY).is_eq()), "{name}: {lse:?}");
            assert!(o[32..].iter().all(|&x| x != 0.0) && lse[4..].iter().all(|x| x.is_finite()), "{name}");
        }
    }
}

/// With everything that an 8-bit cache can have, in keys that are split among workgroups.
#[test]
fn results_repeat_bit_for_bit() {
    let cache = CacheSpec::pages(DType::F16, 300, 16, 2, 24).int8();
    let attention = AttentionSpec::new(DType::F16, 2, (1, 2100), 4, 24).kv_heads(2).causal();
    let attention = attention.sinks().alibi(Alibi::PerBatchHead).softcap(20.0);
    let table: Vec<_> = (0..264).map(|i| i * 7 % 300).collect();
    let view = CacheView::new([2100, 1500]).left_pad([0, 40]).block_table(table);
    let mods = Mods::new().score(mods::scaled(1.5)).mask(mods::dilated(3));
    for (name, gpu) in common::gpus() {
        let integers = |seed, shape: &[usize]| {
            let values: Vec<_> = drawn(seed, shape).into_iter().map(|x| (x * 127.0) as i8).collect();
            Tensor::from_slice(&gpu, shape, &values).unwrap()
        };
        let floats = |seed, shape: &[usize]| Tensor::from_slice(&gpu, shape, &drawn(seed, shape)).unwrap();
        let (k, v) = (integers(2, &cache.k_shape()), integers(3, &cache.v_shape()));
        let kept = KvCache::<f16>::from_int8(&gpu, cache, (k, &[0.02, 0.03]), (v, &[0.01, 0.02])).unwrap();
        let index = CacheIndex::new(&gpu, &cache, &view, 1).unwrap();
        let q: Vec<_> = drawn(1, &attention.q_shape()).into_iter().map(f16::from_f32).collect();
        let q = Tensor::from_slice(&gpu, &attention.q_shape(), &q).unwrap();
        let (slopes, sinks) = (floats(4, &[2, 4]), floats(5, &[4]));
        let inputs = CachedAttentionInputs::new(&q, &kept, &index).alibi(&slopes).sinks(&sinks);
        let op = CachedAttention::with_mods(&gpu, CachedAttentionSpec::new(attention, cache), &mods).unwrap();
        assert!(op.plan().splits > 1, "{name}: {}", op.plan());
        let run = || {
            let outputs = op.run(inputs).unwrap();
            (outputs.o.read_blocking().unwrap(), outputs.lse.read_blocking().unwrap())
        };
        let first = run();
        assert!(first.0.iter().all(|x| x.to_f32() != 0.0), "{name}");
        for repeat in 1..50 {
            assert!(run() == first, "repeat {repeat} differs ({name})");
        }
    }
}

/// A cache's sequences have lengths of their own, for which a mask of blocks has no shape.
#[test]
fn masks_of_blocks_are_refused() {
    let Some(gpu) = common::open(Some(caps::WEBGPU_BASELINE)) else { return };
    let attention = AttentionSpec::new(DType::F32, 2, (1, 32), 4, 8).kv_heads(2);
    let mask = BlockMask::new((1, 32), &[1, 1], &[true]).unwrap();
    let spec = CachedAttentionSpec::new(attention, cache());
    let error = CachedAttention::with_mods(&gpu, spec, &Mods::new().blocks(mask)).unwrap_err().to_string();
    assert_eq!(error, "block_mask is given, expected none for attention to a cache");
}
