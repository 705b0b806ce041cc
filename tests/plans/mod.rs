//! Plans of every family on a given machine, for the tests that need no GPU.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod attention;
pub mod butterfly;
pub mod scan;

use tilewise::baseline::{self, MatmulPlan, MatmulSpec};
use tilewise::bench::{self, CeilingsPlan};
use tilewise::plan::{Footprint, Plan};
use tilewise::shader::{Shader, ShaderError};
use tilewise::{AttentionSpec, Caps, DType, LinearScanSpec, MonarchSpec, PlanError};

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

/// Specs that lead to every structural choice of every plan.
pub fn samples(caps: &Caps) -> Vec<Planned> {
    let mut planned = vec![Planned::new("ceilings", Ok(CeilingsPlan::new(caps)), bench::shaders)];
    for dtype in DType::ALL {
        planned.extend(attention::samples(dtype, caps));
        planned.extend(butterfly::samples(dtype, caps));
        planned.extend(scan::samples(dtype, caps));
        planned.extend(matmuls(dtype, caps));
    }
    planned
}

/// The product that unfused versions and dense layers are made of.
fn matmuls(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (m, n, k) in [(1, 1, 1), (64, 500, 8), (5000, 5000, 3), (4096, 4096, 4096)] {
        for spec in [MatmulSpec::new(dtype, m, n, k), MatmulSpec::new(dtype, m, n, k).b_transposed()] {
            let plan = MatmulPlan::new(&spec, caps);
            planned.push(Planned::new(&format!("{spec:?}"), plan, baseline::shaders::matmul));
        }
    }
    planned
}

/// One plan a family, and the backward pass of another operator than its first; small enough to be read.
pub fn reviewed(caps: &Caps) -> Vec<Planned> {
    let attention_spec = AttentionSpec::new(DType::F16, 1, (4096, 4096), 8, 64).causal();
    vec![
        attention::attention("attention", attention_spec, caps),
        scan::linear_scan("linear-scan", LinearScanSpec::new(DType::F16, 1, 4, 65_536).initial(), caps),
        scan::running_max_backward("running-max", caps),
        butterfly::monarch("monarch", MonarchSpec::square(DType::F16, 512, 64), caps),
    ]
}
