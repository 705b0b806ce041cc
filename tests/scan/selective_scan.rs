//! What the selective scan promises beyond the acceptance grid.

use tilewise::plan::SelectiveScanSlice;
use tilewise::verify::{Case as _, Inputs};
use tilewise::{
    CoefficientGradient, Coefficients, DType, Element, Gpu, SelectiveScan, SelectiveScanBackward,
    SelectiveScanInputs, SelectiveScanSpec, SelectiveScanStep, Tensor, by_dtype,
};

use crate::common;

/// Tensors of a scan whose coefficients vary from step to step, with every option but the initial state.
struct Given<T> {
    u: Tensor<T>,
    delta: Tensor<T>,
    a: Tensor<f32>,
    b: Tensor<T>,
    c: Tensor<T>,
    skip: Tensor<f32>,
    z: Tensor<T>,
    bias: Tensor<f32>,
}

fn spec(dtype: DType, batch: usize, channels: usize, length: usize, states: usize) -> SelectiveScanSpec {
    SelectiveScanSpec::new(dtype, batch, channels, length, states)
        .skip()
        .gated()
        .delta_bias()
        .delta_softplus()
}

impl<T: Element> Given<T> {
    /// `change` may put other values in the place of `u`.
    fn new(gpu: &Gpu, spec: &SelectiveScanSpec, change: impl Fn(&mut Vec<T>)) -> Self {
        let mut inputs = Inputs::new(11);
        let mut values = |shape: &[usize]| -> Vec<f64> { inputs.normal(shape.iter().product(), 1.0) };
        let narrow = |values: Vec<f64>| -> Vec<T> { values.into_iter().map(T::from_f64).collect() };
        let upload = |shape: &[usize], values: &[T]| Tensor::from_slice(gpu, shape, values).unwrap();
        let wide = |shape: &[usize], values: Vec<f64>| {
            Tensor::from_slice(gpu, shape, &values.iter().map(|&x| x as f32).collect::<Vec<_>>()).unwrap()
        };
        let (shape, channels) = (spec.shape(), spec.channel_shape());
        let mut u = narrow(values(&shape));
        change(&mut u);
        Self {
            u: upload(&shape, &u),
            delta: upload(&shape, &narrow(values(&shape))),
            a: wide(&spec.a_shape(), values(&spec.a_shape()).iter().map(|x| -x.abs() - 0.1).collect()),
            b: upload(&spec.b_shape(), &narrow(values(&spec.b_shape()))),
            c: upload(&spec.c_shape(), &narrow(values(&spec.c_shape()))),
            skip: wide(&channels, values(&channels)),
            z: upload(&shape, &narrow(values(&shape))),
            bias: wide(&channels, values(&channels)),
        }
    }

    fn inputs(&self) -> SelectiveScanInputs<'_, T> {
        SelectiveScanInputs {
            skip: Some(&self.skip),
            z: Some(&self.z),
            delta_bias: Some(&self.bias),
            ..SelectiveScanInputs::new(&self.u, &self.delta, &self.a, &self.b, &self.c)
        }
    }

    /// Some steps of everything that has steps.
    fn steps(&self, gpu: &Gpu, spec: &SelectiveScanSpec, from: usize, to: usize) -> Self {
        let cut = |tensor: &Tensor<T>| {
            let values: Vec<T> = tensor
                .read_blocking()
                .unwrap()
                .chunks(spec.length)
                .flat_map(|row| row[from..to].to_vec())
                .collect();
            let mut shape = tensor.shape().to_vec();
            *shape.last_mut().unwrap() = to - from;
            Tensor::from_slice(gpu, &shape, &values).unwrap()
        };
        Self {
            u: cut(&self.u),
            delta: cut(&self.delta),
            a: self.a.clone(),
            b: cut(&self.b),
            c: cut(&self.c),
            skip: self.skip.clone(),
            z: cut(&self.z),
            bias: self.bias.clone(),
        }
    }
}

/// A prefill, then a prefill that continues it, then steps: one prefill of them all.
#[test]
fn a_prefill_followed_by_steps_is_one_prefill() {
    for (_, gpu) in common::gpus() {
        for dtype in DType::ALL {
            let whole = spec(dtype, 2, 5, 80, 6);
            by_dtype!(dtype, T => continues::<T>(&gpu, whole));
        }
    }
}

fn continues<T: Element>(gpu: &Gpu, whole: SelectiveScanSpec) {
    let given = Given::<T>::new(gpu, &whole, |_| ());
    let expected = SelectiveScan::new(gpu, whole).unwrap().run(given.inputs()).unwrap();
    let of_length = |length: usize| SelectiveScanSpec { length, ..whole };
    let part = given.steps(gpu, &whole, 0, 40);
    let first = SelectiveScan::new(gpu, of_length(40)).unwrap().run(part.inputs()).unwrap();
    let part = given.steps(gpu, &whole, 40, 73);
    let inputs = SelectiveScanInputs { initial: Some(&first.last), ..part.inputs() };
    let second = SelectiveScan::new(gpu, of_length(33).initial()).unwrap().run(inputs).unwrap();
    let step = SelectiveScanStep::new(gpu, whole).unwrap();
    let mut outputs = step.outputs::<T>().unwrap();
    outputs.last = second.last.clone();
    let values = |tensor: &Tensor<T>, length: usize| -> Vec<Vec<f64>> {
        let values = tensor.read_blocking().unwrap();
        values.chunks(length).map(|row| row.iter().map(|x| x.to_f64()).collect()).collect()
    };
    let mut found = values(&first.out, 40);
    let append = |found: &mut Vec<Vec<f64>>, more: Vec<Vec<f64>>| {
        found.iter_mut().zip(more).for_each(|(row, more)| row.extend(more));
    };
    append(&mut found, values(&second.out, 33));
    for t in 73..80 {
        let part = given.steps(gpu, &whole, t, t + 1);
        step.run(part.inputs(), &outputs).unwrap();
        append(&mut found, values(&outputs.out, 1));
    }
    for (row, (ours, expected)) in found.iter().zip(values(&expected.out, 80)).enumerate() {
        for (t, (x, y)) in ours.iter().zip(expected).enumerate() {
            assert!((x - y).abs() <= 1e-3 + 1e-2 * y.abs(), "{whole}, row {row}, step {t}: {x} for {y}");
        }
    }
    let (ours, expected) = (outputs.last.read_blocking().unwrap(), expected.last.read_blocking().unwrap());
    assert!(expected.iter().any(|x| x.abs() > 0.1));
    for (x, y) in ours.iter().zip(&expected) {
        assert!((x - y).abs() <= 1e-3 + 1e-2 * y.abs(), "{whole}, the last state: {x} for {y}");
    }
}

/// Sums over channels, batches and chunks are taken in one order, whichever workgroup finishes first.
#[test]
fn gradients_are_repeatable_bit_by_bit() {
    for (_, gpu) in common::gpus() {
        let spec = spec(DType::F32, 2, 40, 200, 16);
        let given = Given::<f32>::new(&gpu, &spec, |_| ());
        let backward = SelectiveScanBackward::new(&gpu, spec).unwrap();
        assert!(backward.plan().forward.chunks > 1, "{}", backward.plan());
        let run = || {
            let found = backward.run(given.inputs(), &given.z).unwrap();
            let read = |tensor: &Tensor<f32>| tensor.read_blocking().unwrap();
            let CoefficientGradient::PerStep(db) = &found.db else { panic!("B varies") };
            let CoefficientGradient::PerStep(dc) = &found.dc else { panic!("C varies") };
            let [bias, skip] = [&found.ddelta_bias, &found.dskip].map(|sums| read(sums.as_ref().unwrap()));
            [read(&found.da), read(db), read(dc), bias, skip, read(&found.du), read(&found.ddelta)]
        };
        let first = run();
        assert!(first.iter().all(|values| values.iter().any(|x| x.abs() > 1e-3)));
        assert!((0..5).all(|_| run() == first));
    }
}

/// A NaN in one row reaches no output of another, in one pass or in phases.
#[test]
fn a_nan_reaches_no_other_row() {
    for (_, gpu) in common::gpus() {
        for length in [20, 333] {
            let spec = spec(DType::F32, 2, 5, length, 8);
            let nan = |u: &mut Vec<f32>| u[3 * length + 7] = f32::NAN;
            let given = Given::<f32>::new(&gpu, &spec, nan);
            let out = SelectiveScan::new(&gpu, spec).unwrap().run(given.inputs()).unwrap().out;
            let found =
                SelectiveScanBackward::new(&gpu, spec).unwrap().run(given.inputs(), &given.z).unwrap();
            let row = 3 * length..4 * length;
            for (name, tensor) in [("out", &out), ("du", &found.du), ("dz", found.dz.as_ref().unwrap())] {
                let values = tensor.read_blocking().unwrap();
                let wrong: Vec<_> = (0..values.len()).filter(|&i| !values[i].is_finite()).collect();
                assert!(!wrong.is_empty() || name == "du", "{name} hides the NaN");
                assert!(wrong.iter().all(|i| row.contains(i)), "{name}: {wrong:?}, expected within {row:?}");
            }
        }
    }
}

/// States that grow without bound become too large and do not stop anything.
#[test]
fn growing_states_overflow_and_end() {
    for (_, gpu) in common::gpus() {
        let spec = SelectiveScanSpec::new(DType::F32, 1, 2, 2000, 4);
        let given = Given::<f32>::new(&gpu, &spec, |_| ());
        let ones = |shape: &[usize]| {
            Tensor::from_slice(&gpu, shape, &vec![1.0_f32; shape.iter().product()]).unwrap()
        };
        let (delta, a) = (ones(&spec.shape()), ones(&spec.a_shape()));
        let inputs = SelectiveScanInputs::new(&given.u, &delta, &a, &given.b, &given.c);
        let out = SelectiveScan::new(&gpu, spec).unwrap().run(inputs).unwrap().out.read_blocking().unwrap();
        assert!(out[..20].iter().all(|x| x.is_finite()) && !out[1999].is_finite());
    }
}

#[test]
fn sizes_that_make_no_sense_are_refused_with_numbers() {
    let spec = SelectiveScanSpec::new(DType::F32, 1, 6, 8, 4);
    let refused = |spec: SelectiveScanSpec| spec.check().unwrap_err().to_string();
    let grouped = |b, c| spec.coefficients(Coefficients::PerGroup(b), Coefficients::PerGroup(c));
    assert_eq!(refused(grouped(4, 4)), "groups is 4, expected a divisor of the 6 channels");
    assert_eq!(refused(grouped(0, 1)), "groups is 0, expected a divisor of the 6 channels");
    assert_eq!(refused(grouped(2, 3)), "groups of C is 3, expected 2, as many as B has");
    assert_eq!(refused(SelectiveScanSpec { length: 0, ..spec }), "length is 0, expected at least 1");
    assert_eq!(refused(SelectiveScanSpec { state_dim: 300, ..spec }), "states is 300, expected 1 to 256");
    let Some(gpu) = common::open(None) else { return };
    let given = Given::<f32>::new(&gpu, &spec, |_| ());
    let scan = SelectiveScan::new(&gpu, spec).unwrap();
    let short = Tensor::<f32>::zeros(&gpu, &[1, 6, 7]).unwrap();
    let plain = SelectiveScanInputs::new(&given.u, &given.delta, &given.a, &given.b, &given.c);
    let error = scan.run(SelectiveScanInputs { delta: &short, ..plain }).unwrap_err().to_string();
    assert_eq!(error, "delta has shape [1, 6, 7], expected [1, 6, 8]");
    let error = scan.run(SelectiveScanInputs { z: Some(&given.z), ..plain }).unwrap_err().to_string();
    assert_eq!(error, "z is given, but the spec has no use for it");
}

/// Where little can be bound at once, the backward pass goes by batches, by groups of channels or tiles of these, or by
/// parts of a row.
#[test]
fn slices_have_the_gradients_of_the_whole() {
    let all = |batch, channels| spec(DType::F32, batch, channels, 1001, 16).initial();
    let constant = all(3, 6).coefficients(Coefficients::PerChannel, Coefficients::PerStep);
    let constant = SelectiveScanSpec { initial: false, gated: false, length: 1000, ..constant };
    let narrow = SelectiveScanSpec { dtype: DType::F16, ..all(1, 6) };
    let groups = all(1, 40).coefficients(Coefficients::PerGroup(2), Coefficients::PerGroup(2));
    let odd = SelectiveScanSpec { dtype: DType::Bf16, state_dim: 3, length: 333, ..all(2, 77) };
    let odd = odd.coefficients(Coefficients::PerStep, Coefficients::PerChannel);
    // Along which of batches, groups, tiles and rows there are several slices.
    let cases = [
        (all(3, 6), 200 << 10, [true, false, false, false]),
        (constant, 192 << 10, [true, false, false, false]),
        (groups, 340 << 10, [false, true, false, false]),
        (all(1, 40), 200 << 10, [false, false, true, false]),
        (odd, 103_000, [true, false, true, false]),
        (groups, 200 << 10, [false, true, true, false]),
        (all(1, 6), 68 << 10, [false, false, false, true]),
        (narrow.complex(), 72 << 10, [false, false, false, true]),
        (SelectiveScanSpec { initial: false, ..all(1, 40) }, 160 << 10, [false, false, true, true]),
    ];
    for (spec, binding_bytes, cut) in cases {
        let caps = tilewise::Caps { binding_bytes, ..tilewise::caps::WEBGPU_BASELINE };
        let Some(gpu) = common::open(Some(caps)) else { return };
        let plan = *SelectiveScanBackward::new(&gpu, spec).unwrap().plan();
        let SelectiveScanSlice { batches, groups, tiles, chunks } = plan.slices;
        assert_eq!([batches, groups, tiles, chunks].map(|count| count > 1), cut, "{spec}: {plan}");
        for outcome in pollster::block_on(spec.run(&gpu)).unwrap() {
            assert!(outcome.passed(), "{spec}, {plan}: {outcome:?}");
        }
    }
}
