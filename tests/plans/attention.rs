//! Plans of the attention family.

use tilewise::baseline::{self, UnfusedAttentionPlan};
use tilewise::plan::AttentionPlan;
use tilewise::{Alibi, AttentionSpec, BlockMask, Caps, DType, Mods, Snippet, mods, ops};

use super::Planned;

/// Widths of keys and of values: by fours and by ones, within a slice and over many.
const HEAD_DIMS: [(usize, usize); 7] =
    [(1, 1), (8, 8), (40, 40), (64, 96), (111, 59), (128, 128), (256, 256)];

pub fn attention(name: &str, spec: AttentionSpec, caps: &Caps) -> Planned {
    Planned::new(name, AttentionPlan::new(&spec, caps), ops::shaders::attention)
}

pub fn modified(name: &str, spec: AttentionSpec, mods: &Mods, caps: &Caps) -> Planned {
    let plan = AttentionPlan::with_mods(&spec, mods, caps);
    Planned::new(name, plan, |plan| ops::shaders::attention_with_mods(plan, mods))
}

/// Every ready-made mod, and masks of blocks of whole tiles and across tiles.
fn with_mods(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let spec = AttentionSpec::new(dtype, 2, (200, 300), 4, 40);
    let blocks = |size| BlockMask::from_fn(&spec, size, |q, k| (q + k) % 2 == 0).expect("a mask that fits");
    let is_mask = |snippet: &Snippet| snippet.source.contains("fn mask_mod(");
    let all = mods::all().into_iter().fold(Mods::new(), |mods, snippet| {
        if is_mask(&snippet) { mods.mask(snippet) } else { mods.score(snippet) }
    });
    let cases = [
        ("every ready-made mod", all.clone()),
        ("and blocks across tiles", all.blocks(blocks((20, 30)))),
        ("blocks of whole tiles", Mods::new().blocks(blocks((256, 256)))),
        ("blocks across tiles", Mods::new().blocks(blocks((20, 30)))),
        ("a score mod alone", Mods::new().score(mods::identity())),
    ];
    cases.iter().map(|(name, mods)| modified(&format!("{spec:?}, {name}"), spec, mods, caps)).collect()
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
    }
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
    planned
}
