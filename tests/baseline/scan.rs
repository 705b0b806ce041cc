//! The yardsticks of selective scans, state-space duality and convolutions.

use half::{bf16, f16};
use tilewise::baseline::{
    PlainRecurrenceBackward, PlainRecurrenceBackwardPlan, PlainWay, SequentialAttention, SequentialConv1d,
    SequentialConv1dBackward, SequentialRecurrence, SequentialS4d, UnfusedConv1d, UnfusedConv1dBackward,
    UnfusedDeltaRule, UnfusedRecurrence, UnfusedRecurrencePlan, UnfusedSsd,
};
use tilewise::oracle::{
    self, Conv1dTensors, DeltaRuleValues, LinearAttentionValues, LongConvOperands, Precision,
    SelectiveScanTensors, SsdValues,
};
use tilewise::verify::{Inputs, Outcome, Tolerance};
use tilewise::{
    Caps, CoefficientGradient, Coefficients, Conv1dGradients, Conv1dInputs, Conv1dOutputs, Conv1dSpec, DType,
    DeltaRuleGradients, DeltaRuleInputs, DeltaRuleSpec, Element, Gate, Gpu, LinearAttentionGradients,
    LinearAttentionInputs, LinearAttentionOutputGradients, LinearAttentionOutputs, LinearAttentionSpec,
    LongConvSpec, S4d, S4dInputs, S4dParameters, S4dSpec, SelectiveScanGradients, SelectiveScanInputs,
    SelectiveScanOutputs, SelectiveScanSpec, Skip, SsdGradients, SsdInputs, SsdOutputGradients, SsdOutputs,
    SsdSpec, Tensor, caps,
};

use crate::{Given, check, check_within, common, given, in_every_type, normal, poisoned};

#[test]
fn selective_scans() {
    in_every_type!(check_selective_scans);
}

#[test]
fn state_space_duality() {
    in_every_type!(check_ssds);
}

#[test]
fn convolutions() {
    in_every_type!(check_convolutions);
}

#[test]
fn linear_attention_and_the_delta_rule() {
    in_every_type!(check_attentions);
}

fn check_attentions<T: Element>(gpu: &Gpu, name: &str) {
    for gate in [Gate::Constant, Gate::PerStep, Gate::PerKey] {
        let spec = LinearAttentionSpec::new(T::DTYPE, 2, 97, 3, (7, 12), gate).initial();
        check_attention::<T>(gpu, &format!("{spec} ({name})"), &spec);
    }
    let spec = DeltaRuleSpec::new(T::DTYPE, 2, 97, 3, (7, 12));
    for spec in [spec.clone(), spec.gated().initial()] {
        check_delta_rule::<T>(gpu, &format!("{spec} ({name})"), &spec);
    }
}

fn check_attention<T: Element>(gpu: &Gpu, case: &str, spec: &LinearAttentionSpec) {
    let mut inputs = Inputs::new(spec.length as u64);
    let [q, k, v] =
        [spec.q_shape(), spec.q_shape(), spec.v_shape()].map(|shape| normal::<T>(gpu, &mut inputs, &shape));
    let g = between::<f32>(gpu, &mut inputs, &spec.g_shape(), -0.5, -0.01);
    let initial = normal::<f32>(gpu, &mut inputs, &spec.state_shape());
    let values = LinearAttentionValues {
        q: &q.host,
        k: &k.host,
        v: &v.host,
        g: &g.host,
        initial: Some(&initial.host),
    };
    let given = LinearAttentionInputs {
        q: &q.tensor,
        k: &k.tensor,
        v: &v.tensor,
        g: &g.tensor,
        initial: Some(&initial.tensor),
    };
    let found = LinearAttentionOutputs::<T> {
        o: poisoned(gpu, &spec.v_shape()),
        last: poisoned(gpu, &spec.state_shape()),
    };
    let sequential = SequentialAttention::linear_attention(gpu, spec).unwrap();
    let oracle = |precision| oracle::linear_attention(spec, precision, &values);
    let o = |precision| oracle(precision).o;
    check_within(EXPONENTIALS, gpu, case, &found.o, o, |encoder| {
        sequential.encode_linear_attention(encoder, spec, given, &found)
    });
    let last = oracle(Precision::Exact).last;
    check_last(case, &found.last, &last);

    let unfused = UnfusedRecurrence::linear_attention(gpu, spec).unwrap();
    let found = LinearAttentionOutputs::<T> {
        o: poisoned(gpu, &spec.v_shape()),
        last: poisoned(gpu, &spec.state_shape()),
    };
    let scratch = unfused.scratch().unwrap();
    check_within(EXPONENTIALS, gpu, case, &found.o, o, |encoder| {
        unfused.encode_linear_attention(encoder, spec, given, (&found, &scratch))
    });
    check_last(case, &found.last, &last);

    let of_result = normal::<T>(gpu, &mut inputs, &spec.v_shape());
    let dlast = normal::<f32>(gpu, &mut inputs, &spec.state_shape());
    for way in WAYS {
        let case = format!("{case}, {way:?}");
        check_attention_gradients(gpu, &case, (spec, way), (given, &values), (&of_result, &dlast));
    }
}

fn check_attention_gradients<T: Element>(
    gpu: &Gpu,
    case: &str,
    (spec, way): (&LinearAttentionSpec, PlainWay),
    (given, values): (LinearAttentionInputs<'_, T>, &LinearAttentionValues<'_>),
    (of_result, dlast): (&Given<T>, &Given<f32>),
) {
    let found = LinearAttentionGradients::<T> {
        q: poisoned(gpu, &spec.q_shape()),
        k: poisoned(gpu, &spec.q_shape()),
        v: poisoned(gpu, &spec.v_shape()),
        g: poisoned(gpu, &spec.g_shape()),
        initial: poisoned(gpu, &spec.state_shape()),
    };
    let backward = PlainRecurrenceBackward::linear_attention(gpu, spec, way).unwrap();
    let scratch = backward.scratch().unwrap();
    let of = LinearAttentionOutputGradients { o: &of_result.tensor, last: Some(&dlast.tensor) };
    let mut encoder = gpu.encoder();
    backward.encode_linear_attention(&mut encoder, spec, (given, of), (&found, &scratch)).unwrap();
    gpu.submit(encoder).unwrap();
    let oracle = |precision| {
        let (of, last) = (&of_result.host, Some(&dlast.host[..]));
        oracle::linear_attention_backward(spec, precision, values, of, last)
    };
    let (exact, plain) = (oracle(Precision::Exact), oracle(Precision::Stored(T::DTYPE)));
    compare_each(
        case,
        &[
            ("dq", read(&found.q), &exact.q, &plain.q),
            ("dk", read(&found.k), &exact.k, &plain.k),
            ("dv", read(&found.v), &exact.v, &plain.v),
            ("dg", read(&found.g), &exact.g, &plain.g),
            ("dinitial", read(&found.initial), &exact.initial, &plain.initial),
        ],
    );
}

fn check_delta_rule<T: Element>(gpu: &Gpu, case: &str, spec: &DeltaRuleSpec) {
    let mut inputs = Inputs::new(spec.length as u64);
    let [q, v] = [spec.q_shape(), spec.v_shape()].map(|shape| normal::<T>(gpu, &mut inputs, &shape));
    // Of about unit length.
    let k = between::<T>(gpu, &mut inputs, &spec.q_shape(), -0.6, 0.6);
    let beta = between::<f32>(gpu, &mut inputs, &spec.beta_shape(), 0.1, 0.9);
    let g = spec.gated.then(|| between::<f32>(gpu, &mut inputs, &spec.beta_shape(), -0.5, -0.01));
    let initial = spec.initial.then(|| normal::<f32>(gpu, &mut inputs, &spec.state_shape()));
    let values = DeltaRuleValues {
        q: &q.host,
        k: &k.host,
        v: &v.host,
        beta: &beta.host,
        g: host(g.as_ref()),
        initial: host(initial.as_ref()),
    };
    let given = DeltaRuleInputs {
        q: &q.tensor,
        k: &k.tensor,
        v: &v.tensor,
        beta: &beta.tensor,
        g: device(g.as_ref()),
        initial: device(initial.as_ref()),
    };
    let outputs = || LinearAttentionOutputs::<T> {
        o: poisoned(gpu, &spec.v_shape()),
        last: poisoned(gpu, &spec.state_shape()),
    };
    let oracle = |precision| oracle::delta_rule(spec, precision, &values);
    let (o, last) = (|precision| oracle(precision).o, oracle(Precision::Exact).last);
    let (sequential, found) = (SequentialAttention::delta_rule(gpu, spec).unwrap(), outputs());
    check_within(EXPONENTIALS, gpu, case, &found.o, o, |encoder| {
        sequential.encode_delta_rule(encoder, spec, given, &found)
    });
    check_last(case, &found.last, &last);

    let (unfused, found) = (UnfusedDeltaRule::new(gpu, spec.clone()).unwrap(), outputs());
    let taken = unfused.scratch().unwrap();
    check_within(EXPONENTIALS, gpu, case, &found.o, o, |encoder| {
        unfused.encode(encoder, given, &found, &taken)
    });
    check_last(case, &found.last, &last);

    let of_result = normal::<T>(gpu, &mut inputs, &spec.v_shape());
    let dlast = normal::<f32>(gpu, &mut inputs, &spec.state_shape());
    check_delta_rule_gradients(gpu, case, spec, (given, &values), (&of_result, &dlast));
}

/// There are none as array operations.
fn check_delta_rule_gradients<T: Element>(
    gpu: &Gpu,
    case: &str,
    spec: &DeltaRuleSpec,
    (given, values): (DeltaRuleInputs<'_, T>, &DeltaRuleValues<'_>),
    (of_result, dlast): (&Given<T>, &Given<f32>),
) {
    let refused = PlainRecurrenceBackward::delta_rule(gpu, spec, PlainWay::Arrays).unwrap_err().to_string();
    assert!(refused.contains("matrices of 7 × 7 numbers"), "{refused}");
    let found = DeltaRuleGradients::<T> {
        q: poisoned(gpu, &spec.q_shape()),
        k: poisoned(gpu, &spec.q_shape()),
        v: poisoned(gpu, &spec.v_shape()),
        beta: poisoned(gpu, &spec.beta_shape()),
        g: spec.gated.then(|| poisoned(gpu, &spec.beta_shape())),
        initial: poisoned(gpu, &spec.state_shape()),
    };
    let backward = PlainRecurrenceBackward::delta_rule(gpu, spec, PlainWay::Loop).unwrap();
    let scratch = backward.scratch().unwrap();
    let of = LinearAttentionOutputGradients { o: &of_result.tensor, last: Some(&dlast.tensor) };
    let mut encoder = gpu.encoder();
    backward.encode_delta_rule(&mut encoder, spec, (given, of), (&found, &scratch)).unwrap();
    gpu.submit(encoder).unwrap();
    let oracle = |precision| {
        let (of, last) = (&of_result.host, Some(&dlast.host[..]));
        oracle::delta_rule_backward(spec, precision, values, of, last)
    };
    let (exact, plain) = (oracle(Precision::Exact), oracle(Precision::Stored(T::DTYPE)));
    compare_each(
        case,
        &[
            ("dq", read(&found.q), &exact.q, &plain.q),
            ("dk", read(&found.k), &exact.k, &plain.k),
            ("dv", read(&found.v), &exact.v, &plain.v),
            ("dbeta", read(&found.beta), &exact.beta, &plain.beta),
            ("dg", found.g.as_ref().map_or(vec![], read), &exact.g, &plain.g),
            ("dinitial", read(&found.initial), &exact.initial, &plain.initial),
        ],
    );
}

/// Gradients are computed in both.
const WAYS: [PlainWay; 2] = [PlainWay::Loop, PlainWay::Arrays];

/// What a GPU's exponentials may add over many steps, as in the acceptance grid of the selective scan.
const EXPONENTIALS: f64 = 64.0 * f32::EPSILON as f64;

/// What a yardstick leaves after the last step.
fn check_last(case: &str, last: &Tensor<f32>, reference: &[f64]) {
    let last = last.read_blocking().unwrap();
    assert_eq!(last.len(), reference.len(), "{case}");
    for (ours, expected) in last.into_iter().zip(reference) {
        assert!(
            (f64::from(ours) - expected).abs() < 1e-4 * (1.0 + expected.abs()),
            "{case}: {ours} for {expected}"
        );
    }
}

/// Uniform values.
fn between<T: Element>(gpu: &Gpu, inputs: &mut Inputs, shape: &[usize], low: f64, high: f64) -> Given<T> {
    given(gpu, shape, &inputs.uniform(shape.iter().product(), low, high))
}

fn host<T>(given: Option<&Given<T>>) -> Option<&[f64]> {
    given.map(|given| given.host.as_slice())
}

fn device<T>(given: Option<&Given<T>>) -> Option<&Tensor<T>> {
    given.map(|given| &given.tensor)
}

fn check_selective_scans<T: Element>(gpu: &Gpu, name: &str) {
    // The longest takes the gradients' loops more turns than a software adapter lets one dispatch have.
    for (batch, channels, length, states) in [(1, 2, 1, 4), (2, 6, 97, 16), (1, 4, 1025, 3), (1, 2, 2000, 16)]
    {
        let spec = SelectiveScanSpec::new(T::DTYPE, batch, channels, length, states);
        let all = spec.skip().gated().delta_bias().delta_softplus().initial();
        let groups = Coefficients::PerGroup(2);
        for spec in [spec, all.coefficients(groups, groups)] {
            check_selective_scan::<T>(gpu, &format!("{spec} ({name})"), spec);
        }
    }
}

fn check_selective_scan<T: Element>(gpu: &Gpu, case: &str, spec: SelectiveScanSpec) {
    let mut inputs = Inputs::new(spec.length as u64);
    let u = normal::<T>(gpu, &mut inputs, &spec.shape());
    let low = if spec.delta_softplus { -3.0 } else { 0.0 };
    let delta = between::<T>(gpu, &mut inputs, &spec.shape(), low, 0.5);
    let a = between::<f32>(gpu, &mut inputs, &spec.a_shape(), -1.5, -0.2);
    let b = normal::<T>(gpu, &mut inputs, &spec.b_shape());
    let c = normal::<T>(gpu, &mut inputs, &spec.c_shape());
    let z = spec.gated.then(|| normal::<T>(gpu, &mut inputs, &spec.shape()));
    let mut optional =
        |on: bool, shape: &[usize]| on.then(|| between::<f32>(gpu, &mut inputs, shape, 0.1, 0.5));
    let skip = optional(spec.skip, &spec.channel_shape());
    let bias = optional(spec.delta_bias, &spec.channel_shape());
    let initial = optional(spec.initial, &spec.state_shape());
    let tensors = SelectiveScanTensors {
        u: &u.host,
        delta: &delta.host,
        a: &a.host,
        b: &b.host,
        c: &c.host,
        skip: host(skip.as_ref()),
        z: host(z.as_ref()),
        delta_bias: host(bias.as_ref()),
        initial: host(initial.as_ref()),
    };
    let oracle = |precision| oracle::selective_scan(&spec, precision, tensors);
    let given = SelectiveScanInputs {
        skip: device(skip.as_ref()),
        z: device(z.as_ref()),
        delta_bias: device(bias.as_ref()),
        initial: device(initial.as_ref()),
        ..SelectiveScanInputs::new(&u.tensor, &delta.tensor, &a.tensor, &b.tensor, &c.tensor)
    };
    let outputs = || SelectiveScanOutputs::<T> {
        out: poisoned(gpu, &spec.shape()),
        last: poisoned(gpu, &spec.state_shape()),
    };
    let out = |precision| oracle(precision).out;
    let last = oracle(Precision::Exact).last;

    let unfused = UnfusedRecurrence::selective_scan(gpu, &spec).unwrap();
    let (scratch, found) = (unfused.scratch().unwrap(), outputs());
    check_within(EXPONENTIALS, gpu, case, &found.out, out, |encoder| {
        unfused.encode_selective_scan(encoder, &spec, given, (&found, &scratch))
    });
    check_last(case, &found.last, &last);

    let sequential = SequentialRecurrence::selective_scan(gpu, spec).unwrap();
    let (scratch, found) = (sequential.scratch().unwrap(), outputs());
    check_within(EXPONENTIALS, gpu, case, &found.out, out, |encoder| {
        sequential.encode_selective_scan(encoder, &spec, given, (&found, &scratch))
    });
    check_last(case, &found.last, &last);
    let dout = normal::<T>(gpu, &mut inputs, &spec.shape());
    for way in WAYS {
        let case = format!("{case}, {way:?}");
        check_selective_scan_gradients(gpu, &case, (&spec, way), (given, tensors), &dout);
    }
}

fn check_selective_scan_gradients<T: Element>(
    gpu: &Gpu,
    case: &str,
    (spec, way): (&SelectiveScanSpec, PlainWay),
    (given, tensors): (SelectiveScanInputs<'_, T>, SelectiveScanTensors<'_>),
    dout: &Given<T>,
) {
    let in_f32 = |on: bool, shape: &[usize]| on.then(|| poisoned::<f32>(gpu, shape));
    let found = SelectiveScanGradients::<T> {
        du: poisoned(gpu, &spec.shape()),
        ddelta: poisoned(gpu, &spec.shape()),
        da: poisoned(gpu, &spec.a_shape()),
        db: CoefficientGradient::PerStep(poisoned(gpu, &spec.b_shape())),
        dc: CoefficientGradient::PerStep(poisoned(gpu, &spec.c_shape())),
        dskip: in_f32(spec.skip, &spec.channel_shape()),
        dz: spec.gated.then(|| poisoned(gpu, &spec.shape())),
        ddelta_bias: in_f32(spec.delta_bias, &spec.channel_shape()),
        dinitial: in_f32(spec.initial, &spec.state_shape()),
    };
    let backward = PlainRecurrenceBackward::selective_scan(gpu, spec, way).unwrap();
    let scratch = backward.scratch().unwrap();
    let mut encoder = gpu.encoder();
    let (given, to) = ((given, &dout.tensor), (&found, &scratch));
    backward.encode_selective_scan(&mut encoder, spec, given, to).unwrap();
    gpu.submit(encoder).unwrap();
    let oracle = |precision| oracle::selective_scan_backward(spec, precision, tensors, &dout.host);
    let (exact, plain) = (oracle(Precision::Exact), oracle(Precision::Stored(T::DTYPE)));
    let steps = |gradient: &CoefficientGradient<T>| match gradient {
        CoefficientGradient::PerStep(tensor) => read(tensor),
        CoefficientGradient::PerChannel(_) => panic!("coefficients vary"),
    };
    // After a single step from 0 there is nothing that a decay could have changed.
    let of_a = if spec.length > 1 || spec.initial { &exact.da[..] } else { &[] };
    compare_each(
        case,
        &[
            ("du", read(&found.du), &exact.du, &plain.du),
            ("ddelta", read(&found.ddelta), &exact.ddelta, &plain.ddelta),
            ("dA", read(&found.da)[..of_a.len()].to_vec(), of_a, &plain.da),
            ("dB", steps(&found.db), &exact.db, &plain.db),
            ("dC", steps(&found.dc), &exact.dc, &plain.dc),
            ("dD", found.dskip.as_ref().map_or(vec![], read), &exact.dskip, &plain.dskip),
            ("dz", found.dz.as_ref().map_or(vec![], read), &exact.dz, &plain.dz),
            (
                "dbias",
                found.ddelta_bias.as_ref().map_or(vec![], read),
                &exact.ddelta_bias,
                &plain.ddelta_bias,
            ),
            ("dinitial", found.dinitial.as_ref().map_or(vec![], read), &exact.dinitial, &plain.dinitial),
        ],
    );
}

fn read<T: Element>(tensor: &Tensor<T>) -> Vec<f64> {
    tensor.read_blocking().unwrap().into_iter().map(Element::to_f64).collect()
}

/// A gradient's name, what was found, and what the oracle has exactly and plainly.
type Compared<'a> = (&'static str, Vec<f64>, &'a [f64], &'a [f64]);

/// Compares gradients, those that are there, with twice the error of plain ones and what exponentials may add.
fn compare_each(case: &str, gradients: &[Compared<'_>]) {
    for (name, ours, exact, plain) in gradients.iter().filter(|(_, ours, ..)| !ours.is_empty()) {
        let largest = exact.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
        let tolerance = Tolerance { multiple: 2.0, atol: EXPONENTIALS * largest };
        let outcome = Outcome::new(name, ours, exact, plain, tolerance);
        assert!(outcome.passed(), "{case}, {name}: {outcome:?}");
    }
}

fn check_ssds<T: Element>(gpu: &Gpu, name: &str) {
    let spec =
        |length, groups, skip| SsdSpec::new(T::DTYPE, 2, length, (4, 12), 20).groups(groups).skip(skip);
    let all = |spec: SsdSpec| spec.initial().gated().dt_bias().dt_softplus();
    for spec in [spec(128, 1, Skip::None), all(spec(96, 2, Skip::PerHead)), all(spec(5, 4, Skip::PerChannel))]
    {
        check_ssd::<T>(gpu, &format!("{spec} ({name})"), &spec);
    }
}

fn check_ssd<T: Element>(gpu: &Gpu, case: &str, spec: &SsdSpec) {
    let mut inputs = Inputs::new(spec.length as u64);
    let x = normal::<T>(gpu, &mut inputs, &spec.x_shape());
    let low = if spec.dt_softplus { -3.0 } else { 0.01 };
    let dt = between::<T>(gpu, &mut inputs, &spec.dt_shape(), low, 0.5);
    let a = between::<f32>(gpu, &mut inputs, &spec.head_shape(), -1.5, -0.2);
    let b = normal::<T>(gpu, &mut inputs, &spec.b_shape());
    let c = normal::<T>(gpu, &mut inputs, &spec.b_shape());
    let z = spec.gated.then(|| normal::<T>(gpu, &mut inputs, &spec.x_shape()));
    let mut optional =
        |on: bool, shape: &[usize]| on.then(|| between::<f32>(gpu, &mut inputs, shape, 0.1, 0.5));
    let d = optional(spec.skip != Skip::None, &spec.d_shape());
    let bias = optional(spec.dt_bias, &spec.head_shape());
    let initial = optional(spec.initial, &spec.state_shape());
    let values = SsdValues {
        x: &x.host,
        dt: &dt.host,
        a: &a.host,
        b: &b.host,
        c: &c.host,
        d: host(d.as_ref()),
        z: host(z.as_ref()),
        dt_bias: host(bias.as_ref()),
        initial: host(initial.as_ref()),
    };
    let oracle = |precision| oracle::ssd(spec, precision, &values);
    let given = SsdInputs {
        x: &x.tensor,
        dt: &dt.tensor,
        a: &a.tensor,
        b: &b.tensor,
        c: &c.tensor,
        d: device(d.as_ref()),
        z: device(z.as_ref()),
        dt_bias: device(bias.as_ref()),
        initial: device(initial.as_ref()),
    };
    let outputs =
        || SsdOutputs::<T> { out: poisoned(gpu, &spec.x_shape()), last: poisoned(gpu, &spec.state_shape()) };
    let out = |precision| oracle(precision).out;
    let last = oracle(Precision::Exact).last;

    let unfused = UnfusedSsd::new(gpu, spec.clone()).unwrap();
    let (scratch, found) = (unfused.scratch().unwrap(), outputs());
    check(gpu, case, &found.out, out, |encoder| unfused.encode(encoder, given, &found, &scratch));
    check_last(case, &found.last, &last);

    let sequential = SequentialRecurrence::ssd(gpu, spec).unwrap();
    let (scratch, found) = (sequential.scratch().unwrap(), outputs());
    check(gpu, case, &found.out, out, |encoder| {
        sequential.encode_ssd(encoder, spec, given, (&found, &scratch))
    });
    check_last(case, &found.last, &last);
    let dout = normal::<T>(gpu, &mut inputs, &spec.x_shape());
    let dlast = normal::<f32>(gpu, &mut inputs, &spec.state_shape());
    for way in WAYS {
        let case = format!("{case}, {way:?}");
        check_ssd_gradients(gpu, &case, (spec, way), (given, &values), (&dout, &dlast));
    }
}

fn check_ssd_gradients<T: Element>(
    gpu: &Gpu,
    case: &str,
    (spec, way): (&SsdSpec, PlainWay),
    (given, values): (SsdInputs<'_, T>, &SsdValues<'_>),
    (dout, dlast): (&Given<T>, &Given<f32>),
) {
    let heads = |on: bool, shape: &[usize]| on.then(|| poisoned::<f32>(gpu, shape));
    let found = SsdGradients::<T> {
        x: poisoned(gpu, &spec.x_shape()),
        dt: poisoned(gpu, &spec.dt_shape()),
        a: poisoned(gpu, &spec.head_shape()),
        b: poisoned(gpu, &spec.b_shape()),
        c: poisoned(gpu, &spec.b_shape()),
        d: heads(spec.skip != Skip::None, &spec.d_shape()),
        z: spec.gated.then(|| poisoned(gpu, &spec.x_shape())),
        dt_bias: heads(spec.dt_bias, &spec.head_shape()),
        initial: poisoned(gpu, &spec.state_shape()),
    };
    let backward = PlainRecurrenceBackward::ssd(gpu, spec, way).unwrap();
    let scratch = backward.scratch().unwrap();
    let of = SsdOutputGradients { out: &dout.tensor, last: Some(&dlast.tensor) };
    let mut encoder = gpu.encoder();
    backward.encode_ssd(&mut encoder, spec, (given, of), (&found, &scratch)).unwrap();
    gpu.submit(encoder).unwrap();
    let oracle = |precision| oracle::ssd_backward(spec, precision, values, &dout.host, Some(&dlast.host));
    let (exact, plain) = (oracle(Precision::Exact), oracle(Precision::Stored(T::DTYPE)));
    let optional = |values: &Option<Vec<f64>>| values.clone().unwrap_or_default();
    let of_both = [&exact, &plain].map(|of| [&of.d, &of.z, &of.dt_bias].map(optional));
    let [[d, z, bias], [plain_d, plain_z, plain_bias]] = &of_both;
    compare_each(
        case,
        &[
            ("dx", read(&found.x), &exact.x, &plain.x),
            ("ddt", read(&found.dt), &exact.dt, &plain.dt),
            ("dA", read(&found.a), &exact.a, &plain.a),
            ("dB", read(&found.b), &exact.b, &plain.b),
            ("dC", read(&found.c), &exact.c, &plain.c),
            ("dD", found.d.as_ref().map_or(vec![], read), d, plain_d),
            ("dz", found.z.as_ref().map_or(vec![], read), z, plain_z),
            ("dbias", found.dt_bias.as_ref().map_or(vec![], read), bias, plain_bias),
            ("dinitial", read(&found.initial), &exact.initial, &plain.initial),
        ],
    );
}

fn check_convolutions<T: Element>(gpu: &Gpu, name: &str) {
    for (batch, channels, length, width) in [(2, 3, 1, 4), (1, 70, 97, 3), (1, 2, 5003, 2)] {
        let spec = Conv1dSpec::new(T::DTYPE, batch, channels, length, width);
        for spec in [spec, spec.bias().silu(), spec.bias().silu().initial(), spec.silu().channels_last()] {
            check_convolution::<T>(gpu, &format!("{spec} ({name})"), spec);
        }
    }
}

fn check_convolution<T: Element>(gpu: &Gpu, case: &str, spec: Conv1dSpec) {
    let mut inputs = Inputs::new(spec.length as u64);
    let x = normal::<T>(gpu, &mut inputs, &spec.shape());
    let weight = normal::<f32>(gpu, &mut inputs, &spec.weight_shape());
    let bias = spec.bias.then(|| normal::<f32>(gpu, &mut inputs, &spec.bias_shape()));
    let initial = spec.initial.then(|| normal::<f32>(gpu, &mut inputs, &spec.state_shape()));
    let tensors = Conv1dTensors {
        x: &x.host,
        weight: &weight.host,
        bias: host(bias.as_ref()),
        sequences: None,
        initial: host(initial.as_ref()),
    };
    let oracle = |precision| oracle::conv1d(&spec, precision, tensors);
    let given = Conv1dInputs {
        bias: device(bias.as_ref()),
        initial: device(initial.as_ref()),
        ..Conv1dInputs::new(&x.tensor, &weight.tensor)
    };
    let outputs =
        || Conv1dOutputs::<T> { y: poisoned(gpu, &spec.shape()), last: poisoned(gpu, &spec.state_shape()) };
    let y = |precision| oracle(precision).y;
    let last = oracle(Precision::Exact).last;

    let unfused = UnfusedConv1d::new(gpu, spec).unwrap();
    let (scratch, found) = (unfused.scratch().unwrap(), outputs());
    check(gpu, case, &found.y, y, |encoder| unfused.encode(encoder, given, &found, &scratch));
    check_last(case, &found.last, &last);

    let sequential = SequentialConv1d::new(gpu, spec).unwrap();
    let found = outputs();
    check(gpu, case, &found.y, y, |encoder| sequential.encode(encoder, given, &found));
    check_last(case, &found.last, &last);

    if spec.channels_last {
        return;
    }
    let dy = normal::<T>(gpu, &mut inputs, &spec.shape());
    let oracle = |precision| oracle::conv1d_backward(&spec, precision, tensors, &dy.host);
    let (exact, plain) = (oracle(Precision::Exact), oracle(Precision::Stored(T::DTYPE)));
    let gradients = || Conv1dGradients::<T> {
        dx: poisoned(gpu, &spec.shape()),
        dweight: poisoned(gpu, &spec.weight_shape()),
        dbias: spec.bias.then(|| poisoned(gpu, &spec.bias_shape())),
        dinitial: spec.initial.then(|| poisoned(gpu, &spec.state_shape())),
    };
    let compare = |case: &str, found: &Conv1dGradients<T>| {
        let optional = |tensor: &Option<Tensor<f32>>| tensor.as_ref().map_or(vec![], read);
        compare_each(
            case,
            &[
                ("dx", read(&found.dx), &exact.dx, &plain.dx),
                ("dweight", read(&found.dweight), &exact.dweight, &plain.dweight),
                ("dbias", optional(&found.dbias), &exact.dbias, &plain.dbias),
                ("dinitial", optional(&found.dinitial), &exact.dinitial, &plain.dinitial),
            ],
        );
    };
    let (backward, found) = (SequentialConv1dBackward::new(gpu, spec).unwrap(), gradients());
    let scratch = backward.scratch().unwrap();
    let mut encoder = gpu.encoder();
    backward.encode(&mut encoder, given, &dy.tensor, &found, &scratch).unwrap();
    gpu.submit(encoder).unwrap();
    compare(case, &found);
    if spec.initial {
        let refused = UnfusedConv1dBackward::new(gpu, spec).unwrap_err().to_string();
        assert!(refused.contains("begins after zeros"), "{refused}");
        return;
    }
    let (backward, found) = (UnfusedConv1dBackward::new(gpu, spec).unwrap(), gradients());
    let scratch = backward.scratch().unwrap();
    let mut encoder = gpu.encoder();
    backward.encode(&mut encoder, given, &dy.tensor, &found, &scratch).unwrap();
    gpu.submit(encoder).unwrap();
    compare(&format!("{case}, unfused"), &found);
}

/// Where arrays of all steps would not fit, some are taken at a time, and states pass from one to the next.
#[test]
fn recurrences_go_window_by_window() {
    let caps = Caps { binding_bytes: 40_000, ..caps::WEBGPU_BASELINE };
    let Some(gpu) = common::open(Some(caps)) else { return };
    let spec = SelectiveScanSpec::new(DType::F32, 2, 3, 300, 5).skip().delta_bias().delta_softplus().gated();
    let spec = SelectiveScanSpec { initial: true, ..spec };
    let window = UnfusedRecurrencePlan::selective_scan(&spec, gpu.caps()).unwrap().window;
    assert!(1 < window && window < 300, "{window} steps at once");
    check_selective_scan::<f32>(&gpu, "in windows", spec);
    for gate in [Gate::Constant, Gate::PerStep, Gate::PerKey] {
        let spec = LinearAttentionSpec::new(DType::F16, 1, 300, 2, (5, 3), gate).initial();
        for way in WAYS {
            let plan = PlainRecurrenceBackwardPlan::linear_attention(&spec, way, gpu.caps()).unwrap();
            assert!(plan.window < 300, "{way:?}: {plan}");
        }
        check_attention::<f16>(&gpu, &format!("{spec}, in windows"), &spec);
    }
}

/// A diagonal model as a loop is the convolution with its kernel.
#[test]
fn diagonal_models() {
    in_every_type!(check_diagonal_models);
}

fn check_diagonal_models<T: Element>(gpu: &Gpu, name: &str) {
    let conv = LongConvSpec::new(T::DTYPE, 2, 3, 203);
    for spec in [S4dSpec::new(conv, 4), S4dSpec::new(conv.skip().pre_gate().post_gate(), 3).bilinear()] {
        let case = format!("{spec} ({name})");
        let mut inputs = Inputs::new(spec.pairs as u64);
        let [u, pre, post] = [(); 3].map(|()| normal::<T>(gpu, &mut inputs, &conv.shape()));
        let skip = normal::<f32>(gpu, &mut inputs, &[3]);
        let parameters = S4dParameters::lin(&spec, 0.02);
        let k = oracle::s4d_kernel(&spec, &parameters);
        let gated = spec.conv.skip;
        let operands = LongConvOperands {
            u: &u.host,
            k: &k,
            skip: gated.then_some(&skip.host),
            pre: gated.then_some(&pre.host),
            post: gated.then_some(&post.host),
        };
        let y = |precision| {
            let oracle = oracle::LongConv::new(&spec.conv, precision, operands);
            (0..6 * 203).map(|i| oracle.y(i / 203, i % 203)).collect::<Vec<_>>()
        };
        let modes = S4d::new(gpu, spec).unwrap().modes(&parameters).unwrap();
        let given = S4dInputs {
            u: &u.tensor,
            modes: &modes,
            skip: gated.then_some(&skip.tensor),
            pre: gated.then_some(&pre.tensor),
            post: gated.then_some(&post.tensor),
        };
        let sequential = SequentialS4d::new(gpu, spec).unwrap();
        let (found, states) = (poisoned::<T>(gpu, &conv.shape()), sequential.scratch().unwrap());
        check_within(EXPONENTIALS, gpu, &case, &found, y, |encoder| {
            sequential.encode(encoder, given, &found, &states)
        });
    }
}
