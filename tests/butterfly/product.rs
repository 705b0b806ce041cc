//! The butterfly product beyond its acceptance grid.

use tilewise::plan::{ButterflyBackwardPlan, ButterflyPlan};
use tilewise::verify::Inputs;
use tilewise::{
    Butterfly, ButterflyBackward, ButterflyInputs, ButterflyLinear, ButterflyLinearInputs,
    ButterflyLinearSpec, ButterflySpec, Caps, DType, Element, Error, Gpu, Tensor, by_dtype,
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

/// What a product and its gradients come to, on that machine.
fn everything<T: Element>(gpu: &Gpu, spec: ButterflySpec) -> [Vec<f64>; 3] {
    let mut inputs = Inputs::new(3);
    let mut given = |shape: &[usize], deviation| {
        let values = inputs.normal(shape.iter().product(), deviation).into_iter().map(T::from_f64);
        Tensor::from_slice(gpu, shape, &values.collect::<Vec<_>>()).unwrap()
    };
    let terms = (2 * spec.entry * spec.parts()) as f64;
    let twiddle = given(&spec.twiddle_shape(), terms.powf(-0.5));
    let (x, dy) = (given(&spec.x_shape(), 1.0), given(&spec.y_shape(), 1.0));
    let inputs = ButterflyInputs { x: &x, twiddle: &twiddle };
    let y = Butterfly::new(gpu, spec).unwrap().run(inputs).unwrap();
    let gradients = ButterflyBackward::new(gpu, spec).unwrap().run(inputs, &dy).unwrap();
    [y, gradients.dx, gradients.dtwiddle]
        .map(|tensor| tensor.read_blocking().unwrap().into_iter().map(T::to_f64).collect())
}

/// Machines that bind 64 KiB or 4 at once stand for one that binds 128 MiB, and rows of a thousand nodes for a million. Of
/// rows of 16 nodes several factors lie between two places where a window may start.
#[test]
fn twiddles_past_a_binding_are_bound_in_windows() {
    for ceiling in
        [tilewise::caps::WEBGPU_BASELINE, tilewise::caps::profile("lavapipe").unwrap().caps.clone()]
    {
        let Some(whole) = common::open(Some(ceiling.clone())) else { return };
        let [narrow, narrowest] = [64 << 10, 4 << 10].map(|binding_bytes| {
            common::open(Some(Caps { binding_bytes, ..ceiling.clone() })).expect("it opened before")
        });
        let new = |batch, n| ButterflySpec::new(DType::F32, batch, n);
        for (narrow, spec) in [
            (&narrow, new(3, 1024).increasing_stride()),
            (&narrow, new(5, 1024).nblocks(2).transposed()),
            (&narrow, new(2, 512).nstacks(3).nblocks(2).n_in(500)),
            (&narrow, new(3, 512).complex().nblocks(2).increasing_stride()),
            (&narrow, new(9, 64).entry(4).nblocks(2).nstacks(2)),
            (&narrow, new(4, 32).entry(5).complex().nblocks(2).transposed()),
            (&narrow, ButterflySpec { dtype: DType::F16, ..new(3, 1024).nblocks(3) }),
            (&narrowest, ButterflySpec { dtype: DType::Bf16, ..new(3, 16).nblocks(6).nstacks(3) }),
        ] {
            let plans = |gpu: &Gpu| {
                let forth = ButterflyPlan::new(&spec, gpu.caps()).unwrap();
                (forth.windows, ButterflyBackwardPlan::new(&spec, gpu.caps()).unwrap().windows)
            };
            assert_eq!((plans(&whole), plans(narrow)), ((false, false), (true, true)), "{spec}");
            let [expected, found] =
                [&whole, narrow].map(|gpu| by_dtype!(spec.dtype, T => everything::<T>(gpu, spec)));
            // Rows between passes are f32, so that the passes do not matter beyond that.
            let unit = match spec.dtype {
                DType::F32 => 2e-6,
                DType::F16 => 1e-3,
                DType::Bf16 => 8e-3,
            };
            for ((name, found), expected) in ["y", "dx", "dtwiddle"].iter().zip(&found).zip(&expected) {
                let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
                assert!(largest > 0.1, "{spec}: {name}");
                for (i, (x, y)) in found.iter().zip(expected).enumerate() {
                    assert!((x - y).abs() <= unit * largest, "{spec}: {name} at {i}: {x} against {y}");
                }
            }
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
