//! The butterfly product beyond its acceptance grid.

use tilewise::verify::Inputs;
use tilewise::{
    Butterfly, ButterflyBackward, ButterflyInputs, ButterflyLinear, ButterflyLinearInputs,
    ButterflyLinearSpec, ButterflySpec, DType, Error, Gpu, Tensor,
};

use crate::common;

fn normal(gpu: &Gpu, inputs: &mut Inputs, shape: &[usize]) -> Tensor<f32> {
    let values: Vec<f32> = inputs.normal(shape.iter().product(), 1.0).into_iter().map(|x| x as f32).collect();
    Tensor::from_slice(gpu, shape, &values).unwrap()
}

/// Every sum is taken in one order, whatever else runs: many chunks, many sets, several passes.
#[test]
fn gradients_repeat_to_the_bit() {
    for (name, gpu) in common::gpus() {
        for spec in [
            ButterflySpec::new(DType::F32, 3000, 8).nstacks(2),
            ButterflySpec::new(DType::F32, 40, 2048),
            ButterflySpec::new(DType::F32, 100, 8).entry(4),
        ] {
            let mut inputs = Inputs::new(1);
            let mut given = |shape: &[usize]| normal(&gpu, &mut inputs, shape);
            let (x, twiddle, dy) =
                (given(&spec.x_shape()), given(&spec.twiddle_shape()), given(&spec.y_shape()));
            let backward = ButterflyBackward::new(&gpu, spec).unwrap();
            let run = || {
                let inputs = ButterflyInputs { x: &x, twiddle: &twiddle };
                let gradients = backward.run(inputs, &dy).unwrap();
                (gradients.dx.read_blocking().unwrap(), gradients.dtwiddle.read_blocking().unwrap())
            };
            let first = run();
            assert!(first.1.iter().any(|value| *value != 0.0));
            assert!((0..3).all(|_| run() == first), "{spec}: {} ({name})", backward.plan());
        }
    }
}

#[test]
fn tensors_of_another_shape_or_type_are_refused() {
    let Some((_, gpu)) = common::gpus().pop() else { return };
    let spec = ButterflySpec::new(DType::F32, 2, 8).nblocks(2).n_in(5);
    let product = Butterfly::new(&gpu, spec).unwrap();
    let zeros = |shape: &[usize]| Tensor::<f32>::zeros(&gpu, shape).unwrap();
    let (x, twiddle) = (zeros(&[2, 1, 5]), zeros(&[1, 2, 3, 4, 2, 2]));
    assert_eq!(product.run(ButterflyInputs { x: &x, twiddle: &twiddle }).unwrap().shape(), [2, 1, 8]);
    let flat = zeros(&[1, 2, 3, 8, 2]);
    let error = product.run(ButterflyInputs { x: &x, twiddle: &flat }).unwrap_err();
    let expected = "twiddle has shape [1, 2, 3, 8, 2], expected [1, 2, 3, 4, 2, 2]";
    assert_eq!(error.to_string(), expected);
    let backward = ButterflyBackward::new(&gpu, spec).unwrap();
    let error = backward.run(ButterflyInputs { x: &x, twiddle: &twiddle }, &x).unwrap_err();
    assert_eq!(error.to_string(), "dy has shape [2, 1, 5], expected [2, 1, 8]");
    let half = Butterfly::new(&gpu, ButterflySpec { dtype: DType::F16, ..spec }).unwrap();
    let error = half.run(ButterflyInputs { x: &x, twiddle: &twiddle }).unwrap_err();
    assert!(matches!(error, Error::DType { tensor: "x", .. }), "{error}");
    let error = Butterfly::new(&gpu, ButterflySpec { n: 12, ..spec }).unwrap_err();
    assert_eq!(error.to_string(), "n is 12, expected a power of two, at least 2");
}

#[test]
fn a_layer_takes_its_bias_only_where_it_has_one() {
    let Some((_, gpu)) = common::gpus().pop() else { return };
    let spec = ButterflyLinearSpec::new(DType::F32, 2, 5, 7);
    let layer = ButterflyLinear::new(&gpu, spec).unwrap();
    let (twiddle, bias) = layer.initial_weights::<f32>(1).unwrap();
    let x = Tensor::zeros(&gpu, &[2, 5]).unwrap();
    let without = ButterflyLinearInputs { x: &x, twiddle: &twiddle, bias: None };
    let y = layer.run(ButterflyLinearInputs { bias: bias.as_ref(), ..without }).unwrap();
    // Of rows of zeros only the bias is left.
    assert_eq!(y.read_blocking().unwrap()[7..], bias.unwrap().read_blocking().unwrap());
    let error = layer.run(without).unwrap_err();
    assert_eq!(error.to_string(), "bias is missing, but the spec needs it");
}
