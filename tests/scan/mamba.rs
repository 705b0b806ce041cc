//! Decoding with the cores of Mamba's blocks: a prefill followed by steps is one longer prefill.

use crate::common;
use tilewise::verify::Inputs;
use tilewise::{
    CoefficientTensor, DType, Gpu, Mamba, Mamba2, Mamba2Inputs, Mamba2Spec, Mamba2Step, MambaInputs,
    MambaSpec, MambaStep, SelectiveScanSpec, Sequences, Skip, SsdSpec, Tensor,
};

const LENGTH: usize = 30;
const PREFILL: usize = 21;

/// A tensor whose steps can be cut: (outer, LENGTH, inner).
struct Steps {
    values: Vec<f32>,
    inner: usize,
}

impl Steps {
    fn new(inputs: &mut Inputs, outer: usize, inner: usize) -> Self {
        Self { values: floats(inputs, outer * LENGTH * inner), inner }
    }

    fn cut(&self, gpu: &Gpu, first: usize, steps: usize, shape: &[usize]) -> Tensor<f32> {
        let rows = self.values.chunks(LENGTH * self.inner);
        let values: Vec<f32> =
            rows.flat_map(|row| row[first * self.inner..][..steps * self.inner].to_vec()).collect();
        Tensor::from_slice(gpu, shape, &values).unwrap()
    }
}

fn floats(inputs: &mut Inputs, count: usize) -> Vec<f32> {
    inputs.normal(count, 1.0).iter().map(|&x| x as f32).collect()
}

fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(expected.iter().any(|x| x.abs() > 0.1), "{what}: results of zeros check nothing");
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        assert!((x - y).abs() <= 1e-3 + 1e-2 * y.abs(), "{what}, element {i}: {x} against {y}");
    }
}

#[test]
fn a_prefill_and_steps_of_mamba_are_one_prefill() {
    let (batch, channels, states) = (2, 6, 4);
    let spec = MambaSpec::new(DType::F32, batch, channels, LENGTH, states);
    for (_, gpu) in common::gpus() {
        let mut inputs = Inputs::new(31);
        let [x, delta, z] = [(); 3].map(|()| Steps::new(&mut inputs, batch * channels, 1));
        let [b, c] = [(); 2].map(|()| Steps::new(&mut inputs, batch * states, 1));
        let of_channels = |values: Vec<f32>| {
            Tensor::from_slice(&gpu, &[channels, values.len() / channels][..], &values).unwrap()
        };
        let weight = of_channels(floats(&mut inputs, channels * 4));
        let a = of_channels(floats(&mut inputs, channels * states).iter().map(|a| -a.abs()).collect());
        let [bias, skip, delta_bias] =
            [(); 3].map(|()| Tensor::from_slice(&gpu, &[channels], &floats(&mut inputs, channels)).unwrap());
        let run = |first: usize, steps: usize, go: &mut dyn FnMut(MambaInputs<'_, f32>)| {
            let shape = SelectiveScanSpec { length: steps, ..spec.scan };
            let cut = |tensor: &Steps| tensor.cut(&gpu, first, steps, &shape.shape());
            go(MambaInputs {
                x: &cut(&x),
                weight: &weight,
                bias: Some(&bias),
                conv_initial: None,
                delta: &cut(&delta),
                a: &a,
                b: CoefficientTensor::PerStep(&b.cut(&gpu, first, steps, &shape.b_shape())),
                c: CoefficientTensor::PerStep(&c.cut(&gpu, first, steps, &shape.c_shape())),
                skip: Some(&skip),
                z: Some(&cut(&z)),
                delta_bias: Some(&delta_bias),
                initial: None,
            });
        };
        let prefill = |length: usize| {
            let spec = MambaSpec { scan: SelectiveScanSpec { length, ..spec.scan }, ..spec };
            let mut outputs = None;
            run(0, length, &mut |inputs| {
                outputs = Some(Mamba::new(&gpu, spec).unwrap().run(inputs).unwrap());
            });
            outputs.unwrap()
        };
        let whole = prefill(LENGTH);
        let mut states = prefill(PREFILL).states();
        let step = MambaStep::new(&gpu, spec).unwrap();
        let expected = whole.out.read_blocking().unwrap();
        for t in PREFILL..LENGTH {
            let mut out = vec![];
            run(t, 1, &mut |inputs| {
                out = step.run(inputs, &mut states).unwrap().read_blocking().unwrap();
            });
            let expected: Vec<f32> = expected.chunks(LENGTH).map(|row| row[t]).collect();
            close(&format!("step {t}"), &out, &expected);
        }
        let last = whole.last.read_blocking().unwrap();
        close("states", &states.recurrence().read_blocking().unwrap(), &last);
    }
}

/// A prefill of packed sequences leaves the states of each, from which a batch of as many goes on.
#[test]
fn a_packed_prefill_goes_on_as_a_batch() {
    let whole = Mamba2Spec::new(DType::F32, 2, LENGTH, (2, 6), 5);
    let channels = whole.conv().channels;
    let prefills = [9, 21];
    let starts = Sequences::Packed(vec![0, 9, 30]);
    let packed =
        Mamba2Spec { ssd: SsdSpec { batch: 1, ..whole.ssd.clone() }.sequences(starts), ..whole.clone() };
    for (_, gpu) in common::gpus() {
        let mut inputs = Inputs::new(33);
        let given = [channels, 2, 12].map(|inner| Steps::new(&mut inputs, 2, inner));
        let mut tensor = |shape: &[usize]| {
            Tensor::from_slice(&gpu, shape, &floats(&mut inputs, shape.iter().product())).unwrap()
        };
        let (weight, bias) = (tensor(&[channels, 4]), tensor(&[channels]));
        let (d, dt_bias) = (tensor(&[2]), tensor(&[2]));
        let a = Tensor::from_slice(&gpu, &[2], &[-0.5_f32, -2.0]).unwrap();
        let inputs = |tensors: &[Tensor<f32>; 3], go: &mut dyn FnMut(Mamba2Inputs<'_, f32>)| {
            let [xbc, dt, z] = tensors;
            go(Mamba2Inputs {
                xbc,
                weight: &weight,
                bias: Some(&bias),
                conv_initial: None,
                dt,
                a: &a,
                d: Some(&d),
                z: Some(z),
                dt_bias: Some(&dt_bias),
                initial: None,
            });
        };
        // Steps of both sequences from one of each on, in the shapes of a batch of them or of what is packed.
        let cut = |from: [usize; 2], steps: [usize; 2], outer: &[usize]| {
            let inner = [vec![channels], vec![2], vec![2, 6]];
            [0, 1, 2].map(|i| {
                let Steps { values, inner: width } = &given[i];
                let of = |s: usize| &values[(s * LENGTH + from[s]) * width..][..steps[s] * width];
                let values = [of(0), of(1)].concat();
                Tensor::from_slice(&gpu, &[outer, &inner[i]].concat()[..], &values).unwrap()
            })
        };
        let run = |spec: &Mamba2Spec, tensors: &[Tensor<f32>; 3]| {
            let mut outputs = None;
            inputs(tensors, &mut |inputs| {
                outputs = Some(Mamba2::new(&gpu, spec.clone()).unwrap().run(inputs).unwrap());
            });
            outputs.unwrap()
        };
        let expected = run(&whole, &cut([0, 0], [LENGTH, LENGTH], &[2, LENGTH]));
        let expected = expected.out.read_blocking().unwrap();
        let prefill = run(&packed, &cut([0, 0], prefills, &[1, LENGTH]));
        let of_both = |t: [usize; 2], steps: [usize; 2]| {
            [0, 1].map(|s| &expected[(s * LENGTH + t[s]) * 12..][..steps[s] * 12]).concat()
        };
        close("packed", &prefill.out.read_blocking().unwrap(), &of_both([0, 0], prefills));
        let mut states = prefill.states();
        let step = Mamba2Step::new(&gpu, packed.clone()).unwrap();
        for i in 0..LENGTH - prefills[1] {
            let at = prefills.map(|first| first + i);
            let mut out = vec![];
            inputs(&cut(at, [1, 1], &[2]), &mut |inputs| {
                out = step.run(inputs, &mut states).unwrap().read_blocking().unwrap();
            });
            close(&format!("step {i}"), &out, &of_both(at, [1, 1]));
        }
    }
}

#[test]
fn a_prefill_and_steps_of_mamba2_are_one_prefill() {
    let spec = Mamba2Spec::new(DType::F32, 2, LENGTH, (4, 6), 5);
    let ssd = spec.ssd.clone().groups(2).skip(Skip::PerHead).chunk(16);
    let spec = Mamba2Spec { ssd, ..spec };
    let channels = spec.conv().channels;
    for (_, gpu) in common::gpus() {
        let mut inputs = Inputs::new(32);
        let [xbc, dt, z] = [channels, 4, 24].map(|inner| Steps::new(&mut inputs, 2, inner));
        let mut tensor = |shape: &[usize]| {
            Tensor::from_slice(&gpu, shape, &floats(&mut inputs, shape.iter().product())).unwrap()
        };
        let (weight, bias) = (tensor(&[channels, 4]), tensor(&[channels]));
        let (d, dt_bias) = (tensor(&[4]), tensor(&[4]));
        let a = Tensor::from_slice(&gpu, &[4], &[-0.5_f32, -1.0, -2.0, -4.0]).unwrap();
        // Steps have tensors without a dimension of the length.
        let run = |first: usize, steps: Option<usize>, go: &mut dyn FnMut(Mamba2Inputs<'_, f32>)| {
            let cut = |tensor: &Steps, inner: &[usize]| {
                let length = steps.map(|steps| vec![steps]).unwrap_or_default();
                let shape = [&[2], &length[..], inner].concat();
                tensor.cut(&gpu, first, steps.unwrap_or(1), &shape)
            };
            go(Mamba2Inputs {
                xbc: &cut(&xbc, &[channels]),
                weight: &weight,
                bias: Some(&bias),
                conv_initial: None,
                dt: &cut(&dt, &[4]),
                a: &a,
                d: Some(&d),
                z: Some(&cut(&z, &[4, 6])),
                dt_bias: Some(&dt_bias),
                initial: None,
            });
        };
        let prefill = |length: usize| {
            let spec = Mamba2Spec { ssd: SsdSpec { length, ..spec.ssd.clone() }, ..spec.clone() };
            let op = Mamba2::new(&gpu, spec).unwrap();
            let mut outputs = None;
            run(0, Some(length), &mut |inputs| outputs = Some(op.run(inputs).unwrap()));
            outputs.unwrap()
        };
        let whole = prefill(LENGTH);
        let mut states = prefill(PREFILL).states();
        let step = Mamba2Step::new(&gpu, spec.clone()).unwrap();
        let expected = whole.out.read_blocking().unwrap();
        for t in PREFILL..LENGTH {
            let mut out = vec![];
            run(t, None, &mut |inputs| {
                out = step.run(inputs, &mut states).unwrap().read_blocking().unwrap();
            });
            let of_batch = |b: usize| expected[(b * LENGTH + t) * 24..][..24].to_vec();
            close(&format!("step {t}"), &out, &[of_batch(0), of_batch(1)].concat());
        }
        let last = whole.last.read_blocking().unwrap();
        close("states", &states.recurrence().read_blocking().unwrap(), &last);
    }
}
