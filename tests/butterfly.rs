//! The butterfly family on this machine's GPU, against its oracle.

mod common;
#[path = "butterfly/product.rs"]
mod product;
#[path = "butterfly/structured.rs"]
mod structured;
#[path = "butterfly/transforms.rs"]
mod transforms;

use tilewise::plan::MonarchPlan;
use tilewise::verify::{Family, Inputs};
use tilewise::{DType, Error, Gpu, Monarch, MonarchInputs, MonarchSpec, Tensor};

#[test]
fn acceptance_grid() {
    common::verify_family(Family::Butterfly);
}

fn tensor(gpu: &Gpu, inputs: &mut Inputs, shape: &[usize]) -> Tensor<f32> {
    let values: Vec<f32> = inputs.normal(shape.iter().product(), 1.0).into_iter().map(|x| x as f32).collect();
    Tensor::from_slice(gpu, shape, &values).unwrap()
}

/// `y` of the same inputs for a spec, whatever the plan.
fn product(gpu: &Gpu, spec: MonarchSpec, monarch: &Monarch) -> Vec<f32> {
    let mut inputs = Inputs::new(1);
    let x = tensor(gpu, &mut inputs, &[spec.batch, spec.n_in()]);
    let (w1, w2) = (tensor(gpu, &mut inputs, &spec.w1), tensor(gpu, &mut inputs, &spec.w2));
    monarch.run(MonarchInputs { x: &x, w1: &w1, w2: &w2 }).unwrap().read_blocking().unwrap()
}

/// The grid takes the path that the planner chooses: here each spec takes the other one too.
#[test]
fn fused_and_two_pass_agree() {
    let cases = [
        (1, [1, 1, 1], [1, 1, 1]),
        (70, [3, 5, 7], [5, 2, 3]),
        (3, [4, 12, 9], [6, 10, 8]),
        (37, [8, 192, 96], [24, 16, 64]),
        (21, [16, 16, 16], [16, 16, 16]),
    ];
    for (name, gpu) in common::gpus() {
        for (batch, w1, w2) in cases {
            let spec = MonarchSpec::new(DType::F32, batch, w1, w2);
            let fused = product(&gpu, spec, &Monarch::fused(&gpu, spec).unwrap());
            let two_pass = product(&gpu, spec, &Monarch::two_pass(&gpu, spec).unwrap());
            let largest = fused.iter().fold(0.0, |max: f32, y| max.max(y.abs()));
            assert!(largest > 0.0);
            for (i, (a, b)) in fused.iter().zip(&two_pass).enumerate() {
                let error = (a - b).abs();
                assert!(error <= 1e-6 * largest, "{spec:?} ({name}) at {i}: {a} fused, {b} in two passes");
            }
        }
    }
}

/// Every sum is taken by one lane in one order, whatever else runs.
#[test]
fn runs_repeat_to_the_bit() {
    for (name, gpu) in common::gpus() {
        let spec = MonarchSpec::new(DType::F32, 33, [8, 30, 20], [15, 16, 16]);
        for monarch in [Monarch::fused(&gpu, spec), Monarch::two_pass(&gpu, spec)] {
            let monarch = monarch.unwrap();
            let first = product(&gpu, spec, &monarch);
            assert!((0..3).all(|_| product(&gpu, spec, &monarch) == first), "{} ({name})", monarch.plan());
        }
    }
}

#[test]
fn tensors_of_another_shape_or_type_are_refused() {
    let Some((_, gpu)) = common::gpus().pop() else { return };
    let spec = MonarchSpec::new(DType::F32, 2, [2, 3, 4], [3, 5, 2]);
    let monarch = Monarch::new(&gpu, spec).unwrap();
    let (x, w1, w2) = (zeros(&gpu, &[2, 8]), zeros(&gpu, &[2, 3, 4]), zeros(&gpu, &[3, 5, 2]));
    assert_eq!(monarch.run(MonarchInputs { x: &x, w1: &w1, w2: &w2 }).unwrap().shape(), [2, 15]);
    let swapped = monarch.run(MonarchInputs { x: &x, w1: &w2, w2: &w1 });
    assert!(matches!(swapped, Err(Error::Shape { tensor: "w1", .. })), "{swapped:?}");
    let half = Monarch::new(&gpu, MonarchSpec { dtype: DType::F16, ..spec }).unwrap();
    let f32_in_f16 = half.run(MonarchInputs { x: &x, w1: &w1, w2: &w2 });
    assert!(matches!(f32_in_f16, Err(Error::DType { tensor: "x", .. })), "{f32_in_f16:?}");
    let parted = Monarch::new(&gpu, MonarchSpec::new(DType::F32, 2, [2, 3, 4], [3, 5, 3]));
    assert_eq!(parted.unwrap_err().to_string(), "k q is 6, expected l r = 3 × 3 = 9");
}

fn zeros(gpu: &Gpu, shape: &[usize]) -> Tensor<f32> {
    Tensor::zeros(gpu, shape).unwrap()
}

/// Where the driver counts the turns of loops, the longest that a plan may have are still all taken.
#[test]
fn the_longest_loops_run_to_their_end() {
    for (name, gpu) in common::gpus() {
        let limit = gpu.caps().loop_turns.unwrap_or(65_535) as usize;
        let spec = |inputs: usize| MonarchSpec::new(DType::F32, 4, [1, 4, inputs], [4, 1, 1]);
        let longest_two_pass =
            (1..).map(|n| spec(n << 10)).take_while(|spec| MonarchPlan::two_pass(spec, gpu.caps()).is_ok());
        let two_pass = longest_two_pass.take(limit >> 10).last().unwrap();
        let fused = spec(4 * (limit - 16));
        for (spec, op) in
            [(fused, Monarch::fused(&gpu, fused)), (two_pass, Monarch::two_pass(&gpu, two_pass))]
        {
            let ones = |shape: &[usize]| {
                Tensor::<f32>::from_slice(&gpu, shape, &vec![1.0; shape.iter().product()]).unwrap()
            };
            let (x, w1, w2) = (ones(&[4, spec.n_in()]), ones(&spec.w1), ones(&spec.w2));
            let y = op.unwrap().run(MonarchInputs { x: &x, w1: &w1, w2: &w2 }).unwrap();
            let y = y.read_blocking().unwrap();
            assert!(y.iter().all(|y| *y as usize == spec.n_in()), "{spec:?} ({name}): {:?}", &y[..4]);
        }
    }
}
