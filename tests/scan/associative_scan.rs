//! What running sums and maxima promise beyond the acceptance grid.

use tilewise::verify::Inputs;
use tilewise::{
    AssociativeOperator, AssociativeScan, AssociativeScanBackward, AssociativeScanBackwardInputs,
    AssociativeScanInputs, AssociativeScanSpec, DType, LinearScan, LinearScanInputs, LinearScanSpec, Tensor,
};

use crate::common;

/// Rows of one pass, several of them a workgroup, and of three phases.
const LENGTHS: [usize; 3] = [7, 50, 20_000];

#[test]
fn a_nan_reaches_no_other_row() {
    for (_, gpu) in common::gpus() {
        for (operator, length) in AssociativeOperator::ALL.into_iter().flat_map(|op| LENGTHS.map(|l| (op, l)))
        {
            let spec = AssociativeScanSpec::new(DType::F32, operator, 1, 3, length);
            let mut values = vec![1.0; 3 * length];
            values[length + length / 2] = f32::NAN;
            let x = Tensor::from_slice(&gpu, &spec.shape(), &values).unwrap();
            let given = AssociativeScanInputs { x: &x, initial: None };
            let y = AssociativeScan::new(&gpu, spec).unwrap().run(given).unwrap().y;
            let inputs = AssociativeScanBackwardInputs { given, y: &y, dy: &x };
            let dx = AssociativeScanBackward::new(&gpu, spec).unwrap().run(inputs).unwrap().dx;
            for tensor in [&y, &dx] {
                let values = tensor.read_blocking().unwrap();
                let others = values[..length].iter().chain(&values[2 * length..]);
                assert!(others.copied().all(f32::is_finite), "{spec}");
            }
        }
    }
}

/// Calls that hand on the last value are one long call, to the bit for maxima and for sums of whole numbers.
#[test]
fn the_last_value_continues_a_row() {
    for (_, gpu) in common::gpus() {
        for operator in AssociativeOperator::ALL {
            let values: Vec<f32> =
                Inputs::new(5).normal(900, 9.0).iter().map(|&x| x.round() as f32).collect();
            let scan = |part: &[f32], initial: Option<&Tensor<f32>>| {
                let spec = AssociativeScanSpec::new(DType::F32, operator, 1, 1, part.len());
                let spec = if initial.is_some() { spec.initial() } else { spec };
                let x = Tensor::from_slice(&gpu, &spec.shape(), part).unwrap();
                AssociativeScan::new(&gpu, spec)
                    .unwrap()
                    .run(AssociativeScanInputs { x: &x, initial })
                    .unwrap()
            };
            let whole = scan(&values, None).y.read_blocking().unwrap();
            let head = scan(&values[..41], None);
            let tail = scan(&values[41..], Some(&head.last)).y.read_blocking().unwrap();
            assert_eq!(tail, whole[41..]);
        }
    }
}

/// Short rows share workgroups, the last of which may have fewer; whatever their number, each is itself.
#[test]
fn short_rows_share_a_workgroup() {
    for (_, gpu) in common::gpus() {
        for (rows, length) in [(1, 5), (2, 8), (5, 9), (9, 64), (33, 31), (65, 1), (7, 128)] {
            let spec = LinearScanSpec::new(DType::F32, 1, rows, length).initial();
            for spec in [spec, spec.reverse(), spec.exclusive()] {
                let values: Vec<f32> = (0..rows * length).map(|i| (i % 7) as f32).collect();
                let (half, start) = (vec![0.5; rows * length], vec![2.0; rows]);
                let upload =
                    |shape: &[usize], values: &[f32]| Tensor::from_slice(&gpu, shape, values).unwrap();
                let (a, b) = (upload(&spec.shape(), &half), upload(&spec.shape(), &values));
                let initial = upload(&spec.state_shape(), &start);
                let inputs = LinearScanInputs { a: &a, b: &b, initial: Some(&initial) };
                let found = LinearScan::new(&gpu, spec).unwrap().run(inputs).unwrap();
                let (h, last) = (found.h.read_blocking().unwrap(), found.last.read_blocking().unwrap());
                for (row, &last) in last.iter().enumerate() {
                    let mut state = 2.0;
                    for i in 0..length {
                        let place = row * length + if spec.reverse { length - 1 - i } else { i };
                        let before = state;
                        state = 0.5 * state + values[place];
                        let expected = if spec.exclusive { before } else { state };
                        assert!(
                            (h[place] - expected).abs() < 1e-5,
                            "{spec}: {} for {expected} at {place}",
                            h[place]
                        );
                    }
                    assert!((last - state).abs() < 1e-5, "{spec}: {last} for {state}");
                }
            }
        }
    }
}

#[test]
fn sizes_that_make_no_sense_are_refused_with_numbers() {
    let spec = |rows, length| AssociativeScanSpec::new(DType::F32, AssociativeOperator::Max, 1, rows, length);
    assert_eq!(spec(1, 0).check().unwrap_err().to_string(), "length is 0, expected at least 1");
    assert_eq!(spec(0, 1).check().unwrap_err().to_string(), "channels is 0, expected at least 1");
    assert!(spec(1 << 20, 1 << 20).check().unwrap_err().to_string().contains("too many elements"));
}
