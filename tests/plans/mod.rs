//! Plans of every family on a given machine, for the tests that need no GPU.
#![allow(dead_code, reason = "each test file uses its part")]

use tilewise::baseline::{
    self, MatmulPlan, MatmulSpec, SequentialLinearScanPlan, UnfusedAttentionPlan, UnfusedLinearScanPlan,
    UnfusedMonarchPlan,
};
use tilewise::bench::{self, CeilingsPlan};
use tilewise::plan::{AttentionPlan, Footprint, LinearScanPlan, MergePlan, MonarchPlan, Plan};
use tilewise::shader::{Shader, ShaderError};
use tilewise::{Alibi, AttentionSpec, Caps, DType, LinearScanSpec, MergeSpec, MonarchSpec, PlanError, ops};

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

/// Shapes (k, q, p) and (l, s, r) with rows by fours and by ones on each side, small and large.
const MONARCHS: [([usize; 3], [usize; 3]); 6] = [
    ([1, 1, 1], [1, 1, 1]),
    ([4, 12, 9], [6, 10, 8]),
    ([3, 5, 7], [5, 2, 3]),
    ([32, 32, 32], [32, 32, 32]),
    ([8, 192, 96], [24, 16, 64]),
    ([128, 128, 128], [128, 128, 128]),
];

/// Widths of keys and of values: by fours and by ones, within a slice and over many.
const HEAD_DIMS: [(usize, usize); 7] =
    [(1, 1), (8, 8), (40, 40), (64, 96), (111, 59), (128, 128), (256, 256)];

/// Specs that lead to every structural choice of every plan.
pub fn samples(caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for dtype in DType::ALL {
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
        for (channels, length) in [(1, 5), (1, 100), (1, 100_000), (2000, 1), (2000, 4096), (3, 99_999)] {
            let spec = LinearScanSpec::new(dtype, 1, channels, length);
            planned.push(linear_scan(&format!("{spec:?}"), spec, caps));
            planned.push(linear_scan(&format!("{spec:?}, initial"), spec.initial(), caps));
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
    planned.extend(yardsticks(caps));
    planned
}

/// What the fused plans are measured against, and with.
fn yardsticks(caps: &Caps) -> Vec<Planned> {
    let mut planned = vec![Planned::new("ceilings", Ok(CeilingsPlan::new(caps)), bench::shaders)];
    for dtype in DType::ALL {
        for (m, n, k) in [(1, 1, 1), (64, 500, 8), (5000, 5000, 3), (4096, 4096, 4096)] {
            for spec in [MatmulSpec::new(dtype, m, n, k), MatmulSpec::new(dtype, m, n, k).b_transposed()] {
                let plan = MatmulPlan::new(&spec, caps);
                planned.push(Planned::new(&format!("{spec:?}"), plan, baseline::shaders::matmul));
            }
        }
        for spec in [
            AttentionSpec::new(dtype, 1, (100, 1000), 4, 64),
            AttentionSpec::new(dtype, 2, (17, 23), 2, 33).softcap(5.0).alibi(Alibi::PerHead),
        ] {
            let plan = UnfusedAttentionPlan::new(&spec, caps);
            planned.push(Planned::new(&format!("{spec:?}, unfused"), plan, baseline::shaders::attention));
        }
        for (w1, w2) in MONARCHS {
            let spec = MonarchSpec::new(dtype, 7, w1, w2);
            let plan = UnfusedMonarchPlan::new(&spec, caps);
            planned.push(Planned::new(&format!("{spec:?}, unfused"), plan, baseline::shaders::monarch));
        }
        for spec in [LinearScanSpec::new(dtype, 1, 3, 99), LinearScanSpec::new(dtype, 1, 3, 100).initial()] {
            let plan = UnfusedLinearScanPlan::new(&spec, caps);
            planned.push(Planned::new(&format!("{spec:?}, unfused"), plan, baseline::shaders::linear_scan));
            let plan = SequentialLinearScanPlan::new(&spec, caps);
            let shaders = baseline::shaders::sequential_linear_scan;
            planned.push(Planned::new(&format!("{spec:?}, sequential"), plan, shaders));
        }
    }
    planned
}

/// One plan a family, small enough to be read.
pub fn reviewed(caps: &Caps) -> Vec<Planned> {
    vec![
        attention("attention", AttentionSpec::new(DType::F16, 1, (4096, 4096), 8, 64).causal(), caps),
        linear_scan("linear-scan", LinearScanSpec::new(DType::F16, 1, 4, 65_536).initial(), caps),
        monarch("monarch", MonarchSpec::square(DType::F16, 512, 64), caps),
    ]
}
