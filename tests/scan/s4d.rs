//! S4D, H3 and Hyena on this machine's GPU, beyond the acceptance grid: kernels of a million samples, and steps.

use tilewise::oracle;
use tilewise::verify::Inputs;
use tilewise::{
    DType, Gpu, H3, H3Inputs, H3Spec, H3Step, Hyena, HyenaInputs, HyenaSpec, HyenaStep, LongConvSpec,
    Projection, S4d, S4dInputs, S4dParameters, S4dSpec, S4dStep, Tensor,
};

use crate::common;

fn uniform(gpu: &Gpu, random: &mut Inputs, shape: &[usize]) -> Tensor<f32> {
    let values = random.uniform(shape.iter().product(), -1.0, 1.0);
    Tensor::from_slice(gpu, shape, &values.iter().map(|&x| x as f32).collect::<Vec<_>>()).unwrap()
}

/// The samples `from..to` of sequences of that length.
fn part(gpu: &Gpu, of: &Tensor<f32>, from: usize, to: usize, shape: &[usize]) -> Tensor<f32> {
    let length = of.shape()[2];
    let values = of.read_blocking().unwrap();
    let values: Vec<_> = values.chunks(length).flat_map(|row| &row[from..to]).copied().collect();
    Tensor::from_slice(gpu, shape, &values).unwrap()
}

/// Modes that barely decay, and turn through a hundred thousand radians.
#[test]
fn a_million_samples_keep_their_phase() {
    let spec = S4dSpec::new(LongConvSpec::new(DType::F32, 1, 1, 1 << 20), 2);
    let parameters = S4dParameters {
        log_dt: vec![0.1_f64.ln()],
        log_a_re: vec![1e-6_f64.ln(), 2e-6_f64.ln()],
        a_im: vec![1.0, 2.7],
        c_re: vec![1.0, -0.5],
        c_im: vec![0.3, 0.7],
    };
    for spec in [spec, spec.bilinear()] {
        let expected = oracle::s4d_kernel(&spec, &parameters);
        let largest = expected[1 << 19..].iter().fold(0.0, |max: f64, k| max.max(k.abs()));
        assert!(largest > 0.1, "the kernel is still there: {largest}");
        for (name, gpu) in common::gpus() {
            let s4d = S4d::new(&gpu, spec).unwrap();
            let k = Tensor::zeros(&gpu, &[1, 1 << 20]).unwrap();
            let mut encoder = gpu.encoder();
            s4d.encode_kernel(&mut encoder, &s4d.modes(&parameters).unwrap(), &k).unwrap();
            gpu.submit(encoder).unwrap();
            let found = k.read_blocking().unwrap();
            let error = found.iter().zip(&expected).map(|(&k, expected)| (f64::from(k) - expected).abs());
            let error = error.fold(0.0, f64::max);
            assert!(error < 1e-5 * largest, "{name}: {error:.1e} of {largest:.1e}");
        }
    }
}

#[test]
fn parameters_of_other_sizes_are_refused() {
    let Some(gpu) = common::open(None) else { return };
    let spec = S4dSpec::new(LongConvSpec::new(DType::F32, 1, 2, 8), 3);
    let s4d = S4d::new(&gpu, spec).unwrap();
    let mut parameters = S4dParameters::lin(&spec, 0.1);
    parameters.a_im.pop();
    let error = s4d.modes(&parameters).unwrap_err();
    assert_eq!(error.to_string(), "the number of a_im is 5, expected 6");
    let error = S4d::new(&gpu, S4dSpec { pairs: 0, ..spec }).unwrap_err();
    assert_eq!(error.to_string(), "pairs is 0, expected at least 1");
    let short = S4dSpec { conv: spec.conv.taps(4), ..spec };
    assert_eq!(S4d::new(&gpu, short).unwrap_err().to_string(), "taps is 4, expected the length, 8");
}

/// A prefill followed by steps is one sequence, within 1e-3.
fn expect_step(y: &Tensor<f32>, all: &[f32], time: usize, length: usize) {
    let largest = all.iter().fold(0.0, |max: f32, y| max.max(y.abs()));
    assert!(largest > 0.1, "zeros would pass");
    for (row, y) in y.read_blocking().unwrap().into_iter().enumerate() {
        let expected = all[row * length + time];
        assert!((y - expected).abs() < 1e-5 * largest, "time {time}: {y} for {expected}");
    }
}

#[test]
fn s4d_steps_continue_a_prefill() {
    for (_, gpu) in common::gpus() {
        let mut random = Inputs::new(23);
        let conv = LongConvSpec::new(DType::F32, 2, 3, 100).pre_gate().post_gate().skip();
        let spec = S4dSpec::new(conv, 5);
        let parameters = S4dParameters::lin(&spec, 0.05);
        let [u, pre, post] = [(); 3].map(|()| uniform(&gpu, &mut random, &conv.shape()));
        let skip = uniform(&gpu, &mut random, &[3]);
        let s4d = S4d::new(&gpu, spec).unwrap();
        let modes = s4d.modes(&parameters).unwrap();
        let inputs =
            S4dInputs { u: &u, modes: &modes, skip: Some(&skip), pre: Some(&pre), post: Some(&post) };
        let all = s4d.run(inputs).unwrap().read_blocking().unwrap();

        let prefill = S4dSpec { conv: LongConvSpec { length: 80, taps: 80, ..conv }, ..spec };
        let step = S4dStep::new(&gpu, prefill).unwrap();
        let states = step.states().unwrap();
        let [u80, pre80] = [&u, &pre].map(|of| part(&gpu, of, 0, 80, &prefill.conv.shape()));
        let mut encoder = gpu.encoder();
        let first = S4dInputs { u: &u80, pre: Some(&pre80), ..inputs };
        step.encode_states(&mut encoder, first, &states).unwrap();
        gpu.submit(encoder).unwrap();
        for time in 80..100 {
            let [u, pre, post] = [&u, &pre, &post].map(|of| part(&gpu, of, time, time + 1, &[2, 3]));
            let sample = S4dInputs { u: &u, pre: Some(&pre), post: Some(&post), ..inputs };
            expect_step(&step.run(sample, &states).unwrap(), &all, time, 100);
        }
    }
}

#[test]
fn h3_steps_continue_a_prefill() {
    for (_, gpu) in common::gpus() {
        let mut random = Inputs::new(29);
        let spec = H3Spec::new(DType::F32, [2, 3, 100], 4, 5);
        let parameters = S4dParameters::lin(&spec.diagonal(), 0.05);
        let [q, k, v] = [(); 3].map(|()| uniform(&gpu, &mut random, &spec.shape()));
        let (shift, shift_skip) = (uniform(&gpu, &mut random, &[3, 4]), uniform(&gpu, &mut random, &[3]));
        let skip = uniform(&gpu, &mut random, &[3]);
        let h3 = H3::new(&gpu, spec).unwrap();
        let modes = h3.modes(&parameters).unwrap();
        let inputs = H3Inputs {
            q: &q,
            k: &k,
            v: &v,
            shift: &shift,
            shift_skip: &shift_skip,
            modes: &modes,
            skip: &skip,
        };
        let all = h3.run(inputs).unwrap().read_blocking().unwrap();

        let prefill = H3Spec { length: 80, ..spec };
        let step = H3Step::new(&gpu, prefill).unwrap();
        // From a prefill, and from nothing.
        for start in [80, 0] {
            let mut states = step.states().unwrap();
            if start > 0 {
                let [q, k, v] = [&q, &k, &v].map(|of| part(&gpu, of, 0, start, &prefill.shape()));
                let mut encoder = gpu.encoder();
                let first = H3Inputs { q: &q, k: &k, v: &v, ..inputs };
                step.encode_states(&mut encoder, first, &mut states).unwrap();
                gpu.submit(encoder).unwrap();
            }
            for time in start..start + 20 {
                let [q, k, v] = [&q, &k, &v].map(|of| part(&gpu, of, time, time + 1, &[2, 3]));
                let sample = H3Inputs { q: &q, k: &k, v: &v, ..inputs };
                expect_step(&step.run(sample, &mut states).unwrap(), &all, time, 100);
            }
        }
    }
}

#[test]
fn hyena_steps_continue_a_prefill() {
    for (_, gpu) in common::gpus() {
        let mut random = Inputs::new(31);
        let spec = HyenaSpec::new(DType::F32, 2, 3, 100).taps(80);
        let qkv = [(); 3].map(|()| uniform(&gpu, &mut random, &spec.shape()));
        let weights = [(); 3].map(|()| uniform(&gpu, &mut random, &[3, 3]));
        let biases = [(); 3].map(|()| uniform(&gpu, &mut random, &[3]));
        let (filter, skip) = (uniform(&gpu, &mut random, &[3, 80]), uniform(&gpu, &mut random, &[3]));
        let hyena = Hyena::new(&gpu, spec).unwrap();
        let projections = |x: &[Tensor<f32>; 3], run: &mut dyn FnMut(HyenaInputs<'_, f32>)| {
            let one = |i: usize| Projection { x: &x[i], weight: &weights[i], bias: &biases[i] };
            run(HyenaInputs { qkv: [one(0), one(1), one(2)], filter: &filter, skip: &skip });
        };
        let mut all = vec![];
        projections(&qkv, &mut |inputs| all = hyena.run(inputs).unwrap().read_blocking().unwrap());

        let prefill = HyenaSpec { length: 80, ..spec };
        let step = HyenaStep::new(&gpu, prefill).unwrap();
        for start in [80, 0] {
            let mut states = step.states().unwrap();
            if start > 0 {
                let first = qkv.each_ref().map(|of| part(&gpu, of, 0, start, &prefill.shape()));
                projections(&first, &mut |inputs| {
                    let mut encoder = gpu.encoder();
                    step.encode_states(&mut encoder, inputs, &mut states).unwrap();
                    gpu.submit(encoder).unwrap();
                });
            }
            for time in start..start + 20 {
                let sample = qkv.each_ref().map(|of| part(&gpu, of, time, time + 1, &[2, 3]));
                projections(&sample, &mut |inputs| {
                    expect_step(&step.run(inputs, &mut states).unwrap(), &all, time, 100);
                });
            }
        }
    }
}
