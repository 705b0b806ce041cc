//! The yardsticks of selective scans, state-space duality and convolutions.

use half::{bf16, f16};
use tilewise::baseline::{
    SequentialConv1d, SequentialRecurrence, UnfusedConv1d, UnfusedSelectiveScan, UnfusedSsd,
};
use tilewise::oracle::{self, Conv1dTensors, Precision, SelectiveScanTensors, SsdValues};
use tilewise::verify::Inputs;
use tilewise::{
    Coefficients, Conv1dInputs, Conv1dOutputs, Conv1dSpec, Element, Gpu, SelectiveScanInputs,
    SelectiveScanOutputs, SelectiveScanSpec, Skip, SsdInputs, SsdOutputs, SsdSpec, Tensor,
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
    for (batch, channels, length, states) in [(1, 2, 1, 4), (2, 6, 97, 16), (1, 4, 1025, 3)] {
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

    let unfused = UnfusedSelectiveScan::new(gpu, spec).unwrap();
    let (scratch, found) = (unfused.scratch().unwrap(), outputs());
    check_within(EXPONENTIALS, gpu, case, &found.out, out, |encoder| {
        unfused.encode(encoder, given, &found, &scratch)
    });
    check_last(case, &found.last, &last);

    let sequential = SequentialRecurrence::selective_scan(gpu, spec).unwrap();
    let (scratch, found) = (sequential.scratch().unwrap(), outputs());
    check_within(EXPONENTIALS, gpu, case, &found.out, out, |encoder| {
        sequential.encode_selective_scan(encoder, &spec, given, (&found, &scratch))
    });
    check_last(case, &found.last, &last);
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
}

fn check_convolutions<T: Element>(gpu: &Gpu, name: &str) {
    for (batch, channels, length, width) in [(2, 3, 1, 4), (1, 70, 97, 3), (1, 2, 5003, 2)] {
        let spec = Conv1dSpec::new(T::DTYPE, batch, channels, length, width);
        for spec in [spec, spec.bias().silu().initial()] {
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
}
