//! Plans of the attention family.

use tilewise::baseline::{self, UnfusedAttentionBackwardPlan, UnfusedAttentionPlan};
use tilewise::plan::{
    AppendPlan, AttentionBackwardPlan, AttentionPlan, AttentionProbabilitiesPlan, MergePlan, RotatePlan,
};
use tilewise::{
    Alibi, AppendSpec, AttentionSpec, BlockMask, CacheSpec, CachedAttentionSpec, Caps, DType, MergeSpec,
    Mods, Rotary, RotaryPairs, RotateSpec, Snippet, mods, ops,
};

use super::Planned;

/// Widths of keys and of values: by fours and by ones, within a slice and over many.
const HEAD_DIMS: [(usize, usize); 7] =
    [(1, 1), (8, 8), (40, 40), (64, 96), (111, 59), (128, 128), (256, 256)];

pub fn attention(name: &str, spec: AttentionSpec, caps: &Caps) -> Planned {
    Planned::new(name, AttentionPlan::new(&spec, caps), ops::shaders::attention)
}

/// Forward, backward and the probabilities.
fn modified(name: &str, spec: AttentionSpec, mods: &Mods, caps: &Caps) -> [Planned; 3] {
    let forward = AttentionPlan::with_mods(&spec, mods, caps);
    let backward = AttentionBackwardPlan::with_mods(&spec, mods, caps);
    let probabilities = AttentionProbabilitiesPlan::with_mods(&spec, mods, caps);
    [
        Planned::new(name, forward, |plan| ops::shaders::attention_with_mods(plan, mods)),
        Planned::new(name, backward, |plan| ops::shaders::attention_backward_with_mods(plan, mods)),
        Planned::new(name, probabilities, |plan| ops::shaders::attention_probabilities_with_mods(plan, mods)),
    ]
}

/// Every ready-made mod, and masks of blocks of whole tiles and across tiles.
fn with_mods(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let spec = AttentionSpec::new(dtype, 2, (200, 300), 4, 40);
    let blocks = |size| BlockMask::from_fn(&spec, size, |q, k| (q + k) % 2 == 0).expect("a mask that fits");
    let is_mask = |snippet: &Snippet| snippet.source.contains("fn mask_mod(");
    let all = mods::all().into_iter().fold(Mods::new(), |mods, snippet| {
        if is_mask(&snippet) { mods.mask(snippet) } else { mods.score(snippet) }
    });
    let all_mods = all.clone();
    let cases = [
        ("every ready-made mod", all.clone()),
        ("and blocks across tiles", all.blocks(blocks((20, 30)))),
        ("blocks of whole tiles", Mods::new().blocks(blocks((256, 256)))),
        ("blocks across tiles", Mods::new().blocks(blocks((20, 30)))),
        ("a score mod alone", Mods::new().score(mods::identity())),
    ];
    let dense =
        cases.iter().flat_map(|(name, mods)| modified(&format!("{spec:?}, {name}"), spec, mods, caps));
    let packed = spec.packed(300, 500).alibi(Alibi::PerHead).sinks();
    let packed = modified(&format!("{packed:?}, every ready-made mod"), packed, &all_mods, caps);
    let attention = AttentionSpec { q_len: 3, ..spec }.kv_heads(2).alibi(Alibi::PerBatchHead).sinks();
    let cache = CacheSpec::pages(dtype, 40, 16, 2, 40).int8();
    let spec = CachedAttentionSpec::new(attention, cache);
    let plan = AttentionPlan::cached_with_mods(&spec, &all_mods, caps);
    let cached = Planned::new(&format!("{spec}, every ready-made mod"), plan, |plan| {
        ops::shaders::attention_with_mods(plan, &all_mods)
    });
    dense.chain(packed).chain([cached]).collect()
}

pub fn backward(name: &str, spec: AttentionSpec, caps: &Caps) -> Planned {
    Planned::new(name, AttentionBackwardPlan::new(&spec, caps), ops::shaders::attention_backward)
}

fn probabilities(name: &str, spec: AttentionSpec, caps: &Caps) -> Planned {
    Planned::new(name, AttentionProbabilitiesPlan::new(&spec, caps), ops::shaders::attention_probabilities)
}

pub fn samples(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (head_dim, value_dim) in HEAD_DIMS {
        for q_len in [1, 10, 30, 100] {
            let spec = AttentionSpec::new(dtype, 1, (q_len, 1000), 4, head_dim).value_dim(value_dim);
            planned.push(attention(&format!("{spec:?}"), spec, caps));
        }
        let spec = AttentionSpec::new(dtype, 1, (64, 64), 1, head_dim).value_dim(value_dim);
        planned.push(attention(&format!("{spec:?}, softcap"), spec.softcap(5.0), caps));
        planned.push(attention(&format!("{spec:?}, alibi"), spec.alibi(Alibi::PerHead), caps));
        planned.push(backward(&format!("{spec:?}, backward"), spec, caps));
        let spec = MergeSpec::new(dtype, 1, 3, 2, value_dim);
        let plan = MergePlan::new(&spec, caps);
        planned.push(Planned::new(&spec.to_string(), plan, ops::shaders::merge));
    }
    let square = AttentionSpec::new(dtype, 2, (97, 113), 4, 40);
    for spec in [
        square.dropout(0.17),
        square.sinks(),
        square.packed(150, 170),
        square.sinks().dropout(0.17).softcap(5.0).alibi(Alibi::PerBatchHead).packed(150, 170),
        AttentionSpec::new(dtype, 1, (1, 5000), 4, 64).kv_heads(1).alibi(Alibi::PerHead),
        AttentionSpec::new(dtype, 1, (5000, 1), 2, 64),
    ] {
        planned.push(attention(&format!("{spec:?}"), spec, caps));
        planned.push(backward(&format!("{spec:?}, backward"), spec, caps));
        planned.push(probabilities(&format!("{spec:?}, probabilities"), spec, caps));
    }
    planned.extend(caches(dtype, caps));
    planned.extend(cached(dtype, caps));
    if dtype == DType::F32 {
        planned.extend(with_mods(dtype, caps));
    }
    for spec in [
        AttentionSpec::new(dtype, 1, (100, 1000), 4, 64),
        AttentionSpec::new(dtype, 2, (17, 23), 2, 33).softcap(5.0).alibi(Alibi::PerHead),
    ] {
        let plan = UnfusedAttentionPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec:?}, unfused"), plan, baseline::shaders::attention));
    }
    let spec = AttentionSpec::new(dtype, 2, (30, 45), 2, 20);
    let plan = UnfusedAttentionBackwardPlan::new(&spec, caps);
    let name = format!("{spec:?}, backward, unfused");
    planned.push(Planned::new(&name, plan, baseline::shaders::attention_backward));
    planned
}

/// Appending to caches of slots and of pages, and turning rows.
fn caches(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for dim in [59, 64] {
        let slots = CacheSpec::slots(dtype, 2, 100, 2, dim);
        let pages = CacheSpec::pages(dtype, 20, 10, 2, dim);
        let half = Rotary::new(dim / 4 * 2, RotaryPairs::Half, 200);
        let whole = Rotary::new(dim / 2 * 2, RotaryPairs::Interleaved, 200);
        for spec in [
            AppendSpec::new(slots, 2, 1),
            AppendSpec::new(slots, 2, 1).rotary(half),
            AppendSpec::new(pages, 2, 3).rotary(whole),
            AppendSpec::new(slots.int8(), 2, 1).rotary(half),
            AppendSpec::new(pages.int8(), 2, 1),
        ] {
            let plan = AppendPlan::new(&spec, caps);
            planned.push(Planned::new(&spec.to_string(), plan, ops::shaders::append));
        }
        let spec = RotateSpec::new(dtype, 2, 3, 4, dim, whole);
        planned.push(Planned::new(&spec.to_string(), RotatePlan::new(&spec, caps), ops::shaders::rotate));
    }
    planned
}

/// Attention to caches: few queries and more, slots and pages, floats and 8-bit integers.
fn cached(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (dim, value_dim) in [(64, 64), (59, 128)] {
        let slots = CacheSpec::slots(dtype, 2, 3000, 2, dim).value_dim(value_dim);
        let pages = CacheSpec::pages(dtype, 40, 256, 2, dim).value_dim(value_dim);
        let spec =
            |q_len| AttentionSpec::new(dtype, 2, (q_len, 3000), 8, dim).kv_heads(2).value_dim(value_dim);
        for (attention, cache) in [
            (spec(1), slots),
            (spec(2).sinks(), pages),
            (spec(1).alibi(Alibi::PerHead), pages.int8()),
            (spec(1).alibi(Alibi::PerBatchHead).sinks(), slots.int8()),
            (spec(20), slots.int8()),
        ] {
            let spec = CachedAttentionSpec::new(attention, cache);
            let plan = AttentionPlan::cached(&spec, caps);
            planned.push(Planned::new(&spec.to_string(), plan, ops::shaders::attention));
        }
    }
    planned
}
