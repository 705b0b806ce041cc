//! What the layers composed of scans and convolutions promise beyond the acceptance grid: a NaN stays in its sequence,
//! forward and backward, and sizes that make no sense are refused.

use tilewise::verify::Inputs;
use tilewise::{
    CoefficientTensor, DType, Gpu, H3, H3Backward, H3Inputs, H3Spec, Hyena, HyenaBackward, HyenaInputs,
    HyenaSpec, LongConvSpec, Mamba, Mamba2, Mamba2Backward, Mamba2Inputs, Mamba2Spec, MambaBackward,
    MambaInputs, MambaSpec, Projection, S4d, S4dBackward, S4dInputs, S4dParameters, S4dSpec,
    SelectiveScanSpec, Sequences, SsdOutputGradients, SsdSpec, Tensor,
};

use crate::common;

/// Batches and channels, and in which of their six sequences the NaN is.
const ROWS: [usize; 2] = [2, 3];
const HIT: usize = 4;
const LENGTH: usize = 50;

fn uniform(gpu: &Gpu, inputs: &mut Inputs, shape: &[usize], low: f64) -> Tensor<f32> {
    let values = inputs.uniform(shape.iter().product(), low, low + 2.0);
    Tensor::from_slice(gpu, shape, &values.iter().map(|&x| x as f32).collect::<Vec<_>>()).unwrap()
}

/// The same with a NaN at one place.
fn with_nan(gpu: &Gpu, tensor: &Tensor<f32>, place: usize) -> Tensor<f32> {
    let mut values = tensor.read_blocking().unwrap();
    values[place] = f32::NAN;
    Tensor::from_slice(gpu, tensor.shape(), &values).unwrap()
}

/// Where a tensor has other bits, each a part of as many.
fn changed(clean: &Tensor<f32>, dirty: &Tensor<f32>, parts: usize) -> Vec<usize> {
    let [clean, dirty] = [clean, dirty].map(|tensor| tensor.read_blocking().unwrap());
    let part = clean.len() / parts;
    let differs = |i: &usize| clean[*i].to_bits() != dirty[*i].to_bits();
    let mut parts: Vec<_> = (0..clean.len()).filter(differs).map(|i| i / part).collect();
    parts.dedup();
    parts
}

/// Runs an operation on `x` as it is and with a NaN in one sequence: no other's results or gradients may change.
fn keeps_to_its_row(what: &str, gpu: &Gpu, x: &Tensor<f32>, run: impl Fn(&Tensor<f32>) -> Vec<Tensor<f32>>) {
    let dirty = with_nan(gpu, x, HIT * LENGTH + LENGTH / 2);
    let (clean, dirty) = (run(x), run(&dirty));
    let rows = ROWS[0] * ROWS[1];
    assert_eq!(changed(&clean[0], &dirty[0], rows), [HIT], "{what}: the result");
    for (i, (clean, dirty)) in clean.iter().zip(&dirty).enumerate() {
        assert!(changed(clean, dirty, rows).iter().all(|row| *row == HIT), "{what}: tensor {i}");
    }
}

#[test]
fn a_nan_stays_in_its_sequence_of_convolutions() {
    let [batch, channels] = ROWS;
    let shape = [batch, channels, LENGTH];
    for (_, gpu) in common::gpus() {
        let mut inputs = Inputs::new(41);
        let mut values = |shape: &[usize]| uniform(&gpu, &mut inputs, shape, -1.0);
        let [x, q, k, dout] = [(); 4].map(|()| values(&shape));
        let [skip, bias] = [(); 2].map(|()| values(&[channels]));

        let spec = S4dSpec::new(LongConvSpec::new(DType::F32, batch, channels, LENGTH).skip().post_gate(), 4);
        let s4d = S4d::new(&gpu, spec).unwrap();
        let modes = s4d.modes(&S4dParameters::lin(&spec, 0.05)).unwrap();
        keeps_to_its_row("S4D", &gpu, &x, |u| {
            let given = S4dInputs { u, modes: &modes, skip: Some(&skip), pre: None, post: Some(&q) };
            let found = S4dBackward::new(&gpu, spec).unwrap().run(given, &dout).unwrap();
            vec![s4d.run(given).unwrap(), found.du, found.dpost.unwrap()]
        });

        let spec = H3Spec::new(DType::F32, shape, 5, 4);
        let shift = values(&[channels, 5]);
        keeps_to_its_row("H3", &gpu, &x, |v| {
            let given =
                H3Inputs { q: &q, k: &k, v, shift: &shift, shift_skip: &bias, modes: &modes, skip: &skip };
            let found = H3Backward::new(&gpu, spec).unwrap().run(given, &dout).unwrap();
            vec![H3::new(&gpu, spec).unwrap().run(given).unwrap(), found.dq, found.dk, found.dv]
        });

        let spec = HyenaSpec::new(DType::F32, batch, channels, LENGTH);
        let (weight, filter) = (values(&[channels, 3]), values(&[channels, LENGTH]));
        keeps_to_its_row("Hyena", &gpu, &x, |v| {
            let qkv = [&q, &k, v].map(|x| Projection { x, weight: &weight, bias: &bias });
            let given = HyenaInputs { qkv, filter: &filter, skip: &skip };
            let [q, k, v] = HyenaBackward::new(&gpu, spec).unwrap().run(given, &dout).unwrap().dqkv;
            vec![Hyena::new(&gpu, spec).unwrap().run(given).unwrap(), q.dx, k.dx, v.dx]
        });
    }
}

#[test]
fn a_nan_stays_in_its_sequence_of_mamba() {
    let [batch, channels] = ROWS;
    let spec = MambaSpec::new(DType::F32, batch, channels, LENGTH, 4);
    let scan = spec.scan;
    for (_, gpu) in common::gpus() {
        let mut inputs = Inputs::new(42);
        let mut values = |shape: &[usize], low: f64| uniform(&gpu, &mut inputs, shape, low);
        let [x, delta, z, dout] = [(); 4].map(|()| values(&scan.shape(), -1.0));
        let (a, weight) = (values(&scan.a_shape(), -2.1), values(&[channels, 4], -1.0));
        let (b, c) = (values(&scan.b_shape(), -1.0), values(&scan.c_shape(), -1.0));
        let of_channels = values(&[channels], -1.0);
        keeps_to_its_row("Mamba", &gpu, &x, |x| {
            let given = MambaInputs {
                x,
                weight: &weight,
                bias: Some(&of_channels),
                conv_initial: None,
                delta: &delta,
                a: &a,
                b: CoefficientTensor::PerStep(&b),
                c: CoefficientTensor::PerStep(&c),
                skip: Some(&of_channels),
                z: Some(&z),
                delta_bias: Some(&of_channels),
                initial: None,
            };
            let out = Mamba::new(&gpu, spec).unwrap().run(given).unwrap();
            let found = MambaBackward::new(&gpu, spec).unwrap().run(given, &dout).unwrap();
            let scan = found.scan;
            vec![out.out, out.last, out.conv_last, found.conv.dx, scan.ddelta, scan.dz.unwrap()]
        });
    }
}

/// Sequences of one batch, which share a chunk and the taps of the convolution, and whole batches.
#[test]
fn a_nan_stays_in_its_sequence_of_mamba2() {
    let spec = Mamba2Spec::new(DType::F32, 2, LENGTH, (2, 6), 5);
    let indices = (0..2 * LENGTH).map(|t| i64::from(t % LENGTH >= 20)).collect();
    let resets = Mamba2Spec { ssd: spec.ssd.clone().sequences(Sequences::Indexed(indices)), ..spec.clone() };
    // Where the sequence of step 30 of batch 1 begins.
    for (spec, begins) in [(spec, LENGTH), (resets, LENGTH + 20)] {
        let (ssd, conv) = (&spec.ssd, spec.conv());
        for (_, gpu) in common::gpus() {
            let mut inputs = Inputs::new(43);
            let mut values = |shape: &[usize], low: f64| uniform(&gpu, &mut inputs, shape, low);
            let (xbc, dt, z) =
                (values(&conv.shape(), -1.0), values(&ssd.dt_shape(), -2.0), values(&ssd.x_shape(), -1.0));
            let (weight, bias) = (values(&conv.weight_shape(), -1.0), values(&conv.bias_shape(), -1.0));
            let (a, of_heads) = (values(&ssd.head_shape(), -2.1), values(&ssd.head_shape(), -1.0));
            let run = |xbc: &Tensor<f32>| {
                let given = Mamba2Inputs {
                    xbc,
                    weight: &weight,
                    bias: Some(&bias),
                    conv_initial: None,
                    dt: &dt,
                    a: &a,
                    d: Some(&of_heads),
                    z: Some(&z),
                    dt_bias: Some(&of_heads),
                    initial: None,
                };
                let out = Mamba2::new(&gpu, spec.clone()).unwrap().run(given).unwrap().out;
                let of = SsdOutputGradients { out: &z, last: None };
                let found = Mamba2Backward::new(&gpu, spec.clone()).unwrap().run(given, of).unwrap();
                [out, found.conv.dx, found.ssd.dt, found.ssd.z.unwrap()]
            };
            let dirty = run(&with_nan(&gpu, &xbc, (LENGTH + 30) * conv.channels));
            for (i, (clean, dirty)) in run(&xbc).iter().zip(&dirty).enumerate() {
                let steps = changed(clean, dirty, 2 * LENGTH);
                assert!(i > 0 || !steps.is_empty(), "{spec}: the result hides the NaN");
                assert!(steps.iter().all(|step| *step >= begins), "{spec}: tensor {i}, steps {steps:?}");
            }
        }
    }
}

#[test]
fn layers_without_steps_are_refused() {
    let Some(gpu) = common::open(None) else { return };
    let refused = |error: Option<tilewise::Error>| {
        assert_eq!(error.expect("an error").to_string(), "length is 0, expected at least 1");
    };
    let conv = LongConvSpec::new(DType::F32, 1, 2, 0);
    refused(S4d::new(&gpu, S4dSpec::new(conv, 3)).err());
    refused(S4dBackward::new(&gpu, S4dSpec::new(conv, 3)).err());
    refused(H3::new(&gpu, H3Spec::new(DType::F32, [1, 2, 0], 4, 3)).err());
    refused(H3Backward::new(&gpu, H3Spec::new(DType::F32, [1, 2, 0], 4, 3)).err());
    refused(Hyena::new(&gpu, HyenaSpec::new(DType::F32, 1, 2, 0)).err());
    refused(HyenaBackward::new(&gpu, HyenaSpec::new(DType::F32, 1, 2, 0)).err());
    let scan = SelectiveScanSpec::new(DType::F32, 1, 2, 0, 4);
    let mamba = MambaSpec { scan, ..MambaSpec::new(DType::F32, 1, 2, 1, 4) };
    refused(Mamba::new(&gpu, mamba).err());
    refused(MambaBackward::new(&gpu, mamba).err());
    let spec = Mamba2Spec::new(DType::F32, 1, 1, (2, 6), 5);
    let mamba2 = Mamba2Spec { ssd: SsdSpec { length: 0, ..spec.ssd.clone() }, ..spec };
    refused(Mamba2::new(&gpu, mamba2.clone()).err());
    refused(Mamba2Backward::new(&gpu, mamba2).err());
}
