//! Operations of the butterfly family.

use super::zeros;
use tilewise::{DType, Element, Gpu, Monarch, MonarchInputs, MonarchSpec, by_dtype};

fn monarch<T: Element>(gpu: &Gpu, spec: MonarchSpec) {
    let x = zeros::<T>(gpu, &[spec.batch, spec.n_in()]);
    let (w1, w2) = (zeros::<T>(gpu, &spec.w1), zeros::<T>(gpu, &spec.w2));
    Monarch::new(gpu, spec).unwrap().run(MonarchInputs { x: &x, w1: &w1, w2: &w2 }).unwrap();
}

pub fn run_all(gpu: &Gpu) {
    for dtype in DType::ALL {
        for (w1, w2) in [([4, 12, 9], [6, 10, 8]), ([64; 3], [64; 3]), ([128; 3], [128; 3])] {
            by_dtype!(dtype, T => monarch::<T>(gpu, MonarchSpec::new(dtype, 7, w1, w2)));
        }
    }
}
