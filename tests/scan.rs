//! The scan family on this machine's GPU, against its oracle.

#[path = "scan/associative_scan.rs"]
mod associative_scan;
mod common;
#[path = "scan/conv1d.rs"]
mod conv1d;
#[path = "scan/delta_rule.rs"]
mod delta_rule;
#[path = "scan/gated_keys.rs"]
mod gated_keys;
#[path = "scan/layers.rs"]
mod layers;
#[path = "scan/long_conv.rs"]
mod long_conv;
#[path = "scan/mamba.rs"]
mod mamba;
#[path = "scan/s4d.rs"]
mod s4d;
#[path = "scan/selective_scan.rs"]
mod selective_scan;
#[path = "scan/ssd.rs"]
mod ssd;
#[path = "scan/steps.rs"]
mod steps;

use tilewise::plan::RowScanPlan;
use tilewise::verify::{Case, Family, Inputs};
use tilewise::{
    AssociativeOperator, AssociativeScanSpec, Caps, DType, LinearScan, LinearScanBackward,
    LinearScanBackwardInputs, LinearScanInputs, LinearScanSpec, Tensor, caps,
};

#[test]
fn acceptance_grid() {
    common::verify_family(Family::Scan);
}

/// A row long enough for three phases, whose chunks finish in whatever order they like.
#[test]
fn repeated_runs_are_bitwise_equal() {
    let spec = LinearScanSpec::new(DType::F32, 1, 3, 100_003).initial();
    let mut inputs = Inputs::new(7);
    let mut values =
        |count| -> Vec<f32> { inputs.uniform(count, 0.5, 1.0).iter().map(|&x| x as f32).collect() };
    let (a, b, initial) = (values(3 * 100_003), values(3 * 100_003), values(3));
    for (_, gpu) in common::gpus() {
        let a = Tensor::from_slice(&gpu, &spec.shape(), &a).unwrap();
        let b = Tensor::from_slice(&gpu, &spec.shape(), &b).unwrap();
        let initial = Tensor::from_slice(&gpu, &spec.state_shape(), &initial).unwrap();
        let scan = LinearScan::new(&gpu, spec).unwrap();
        let run = || {
            let outputs = scan.run(LinearScanInputs { a: &a, b: &b, initial: Some(&initial) }).unwrap();
            (outputs.h.read_blocking().unwrap(), outputs.last.read_blocking().unwrap())
        };
        let first = run();
        assert!((0..20).all(|_| run() == first));
    }
}

/// Chunked calls that hand on the last state are one long call.
#[test]
fn the_last_state_continues_a_row() {
    for (_, gpu) in common::gpus() {
        let values: Vec<f32> = Inputs::new(3).uniform(2000, 0.5, 1.0).iter().map(|&x| x as f32).collect();
        let (a, b) = values.split_at(1000);
        let scan = |from: usize, to: usize, initial: Option<&Tensor<f32>>| {
            let spec = LinearScanSpec::new(DType::F32, 1, 1, to - from);
            let spec = if initial.is_some() { spec.initial() } else { spec };
            let upload = |part: &[f32]| Tensor::from_slice(&gpu, &spec.shape(), &part[from..to]).unwrap();
            let inputs = LinearScanInputs { a: &upload(a), b: &upload(b), initial };
            LinearScan::new(&gpu, spec).unwrap().run(inputs).unwrap()
        };
        let whole = scan(0, 1000, None).h.read_blocking().unwrap();
        let head = scan(0, 333, None);
        let tail = scan(333, 1000, Some(&head.last)).h.read_blocking().unwrap();
        for (t, (one, two)) in whole[333..].iter().zip(&tail).enumerate() {
            assert!((one - two).abs() <= 1e-5 * one.abs(), "step {t}: {one} against {two}");
        }
    }
}

/// Products of factors overflow before the states do: 0 stays 0, and a factor of 0 forgets whatever came before.
#[test]
fn overflowing_factors_leave_zeros_alone() {
    let grown = vec![3.0; 300];
    let mut forgotten = grown.clone();
    forgotten[299] = 0.0;
    let (zeros, mut one) = (vec![0.0; 300], vec![0.0; 300]);
    one[299] = 1.0;
    for (_, gpu) in common::gpus() {
        for (a, b) in [(&grown, &zeros), (&grown, &one), (&forgotten, &one)] {
            let spec = LinearScanSpec::new(DType::F32, 1, 1, 300);
            let upload = |values: &[f32]| Tensor::from_slice(&gpu, &spec.shape(), values).unwrap();
            let inputs = LinearScanInputs { a: &upload(a), b: &upload(b), initial: None };
            let outputs = LinearScan::new(&gpu, spec).unwrap().run(inputs).unwrap();
            assert_eq!(outputs.h.read_blocking().unwrap(), *b);
            assert_eq!(outputs.last.read_blocking().unwrap(), [b[299]]);

            // The same as real parts of complex numbers, and as imaginary ones.
            let spec = spec.complex();
            for part in 0..2 {
                let widen = |values: &[f32], part: usize| -> Vec<f32> {
                    values.iter().flat_map(|&x| if part == 0 { [x, 0.0] } else { [0.0, x] }).collect()
                };
                let upload = |values: &[f32]| Tensor::from_slice(&gpu, &spec.shape(), values).unwrap();
                let (a, wide) = (upload(&widen(a, 0)), widen(b, part));
                let inputs = LinearScanInputs { a: &a, b: &upload(&wide), initial: None };
                let outputs = LinearScan::new(&gpu, spec).unwrap().run(inputs).unwrap();
                assert_eq!(outputs.h.read_blocking().unwrap(), wide);
                assert_eq!(outputs.last.read_blocking().unwrap(), wide[598..]);
            }
        }
    }
}

/// Tensors that exceed a binding are taken in windows: of whole rows, or of a part of one, whose first and last steps look
/// at neighbours beyond it.
#[test]
fn windows_are_one_scan() {
    let caps = Caps { binding_bytes: 40_000, ..caps::WEBGPU_BASELINE };
    let Some(gpu) = common::open(Some(caps)) else { return };
    let spec = |channels, length| LinearScanSpec::new(DType::F32, 1, channels, length);
    let linear = [
        spec(1, 70_001).initial(),
        spec(2, 25_000).reverse().exclusive(),
        LinearScanSpec { dtype: DType::Bf16, ..spec(3, 33_333).reverse().initial() },
        spec(2, 9000).complex().exclusive().initial(),
        LinearScanSpec { dtype: DType::F16, ..spec(37, 1501).initial() },
        spec(1000, 33).initial(),
    ];
    let maximum = |channels, length| AssociativeScanSpec {
        initial: true,
        ..AssociativeScanSpec::new(DType::F32, AssociativeOperator::Max, 1, channels, length)
    };
    let maxima =
        [maximum(1, 50_001), AssociativeScanSpec { reverse: true, ..maximum(3, 12_345) }, maximum(40, 777)];
    for spec in linear {
        let plan = RowScanPlan::linear(&spec, gpu.caps()).unwrap();
        assert!(plan.window < spec.rows() as u32 * plan.chunks, "{spec}: {plan}");
    }
    let cases =
        linear.iter().map(|spec| spec as &dyn Case).chain(maxima.iter().map(|spec| spec as &dyn Case));
    for case in cases {
        for outcome in pollster::block_on(case.run(&gpu)).unwrap() {
            assert!(outcome.passed(), "{case}: {outcome:?}");
        }
    }
}

/// A NaN in one row reaches no other, forward or backward, in one pass or in phases.
#[test]
fn a_nan_reaches_no_other_row() {
    for (_, gpu) in common::gpus() {
        for length in [50, 20_000] {
            let spec = LinearScanSpec::new(DType::F32, 1, 3, length);
            let (half, mut b) = (vec![0.5; 3 * length], vec![1.0; 3 * length]);
            b[length + 7] = f32::NAN;
            let upload = |values: &[f32]| Tensor::from_slice(&gpu, &spec.shape(), values).unwrap();
            let (a, b) = (upload(&half), upload(&b));
            let inputs = LinearScanInputs { a: &a, b: &b, initial: None };
            let h = LinearScan::new(&gpu, spec).unwrap().run(inputs).unwrap().h;
            let inputs = LinearScanBackwardInputs { a: &a, h: &h, initial: None, dh: &b };
            let found = LinearScanBackward::new(&gpu, spec).unwrap().run(inputs).unwrap();
            for tensor in [&h, &found.da, &found.db] {
                let values = tensor.read_blocking().unwrap();
                let wrong: Vec<_> = (0..values.len()).filter(|&i| !values[i].is_finite()).collect();
                assert!(
                    !wrong.is_empty() && wrong.iter().all(|&i| i / length == 1),
                    "{:?}",
                    &wrong[..9.min(wrong.len())]
                );
            }
        }
    }
}

/// Factors above 1 over a long row overflow, as the mathematics does, and end.
#[test]
fn growing_states_overflow_and_end() {
    for (_, gpu) in common::gpus() {
        let spec = LinearScanSpec::new(DType::F32, 1, 1, 50_000);
        let values = Tensor::from_slice(&gpu, &spec.shape(), &vec![1.5_f32; 50_000]).unwrap();
        let inputs = LinearScanInputs { a: &values, b: &values, initial: None };
        let h = LinearScan::new(&gpu, spec).unwrap().run(inputs).unwrap().h.read_blocking().unwrap();
        assert!(h[..100].iter().all(|x| x.is_finite()) && !h[49_999].is_finite());
    }
}

#[test]
fn sizes_that_make_no_sense_are_refused_with_numbers() {
    let refused = LinearScanSpec::new(DType::F32, 1, 1, 0).check().unwrap_err().to_string();
    assert_eq!(refused, "length is 0, expected at least 1");
}
