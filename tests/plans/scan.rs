//! Plans of the scan family.

use tilewise::baseline::{self, SequentialLinearScanPlan, UnfusedLinearScanPlan};
use tilewise::plan::LinearScanPlan;
use tilewise::{Caps, DType, LinearScanSpec, ops};

use super::Planned;

pub fn linear_scan(name: &str, spec: LinearScanSpec, caps: &Caps) -> Planned {
    Planned::new(name, LinearScanPlan::new(&spec, caps), ops::shaders::linear_scan)
}

pub fn samples(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (channels, length) in [(1, 5), (1, 100), (1, 100_000), (2000, 1), (2000, 4096), (3, 99_999)] {
        let spec = LinearScanSpec::new(dtype, 1, channels, length);
        planned.push(linear_scan(&format!("{spec:?}"), spec, caps));
        planned.push(linear_scan(&format!("{spec:?}, initial"), spec.initial(), caps));
    }
    for spec in [LinearScanSpec::new(dtype, 1, 3, 99), LinearScanSpec::new(dtype, 1, 3, 100).initial()] {
        let plan = UnfusedLinearScanPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec:?}, unfused"), plan, baseline::shaders::linear_scan));
        let plan = SequentialLinearScanPlan::new(&spec, caps);
        let shaders = baseline::shaders::sequential_linear_scan;
        planned.push(Planned::new(&format!("{spec:?}, sequential"), plan, shaders));
    }
    planned
}
