//! What linear attention whose keys decay each on its own must do beside agreeing with its oracle.

use crate::common;
use tilewise::verify::Inputs;
use tilewise::{
    DType, Gate, Gpu, LinearAttention, LinearAttentionBackward, LinearAttentionGradients,
    LinearAttentionInputs, LinearAttentionOutputGradients, LinearAttentionSpec, Sequences, Tensor,
};

/// q, k, v and g.
struct Given([Tensor<f32>; 4]);

impl Given {
    fn new(gpu: &Gpu, spec: &LinearAttentionSpec, decay: f64, change: impl Fn(&mut [f32])) -> Self {
        let mut inputs = Inputs::new(41);
        let mut upload = |shape: &[usize], change: &dyn Fn(&mut [f32])| {
            let mut values: Vec<f32> =
                inputs.normal(shape.iter().product(), 1.0).iter().map(|&x| x as f32).collect();
            change(&mut values);
            Tensor::from_slice(gpu, shape, &values).unwrap()
        };
        let decays = |values: &mut [f32]| values.iter_mut().for_each(|g| *g = -g.abs() - decay as f32);
        let [q, k] = [(); 2].map(|()| upload(&spec.q_shape(), &|_| {}));
        Self([q, k, upload(&spec.v_shape(), &change), upload(&spec.g_shape(), &decays)])
    }

    fn inputs(&self) -> LinearAttentionInputs<'_, f32> {
        let [q, k, v, g] = &self.0;
        LinearAttentionInputs { q, k, v, g, initial: None }
    }
}

fn spec(length: usize) -> LinearAttentionSpec {
    LinearAttentionSpec::new(DType::F32, 1, length, 2, (13, 7), Gate::PerKey).chunk(64)
}

fn read(tensor: &Tensor<f32>) -> Vec<f32> {
    tensor.read_blocking().unwrap()
}

fn bits(tensor: &Tensor<f32>) -> Vec<u32> {
    read(tensor).iter().map(|value| value.to_bits()).collect()
}

fn all(gradients: LinearAttentionGradients<f32>) -> [Tensor<f32>; 4] {
    let LinearAttentionGradients { q, k, v, g, .. } = gradients;
    [q, k, v, g]
}

#[test]
fn results_and_gradients_are_bitwise_repeatable() {
    for (_, gpu) in common::gpus() {
        let given = Given::new(&gpu, &spec(150), 0.1, |_| {});
        let (forward, backward) = (
            LinearAttention::new(&gpu, spec(150)).unwrap(),
            LinearAttentionBackward::new(&gpu, spec(150)).unwrap(),
        );
        let run = || {
            let outputs = forward.run(given.inputs()).unwrap();
            let of = LinearAttentionOutputGradients { o: &given.0[2], last: Some(&outputs.last) };
            let gradients = all(backward.run(given.inputs(), of).unwrap());
            (bits(&outputs.o), bits(&outputs.last), gradients.map(|tensor| bits(&tensor)))
        };
        let first = run();
        assert!((0..3).all(|_| run() == first));
    }
}

/// Decays too strong for exponentials of their sums, let alone of their negatives: every step stands alone.
#[test]
fn decays_that_forget_everything_are_exact() {
    for (_, gpu) in common::gpus() {
        let given = Given::new(&gpu, &spec(70), 3e4, |_| {});
        let [q, k, v] = [0, 1, 2].map(|i: usize| read(&given.0[i]));
        let outputs = LinearAttention::new(&gpu, spec(70)).unwrap().run(given.inputs()).unwrap();
        let scale = 1.0 / 13_f32.sqrt();
        let score = |row: usize| (0..13).map(|n| q[13 * row + n] * k[13 * row + n]).sum::<f32>() * scale;
        for (i, o) in read(&outputs.o).into_iter().enumerate() {
            let expected = score(i / 7) * v[i];
            assert!((o - expected).abs() <= 1e-5 * expected.abs().max(1e-2), "{i}: {o} for {expected}");
        }
        let of = LinearAttentionOutputGradients { o: &given.0[2], last: None };
        let gradients =
            LinearAttentionBackward::new(&gpu, spec(70)).unwrap().run(given.inputs(), of).unwrap();
        assert!(read(&gradients.g).iter().all(|&dg| dg.abs() < 1e-4), "nothing depends on what is forgotten");
        for (i, dv) in read(&gradients.v).into_iter().enumerate() {
            let expected = score(i / 7) * v[i];
            assert!((dv - expected).abs() <= 1e-5 * expected.abs().max(1e-2), "{i}: {dv} for {expected}");
        }
    }
}

/// Gates that let states grow overflow, as the mathematics does, and end; whether of heads or of keys.
#[test]
fn growing_states_overflow_and_end() {
    for (_, gpu) in common::gpus() {
        for gate in [Gate::PerKey, Gate::PerStep, Gate::Constant] {
            let spec = LinearAttentionSpec { gate, ..spec(300) };
            let mut given = Given::new(&gpu, &spec, 0.0, |_| {});
            let grown = vec![1.0_f32; given.0[3].len()];
            given.0[3] = Tensor::from_slice(&gpu, &spec.g_shape(), &grown).unwrap();
            let o = read(&LinearAttention::new(&gpu, spec.clone()).unwrap().run(given.inputs()).unwrap().o);
            assert!(o[..140].iter().all(|x| x.is_finite()) && !o[o.len() - 1].is_finite(), "{spec}");
            let of = LinearAttentionOutputGradients { o: &given.0[2], last: None };
            let found =
                LinearAttentionBackward::new(&gpu, spec.clone()).unwrap().run(given.inputs(), of).unwrap();
            assert!(!read(&found.v)[0].is_finite(), "{spec}");
        }
    }
}

/// A NaN stays in its own sequence, forward and backward, whatever decays.
#[test]
fn a_nan_stays_in_its_sequence() {
    let adapters = common::gpus();
    let gates = [Gate::PerKey, Gate::PerStep, Gate::Constant];
    for (gpu, gate) in adapters.iter().flat_map(|(_, gpu)| gates.map(|gate| (gpu, gate))) {
        let spec = LinearAttentionSpec { gate, ..spec(100) };
        let spec = spec.sequences(Sequences::Packed(vec![0, 37, 70, 100]));
        let clean = Given::new(gpu, &spec, 0.1, |_| {});
        let dirty = Given::new(gpu, &spec, 0.1, |v| v[50 * 14] = f32::NAN);
        let forward = LinearAttention::new(gpu, spec.clone()).unwrap();
        let backward = LinearAttentionBackward::new(gpu, spec).unwrap();
        let run = |given: &Given| {
            let o = forward.run(given.inputs()).unwrap().o;
            let of = LinearAttentionOutputGradients { o: &clean.0[2], last: None };
            let mut tensors = vec![o];
            tensors.extend(all(backward.run(given.inputs(), of).unwrap()));
            tensors
        };
        for (expected, found) in run(&clean).iter().zip(run(&dirty)) {
            let (expected, found) = (bits(expected), bits(&found));
            // What a head has for all steps is every sequence's.
            if expected.len() < 100 {
                continue;
            }
            let row = expected.len() / 100;
            assert_eq!(expected[..37 * row], found[..37 * row]);
            assert_eq!(expected[70 * row..], found[70 * row..]);
        }
        assert!(read(&run(&dirty)[0])[50 * 14..].iter().any(|o| o.is_nan()));
    }
}

#[test]
fn no_steps_leave_the_states_and_long_chunks_are_refused() {
    for (_, gpu) in common::gpus() {
        let given = Given::new(&gpu, &spec(0), 0.1, |_| {});
        let initial = Tensor::from_slice(&gpu, &[1, 2, 7, 13], &[0.5_f32; 182]).unwrap();
        let inputs = LinearAttentionInputs { initial: Some(&initial), ..given.inputs() };
        let outputs = LinearAttention::new(&gpu, spec(0).initial()).unwrap().run(inputs).unwrap();
        assert!(outputs.o.is_empty());
        assert_eq!(read(&outputs.last), read(&initial));
        let of = LinearAttentionOutputGradients { o: &given.0[2], last: Some(&initial) };
        let backward = LinearAttentionBackward::new(&gpu, spec(0).initial()).unwrap();
        assert_eq!(read(&backward.run(inputs, of).unwrap().initial), read(&initial));
    }
    let refused = spec(9).chunk(65).check().unwrap_err().to_string();
    assert_eq!(refused, "chunk is 65, expected 1 to 64");
}
