//! The long convolution on this machine's GPU, beyond the acceptance grid.

use tilewise::plan::LongConvPlan;
use tilewise::verify::Inputs;
use tilewise::{
    Caps, DType, Gpu, LongConv, LongConvBackward, LongConvGradients, LongConvInputs, LongConvSpec,
    LongConvStep, Tensor, caps,
};

use crate::common;

fn uniform(random: &mut Inputs, count: usize) -> Vec<f32> {
    random.uniform(count, -1.0, 1.0).iter().map(|&x| x as f32).collect()
}

fn upload(gpu: &Gpu, shape: &[usize], values: &[f32]) -> Tensor<f32> {
    Tensor::from_slice(gpu, shape, values).unwrap()
}

/// Everything that a convolution and its gradients give, one tensor after the other.
fn everything(gpu: &Gpu, spec: LongConvSpec, tile: u32, given: [&[f32]; 6]) -> Vec<Vec<f32>> {
    let [u, dy, pre, post] = [0, 1, 2, 3].map(|i| upload(gpu, &spec.shape(), given[i]));
    let k = upload(gpu, &spec.kernel_shape(), given[4]);
    let skip = upload(gpu, &[spec.channels], given[5]);
    let inputs = LongConvInputs { u: &u, k: &k, skip: Some(&skip), pre: Some(&pre), post: Some(&post) };
    let y = LongConv::with_tile(gpu, spec, tile).unwrap().run(inputs).unwrap();
    let gradients = LongConvBackward::with_tile(gpu, spec, tile).unwrap().run(inputs, &dy).unwrap();
    let LongConvGradients { du, dk, dskip, dpre, dpost } = gradients;
    let tensors = [y, du, dpre.unwrap(), dpost.unwrap(), dk, dskip.unwrap()];
    tensors.iter().map(|tensor| tensor.read_blocking().unwrap()).collect()
}

/// Sums over batches, chunks and parts have one order, whoever finishes first.
#[test]
fn repeated_gradients_are_bitwise_equal() {
    let spec = LongConvSpec::new(DType::F32, 7, 2, 784).pre_gate().post_gate().skip();
    let mut random = Inputs::new(11);
    let sequences = [(); 4].map(|()| uniform(&mut random, 7 * 2 * 784));
    let (k, skip) = (uniform(&mut random, 2 * 784), uniform(&mut random, 2));
    let [u, dy, pre, post] = &sequences;
    let Some(gpu) = common::open(None) else { return };
    let run = || everything(&gpu, spec, 64, [u, dy, pre, post, &k, &skip]);
    let first = run();
    assert!(first.iter().flatten().all(|value| value.is_finite()));
    assert!((0..5).all(|_| run() == first));
}

/// Sequences share workgroups, but never a transform.
#[test]
fn a_nan_stays_in_its_sequence() {
    // Many sequences a tile, and two passes over chunks.
    for (length, tile) in [(13, 512), (600, 64)] {
        let spec = LongConvSpec::new(DType::F32, 2, 3, length).pre_gate().post_gate().skip();
        let mut random = Inputs::new(13);
        let sequences = [(); 4].map(|()| uniform(&mut random, spec.rows() * length));
        let (k, skip) = (uniform(&mut random, 3 * length), uniform(&mut random, 3));
        let [mut u, mut dy, pre, post] = sequences;
        let Some(gpu) = common::open(None) else { return };
        let clean = everything(&gpu, spec, tile, [&u, &dy, &pre, &post, &k, &skip]);
        // Batch 1 of channel 1.
        let (row, channel) = (4, 1);
        u[row * length + length / 2] = f32::NAN;
        dy[row * length + 1] = f32::INFINITY;
        let dirty = everything(&gpu, spec, tile, [&u, &dy, &pre, &post, &k, &skip]);
        for (i, (clean, dirty)) in clean.iter().zip(&dirty).enumerate() {
            let hit = if i < 4 { row } else { channel };
            let width = if i == 5 { 1 } else { length };
            for (other, (clean, dirty)) in clean.chunks(width).zip(dirty.chunks(width)).enumerate() {
                if other == hit {
                    assert!(dirty.iter().any(|value| value.is_nan()), "tensor {i} of length {length}");
                } else {
                    assert_eq!(clean, dirty, "tensor {i} of length {length}, sequence {other}");
                }
            }
        }
    }
}

/// More sequences than a slice of scratch holds: what one slice leaves must not reach the next.
#[test]
fn slices_are_one_convolution() {
    let spec = LongConvSpec::new(DType::F32, 2, 9, 1 << 18);
    let mut random = Inputs::new(17);
    let k = uniform(&mut random, 9 << 18);
    let Some(gpu) = common::open(None) else { return };
    let conv = LongConv::new(&gpu, spec).unwrap();
    let plan = conv.plan();
    assert!(plan.slice_batch * plan.slice_channels < 18, "{plan}");
    // An impulse in each sequence, at a place of its own, gives the kernel from there on.
    let mut u = vec![0.0; 18 << 18];
    let place = |row: usize| (row * 14_563) % (1 << 18);
    for row in 0..18 {
        u[(row << 18) + place(row)] = 1.0;
    }
    let (u, kernels) = (upload(&gpu, &spec.shape(), &u), upload(&gpu, &spec.kernel_shape(), &k));
    let inputs = LongConvInputs { u: &u, k: &kernels, skip: None, pre: None, post: None };
    let y = conv.run(inputs).unwrap().read_blocking().unwrap();
    for (row, y) in y.chunks(1 << 18).enumerate() {
        let kernel = &k[(row % 9) << 18..];
        let expected = |t: usize| if t < place(row) { 0.0 } else { kernel[t - place(row)] };
        let wrong = (0..1 << 18).find(|&t| (y[t] - expected(t)).abs() > 1e-5);
        assert_eq!(wrong, None, "sequence {row}");
    }
}

/// Kernels as long as all samples, and short ones that a history wraps around; with a prefill and from nothing.
#[test]
fn steps_continue_a_convolution() {
    for (prefill, taps) in [(60, 60), (60, 7), (5, 1)] {
        let whole =
            LongConvSpec::new(DType::F32, 2, 3, prefill + 20).taps(taps).pre_gate().post_gate().skip();
        let mut random = Inputs::new(19);
        let sequences = [(); 3].map(|()| uniform(&mut random, whole.rows() * whole.length));
        let (k, skip) = (uniform(&mut random, 3 * taps), uniform(&mut random, 3));
        for (_, gpu) in common::gpus() {
            let (k, skip) = (upload(&gpu, &whole.kernel_shape(), &k), upload(&gpu, &[3], &skip));
            let gates = |parts: &[Tensor<f32>; 3], run: &dyn Fn(LongConvInputs<'_, f32>) -> Tensor<f32>| {
                let [u, pre, post] = parts;
                run(LongConvInputs { u, k: &k, skip: Some(&skip), pre: Some(pre), post: Some(post) })
            };
            let part = |from: usize, to: usize, shape: &[usize]| {
                sequences.each_ref().map(|values| {
                    let rows = values.chunks(whole.length).flat_map(|row| &row[from..to]);
                    upload(&gpu, shape, &rows.copied().collect::<Vec<_>>())
                })
            };
            let conv = LongConv::new(&gpu, whole).unwrap();
            let all = gates(&part(0, whole.length, &whole.shape()), &|inputs| conv.run(inputs).unwrap());
            let all = all.read_blocking().unwrap();
            let first = LongConvSpec { length: prefill, ..whole };
            let step = LongConvStep::new(&gpu, first).unwrap();
            let history = step.history().unwrap();
            gates(&part(0, prefill, &first.shape()), &|inputs| {
                let mut encoder = gpu.encoder();
                step.encode_history(&mut encoder, inputs, &history).unwrap();
                gpu.submit(encoder).unwrap();
                history.clone()
            });
            let from_nothing = step.history().unwrap();
            for (start, history) in [(prefill, &history), (0, &from_nothing)] {
                for time in start..whole.length.min(start + 20) {
                    let samples = part(time, time + 1, &[2, 3]);
                    let y = gates(&samples, &|inputs| step.run(inputs, time as u32, history).unwrap());
                    for (row, y) in y.read_blocking().unwrap().into_iter().enumerate() {
                        // More than 60 samples back, kernels of 60 taps have ended in one as in the other.
                        let expected = all[row * whole.length + time];
                        assert!((y - expected).abs() < 1e-4, "{taps} taps, time {time}: {y} for {expected}");
                    }
                }
            }
        }
    }
}

/// What exceeds a binding is bound in windows: of some batches and channels, and of some chunks of a sequence. That is the
/// convolution that an adapter with room for all computes.
#[test]
fn windows_are_one_convolution() {
    let caps = |binding_bytes| Caps { binding_bytes, ..caps::WEBGPU_BASELINE };
    let spec = |batch, channels, length| {
        LongConvSpec::new(DType::F32, batch, channels, length).pre_gate().post_gate().skip()
    };
    // Transforms of 1024 numbers with a tile of 64: blocks of three chunks, and of one.
    let cases = [
        (spec(3, 5, 1001), 512, 40_000),
        (spec(2, 3, 4000), 64, 40_000),
        (spec(2, 1, 20_001), 64, 30_000),
        (spec(1, 2, 9001).taps(1500), 64, 12_000),
    ];
    let Some(whole) = common::open(None) else { return };
    for (spec, tile, bytes) in cases {
        let gpu = common::open(Some(caps(bytes))).unwrap();
        let mut random = Inputs::new(23);
        let sequences = [(); 4].map(|()| uniform(&mut random, spec.rows() * spec.length));
        let (k, skip) =
            (uniform(&mut random, spec.channels * spec.taps), uniform(&mut random, spec.channels));
        let [u, dy, pre, post] = &sequences;
        let given = [&u[..], dy, pre, post, &k, &skip];
        let (ours, expected) = (everything(&gpu, spec, tile, given), everything(&whole, spec, tile, given));
        for (i, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
            let largest = expected.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
            assert!(largest > 1.0 && ours.len() == expected.len());
            let wrong = (0..ours.len()).find(|&at| (ours[at] - expected[at]).abs() > 1e-5 * largest);
            assert_eq!(wrong, None, "tensor {i} of {spec}, tile {tile}, {bytes} bytes a binding");
        }
    }
    let plan = |spec: &LongConvSpec, bytes| LongConvPlan::with_tile(spec, 64, &caps(bytes)).unwrap();
    assert_eq!([plan(&cases[2].0, 30_000).block, plan(&cases[3].0, 12_000).block], [3, 1]);
}
