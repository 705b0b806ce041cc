//! Plans of the butterfly family.

use tilewise::baseline::{self, UnfusedButterflyPlan, UnfusedMonarchPlan};
use tilewise::plan::{ButterflyBackwardPlan, ButterflyLinearPlan, ButterflyPlan, MonarchPlan};
use tilewise::{ButterflyLinearSpec, ButterflySpec, Caps, DType, MonarchSpec, ops};

use super::Planned;

/// Shapes (k, q, p) and (l, s, r) with rows by fours and by ones on each side, small and large.
const MONARCHS: [([usize; 3], [usize; 3]); 6] = [
    ([1, 1, 1], [1, 1, 1]),
    ([4, 12, 9], [6, 10, 8]),
    ([3, 5, 7], [5, 2, 3]),
    ([32, 32, 32], [32, 32, 32]),
    ([8, 192, 96], [24, 16, 64]),
    ([128, 128, 128], [128, 128, 128]),
];

pub fn monarch(name: &str, spec: MonarchSpec, caps: &Caps) -> Planned {
    Planned::new(name, MonarchPlan::new(&spec, caps), ops::shaders::monarch)
}

pub fn butterfly(name: &str, spec: ButterflySpec, caps: &Caps) -> Planned {
    Planned::new(name, ButterflyPlan::new(&spec, caps), ops::shaders::butterfly)
}

pub fn butterfly_backward(name: &str, spec: ButterflySpec, caps: &Caps) -> Planned {
    Planned::new(name, ButterflyBackwardPlan::new(&spec, caps), ops::shaders::butterfly_backward)
}

/// Products of every kind of element and entry, in one set of rows and in several, fused and in passes.
fn butterflies(dtype: DType) -> Vec<ButterflySpec> {
    let new = |batch, n| ButterflySpec::new(dtype, batch, n);
    vec![
        new(1, 2).nblocks(3),
        new(2, 32).nstacks(2).n_in(27),
        new(1000, 1024).transposed(),
        new(1000, 4096).complex().nblocks(2),
        new(1, 1 << 16),
        new(9, 16).entry(3).increasing_stride(),
        new(9, 64).entry(32).complex().transposed(),
    ]
}

pub fn samples(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    let unfused = UnfusedButterflyPlan::new(&ButterflySpec::new(dtype, 7, 64), caps);
    planned.push(Planned::new("a butterfly product, unfused", unfused, baseline::shaders::butterfly));
    for spec in butterflies(dtype) {
        planned.push(butterfly(&format!("{spec:?}"), spec, caps));
        planned.push(butterfly_backward(&format!("{spec:?}, backward"), spec, caps));
    }
    for spec in [
        ButterflyLinearSpec::new(dtype, 7, 100, 203),
        ButterflyLinearSpec::new(dtype, 7, 64, 64).without_bias(),
    ] {
        let plan = ButterflyLinearPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec:?}"), plan, ops::shaders::butterfly_linear));
    }
    for (w1, w2) in MONARCHS {
        for batch in [1, 7, 1000] {
            let spec = MonarchSpec::new(dtype, batch, w1, w2);
            planned.push(monarch(&format!("{spec:?}"), spec, caps));
            let two_pass = MonarchPlan::two_pass(&spec, caps);
            planned.push(Planned::new(&format!("{spec:?}, two passes"), two_pass, ops::shaders::monarch));
        }
        let spec = MonarchSpec::new(dtype, 7, w1, w2);
        let plan = UnfusedMonarchPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec:?}, unfused"), plan, baseline::shaders::monarch));
    }
    planned
}
