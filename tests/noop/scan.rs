//! Operations of the scan family.

use super::zeros;
use tilewise::{
    Conv1d, Conv1dBackward, Conv1dInputs, Conv1dSpec, Conv1dStep, Conv1dStepInputs, DType, Element, Gpu,
    LinearScan, LinearScanInputs, LinearScanSpec, LongConv, LongConvBackward, LongConvInputs, LongConvSpec,
    SequenceIndices, by_dtype,
};

pub fn linear_scan<T: Element>(gpu: &Gpu, spec: LinearScanSpec) {
    let (a, b) = (zeros::<T>(gpu, &spec.shape()), zeros::<T>(gpu, &spec.shape()));
    let initial = spec.initial.then(|| zeros::<f32>(gpu, &spec.state_shape()));
    let scan = LinearScan::new(gpu, spec).unwrap();
    scan.run(LinearScanInputs { a: &a, b: &b, initial: initial.as_ref() }).unwrap();
}

pub fn long_conv<T: Element>(gpu: &Gpu, spec: LongConvSpec) {
    let [u, dy, pre, post] = [(); 4].map(|()| zeros::<T>(gpu, &spec.shape()));
    let (k, skip) = (zeros::<f32>(gpu, &spec.kernel_shape()), zeros::<f32>(gpu, &[spec.channels]));
    let inputs = LongConvInputs {
        u: &u,
        k: &k,
        skip: spec.skip.then_some(&skip),
        pre: spec.pre_gate.then_some(&pre),
        post: spec.post_gate.then_some(&post),
    };
    LongConv::new(gpu, spec).unwrap().run(inputs).unwrap();
    LongConvBackward::new(gpu, spec).unwrap().run(inputs, &dy).unwrap();
}

fn conv1d<T: Element>(gpu: &Gpu, spec: Conv1dSpec) {
    let x = zeros::<T>(gpu, &spec.shape());
    let weight = zeros(gpu, &spec.weight_shape());
    let bias = spec.bias.then(|| zeros(gpu, &spec.bias_shape()));
    let initial = spec.initial.then(|| zeros(gpu, &spec.state_shape()));
    let indices = vec![0; spec.batch * spec.length];
    let indices = SequenceIndices::new(gpu, spec.sequences_shape(), &indices).unwrap();
    let inputs = Conv1dInputs {
        x: &x,
        weight: &weight,
        bias: bias.as_ref(),
        sequences: spec.sequences.then_some(&indices),
        initial: initial.as_ref(),
    };
    let outputs = Conv1d::new(gpu, spec).unwrap().run(inputs).unwrap();
    Conv1dBackward::new(gpu, spec).unwrap().run(inputs, &outputs.y).unwrap();
    let x = zeros::<T>(gpu, &[spec.batch, spec.channels]);
    let inputs = Conv1dStepInputs { x: &x, weight: &weight, bias: bias.as_ref() };
    Conv1dStep::new(gpu, spec).unwrap().run(inputs, &outputs.last, 7).unwrap();
}

pub fn run_all(gpu: &Gpu) {
    for dtype in DType::ALL {
        for spec in [LinearScanSpec::new(dtype, 2, 3, 97), LinearScanSpec::new(dtype, 1, 2, 100_000)] {
            for spec in [spec, spec.initial()] {
                by_dtype!(dtype, T => linear_scan::<T>(gpu, spec));
            }
        }
        for spec in [LongConvSpec::new(dtype, 2, 3, 97), LongConvSpec::new(dtype, 1, 2, 20_000)] {
            for spec in [spec, spec.pre_gate().post_gate().skip()] {
                by_dtype!(dtype, T => long_conv::<T>(gpu, spec));
            }
        }
        let spec = Conv1dSpec::new(dtype, 2, 3, 97, 4);
        for spec in [spec, spec.bias().silu().sequences().initial()] {
            by_dtype!(dtype, T => conv1d::<T>(gpu, spec));
        }
    }
}
