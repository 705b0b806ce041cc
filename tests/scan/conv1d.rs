//! What the causal depthwise convolution promises beyond the acceptance grid.

use tilewise::verify::Inputs;
use tilewise::{
    Conv1d, Conv1dBackward, Conv1dInputs, Conv1dSpec, Conv1dStep, Conv1dStepInputs, DType, Element, Gpu,
    SequenceIndices, Tensor, by_dtype,
};

use crate::common;

fn normal<T: Element>(gpu: &Gpu, inputs: &mut Inputs, shape: &[usize]) -> (Vec<T>, Tensor<T>) {
    let values: Vec<T> = inputs.normal(shape.iter().product(), 1.0).into_iter().map(T::from_f64).collect();
    let tensor = Tensor::from_slice(gpu, shape, &values).unwrap();
    (values, tensor)
}

/// A prefill followed by steps is one longer prefill, bit by bit, at every phase of the circular buffer.
#[test]
fn steps_continue_a_prefill_bit_by_bit() {
    for (_, gpu) in common::gpus() {
        for dtype in DType::ALL {
            for width in 2..=4 {
                for head in [1, 2, 9] {
                    let spec = Conv1dSpec::new(dtype, 2, 67, 20, width).bias().silu();
                    by_dtype!(dtype, T => steps_continue::<T>(&gpu, spec, head));
                }
            }
        }
    }
}

fn steps_continue<T: Element>(gpu: &Gpu, spec: Conv1dSpec, head: usize) {
    let mut inputs = Inputs::new(5);
    let (values, x) = normal::<T>(gpu, &mut inputs, &spec.shape());
    let (_, weight) = normal::<f32>(gpu, &mut inputs, &spec.weight_shape());
    let (_, bias) = normal::<f32>(gpu, &mut inputs, &spec.bias_shape());
    let prefill = |spec: Conv1dSpec, x: &Tensor<T>| {
        let inputs = Conv1dInputs { bias: Some(&bias), ..Conv1dInputs::new(x, &weight) };
        Conv1d::new(gpu, spec).unwrap().run(inputs).unwrap()
    };
    let whole = prefill(spec, &x).y.read_blocking().unwrap();
    let innermost = spec.channels_last();
    let turned = |values: &[T], [batch, rows, columns]: [usize; 3]| -> Vec<T> {
        let element = |i: usize| {
            let (b, row, column) = (i / columns / rows, i % rows, i / rows % columns);
            values[(b * rows + row) * columns + column]
        };
        (0..batch * rows * columns).map(element).collect()
    };
    let laid = turned(&values, spec.shape());
    let laid = prefill(innermost, &Tensor::from_slice(gpu, &innermost.shape(), &laid).unwrap());
    let bits = |values: Vec<T>| values.into_iter().map(|x| x.to_f64().to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(laid.y.read_blocking().unwrap()), bits(turned(&whole, spec.shape())), "{innermost}");
    assert_eq!(laid.last.read_blocking().unwrap(), prefill(spec, &x).last.read_blocking().unwrap());
    let begun = Conv1dSpec { length: head, ..spec };
    let cut: Vec<T> = values.chunks(spec.length).flat_map(|row| row[..head].iter().copied()).collect();
    let state = prefill(begun, &Tensor::from_slice(gpu, &begun.shape(), &cut).unwrap()).last;
    let step = Conv1dStep::new(gpu, spec).unwrap();
    for t in head..spec.length {
        let column: Vec<T> = values.chunks(spec.length).map(|row| row[t]).collect();
        let x = Tensor::from_slice(gpu, &[spec.batch, spec.channels], &column).unwrap();
        let inputs = Conv1dStepInputs { x: &x, weight: &weight, bias: Some(&bias) };
        let y = step.run(inputs, &state, t - head).unwrap().read_blocking().unwrap();
        for (row, (ours, expected)) in y.iter().zip(whole.chunks(spec.length)).enumerate() {
            let (ours, expected) = (ours.to_f64(), expected[t].to_f64());
            assert!(
                ours != 0.0 && ours.to_bits() == expected.to_bits(),
                "{spec}, row {row}, step {t}: {ours} for {expected}"
            );
        }
    }
}

/// Gradients of parameters are sums over everything, in an order that nothing changes.
#[test]
fn gradients_are_repeatable_bit_by_bit() {
    for (_, gpu) in common::gpus() {
        let spec = Conv1dSpec::new(DType::F32, 3, 2, 2500, 4).bias().silu();
        let mut inputs = Inputs::new(2);
        let (_, x) = normal::<f32>(&gpu, &mut inputs, &spec.shape());
        let (_, dy) = normal::<f32>(&gpu, &mut inputs, &spec.shape());
        let (_, weight) = normal::<f32>(&gpu, &mut inputs, &spec.weight_shape());
        let (_, bias) = normal::<f32>(&gpu, &mut inputs, &spec.bias_shape());
        let given = Conv1dInputs { bias: Some(&bias), ..Conv1dInputs::new(&x, &weight) };
        let backward = Conv1dBackward::new(&gpu, spec).unwrap();
        assert!(backward.plan().chunks > 1, "{}", backward.plan());
        let run = || {
            let found = backward.run(given, &dy).unwrap();
            let read = |tensor: &Tensor<f32>| tensor.read_blocking().unwrap();
            (read(&found.dx), read(&found.dweight), read(&found.dbias.unwrap()))
        };
        let first = run();
        assert!(first.1.iter().all(|value| *value != 0.0));
        assert!((0..10).all(|_| run() == first));
    }
}

/// A NaN stays in its row, and within its row in its sequence and its reach.
#[test]
fn a_nan_reaches_no_other_row_or_sequence() {
    for (_, gpu) in common::gpus() {
        for length in [16, 17] {
            let spec = Conv1dSpec::new(DType::F32, 1, 3, length, 4).silu().sequences();
            let mut x = vec![1.0_f32; 3 * length];
            x[length + 5] = f32::NAN;
            let x = Tensor::from_slice(&gpu, &spec.shape(), &x).unwrap();
            let weight = Tensor::from_slice(&gpu, &spec.weight_shape(), &[0.5; 12]).unwrap();
            let indices: Vec<i32> = (0..length).map(|t| i32::from(t >= 7)).collect();
            let indices = SequenceIndices::new(&gpu, spec.sequences_shape(), &indices).unwrap();
            let inputs = Conv1dInputs { sequences: Some(&indices), ..Conv1dInputs::new(&x, &weight) };
            let y = Conv1d::new(&gpu, spec).unwrap().run(inputs).unwrap().y.read_blocking().unwrap();
            let wrong: Vec<_> = (0..y.len()).filter(|&i| !y[i].is_finite()).collect();
            assert_eq!(wrong, [length + 5, length + 6]);
            let dx = Conv1dBackward::new(&gpu, spec).unwrap().run(inputs, &x).unwrap().dx;
            let dx = dx.read_blocking().unwrap();
            let wrong: Vec<_> = (0..dx.len()).filter(|&i| !dx[i].is_finite()).collect();
            assert!(wrong.iter().all(|i| (length..length + 7).contains(i)) && !wrong.is_empty(), "{wrong:?}");
        }
    }
}

#[test]
fn sizes_that_make_no_sense_are_refused_with_numbers() {
    let refused = |spec: Conv1dSpec| spec.check().unwrap_err().to_string();
    let spec = Conv1dSpec::new(DType::F32, 1, 2, 8, 4);
    assert_eq!(refused(Conv1dSpec { width: 5, ..spec }), "width is 5, expected 2 to 4");
    assert_eq!(refused(Conv1dSpec { width: 1, ..spec }), "width is 1, expected 2 to 4");
    assert_eq!(refused(Conv1dSpec { length: 0, ..spec }), "length is 0, expected at least 1");
    if let Some(gpu) = common::open(None) {
        // As many numbers, of which others are starts.
        let spec = Conv1dSpec::new(DType::F32, 1, 2, 9, 3).channels_last().packed(2);
        let x = Tensor::from_slice(&gpu, &spec.shape(), &[1.0_f32; 18]).unwrap();
        let weight = Tensor::from_slice(&gpu, &spec.weight_shape(), &[1.0_f32; 6]).unwrap();
        let refused = |sequences: &SequenceIndices| {
            let inputs = Conv1dInputs { sequences: Some(sequences), ..Conv1dInputs::new(&x, &weight) };
            Conv1d::new(&gpu, spec).unwrap().run(inputs).unwrap_err().to_string()
        };
        let three = SequenceIndices::packed(&gpu, 8, &[0, 2, 4, 8]).unwrap();
        assert_eq!(refused(&three), "the sequences has shape [1, 8, 3], expected [1, 9, 2]");
        let listed = SequenceIndices::new(&gpu, [1, 9], &[0; 9]).unwrap();
        assert_eq!(refused(&listed), "the sequences has shape [1, 9], expected [1, 9, 2]");
        let starts = SequenceIndices::packed(&gpu, 9, &[0, 8]).unwrap_err().to_string();
        assert_eq!(starts, "the last sequence's end is 8, expected the length, 9");
    }
    let packed = Conv1dSpec { batch: 1, ..spec }.channels_last().packed(2);
    assert!(packed.check().is_ok());
    assert_eq!(
        refused(Conv1dSpec { batch: 2, ..packed }),
        "batch is 2, expected 1, since its sequences are packed"
    );
    assert_eq!(refused(packed.packed(0)), "packed sequences is 0, expected at least 1");
    let words = "a convolution of packed sequences is one along rows, expected channels that lie innermost";
    assert_eq!(refused(Conv1dSpec { channels_last: false, ..packed }), words);
    let Some(gpu) = common::open(None) else { return };
    let error = SequenceIndices::new(&gpu, [1, 8], &[0; 7]).unwrap_err().to_string();
    assert_eq!(error, "7 elements do not fill shape [1, 8], which has 8");
    let zeros = |shape: &[usize]| Tensor::<f32>::zeros(&gpu, shape).unwrap();
    let (x, short, weight) = (zeros(&spec.shape()), zeros(&[1, 2, 7]), zeros(&spec.weight_shape()));
    let conv = Conv1d::new(&gpu, spec).unwrap();
    let error = conv.run(Conv1dInputs::new(&short, &weight)).unwrap_err().to_string();
    assert_eq!(error, "x has shape [1, 2, 7], expected [1, 2, 8]");
    let biased = Conv1dInputs { bias: Some(&x), ..Conv1dInputs::new(&x, &weight) };
    let error = conv.run(biased).unwrap_err().to_string();
    assert_eq!(error, "bias is given, but the spec has no use for it");
}
