//! Gradients that are sums over a batch: bit by bit the same in every run; and what the layers refuse.

use tilewise::verify::Inputs;
use tilewise::{
    BlockPattern, BlockSparse, BlockSparseMode, BlockSparseSpec, DType, Error, MonarchBackward,
    MonarchInputs, MonarchLinear, MonarchLinearSpec, MonarchSpec, PixelflyBackward, PixelflyConfig,
    PixelflyInputs, PixelflyLinear, PixelflySpec, Tensor,
};

use crate::{common, tensor};

/// Batches that are summed in parts, by workgroups that finish in any order.
#[test]
fn gradients_repeat_to_the_bit() {
    for (name, gpu) in common::gpus() {
        let mut inputs = Inputs::new(1);
        let mut given = |shape: &[usize]| tensor(&gpu, &mut inputs, shape);
        let spec = MonarchSpec::new(DType::F32, 700, [3, 5, 7], [5, 4, 3]);
        let backward = MonarchBackward::new(&gpu, spec).unwrap();
        assert!(backward.plan().dw1.parts > 1 && backward.plan().dw2.parts > 1, "{}", backward.plan());
        let (x, dy) = (given(&[700, spec.n_in()]), given(&[700, spec.n_out()]));
        let (w1, w2) = (given(&spec.w1), given(&spec.w2));
        let monarch = || {
            let gradients = backward.run(MonarchInputs { x: &x, w1: &w1, w2: &w2 }, &dy).unwrap();
            [gradients.dw1, gradients.dw2].map(|gradient| gradient.read_blocking().unwrap())
        };
        let first = monarch();
        assert!((0..3).all(|_| monarch() == first), "{spec} ({name})");

        let config = PixelflyConfig::new(16, 2, 1, 5);
        let spec = PixelflySpec::new(DType::F32, 700, [50, 33], &config).unwrap().gate().bias();
        let backward = PixelflyBackward::new(&gpu, spec.clone()).unwrap();
        assert!(backward.plan().dw.parts > 1, "{}", backward.plan());
        let (x, dy) = (given(&[700, 33]), given(&[700, 50]));
        let (w, u, v) = (given(&spec.mask.shape()), given(&[33, 5]), given(&[5, 50]));
        let (gate, bias) = (given(&[1]), given(&[50]));
        let pixelfly = || {
            let given = PixelflyInputs { x: &x, w: &w, u: &u, v: &v, gate: Some(&gate), bias: Some(&bias) };
            let gradients = backward.run(given, &dy).unwrap();
            let (dgate, dbias) = (gradients.dgate.unwrap(), gradients.dbias.unwrap());
            [gradients.dw, gradients.du, gradients.dv, dgate, dbias]
                .map(|gradient| gradient.read_blocking().unwrap())
        };
        let first = pixelfly();
        assert!((0..3).all(|_| pixelfly() == first), "{spec} ({name})");
    }
}

#[test]
fn tensors_that_do_not_fit_a_layer_are_refused() {
    let Some((_, gpu)) = common::gpus().pop() else { return };
    let zeros = |shape: &[usize]| Tensor::<f32>::zeros(&gpu, shape).unwrap();
    let pattern = BlockPattern::new(16, [2, 1], &[true, false]).unwrap();
    let spec = BlockSparseSpec::new(DType::F32, BlockSparseMode::Dds, pattern, 3);
    let product = BlockSparse::new(&gpu, spec.clone()).unwrap();
    let (x, w) = (zeros(&[3, 32]), zeros(&[1, 16, 16]));
    assert_eq!(product.run(&x, &w).unwrap().shape(), [3, 16]);
    let dense = product.run(&x, &zeros(&[32, 16]));
    assert!(matches!(dense, Err(Error::Shape { tensor: "B", .. })), "{dense:?}");
    let overhang = BlockSparse::new(&gpu, spec.size([33, 16])).unwrap_err().to_string();
    assert_eq!(overhang, "rows of blocks in the mask is 2, expected 3: 33 in blocks of 16");

    let layer = MonarchLinear::new(&gpu, MonarchLinearSpec::new(MonarchSpec::square(DType::F32, 3, 2)));
    let layer = layer.unwrap();
    let (x, w1) = (zeros(&[3, 4]), zeros(&[2, 2, 2]));
    let inputs = MonarchInputs { x: &x, w1: &w1, w2: &w1 };
    assert!(layer.run(inputs, None).is_ok());
    let biased = layer.run(inputs, Some(&zeros(&[4])));
    assert!(matches!(biased, Err(Error::Presence { tensor: "the bias", expected: false })), "{biased:?}");

    let config = PixelflyConfig::new(16, 1, 0, 2);
    let spec = PixelflySpec::new(DType::F32, 3, [16, 16], &config).unwrap().gate();
    let layer = PixelflyLinear::new(&gpu, spec).unwrap();
    let (x, w) = (zeros(&[3, 16]), zeros(&[1, 16, 16]));
    let (u, v) = (zeros(&[16, 2]), zeros(&[2, 16]));
    let without = layer.run(PixelflyInputs { x: &x, w: &w, u: &u, v: &v, gate: None, bias: None });
    assert!(matches!(without, Err(Error::Presence { tensor: "the gate", expected: true })), "{without:?}");
}
