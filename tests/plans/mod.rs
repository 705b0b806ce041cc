//! Plans of every family on a given machine, for the tests that need no GPU.
#![allow(dead_code, reason = "each test file uses its part")]

use tilewise::plan::{AttentionPlan, Footprint, LinearScanPlan, MonarchPlan, Plan};
use tilewise::shader::{Shader, ShaderError};
use tilewise::{Alibi, AttentionSpec, Caps, DType, LinearScanSpec, MonarchSpec, PlanError, ops};

/// A plan with what the tests ask of it.
pub struct Planned {
    pub name: String,
    pub explanation: String,
    pub footprints: Vec<Footprint>,
    pub shaders: Result<Vec<Shader>, ShaderError>,
}

impl Planned {
    fn new<P: Plan>(
        name: &str,
        plan: Result<P, PlanError>,
        shaders: impl Fn(&P) -> Result<Vec<Shader>, ShaderError>,
    ) -> Self {
        let plan = plan.unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            name: name.to_owned(),
            explanation: plan.to_string(),
            footprints: plan.footprints(),
            shaders: shaders(&plan),
        }
    }
}

pub fn attention(name: &str, spec: AttentionSpec, caps: &Caps) -> Planned {
    Planned::new(name, AttentionPlan::new(&spec, caps), ops::shaders::attention)
}

pub fn linear_scan(name: &str, spec: LinearScanSpec, caps: &Caps) -> Planned {
    Planned::new(name, LinearScanPlan::new(&spec, caps), ops::shaders::linear_scan)
}

pub fn monarch(name: &str, spec: MonarchSpec, caps: &Caps) -> Planned {
    Planned::new(name, MonarchPlan::new(&spec, caps), ops::shaders::monarch)
}

/// Dimensions of keys and values by fours and by ones, from the smallest to the largest.
const HEAD_DIMS: [(usize, usize); 7] =
    [(1, 1), (59, 111), (64, 64), (64, 59), (96, 128), (192, 40), (256, 256)];

/// Shapes (k, q, p) and (l, s, r) with rows by fours and by ones on each side, small and large.
const MONARCHS: [([usize; 3], [usize; 3]); 6] = [
    ([1, 1, 1], [1, 1, 1]),
    ([4, 12, 9], [6, 10, 8]),
    ([3, 5, 7], [5, 2, 3]),
    ([32, 32, 32], [32, 32, 32]),
    ([8, 192, 96], [24, 16, 64]),
    ([128, 128, 128], [128, 128, 128]),
];

/// Specs that lead to every structural choice of every plan.
pub fn samples(caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for dtype in DType::ALL {
        for (head_dim, value_dim) in HEAD_DIMS {
            for q_len in [1, 6, 30, 50, 1000] {
                let spec = AttentionSpec::new(dtype, 1, (q_len, 700), 4, head_dim).value_dim(value_dim);
                let capped = spec.softcap(30.0);
                let biased = spec.kv_heads(2).alibi(Alibi::PerHead).causal();
                for spec in [spec, capped, biased] {
                    planned.push(attention(&format!("{spec:?}"), spec, caps));
                }
            }
        }
        for (channels, length) in [(1, 5), (1, 100), (1, 100_000), (2000, 1), (2000, 4096), (3, 99_999)] {
            let spec = LinearScanSpec::new(dtype, 1, channels, length);
            planned.push(linear_scan(&format!("{spec:?}"), spec, caps));
            planned.push(linear_scan(&format!("{spec:?}, initial"), spec.with_initial(), caps));
        }
        for (w1, w2) in MONARCHS {
            for batch in [1, 7, 1000] {
                let spec = MonarchSpec::new(dtype, batch, w1, w2);
                planned.push(monarch(&format!("{spec:?}"), spec, caps));
                let two_pass = MonarchPlan::two_pass(&spec, caps);
                planned.push(Planned::new(&format!("{spec:?}, two passes"), two_pass, ops::shaders::monarch));
            }
        }
    }
    planned
}

/// One plan a family, small enough to be read.
pub fn reviewed(caps: &Caps) -> Vec<Planned> {
    vec![
        attention("attention", AttentionSpec::new(DType::F16, 1, (1024, 1024), 8, 64).causal(), caps),
        linear_scan("linear-scan", LinearScanSpec::new(DType::F16, 1, 4, 65_536).with_initial(), caps),
        monarch("monarch", MonarchSpec::square(DType::F16, 512, 64), caps),
    ]
}

/// Files that belong to measurements, whose shaders are no plan's.
pub fn is_measured_elsewhere(_name: &str) -> bool {
    false
}
