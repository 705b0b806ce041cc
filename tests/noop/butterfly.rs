//! Operations of the butterfly family.

use super::zeros;
use tilewise::{
    BlockPattern, BlockSoftmax, BlockSoftmaxSpec, BlockSparse, BlockSparseMode, BlockSparseSpec, Butterfly,
    ButterflyBackward, ButterflyInputs, ButterflyLinear, ButterflyLinearInputs, ButterflyLinearSpec,
    ButterflySpec, DType, Element, Gpu, Monarch, MonarchBackward, MonarchInputs, MonarchSpec,
    PixelflyBackward, PixelflyConfig, PixelflyInputs, PixelflyLinear, PixelflySpec, by_dtype,
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
    let inputs = MonarchInputs { x: &x, w1: &w1, w2: &w2 };
    let y = Monarch::new(gpu, spec).unwrap().run(inputs).unwrap();
    MonarchBackward::new(gpu, spec).unwrap().run(inputs, &y).unwrap();
}

/// A layer whose blocks overhang it, its gradients, and a softmax.
fn block_sparse<T: Element>(gpu: &Gpu, side: usize) {
    let size = [2 * side - 3, side];
    let pattern = BlockPattern::new(side, [2, 1], &[true, true]).unwrap();
    let spec = |mode| BlockSparseSpec::new(T::DTYPE, mode, pattern.clone(), 33).size(size);
    let (x, w) = (zeros::<T>(gpu, &[33, size[0]]), zeros::<T>(gpu, &pattern.shape()));
    let run = |spec, a, b| BlockSparse::new(gpu, spec).unwrap().run::<T>(a, b).unwrap();
    let y = run(spec(BlockSparseMode::Dds), &x, &w);
    run(spec(BlockSparseMode::Dds).b_transposed(), &y, &w);
    run(spec(BlockSparseMode::Sdd).a_transposed(), &x, &y);
    run(spec(BlockSparseMode::Dsd), &w, &zeros(gpu, &[size[1], 33]));
    let softmax = BlockSoftmax::new(gpu, BlockSoftmaxSpec::new(T::DTYPE, pattern.clone())).unwrap();
    let (p, ds) = (softmax.outputs().unwrap(), softmax.outputs().unwrap());
    let mut encoder = gpu.encoder();
    softmax.encode(&mut encoder, &w, &p).unwrap();
    softmax.encode_backward(&mut encoder, &p, &w, &ds).unwrap();
    gpu.submit(encoder).unwrap();
}

fn pixelfly<T: Element>(gpu: &Gpu, spec: PixelflySpec) {
    let [out, inputs] = spec.size;
    let (x, w) = (zeros::<T>(gpu, &[spec.batch, inputs]), zeros(gpu, &spec.mask.shape()));
    let (u, v) = (zeros(gpu, &spec.u_shape()), zeros(gpu, &spec.v_shape()));
    let (gate, bias) = (zeros::<f32>(gpu, &[1]), zeros(gpu, &[out]));
    let (gate, bias) = (spec.gate.then_some(&gate), spec.bias.then_some(&bias));
    let given = PixelflyInputs { x: &x, w: &w, u: &u, v: &v, gate, bias };
    let y = PixelflyLinear::new(gpu, spec.clone()).unwrap().run(given).unwrap();
    PixelflyBackward::new(gpu, spec).unwrap().run(given, &y).unwrap();
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
        for side in [8, 64] {
            by_dtype!(dtype, T => block_sparse::<T>(gpu, side));
        }
        let spec = |batch, size, config| PixelflySpec::new(dtype, batch, size, &config).unwrap();
        by_dtype!(dtype, T => {
            let published = PixelflyConfig::named("mixer-b").unwrap();
            pixelfly::<T>(gpu, spec(100, [512, 256], published).gate().bias());
            pixelfly::<T>(gpu, spec(5, [97, 70], PixelflyConfig::new(16, 2, 1, 3)));
        });
    }
}
