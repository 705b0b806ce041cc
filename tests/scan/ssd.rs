//! What recurrences in chunks must do beside agreeing with their oracles.

use crate::common;
use tilewise::plan::{ChunkedPlan, DeltaRuleBackwardPlan, LinearAttentionPlan};
use tilewise::verify::{Case, Inputs};
use tilewise::{
    Caps, DType, DeltaRuleSpec, Error, Gate, Gpu, LinearAttention, LinearAttentionInputs,
    LinearAttentionSpec, LinearAttentionStep, PlanError, Sequences, Skip, Ssd, SsdBackward, SsdInputs,
    SsdOutputGradients, SsdOutputs, SsdSpec, SsdStep, Tensor, caps,
};

/// Every tensor that a recurrence can read.
struct Given {
    x: Tensor<f32>,
    dt: Tensor<f32>,
    a: Tensor<f32>,
    b: Tensor<f32>,
    c: Tensor<f32>,
    d: Option<Tensor<f32>>,
    z: Option<Tensor<f32>>,
    dt_bias: Option<Tensor<f32>>,
    initial: Option<Tensor<f32>>,
}

fn values(inputs: &mut Inputs, shape: &[usize]) -> Vec<f32> {
    inputs.normal(shape.iter().product(), 1.0).iter().map(|&value| value as f32).collect()
}

impl Given {
    fn new(gpu: &Gpu, spec: &SsdSpec) -> Self {
        Self::with_x(gpu, spec, |_| {})
    }

    fn with_x(gpu: &Gpu, spec: &SsdSpec, change: impl Fn(&mut [f32])) -> Self {
        let mut inputs = Inputs::new(11);
        let mut normal =
            |shape: &[usize]| Tensor::from_slice(gpu, shape, &values(&mut inputs, shape)).unwrap();
        let dt: Vec<f32> = Inputs::new(12)
            .uniform(spec.dt_shape().iter().product(), -3.0, 0.0)
            .iter()
            .map(|&dt| if spec.dt_softplus { dt as f32 } else { -0.1 * dt as f32 })
            .collect();
        let a: Vec<f32> = (0..spec.heads).map(|head| -1.0 - head as f32).collect();
        let mut x = values(&mut Inputs::new(13), &spec.x_shape());
        change(&mut x);
        Self {
            x: Tensor::from_slice(gpu, &spec.x_shape(), &x).unwrap(),
            dt: Tensor::from_slice(gpu, &spec.dt_shape(), &dt).unwrap(),
            a: Tensor::from_slice(gpu, &spec.head_shape(), &a).unwrap(),
            b: normal(&spec.b_shape()),
            c: normal(&spec.b_shape()),
            d: (spec.skip != Skip::None).then(|| normal(&spec.d_shape())),
            z: spec.gated.then(|| normal(&spec.x_shape())),
            dt_bias: spec.dt_bias.then(|| normal(&spec.head_shape())),
            initial: spec.initial.then(|| normal(&spec.state_shape())),
        }
    }

    fn inputs(&self) -> SsdInputs<'_, f32> {
        SsdInputs {
            x: &self.x,
            dt: &self.dt,
            a: &self.a,
            b: &self.b,
            c: &self.c,
            d: self.d.as_ref(),
            z: self.z.as_ref(),
            dt_bias: self.dt_bias.as_ref(),
            initial: self.initial.as_ref(),
        }
    }
}

fn every_option(spec: SsdSpec) -> SsdSpec {
    spec.initial().skip(Skip::PerChannel).gated().dt_bias().dt_softplus()
}

fn read(tensor: &Tensor<f32>) -> Vec<f32> {
    tensor.read_blocking().unwrap()
}

fn close(what: &str, one: &[f32], two: &[f32]) {
    assert_eq!(one.len(), two.len(), "{what}");
    for (i, (x, y)) in one.iter().zip(two).enumerate() {
        assert!((x - y).abs() <= 1e-3 + 1e-2 * y.abs(), "{what}, element {i}: {x} against {y}");
    }
}

/// Sums are taken in an order that no scheduling changes.
#[test]
fn results_and_gradients_are_bitwise_repeatable() {
    let spec = every_option(SsdSpec::new(DType::F32, 2, 203, (4, 13), 7).groups(2)).chunk(64);
    for (_, gpu) in common::gpus() {
        let given = Given::new(&gpu, &spec);
        let (ssd, backward) =
            (Ssd::new(&gpu, spec.clone()).unwrap(), SsdBackward::new(&gpu, spec.clone()).unwrap());
        let run = || {
            let out = ssd.run(given.inputs()).unwrap();
            let of = SsdOutputGradients { out: &given.x, last: given.initial.as_ref() };
            let gradients = backward.run(given.inputs(), of).unwrap();
            let tensors = [
                &out.out,
                &out.last,
                &gradients.x,
                &gradients.dt,
                &gradients.a,
                &gradients.b,
                &gradients.c,
                gradients.d.as_ref().unwrap(),
                gradients.z.as_ref().unwrap(),
                gradients.dt_bias.as_ref().unwrap(),
                &gradients.initial,
            ];
            tensors.map(|tensor| read(tensor).iter().map(|value| value.to_bits()).collect::<Vec<_>>())
        };
        let first = run();
        assert!((0..5).all(|_| run() == first));
    }
}

/// A NaN stays in its own sequence, whatever shares a chunk's length, a batch or a buffer with it.
#[test]
fn a_nan_stays_in_its_sequence() {
    let spec = || every_option(SsdSpec::new(DType::F32, 1, 100, (2, 13), 7)).chunk(64);
    let indices = (0..100).map(|t| i64::from(t >= 37) + i64::from(t >= 70)).collect();
    let cases = [
        spec().sequences(Sequences::Packed(vec![0, 37, 70, 100])),
        spec().sequences(Sequences::Indexed(indices)),
    ];
    for (_, gpu) in common::gpus() {
        for spec in &cases {
            let clean = Given::new(&gpu, spec);
            let row = 2 * 13;
            let dirty = Given::with_x(&gpu, spec, |x| x[50 * row] = f32::NAN);
            let ssd = Ssd::new(&gpu, spec.clone()).unwrap();
            let run = |given: &Given| ssd.run(given.inputs()).map(|o| (read(&o.out), read(&o.last))).unwrap();
            let ((expected, _), (found, last)) = (run(&clean), run(&dirty));
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&expected[..37 * row]), bits(&found[..37 * row]), "before, {spec}");
            assert_eq!(bits(&expected[70 * row..]), bits(&found[70 * row..]), "behind, {spec}");
            assert!(found[50 * row..70 * row].iter().any(|value| value.is_nan()), "{spec}");
            let states = spec.sequences.states(1);
            let nan = last.chunks(last.len() / states).map(|state| state.iter().any(|v| v.is_nan()));
            let expected = if states == 3 { vec![false, true, false] } else { vec![false] };
            assert_eq!(nan.collect::<Vec<_>>(), expected, "{spec}");

            let backward = SsdBackward::new(&gpu, spec.clone()).unwrap();
            let gradient = |given: &Given| {
                let of = SsdOutputGradients { out: &clean.x, last: None };
                backward.run(given.inputs(), of).map(|gradients| read(&gradients.b)).unwrap()
            };
            let (expected, found) = (gradient(&clean), gradient(&dirty));
            assert_eq!(bits(&expected[..37 * 7]), bits(&found[..37 * 7]), "gradients before, {spec}");
            assert_eq!(bits(&expected[70 * 7..]), bits(&found[70 * 7..]), "gradients behind, {spec}");
        }
    }
}

/// No steps leave the states as they are, and empty sequences between others do too.
#[test]
fn no_steps_leave_the_states() {
    for (_, gpu) in common::gpus() {
        let spec = every_option(SsdSpec::new(DType::F32, 2, 0, (2, 13), 7).chunk(64));
        let given = Given::new(&gpu, &spec);
        let outputs = Ssd::new(&gpu, spec.clone()).unwrap().run(given.inputs()).unwrap();
        assert!(outputs.out.is_empty());
        assert_eq!(read(&outputs.last), read(given.initial.as_ref().unwrap()));
        let of = SsdOutputGradients { out: &given.x, last: given.initial.as_ref() };
        let gradients = SsdBackward::new(&gpu, spec.clone()).unwrap().run(given.inputs(), of).unwrap();
        assert_eq!(read(&gradients.initial), read(given.initial.as_ref().unwrap()));
        assert_eq!(read(&gradients.a), [0.0; 2]);

        let spec = SsdSpec { initial: false, ..spec };
        let given = Given::new(&gpu, &spec);
        let outputs = Ssd::new(&gpu, spec).unwrap().run(given.inputs()).unwrap();
        assert_eq!(read(&outputs.last), [0.0; 2 * 2 * 13 * 7]);
    }
}

/// Strong decays leave nothing of long sums, and their gradients must not be what cancellation leaves either.
#[test]
fn decays_that_forget_everything_are_exact() {
    for (_, gpu) in common::gpus() {
        let spec = SsdSpec::new(DType::F32, 1, 64, (1, 13), 7).chunk(64);
        let given = Given::new(&gpu, &spec);
        let a = Tensor::from_slice(&gpu, &[1], &[-3e4_f32]).unwrap();
        let outputs = Ssd::new(&gpu, spec).unwrap().run(SsdInputs { a: &a, ..given.inputs() }).unwrap();
        let [x, b, c, dt] = [&given.x, &given.b, &given.c, &given.dt].map(read);
        for (i, out) in read(&outputs.out).into_iter().enumerate() {
            let t = i / 13;
            let product: f32 = (0..7).map(|n| b[7 * t + n] * c[7 * t + n]).sum();
            let expected = dt[t] * x[i] * product;
            assert!((out - expected).abs() <= 1e-5 * expected.abs().max(1e-3), "{i}: {out} for {expected}");
        }
    }
}

/// States that grow without bound become too large and do not stop anything, forward or backward.
#[test]
fn growing_states_overflow_and_end() {
    for (_, gpu) in common::gpus() {
        let spec = SsdSpec::new(DType::F32, 1, 2000, (1, 4), 4);
        let given = Given::new(&gpu, &spec);
        let ones = Tensor::from_slice(&gpu, &spec.dt_shape(), &[1.0_f32; 2000]).unwrap();
        let a = Tensor::from_slice(&gpu, &[1], &[1.0_f32]).unwrap();
        let inputs = SsdInputs { a: &a, dt: &ones, ..given.inputs() };
        let out = read(&Ssd::new(&gpu, spec.clone()).unwrap().run(inputs).unwrap().out);
        assert!(out[..20].iter().all(|x| x.is_finite()) && !out[out.len() - 1].is_finite());
        let of = SsdOutputGradients { out: &given.x, last: None };
        let x = read(&SsdBackward::new(&gpu, spec).unwrap().run(inputs, of).unwrap().x);
        assert!(x[x.len() - 8..].iter().all(|x| x.is_finite()) && !x[0].is_finite());
    }
}

/// The first steps at once and then one at a time are all steps at once.
#[test]
fn a_prefill_and_steps_are_one_prefill() {
    let spec = every_option(SsdSpec::new(DType::F32, 2, 40, (4, 13), 7).groups(2)).chunk(64);
    for (_, gpu) in common::gpus() {
        let whole = Given::new(&gpu, &spec);
        let expected = Ssd::new(&gpu, spec.clone()).unwrap().run(whole.inputs()).unwrap();
        let head_spec = SsdSpec { length: 33, ..spec.clone() };
        let part = |tensor: &Tensor<f32>, first: usize, steps: usize, shape: &[usize]| {
            let values = read(tensor);
            let width = values.len() / (2 * 40);
            let rows =
                (0..2).flat_map(|b| &values[(b * 40 + first) * width..(b * 40 + first + steps) * width]);
            Tensor::from_slice(&gpu, shape, &rows.copied().collect::<Vec<_>>()).unwrap()
        };
        let z = whole.z.as_ref().unwrap();
        let head = Given {
            x: part(&whole.x, 0, 33, &head_spec.x_shape()),
            dt: part(&whole.dt, 0, 33, &head_spec.dt_shape()),
            b: part(&whole.b, 0, 33, &head_spec.b_shape()),
            c: part(&whole.c, 0, 33, &head_spec.b_shape()),
            z: Some(part(z, 0, 33, &head_spec.x_shape())),
            a: whole.a.clone(),
            d: whole.d.clone(),
            dt_bias: whole.dt_bias.clone(),
            initial: whole.initial.clone(),
        };
        let SsdOutputs { last: states, .. } = Ssd::new(&gpu, head_spec).unwrap().run(head.inputs()).unwrap();
        let step = SsdStep::new(&gpu, spec.clone()).unwrap();
        for t in 33..40 {
            let (x, dt) = (part(&whole.x, t, 1, &step.x_shape()), part(&whole.dt, t, 1, &step.dt_shape()));
            let (b, c) = (part(&whole.b, t, 1, &step.b_shape()), part(&whole.c, t, 1, &step.b_shape()));
            let z = part(z, t, 1, &step.x_shape());
            let inputs =
                SsdInputs { x: &x, dt: &dt, b: &b, c: &c, z: Some(&z), initial: None, ..whole.inputs() };
            let out = step.run(inputs, &states).unwrap();
            close("out", &read(&out), &read(&part(&expected.out, t, 1, &step.x_shape())));
        }
        close("the states", &read(&states), &read(&expected.last));
    }
}

#[test]
fn linear_attention_in_steps_is_linear_attention() {
    for (_, gpu) in common::gpus() {
        for gate in [Gate::Constant, Gate::PerStep, Gate::PerKey] {
            let spec = LinearAttentionSpec::new(DType::F32, 1, 35, 2, (13, 7), gate).chunk(64);
            let mut inputs = Inputs::new(5);
            let [q, k, v] =
                [spec.q_shape(), spec.q_shape(), spec.v_shape()].map(|shape| values(&mut inputs, &shape));
            let g: Vec<f32> = inputs
                .uniform(spec.g_shape().iter().product(), -0.5, -0.01)
                .iter()
                .map(|&g| g as f32)
                .collect();
            let upload = |shape: &[usize], values: &[f32]| Tensor::from_slice(&gpu, shape, values).unwrap();
            let whole = [
                upload(&spec.q_shape(), &q),
                upload(&spec.q_shape(), &k),
                upload(&spec.v_shape(), &v),
                upload(&spec.g_shape(), &g),
            ];
            let given = LinearAttentionInputs {
                q: &whole[0],
                k: &whole[1],
                v: &whole[2],
                g: &whole[3],
                initial: None,
            };
            let expected = LinearAttention::new(&gpu, spec.clone()).unwrap().run(given).unwrap();
            let states = Tensor::zeros(&gpu, &spec.state_shape()).unwrap();
            let step = LinearAttentionStep::new(&gpu, spec).unwrap();
            for t in 0..35 {
                let row = |values: &[f32], width: usize| values[t * width..(t + 1) * width].to_vec();
                let g = if gate == Gate::Constant { g.clone() } else { row(&g, g.len() / 35) };
                let rows = [
                    upload(&step.q_shape(), &row(&q, 26)),
                    upload(&step.q_shape(), &row(&k, 26)),
                    upload(&step.v_shape(), &row(&v, 14)),
                    upload(&step.g_shape(), &g),
                ];
                let given = LinearAttentionInputs {
                    q: &rows[0],
                    k: &rows[1],
                    v: &rows[2],
                    g: &rows[3],
                    initial: None,
                };
                let o = read(&step.run(given, &states).unwrap());
                close("o", &o, &row(&read(&expected.o), 14));
            }
            close("the states", &read(&states), &read(&expected.last));
        }
    }
}

#[test]
fn bad_input_is_refused_with_numbers() {
    for (_, gpu) in common::gpus() {
        let spec = SsdSpec::new(DType::F32, 1, 10, (4, 8), 4);
        let refused = |spec: SsdSpec| match Ssd::new(&gpu, spec).map(drop) {
            Err(Error::Plan(PlanError::Spec(error))) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(spec.clone().chunk(0)), "chunk is 0, expected 1 to 256");
        assert_eq!(refused(spec.clone().groups(3)), "groups is 3, expected a divisor of the 4 heads");
        let packed = spec.clone().sequences(Sequences::Packed(vec![0, 11]));
        assert_eq!(refused(packed), "the last sequence's end is 11, expected the length, 10");

        let given = Given::new(&gpu, &spec);
        let ssd = Ssd::new(&gpu, spec.clone()).unwrap();
        let longer = Given::new(&gpu, &SsdSpec { length: 11, ..spec.clone() });
        let error = ssd.run(SsdInputs { b: &longer.b, ..given.inputs() }).unwrap_err();
        assert_eq!(error.to_string(), "b has shape [1, 11, 1, 4], expected [1, 10, 1, 4]");
        let error = ssd.run(SsdInputs { z: Some(&given.x), ..given.inputs() }).unwrap_err();
        assert_eq!(error.to_string(), "z is given, but the spec has no use for it");
        let error = Ssd::new(&gpu, spec.initial()).unwrap().run(given.inputs()).unwrap_err();
        assert_eq!(error.to_string(), "the initial states is missing, but the spec needs it");
    }
}

/// What exceeds a binding is worked on in windows, between which states and their gradients pass.
#[test]
fn windows_are_one_recurrence() {
    let caps = Caps { binding_bytes: 60_000, ..caps::WEBGPU_BASELINE };
    let Some(gpu) = common::open(Some(caps)) else { return };
    let spec = |dtype, batch, length| {
        let spec = SsdSpec::new(dtype, batch, length, (4, 13), 7).groups(2).chunk(16).initial();
        spec.skip(Skip::PerChannel).gated().dt_bias().dt_softplus()
    };
    let starts = Sequences::Packed(vec![0, 1, 300, 300, 301, 1000]);
    let indices = Sequences::Indexed((0..2 * 700).map(|t| t / 211).collect());
    let dualities = [
        spec(DType::F32, 2, 611),
        spec(DType::F16, 1, 1000).sequences(starts),
        SsdSpec { skip: Skip::PerHead, gated: false, ..spec(DType::Bf16, 2, 700).sequences(indices) },
        SsdSpec::new(DType::F32, 1, 2000, (1, 16), 32).chunk(32),
    ];
    let attention = |gate| LinearAttentionSpec::new(DType::F16, 1, 1500, 3, (16, 16), gate);
    let attentions = [Gate::Constant, Gate::PerStep].map(|gate| attention(gate).chunk(32).initial());
    let keyed = |dtype, batch, length| {
        LinearAttentionSpec::new(dtype, batch, length, 2, (7, 13), Gate::PerKey).chunk(16).initial()
    };
    let few = Sequences::Packed(vec![0, 1, 300, 300, 301, 900]);
    let keyed = [
        keyed(DType::F32, 2, 411),
        keyed(DType::F16, 1, 900).sequences(few.clone()),
        LinearAttentionSpec { initial: false, ..keyed(DType::Bf16, 1, 777) },
    ];
    let delta = |dtype, batch, length| DeltaRuleSpec::new(dtype, batch, length, 2, (7, 13)).chunk(16);
    let deltas = [
        delta(DType::F32, 2, 411).gated().initial(),
        delta(DType::F16, 1, 900).initial().sequences(few),
        delta(DType::Bf16, 1, 777).gated(),
    ];
    for spec in &dualities {
        let plan = ChunkedPlan::ssd(spec, gpu.caps()).unwrap();
        assert!(plan.window < plan.chunks, "{spec}: {plan}");
    }
    for spec in &keyed {
        let LinearAttentionPlan::Keys(plan) = LinearAttentionPlan::new(spec, gpu.caps()).unwrap() else {
            panic!("{spec}: decays of keys have a plan of their own");
        };
        assert!(plan.chunked.window < plan.chunked.chunks, "{spec}: {plan}");
    }
    for spec in &deltas {
        let plan = DeltaRuleBackwardPlan::new(spec, gpu.caps()).unwrap();
        assert!(plan.forward.chunked.window < plan.forward.chunked.chunks, "{spec}: {plan}");
        assert_eq!(plan.forward.chunked.window, plan.pairs.forward.window);
    }
    let cases = dualities.iter().map(|spec| spec as &dyn Case);
    let attentions = attentions.iter().chain(&keyed).map(|spec| spec as &dyn Case);
    for case in cases.chain(attentions).chain(deltas.iter().map(|spec| spec as &dyn Case)) {
        for outcome in pollster::block_on(case.run(&gpu)).unwrap() {
            assert!(outcome.passed(), "{case}: {outcome:?}");
        }
    }
}
