//! Steps of decoding in narrow types: what they give is what f32 gives for the same numbers, but for its rounding. That
//! f32's continue a prefill is each operation's own test.

use tilewise::verify::Inputs;
use tilewise::{
    CoefficientTensor, DType, DeltaRuleInputs, DeltaRuleSpec, DeltaRuleStep, Element, Gate, Gpu, H3Inputs,
    H3Spec, H3Step, HyenaInputs, HyenaSpec, HyenaStep, LinearAttentionInputs, LinearAttentionSpec,
    LinearAttentionStep, LongConvInputs, LongConvSpec, LongConvStep, Mamba2Inputs, Mamba2Spec, Mamba2Step,
    MambaInputs, MambaSpec, MambaStep, Projection, S4dInputs, S4dParameters, S4dSpec, S4dStep, Skip,
    SsdInputs, SsdSpec, SsdStep, Tensor, by_dtype,
};

use crate::common;

/// Steps taken from nothing, so that states have a part in the last ones.
const STEPS: usize = 4;

/// Numbers that every type holds, the same ones for every type.
struct Numbers<'a> {
    gpu: &'a Gpu,
    inputs: Inputs,
}

impl<'a> Numbers<'a> {
    fn new(gpu: &'a Gpu) -> Self {
        Self { gpu, inputs: Inputs::new(51) }
    }

    /// Eighths between two limits.
    fn between<T: Element>(&mut self, shape: &[usize], low: f64, high: f64) -> Tensor<T> {
        let values = self.inputs.uniform(shape.iter().product(), low, high);
        let values: Vec<T> = values.iter().map(|x| T::from_f64((8.0 * x).round() / 8.0)).collect();
        Tensor::from_slice(self.gpu, shape, &values).unwrap()
    }

    fn some<T: Element>(&mut self, shape: &[usize]) -> Tensor<T> {
        self.between(shape, -1.5, 1.5)
    }
}

fn values<T: Element>(tensor: &Tensor<T>) -> Vec<f64> {
    tensor.read_blocking().unwrap().into_iter().map(Element::to_f64).collect()
}

/// The results of some steps, one after the other.
fn each_step<T: Element>(mut step: impl FnMut(u32) -> Tensor<T>) -> Vec<f64> {
    (0..STEPS as u32).flat_map(|time| values(&step(time))).collect()
}

fn ssd<T: Element>(gpu: &Gpu) -> Vec<f64> {
    let spec = SsdSpec::new(T::DTYPE, 2, STEPS, (4, 13), 7).groups(2).skip(Skip::PerChannel).gated();
    let step = SsdStep::new(gpu, spec.dt_bias().dt_softplus()).unwrap();
    let mut numbers = Numbers::new(gpu);
    let a = numbers.between(&[4], -2.0, -0.5);
    let (d, bias) = (numbers.some(&[4, 13]), numbers.some(&[4]));
    let states = Tensor::zeros(gpu, &[2, 4, 13, 7]).unwrap();
    each_step(|_| {
        let [x, z] = [(); 2].map(|()| numbers.some::<T>(&step.x_shape()));
        let [b, c] = [(); 2].map(|()| numbers.some::<T>(&step.b_shape()));
        let (x, dt, b, c) = (&x, &numbers.some::<T>(&step.dt_shape()), &b, &c);
        let (d, z, dt_bias) = (Some(&d), Some(&z), Some(&bias));
        step.run(SsdInputs { x, dt, a: &a, b, c, d, z, dt_bias, initial: None }, &states).unwrap()
    })
}

fn linear_attention<T: Element>(gpu: &Gpu) -> Vec<f64> {
    let of_gate = |gate| {
        let spec = LinearAttentionSpec::new(T::DTYPE, 2, STEPS, 2, (13, 7), gate);
        let states = Tensor::zeros(gpu, &spec.state_shape()).unwrap();
        let step = LinearAttentionStep::new(gpu, spec).unwrap();
        let mut numbers = Numbers::new(gpu);
        each_step(|_| {
            let [q, k] = [(); 2].map(|()| numbers.some::<T>(&step.q_shape()));
            let (v, g) = (numbers.some::<T>(&step.v_shape()), numbers.between(&step.g_shape(), -1.0, 0.0));
            let given = LinearAttentionInputs { q: &q, k: &k, v: &v, g: &g, initial: None };
            step.run(given, &states).unwrap()
        })
    };
    [Gate::Constant, Gate::PerStep, Gate::PerKey].into_iter().flat_map(of_gate).collect()
}

fn delta_rule<T: Element>(gpu: &Gpu) -> Vec<f64> {
    let spec = DeltaRuleSpec::new(T::DTYPE, 2, STEPS, 2, (13, 7)).gated();
    let states = Tensor::zeros(gpu, &spec.state_shape()).unwrap();
    let step = DeltaRuleStep::new(gpu, spec).unwrap();
    let mut numbers = Numbers::new(gpu);
    each_step(|_| {
        let (q, v) = (numbers.some::<T>(&step.q_shape()), numbers.some::<T>(&step.v_shape()));
        let k = numbers.between::<T>(&step.q_shape(), -0.4, 0.4);
        let beta = numbers.between(&step.beta_shape(), 0.1, 1.0);
        let g = numbers.between(&step.beta_shape(), -1.0, 0.0);
        let given = DeltaRuleInputs { q: &q, k: &k, v: &v, beta: &beta, g: Some(&g), initial: None };
        step.run(given, &states).unwrap()
    })
}

fn long_conv<T: Element>(gpu: &Gpu) -> Vec<f64> {
    let spec = LongConvSpec::new(T::DTYPE, 2, 3, 20).pre_gate().post_gate().skip();
    let step = LongConvStep::new(gpu, spec).unwrap();
    let history = step.history().unwrap();
    let mut numbers = Numbers::new(gpu);
    let (k, skip) = (numbers.some(&spec.kernel_shape()), numbers.some(&[3]));
    each_step(|time| {
        let [u, pre, post] = [(); 3].map(|()| numbers.some::<T>(&[2, 3]));
        let given = LongConvInputs { u: &u, k: &k, skip: Some(&skip), pre: Some(&pre), post: Some(&post) };
        step.run(given, time, &history).unwrap()
    })
}

fn s4d<T: Element>(gpu: &Gpu) -> Vec<f64> {
    let conv = LongConvSpec::new(T::DTYPE, 2, 3, 20).pre_gate().post_gate().skip();
    let spec = S4dSpec::new(conv, 5);
    let step = S4dStep::new(gpu, spec).unwrap();
    let modes = tilewise::S4d::new(gpu, spec).unwrap().modes(&S4dParameters::lin(&spec, 0.1)).unwrap();
    let states = step.states().unwrap();
    let mut numbers = Numbers::new(gpu);
    let skip = numbers.some(&[3]);
    each_step(|_| {
        let [u, pre, post] = [(); 3].map(|()| numbers.some::<T>(&[2, 3]));
        let (skip, pre, post) = (Some(&skip), Some(&pre), Some(&post));
        step.run(S4dInputs { u: &u, modes: &modes, skip, pre, post }, &states).unwrap()
    })
}

fn h3<T: Element>(gpu: &Gpu) -> Vec<f64> {
    let spec = H3Spec::new(T::DTYPE, [2, 3, 20], 4, 5);
    let step = H3Step::new(gpu, spec).unwrap();
    let parameters = S4dParameters::lin(&spec.diagonal(), 0.1);
    let modes = tilewise::H3::new(gpu, spec).unwrap().modes(&parameters).unwrap();
    let mut states = step.states().unwrap();
    let mut numbers = Numbers::new(gpu);
    let shift = numbers.some(&[3, 4]);
    let [shift_skip, skip] = [(); 2].map(|()| numbers.some(&[3]));
    each_step(|_| {
        let [q, k, v] = [(); 3].map(|()| numbers.some::<T>(&[2, 3]));
        let (q, k, v, shift, shift_skip) = (&q, &k, &v, &shift, &shift_skip);
        let given = H3Inputs { q, k, v, shift, shift_skip, modes: &modes, skip: &skip };
        step.run(given, &mut states).unwrap()
    })
}

fn hyena<T: Element>(gpu: &Gpu) -> Vec<f64> {
    let step = HyenaStep::new(gpu, HyenaSpec::new(T::DTYPE, 2, 3, 20)).unwrap();
    let mut states = step.states().unwrap();
    let mut numbers = Numbers::new(gpu);
    let (weight, filter) = (numbers.some(&[3, 3]), numbers.some(&[3, 20]));
    let [bias, skip] = [(); 2].map(|()| numbers.some(&[3]));
    each_step(|_| {
        let qkv = [(); 3].map(|()| numbers.some::<T>(&[2, 3]));
        let qkv = qkv.each_ref().map(|x| Projection { x, weight: &weight, bias: &bias });
        step.run(HyenaInputs { qkv, filter: &filter, skip: &skip }, &mut states).unwrap()
    })
}

fn mamba<T: Element>(gpu: &Gpu) -> Vec<f64> {
    let step = MambaStep::new(gpu, MambaSpec::new(T::DTYPE, 2, 5, STEPS, 4)).unwrap();
    let mut states = step.states().unwrap();
    let mut numbers = Numbers::new(gpu);
    let (a, weight) = (numbers.between(&[5, 4], -2.0, -0.5), numbers.some(&[5, 4]));
    let [bias, skip, delta_bias] = [(); 3].map(|()| numbers.some(&[5]));
    each_step(|_| {
        let [x, delta, z] = [(); 3].map(|()| numbers.some::<T>(&[2, 5, 1]));
        let [b, c] = [(); 2].map(|()| numbers.some::<T>(&[2, 4, 1]));
        let given = MambaInputs {
            x: &x,
            weight: &weight,
            bias: Some(&bias),
            conv_initial: None,
            delta: &delta,
            a: &a,
            b: CoefficientTensor::PerStep(&b),
            c: CoefficientTensor::PerStep(&c),
            skip: Some(&skip),
            z: Some(&z),
            delta_bias: Some(&delta_bias),
            initial: None,
        };
        step.run(given, &mut states).unwrap()
    })
}

fn mamba2<T: Element>(gpu: &Gpu) -> Vec<f64> {
    let spec = Mamba2Spec::new(T::DTYPE, 2, STEPS, (2, 6), 5);
    let conv = spec.conv();
    let step = Mamba2Step::new(gpu, spec).unwrap();
    let mut states = step.states().unwrap();
    let mut numbers = Numbers::new(gpu);
    let (weight, bias) = (numbers.some(&conv.weight_shape()), numbers.some(&conv.bias_shape()));
    let a = numbers.between(&[2], -2.0, -0.5);
    let [d, dt_bias] = [(); 2].map(|()| numbers.some(&[2]));
    each_step(|_| {
        let (xbc, dt) = (numbers.some::<T>(&[2, conv.channels]), numbers.some::<T>(&[2, 2]));
        let z = numbers.some::<T>(&[2, 2, 6]);
        let given = Mamba2Inputs {
            xbc: &xbc,
            weight: &weight,
            bias: Some(&bias),
            conv_initial: None,
            dt: &dt,
            a: &a,
            d: Some(&d),
            z: Some(&z),
            dt_bias: Some(&dt_bias),
            initial: None,
        };
        step.run(given, &mut states).unwrap()
    })
}

/// Compares the steps of an operation in narrow types with those in f32: each goes through few tensors of its type.
macro_rules! like_f32 {
    ($operation:ident) => {
        for (_, gpu) in common::gpus() {
            let expected = $operation::<f32>(&gpu);
            let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
            assert!(largest > 0.1, "results of zeros check nothing");
            for (dtype, unit) in [(DType::F16, 2.0_f64.powi(-11)), (DType::Bf16, 2.0_f64.powi(-8))] {
                let found = by_dtype!(dtype, T => $operation::<T>(&gpu));
                assert_eq!(found.len(), expected.len());
                for (i, (x, y)) in found.iter().zip(&expected).enumerate() {
                    assert!((x - y).abs() <= 4.0 * unit * largest, "{dtype}, element {i}: {x} for {y}");
                }
            }
        }
    };
}

#[test]
fn steps_of_recurrences_in_narrow_types() {
    like_f32!(ssd);
    like_f32!(linear_attention);
    like_f32!(delta_rule);
}

#[test]
fn steps_of_layers_in_narrow_types() {
    like_f32!(long_conv);
    like_f32!(s4d);
    like_f32!(h3);
    like_f32!(hyena);
    like_f32!(mamba);
    like_f32!(mamba2);
}
