//! Plans of the butterfly family.

use tilewise::baseline::{self, UnfusedMonarchPlan};
use tilewise::plan::MonarchPlan;
use tilewise::{Caps, DType, MonarchSpec, ops};

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

pub fn samples(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
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
