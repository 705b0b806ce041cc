//! Operations of the butterfly family.

use super::zeros;
use tilewise::{
    Butterfly, ButterflyBackward, ButterflyInputs, ButterflyLinear, ButterflyLinearInputs,
    ButterflyLinearSpec, ButterflySpec, DType, Element, Gpu, Monarch, MonarchInputs, MonarchSpec, by_dtype,
};

pub fn butterfly<T: Element>(gpu: &Gpu, spec: ButterflySpec) {
    let (x, twiddle) = (zeros::<T>(gpu, &spec.x_shape()), zeros::<T>(gpu, &spec.twiddle_shape()));
    let inputs = ButterflyInputs { x: &x, twiddle: &twiddle };
    let y = Butterfly::new(gpu, spec).unwrap().run(inputs).unwrap();
    ButterflyBackward::new(gpu, spec).unwrap().run(inputs, &y).unwrap();
}

fn monarch<T: Element>(gpu: &Gpu, spec: MonarchSpec) {
    let x = zeros::<T>(gpu, &[spec.batch, spec.n_in()]);
    let (w1, w2) = (zeros::<T>(gpu, &spec.w1), zeros::<T>(gpu, &spec.w2));
    Monarch::new(gpu, spec).unwrap().run(MonarchInputs { x: &x, w1: &w1, w2: &w2 }).unwrap();
}

fn butterfly_linear<T: Element>(gpu: &Gpu, spec: ButterflyLinearSpec) {
    let layer = ButterflyLinear::new(gpu, spec).unwrap();
    let x = zeros::<T>(gpu, &spec.x_shape());
    let (twiddle, bias) = layer.initial_weights::<T>(1).unwrap();
    let inputs = ButterflyLinearInputs { x: &x, twiddle: &twiddle, bias: bias.as_ref() };
    let y = layer.run(inputs).unwrap();
    layer.run_backward(inputs, &y).unwrap();
}

pub fn run_all(gpu: &Gpu) {
    for dtype in DType::ALL {
        let new = |batch, n| ButterflySpec::new(dtype, batch, n);
        for spec in [
            new(3, 64).nblocks(2).n_in(50),
            new(97, 512).complex().nstacks(2),
            new(2, 1 << 14),
            new(5, 8).entry(8),
        ] {
            by_dtype!(dtype, T => butterfly::<T>(gpu, spec));
        }
        by_dtype!(dtype, T => butterfly_linear::<T>(gpu, ButterflyLinearSpec::new(dtype, 3, 50, 100)));
        for (w1, w2) in [([4, 12, 9], [6, 10, 8]), ([64; 3], [64; 3]), ([128; 3], [128; 3])] {
            by_dtype!(dtype, T => monarch::<T>(gpu, MonarchSpec::new(dtype, 7, w1, w2)));
        }
    }
}
