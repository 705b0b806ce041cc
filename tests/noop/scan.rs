//! Operations of the scan family.

use super::zeros;
use tilewise::{DType, Element, Gpu, LinearScan, LinearScanInputs, LinearScanSpec, by_dtype};

pub fn linear_scan<T: Element>(gpu: &Gpu, spec: LinearScanSpec) {
    let (a, b) = (zeros::<T>(gpu, &spec.shape()), zeros::<T>(gpu, &spec.shape()));
    let initial = spec.initial.then(|| zeros::<f32>(gpu, &spec.state_shape()));
    let scan = LinearScan::new(gpu, spec).unwrap();
    scan.run(LinearScanInputs { a: &a, b: &b, initial: initial.as_ref() }).unwrap();
}

pub fn run_all(gpu: &Gpu) {
    for dtype in DType::ALL {
        for spec in [LinearScanSpec::new(dtype, 2, 3, 97), LinearScanSpec::new(dtype, 1, 2, 100_000)] {
            for spec in [spec, spec.initial()] {
                by_dtype!(dtype, T => linear_scan::<T>(gpu, spec));
            }
        }
    }
}
