//! The butterfly family on this machine's GPU, against its oracle.

mod common;

use tilewise::plan::MonarchPlan;
use tilewise::verify::{Family, Inputs};
use tilewise::{DType, Gpu, Monarch, MonarchInputs, MonarchSpec, Tensor};

#[test]
fn acceptance_grid() {
    common::verify_family(Family::Butterfly);
}

fn tensor(gpu: &Gpu, inputs: &mut Inputs, shape: &[usize]) -> Tensor<f32> {
    let values: Vec<f32> = inputs.normal(shape.iter().product(), 1.0).into_iter().map(|x| x as f32).collect();
    Tensor::from_slice(gpu, shape, &values).unwrap()
}

/// `y` of the same inputs for a spec, whatever the plan.
fn product(gpu: &Gpu, spec: MonarchSpec, plan: MonarchPlan) -> Vec<f32> {
    let mut inputs = Inputs::new(1);
    let x = tensor(gpu, &mut inputs, &[spec.batch, spec.n_in()]);
    let (w1, w2) = (tensor(gpu, &mut inputs, &spec.w1), tensor(gpu, &mut inputs, &spec.w2));
    let monarch = Monarch::with_plan(gpu, spec, plan).unwrap();
    monarch.run(MonarchInputs { x: &x, w1: &w1, w2: &w2 }).unwrap().read_blocking(gpu).unwrap()
}

#[test]
fn fused_and_two_pass_agree() {
    let shapes = [
        ([1, 1, 1], [1, 1, 1]),
        ([3, 5, 7], [5, 2, 3]),
        ([4, 12, 9], [6, 10, 8]),
        ([8, 192, 96], [24, 16, 64]),
        ([32, 32, 32], [32, 32, 32]),
    ];
    for (name, gpu) in common::gpus() {
        for (w1, w2) in shapes {
            for batch in [1, 3, 5, 70] {
                let spec = MonarchSpec::new(DType::F32, batch, w1, w2);
                let fused = product(&gpu, spec, MonarchPlan::fused(&spec, gpu.caps()).unwrap());
                let two_pass = product(&gpu, spec, MonarchPlan::two_pass(&spec, gpu.caps()).unwrap());
                let largest = fused.iter().fold(0.0, |max: f32, y| max.max(y.abs()));
                assert!(largest > 0.0);
                for (i, (a, b)) in fused.iter().zip(&two_pass).enumerate() {
                    let error = (a - b).abs();
                    assert!(
                        error <= 1e-5 * largest,
                        "{spec:?} ({name}) at {i}: {a} fused, {b} in two passes"
                    );
                }
            }
        }
    }
}

/// Every sum is taken by one lane in one order, whatever else runs.
#[test]
fn runs_repeat_to_the_bit() {
    let Some(gpu) = common::gpu() else { return };
    let spec = MonarchSpec::new(DType::F32, 33, [8, 30, 20], [15, 16, 16]);
    for plan in [MonarchPlan::fused(&spec, gpu.caps()), MonarchPlan::two_pass(&spec, gpu.caps())] {
        let plan = plan.unwrap();
        let first = product(&gpu, spec, plan);
        assert!((0..3).all(|_| product(&gpu, spec, plan) == first), "{plan}");
    }
}
