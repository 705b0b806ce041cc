//! What the delta rule must do beside agreeing with its oracle.

use crate::common;
use tilewise::verify::Inputs;
use tilewise::{
    DType, DeltaRule, DeltaRuleBackward, DeltaRuleGradients, DeltaRuleInputs, DeltaRuleSpec, DeltaRuleStep,
    Error, Gpu, LinearAttentionOutputGradients, PlanError, Sequences, Tensor,
};

/// Every tensor that the rule can read.
struct Given {
    q: Tensor<f32>,
    k: Tensor<f32>,
    v: Tensor<f32>,
    beta: Tensor<f32>,
    g: Option<Tensor<f32>>,
    initial: Option<Tensor<f32>>,
}

impl Given {
    fn new(gpu: &Gpu, spec: &DeltaRuleSpec) -> Self {
        Self::with_v(gpu, spec, |_| {})
    }

    fn with_v(gpu: &Gpu, spec: &DeltaRuleSpec, change: impl Fn(&mut [f32])) -> Self {
        let mut inputs = Inputs::new(21);
        let mut normal = |shape: &[usize], size: f64| -> Vec<f32> {
            inputs.normal(shape.iter().product(), size).iter().map(|&x| x as f32).collect()
        };
        let upload = |shape: &[usize], values: &[f32]| Tensor::from_slice(gpu, shape, values).unwrap();
        let mut v = normal(&spec.v_shape(), 1.0);
        change(&mut v);
        let short = 0.7 / (spec.key_dim as f64).sqrt();
        let shape = spec.beta_shape();
        let rates = |low, high| -> Vec<f32> {
            let uniform = Inputs::new(22).uniform(shape.iter().product(), low, high);
            uniform.iter().map(|&x| x as f32).collect()
        };
        Self {
            q: upload(&spec.q_shape(), &normal(&spec.q_shape(), 1.0)),
            k: upload(&spec.q_shape(), &normal(&spec.q_shape(), short)),
            v: upload(&spec.v_shape(), &v),
            beta: upload(&shape, &rates(0.1, 0.9)),
            g: spec.gated.then(|| upload(&shape, &rates(-0.3, 0.0))),
            initial: spec.initial.then(|| upload(&spec.state_shape(), &normal(&spec.state_shape(), 1.0))),
        }
    }

    fn inputs(&self) -> DeltaRuleInputs<'_, f32> {
        let Self { q, k, v, beta, g, initial } = self;
        DeltaRuleInputs { q, k, v, beta, g: g.as_ref(), initial: initial.as_ref() }
    }
}

fn read(tensor: &Tensor<f32>) -> Vec<f32> {
    tensor.read_blocking().unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn all(gradients: &DeltaRuleGradients<f32>) -> Vec<&Tensor<f32>> {
    let DeltaRuleGradients { q, k, v, beta, g, initial } = gradients;
    [q, k, v, beta, initial].into_iter().chain(g).collect()
}

#[test]
fn results_and_gradients_are_bitwise_repeatable() {
    let spec = DeltaRuleSpec::new(DType::F32, 2, 150, 2, (13, 7)).gated().initial().chunk(64);
    for (_, gpu) in common::gpus() {
        let given = Given::new(&gpu, &spec);
        let rule = DeltaRule::new(&gpu, spec.clone()).unwrap();
        let backward = DeltaRuleBackward::new(&gpu, spec.clone()).unwrap();
        let run = || {
            let outputs = rule.run(given.inputs()).unwrap();
            let of = LinearAttentionOutputGradients { o: &given.v, last: given.initial.as_ref() };
            let gradients = backward.run(given.inputs(), of).unwrap();
            let tensors = [&outputs.o, &outputs.last].into_iter().chain(all(&gradients));
            tensors.map(|tensor| bits(&read(tensor))).collect::<Vec<_>>()
        };
        let first = run();
        assert!((0..3).all(|_| run() == first));
    }
}

/// A NaN stays in its own sequence, forward and backward.
#[test]
fn a_nan_stays_in_its_sequence() {
    let spec = DeltaRuleSpec::new(DType::F32, 1, 100, 2, (13, 7)).gated().initial().chunk(64);
    let spec = spec.sequences(Sequences::Packed(vec![0, 37, 70, 100]));
    for (_, gpu) in common::gpus() {
        let clean = Given::new(&gpu, &spec);
        let dirty = Given::with_v(&gpu, &spec, |v| v[50 * 2 * 7] = f32::NAN);
        let rule = DeltaRule::new(&gpu, spec.clone()).unwrap();
        let backward = DeltaRuleBackward::new(&gpu, spec.clone()).unwrap();
        let run = |given: &Given| {
            let outputs = rule.run(given.inputs()).unwrap();
            let of = LinearAttentionOutputGradients { o: &clean.v, last: None };
            let gradients = backward.run(given.inputs(), of).unwrap();
            let states = [read(&outputs.last), read(&gradients.initial)];
            let steps = [&outputs.o, &gradients.q, &gradients.k, &gradients.v, &gradients.beta];
            (steps.into_iter().chain(&gradients.g).map(read).collect::<Vec<_>>(), states)
        };
        let ((expected, expected_states), (found, found_states)) = (run(&clean), run(&dirty));
        for (expected, found) in expected.iter().zip(&found) {
            let row = expected.len() / 100;
            assert_eq!(bits(&expected[..37 * row]), bits(&found[..37 * row]));
            assert_eq!(bits(&expected[70 * row..]), bits(&found[70 * row..]));
        }
        assert!(found[0][50 * 14..70 * 14].iter().any(|value| value.is_nan()));
        for (expected, found) in expected_states.iter().zip(&found_states) {
            let state = expected.len() / 3;
            assert_eq!(bits(&expected[..state]), bits(&found[..state]));
            assert_eq!(bits(&expected[2 * state..]), bits(&found[2 * state..]));
        }
    }
}

#[test]
fn no_steps_leave_the_states() {
    let spec = DeltaRuleSpec::new(DType::F32, 2, 0, 2, (13, 7)).gated().initial();
    for (_, gpu) in common::gpus() {
        let given = Given::new(&gpu, &spec);
        let initial = given.initial.as_ref().unwrap();
        let outputs = DeltaRule::new(&gpu, spec.clone()).unwrap().run(given.inputs()).unwrap();
        assert!(outputs.o.is_empty());
        assert_eq!(read(&outputs.last), read(initial));
        let of = LinearAttentionOutputGradients { o: &given.v, last: Some(initial) };
        let gradients = DeltaRuleBackward::new(&gpu, spec.clone()).unwrap().run(given.inputs(), of).unwrap();
        assert_eq!(read(&gradients.initial), read(initial));
    }
}

/// States that grow at every step, or swing ever further about what they should hold, overflow as the mathematics does,
/// and end.
#[test]
fn growing_states_overflow_and_end() {
    let spec = DeltaRuleSpec::new(DType::F32, 1, 1000, 1, (4, 3)).gated().chunk(16);
    for (_, gpu) in common::gpus() {
        let given = Given::new(&gpu, &spec);
        let rates = |rate: f32| Tensor::from_slice(&gpu, &spec.beta_shape(), &[rate; 1000]).unwrap();
        let keys = Tensor::from_slice(&gpu, &spec.q_shape(), &[1.0_f32; 4000]).unwrap();
        for (k, beta, g) in [(&given.k, rates(0.5), rates(1.0)), (&keys, rates(3.0), rates(0.0))] {
            let inputs = DeltaRuleInputs { k, beta: &beta, g: Some(&g), ..given.inputs() };
            let o = read(&DeltaRule::new(&gpu, spec.clone()).unwrap().run(inputs).unwrap().o);
            assert!(o[..15].iter().all(|x| x.is_finite()) && o[2990..].iter().all(|x| !x.is_finite()));
            let of = LinearAttentionOutputGradients { o: &given.v, last: None };
            let dv = read(&DeltaRuleBackward::new(&gpu, spec.clone()).unwrap().run(inputs, of).unwrap().v);
            assert!(!dv[0].is_finite());
        }
    }
}

/// The first steps at once and then one at a time are all steps at once.
#[test]
fn a_prefill_and_steps_are_one_prefill() {
    for spec in [
        DeltaRuleSpec::new(DType::F32, 2, 40, 2, (13, 7)).initial(),
        DeltaRuleSpec::new(DType::F32, 2, 40, 2, (13, 7)).gated(),
    ] {
        for (_, gpu) in common::gpus() {
            let whole = Given::new(&gpu, &spec);
            let expected = DeltaRule::new(&gpu, spec.clone()).unwrap().run(whole.inputs()).unwrap();
            let part = |tensor: &Tensor<f32>, first: usize, shape: &[usize]| {
                let row = tensor.len() / 80;
                let values = read(tensor);
                let steps = shape.iter().product::<usize>() / row / 2;
                let of_batch = |b: usize| values[(b * 40 + first) * row..][..steps * row].to_vec();
                Tensor::from_slice(&gpu, shape, &[of_batch(0), of_batch(1)].concat()).unwrap()
            };
            let prefill = DeltaRuleSpec { length: 33, ..spec.clone() };
            let shape = prefill.beta_shape();
            let head = Given {
                q: part(&whole.q, 0, &prefill.q_shape()),
                k: part(&whole.k, 0, &prefill.q_shape()),
                v: part(&whole.v, 0, &prefill.v_shape()),
                beta: part(&whole.beta, 0, &shape),
                g: whole.g.as_ref().map(|g| part(g, 0, &shape)),
                initial: whole.initial.clone(),
            };
            let states = DeltaRule::new(&gpu, prefill).unwrap().run(head.inputs()).unwrap().last;
            let step = DeltaRuleStep::new(&gpu, spec.clone()).unwrap();
            let all = read(&expected.o);
            for t in 33..40 {
                let one = Given {
                    q: part(&whole.q, t, &step.q_shape()),
                    k: part(&whole.k, t, &step.q_shape()),
                    v: part(&whole.v, t, &step.v_shape()),
                    beta: part(&whole.beta, t, &step.beta_shape()),
                    g: whole.g.as_ref().map(|g| part(g, t, &step.beta_shape())),
                    initial: None,
                };
                let o = read(&step.run(one.inputs(), &states).unwrap());
                for (i, (x, y)) in o[..14].iter().zip(&all[t * 14..]).enumerate() {
                    assert!((x - y).abs() <= 1e-3 + 1e-2 * y.abs(), "step {t}, {i}: {x} against {y}");
                }
            }
            for (x, y) in read(&states).iter().zip(&read(&expected.last)) {
                assert!((x - y).abs() <= 1e-3 + 1e-2 * y.abs(), "last: {x} against {y}");
            }
            assert!(all.iter().any(|x| x.abs() > 0.1), "results of zeros check nothing");
        }
    }
}

#[test]
fn what_the_rule_cannot_take_is_refused_with_numbers() {
    for (_, gpu) in common::gpus() {
        let spec = DeltaRuleSpec::new(DType::F32, 1, 9, 2, (13, 7));
        let refused = |spec: DeltaRuleSpec| match DeltaRule::new(&gpu, spec).unwrap_err() {
            Error::Plan(PlanError::Spec(error)) => error.to_string(),
            other => panic!("{other}"),
        };
        assert_eq!(refused(spec.clone().chunk(0)), "chunk is 0, expected 1 to 64");
        let starts = Sequences::Packed(vec![0, 8]);
        assert_eq!(
            refused(spec.clone().sequences(starts)),
            "the last sequence's end is 8, expected the length, 9"
        );
        let given = Given::new(&gpu, &spec);
        let rule = DeltaRule::new(&gpu, spec).unwrap();
        let error = rule.run(DeltaRuleInputs { v: &given.q, ..given.inputs() }).unwrap_err();
        assert_eq!(error.to_string(), "v has shape [1, 9, 2, 13], expected [1, 9, 2, 7]");
        let error = rule.run(DeltaRuleInputs { g: Some(&given.beta), ..given.inputs() }).unwrap_err();
        assert_eq!(error.to_string(), "g is given, but the spec has no use for it");
    }
}
