//! Plans of every family on a given machine, for the tests that need no GPU.
#![allow(dead_code, reason = "each test file uses its part")]

use tilewise::plan::{Footprint, LinearScanPlan, Plan};
use tilewise::shader::{Shader, ShaderError};
use tilewise::{Caps, DType, LinearScanSpec, PlanError, ops};

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

pub fn linear_scan(name: &str, spec: LinearScanSpec, caps: &Caps) -> Planned {
    Planned::new(name, LinearScanPlan::new(&spec, caps), ops::shaders::linear_scan)
}

/// Specs that lead to every structural choice of every plan.
pub fn samples(caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for dtype in DType::ALL {
        for (channels, length) in [(1, 5), (1, 100), (1, 100_000), (2000, 1), (2000, 4096), (3, 99_999)] {
            let spec = LinearScanSpec::new(dtype, 1, channels, length);
            planned.push(linear_scan(&format!("{spec:?}"), spec, caps));
            planned.push(linear_scan(&format!("{spec:?}, initial"), spec.with_initial(), caps));
        }
    }
    planned
}

/// One plan a family, small enough to be read.
pub fn reviewed(caps: &Caps) -> Vec<Planned> {
    vec![linear_scan("linear-scan", LinearScanSpec::new(DType::F16, 1, 4, 65_536).with_initial(), caps)]
}

/// Files that belong to measurements, whose shaders are no plan's.
pub fn is_measured_elsewhere(_name: &str) -> bool {
    false
}
