//! Plans of the attention family.

use tilewise::baseline::{self, UnfusedAttentionPlan};
use tilewise::plan::{AttentionPlan, MergePlan};
use tilewise::{Alibi, AttentionSpec, Caps, DType, MergeSpec, ops};

use super::Planned;

/// Widths of keys and of values: by fours and by ones, within a slice and over many.
const HEAD_DIMS: [(usize, usize); 7] =
    [(1, 1), (8, 8), (40, 40), (64, 96), (111, 59), (128, 128), (256, 256)];

pub fn attention(name: &str, spec: AttentionSpec, caps: &Caps) -> Planned {
    Planned::new(name, AttentionPlan::new(&spec, caps), ops::shaders::attention)
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
        let spec = MergeSpec::new(dtype, 1, 3, 2, value_dim);
        let plan = MergePlan::new(&spec, caps);
        planned.push(Planned::new(&spec.to_string(), plan, ops::shaders::merge));
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
