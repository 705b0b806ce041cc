//! Operations of the scan family.

use super::zeros;
use tilewise::{
    AssociativeOperator, AssociativeScan, AssociativeScanBackward, AssociativeScanBackwardInputs,
    AssociativeScanInputs, AssociativeScanSpec, CoefficientTensor, Conv1d, Conv1dBackward, Conv1dInputs,
    Conv1dSpec, Conv1dStep, Conv1dStepInputs, DType, DeltaRule, DeltaRuleBackward, DeltaRuleInputs,
    DeltaRuleSpec, DeltaRuleStep, Element, Gate, Gpu, LinearAttention, LinearAttentionBackward,
    LinearAttentionInputs, LinearAttentionOutputGradients, LinearAttentionSpec, LinearScan,
    LinearScanBackward, LinearScanBackwardInputs, LinearScanInputs, LinearScanSpec, LongConv,
    LongConvBackward, LongConvInputs, LongConvSpec, LongConvStep, Mamba, Mamba2, Mamba2Backward,
    Mamba2Inputs, Mamba2Spec, Mamba2Step, MambaBackward, MambaInputs, MambaSpec, MambaStep, S4d, S4dBackward,
    S4dInputs, S4dParameters, S4dSpec, S4dStep, SelectiveScan, SelectiveScanBackward, SelectiveScanInputs,
    SelectiveScanSpec, SelectiveScanStep, SequenceIndices, Skip, Ssd, SsdBackward, SsdInputs,
    SsdOutputGradients, SsdSpec, SsdStep, by_dtype,
};

pub fn linear_scan<T: Element>(gpu: &Gpu, spec: LinearScanSpec) {
    let (a, b) = (zeros::<T>(gpu, &spec.shape()), zeros::<T>(gpu, &spec.shape()));
    let initial = spec.initial.then(|| zeros::<f32>(gpu, &spec.state_shape()));
    let scan = LinearScan::new(gpu, spec).unwrap();
    let h = scan.run(LinearScanInputs { a: &a, b: &b, initial: initial.as_ref() }).unwrap().h;
    let inputs = LinearScanBackwardInputs { a: &a, h: &h, initial: initial.as_ref(), dh: &b };
    LinearScanBackward::new(gpu, spec).unwrap().run(inputs).unwrap();
}

fn associative_scan<T: Element>(gpu: &Gpu, spec: AssociativeScanSpec) {
    let x = zeros::<T>(gpu, &spec.shape());
    let initial = spec.initial.then(|| zeros::<f32>(gpu, &spec.state_shape()));
    let given = AssociativeScanInputs { x: &x, initial: initial.as_ref() };
    let y = AssociativeScan::new(gpu, spec).unwrap().run(given).unwrap().y;
    let inputs = AssociativeScanBackwardInputs { given, y: &y, dy: &x };
    AssociativeScanBackward::new(gpu, spec).unwrap().run(inputs).unwrap();
}

pub fn long_conv<T: Element>(gpu: &Gpu, spec: LongConvSpec) {
    let [u, dy, pre, post] = [(); 4].map(|()| zeros::<T>(gpu, &spec.shape()));
    let (k, skip) = (zeros::<f32>(gpu, &spec.kernel_shape()), zeros::<f32>(gpu, &[spec.channels]));
    let inputs = LongConvInputs {
        u: &u,
        k: &k,
        skip: spec.skip.then_some(&skip),
        pre: spec.pre_gate.then_some(&pre),
        post: spec.post_gate.then_some(&post),
    };
    LongConv::new(gpu, spec).unwrap().run(inputs).unwrap();
    LongConvBackward::new(gpu, spec).unwrap().run(inputs, &dy).unwrap();
    let step = LongConvStep::new(gpu, spec).unwrap();
    let [u, pre, post] = [(); 3].map(|()| zeros::<T>(gpu, &[spec.batch, spec.channels]));
    let (pre, post) = (spec.pre_gate.then_some(&pre), spec.post_gate.then_some(&post));
    step.run(LongConvInputs { u: &u, pre, post, ..inputs }, 7, &step.history().unwrap()).unwrap();
}

pub fn s4d<T: Element>(gpu: &Gpu, spec: S4dSpec) {
    let [u, dy] = [(); 2].map(|()| zeros::<T>(gpu, &spec.conv.shape()));
    let s4d = S4d::new(gpu, spec).unwrap();
    let modes = s4d.modes(&S4dParameters::lin(&spec, 0.1)).unwrap();
    let inputs = S4dInputs { u: &u, modes: &modes, skip: None, pre: None, post: None };
    s4d.run(inputs).unwrap();
    S4dBackward::new(gpu, spec).unwrap().run(inputs, &dy).unwrap();
    let step = S4dStep::new(gpu, spec).unwrap();
    let sample = zeros::<T>(gpu, &[spec.conv.batch, spec.conv.channels]);
    step.run(S4dInputs { u: &sample, ..inputs }, &step.states().unwrap()).unwrap();
}

fn conv1d<T: Element>(gpu: &Gpu, spec: Conv1dSpec) {
    let x = zeros::<T>(gpu, &spec.shape());
    let weight = zeros(gpu, &spec.weight_shape());
    let bias = spec.bias.then(|| zeros(gpu, &spec.bias_shape()));
    let initial = spec.initial.then(|| zeros(gpu, &spec.state_shape()));
    let indices = vec![0; spec.batch * spec.length];
    let indices = SequenceIndices::new(gpu, spec.sequences_shape(), &indices).unwrap();
    let inputs = Conv1dInputs {
        x: &x,
        weight: &weight,
        bias: bias.as_ref(),
        sequences: spec.sequences.then_some(&indices),
        initial: initial.as_ref(),
    };
    let outputs = Conv1d::new(gpu, spec).unwrap().run(inputs).unwrap();
    Conv1dBackward::new(gpu, spec).unwrap().run(inputs, &outputs.y).unwrap();
    let x = zeros::<T>(gpu, &[spec.batch, spec.channels]);
    let inputs = Conv1dStepInputs { x: &x, weight: &weight, bias: bias.as_ref() };
    Conv1dStep::new(gpu, spec).unwrap().run(inputs, &outputs.last, 7).unwrap();
}

fn selective_scan<T: Element>(gpu: &Gpu, spec: SelectiveScanSpec) {
    let steps = |length: usize| SelectiveScanSpec { length, ..spec };
    let tensors = |spec: &SelectiveScanSpec| {
        let shapes = [spec.shape().to_vec(), spec.shape().to_vec(), spec.b_shape(), spec.c_shape()];
        shapes.map(|shape| zeros::<T>(gpu, &shape))
    };
    let [u, delta, b, c] = tensors(&spec);
    let a = zeros(gpu, &spec.a_shape());
    let channels = zeros(gpu, &spec.channel_shape());
    let initial = zeros(gpu, &spec.state_shape());
    let inputs = SelectiveScanInputs {
        skip: spec.skip.then_some(&channels),
        z: spec.gated.then_some(&u),
        delta_bias: spec.delta_bias.then_some(&channels),
        initial: spec.initial.then_some(&initial),
        ..SelectiveScanInputs::new(&u, &delta, &a, &b, &c)
    };
    let outputs = SelectiveScan::new(gpu, spec).unwrap().run(inputs).unwrap();
    SelectiveScanBackward::new(gpu, spec).unwrap().run(inputs, &outputs.out).unwrap();
    let [u, delta, b, c] = tensors(&steps(1));
    let step = SelectiveScanStep::new(gpu, spec).unwrap();
    let inputs = SelectiveScanInputs {
        skip: inputs.skip,
        z: spec.gated.then_some(&u),
        delta_bias: inputs.delta_bias,
        ..SelectiveScanInputs::new(&u, &delta, &a, &b, &c)
    };
    step.run(inputs, &step.outputs().unwrap()).unwrap();
}

fn ssd<T: Element>(gpu: &Gpu, spec: &SsdSpec) {
    let (x, dt) = (zeros::<T>(gpu, &spec.x_shape()), zeros(gpu, &spec.dt_shape()));
    let (b, c) = (zeros(gpu, &spec.b_shape()), zeros(gpu, &spec.b_shape()));
    let a = zeros(gpu, &spec.head_shape());
    let d = (spec.skip != Skip::None).then(|| zeros(gpu, &spec.d_shape()));
    let z = spec.gated.then(|| zeros(gpu, &spec.x_shape()));
    let bias = spec.dt_bias.then(|| zeros(gpu, &spec.head_shape()));
    let initial = spec.initial.then(|| zeros(gpu, &spec.state_shape()));
    let inputs = SsdInputs {
        x: &x,
        dt: &dt,
        a: &a,
        b: &b,
        c: &c,
        d: d.as_ref(),
        z: z.as_ref(),
        dt_bias: bias.as_ref(),
        initial: initial.as_ref(),
    };
    let outputs = Ssd::new(gpu, spec.clone()).unwrap().run(inputs).unwrap();
    let of = SsdOutputGradients { out: &outputs.out, last: Some(&outputs.last) };
    SsdBackward::new(gpu, spec.clone()).unwrap().run(inputs, of).unwrap();
    let step = SsdStep::new(gpu, spec.clone()).unwrap();
    let (x, dt) = (zeros::<T>(gpu, &step.x_shape()), zeros(gpu, &step.dt_shape()));
    let (b, c) = (zeros(gpu, &step.b_shape()), zeros(gpu, &step.b_shape()));
    let z = spec.gated.then(|| zeros(gpu, &step.x_shape()));
    let inputs = SsdInputs { x: &x, dt: &dt, b: &b, c: &c, z: z.as_ref(), initial: None, ..inputs };
    step.run(inputs, &outputs.last).unwrap();
}

fn linear_attention<T: Element>(gpu: &Gpu, spec: &LinearAttentionSpec) {
    let (q, k) = (zeros::<T>(gpu, &spec.q_shape()), zeros(gpu, &spec.q_shape()));
    let (v, g) = (zeros(gpu, &spec.v_shape()), zeros(gpu, &spec.g_shape()));
    let inputs = LinearAttentionInputs { q: &q, k: &k, v: &v, g: &g, initial: None };
    let outputs = LinearAttention::new(gpu, spec.clone()).unwrap().run(inputs).unwrap();
    let of = LinearAttentionOutputGradients { o: &outputs.o, last: None };
    LinearAttentionBackward::new(gpu, spec.clone()).unwrap().run(inputs, of).unwrap();
}

fn delta_rule<T: Element>(gpu: &Gpu, spec: &DeltaRuleSpec) {
    let (q, k) = (zeros::<T>(gpu, &spec.q_shape()), zeros(gpu, &spec.q_shape()));
    let (v, beta) = (zeros(gpu, &spec.v_shape()), zeros(gpu, &spec.beta_shape()));
    let g = spec.gated.then(|| zeros(gpu, &spec.beta_shape()));
    let inputs = DeltaRuleInputs { q: &q, k: &k, v: &v, beta: &beta, g: g.as_ref(), initial: None };
    let outputs = DeltaRule::new(gpu, spec.clone()).unwrap().run(inputs).unwrap();
    let of = LinearAttentionOutputGradients { o: &outputs.o, last: Some(&outputs.last) };
    DeltaRuleBackward::new(gpu, spec.clone()).unwrap().run(inputs, of).unwrap();
    let step = DeltaRuleStep::new(gpu, spec.clone()).unwrap();
    let (q, k) = (zeros::<T>(gpu, &step.q_shape()), zeros(gpu, &step.q_shape()));
    let (v, beta) = (zeros(gpu, &step.v_shape()), zeros(gpu, &step.beta_shape()));
    let g = spec.gated.then(|| zeros(gpu, &step.beta_shape()));
    let inputs = DeltaRuleInputs { q: &q, k: &k, v: &v, beta: &beta, g: g.as_ref(), initial: None };
    step.run(inputs, &outputs.last).unwrap();
}

fn mamba<T: Element>(gpu: &Gpu, spec: MambaSpec) {
    let (conv, scan) = (spec.conv(), spec.scan);
    let (weight, bias) = (zeros(gpu, &conv.weight_shape()), zeros(gpu, &conv.bias_shape()));
    let conv_initial = scan.initial.then(|| zeros(gpu, &conv.state_shape()));
    let (a, channels) = (zeros(gpu, &scan.a_shape()), zeros(gpu, &scan.channel_shape()));
    let initial = scan.initial.then(|| zeros(gpu, &scan.state_shape()));
    let tensors =
        |scan: SelectiveScanSpec| (zeros::<T>(gpu, &scan.shape()), zeros::<T>(gpu, &scan.b_shape()));
    let (x, b) = tensors(scan);
    let inputs = MambaInputs {
        x: &x,
        weight: &weight,
        bias: Some(&bias),
        conv_initial: conv_initial.as_ref(),
        delta: &x,
        a: &a,
        b: CoefficientTensor::PerStep(&b),
        c: CoefficientTensor::PerStep(&b),
        skip: Some(&channels),
        z: Some(&x),
        delta_bias: Some(&channels),
        initial: initial.as_ref(),
    };
    let outputs = Mamba::new(gpu, spec).unwrap().run(inputs).unwrap();
    MambaBackward::new(gpu, spec).unwrap().run(inputs, &outputs.out).unwrap();
    let (x, b) = tensors(SelectiveScanSpec { length: 1, ..scan });
    let (b, c) = (CoefficientTensor::PerStep(&b), CoefficientTensor::PerStep(&b));
    let (conv_initial, initial) = (None, None);
    let inputs = MambaInputs { x: &x, delta: &x, z: Some(&x), b, c, conv_initial, initial, ..inputs };
    MambaStep::new(gpu, spec).unwrap().run(inputs, &mut outputs.states()).unwrap();
}

fn mamba2<T: Element>(gpu: &Gpu, spec: &Mamba2Spec) {
    let (conv, ssd) = (spec.conv(), &spec.ssd);
    let (weight, bias) = (zeros(gpu, &conv.weight_shape()), zeros(gpu, &conv.bias_shape()));
    let conv_initial = ssd.initial.then(|| zeros(gpu, &conv.state_shape()));
    let (xbc, dt) = (zeros::<T>(gpu, &conv.shape()), zeros(gpu, &ssd.dt_shape()));
    let (heads, d, z) =
        (zeros(gpu, &ssd.head_shape()), zeros(gpu, &ssd.d_shape()), zeros(gpu, &ssd.x_shape()));
    let initial = ssd.initial.then(|| zeros(gpu, &ssd.state_shape()));
    let inputs = Mamba2Inputs {
        xbc: &xbc,
        weight: &weight,
        bias: Some(&bias),
        conv_initial: conv_initial.as_ref(),
        dt: &dt,
        a: &heads,
        d: Some(&d),
        z: Some(&z),
        dt_bias: Some(&heads),
        initial: initial.as_ref(),
    };
    let outputs = Mamba2::new(gpu, spec.clone()).unwrap().run(inputs).unwrap();
    let of = SsdOutputGradients { out: &outputs.out, last: Some(&outputs.last) };
    Mamba2Backward::new(gpu, spec.clone()).unwrap().run(inputs, of).unwrap();
    let (xbc, dt) = (zeros::<T>(gpu, &[ssd.batch, conv.channels]), zeros(gpu, &[ssd.batch, ssd.heads]));
    let z = zeros(gpu, &[ssd.batch, ssd.heads, ssd.head_dim]);
    let (conv_initial, initial) = (None, None);
    let inputs = Mamba2Inputs { xbc: &xbc, dt: &dt, z: Some(&z), conv_initial, initial, ..inputs };
    Mamba2Step::new(gpu, spec.clone()).unwrap().run(inputs, &mut outputs.states()).unwrap();
}

pub fn run_all(gpu: &Gpu) {
    for dtype in DType::ALL {
        for spec in [LinearScanSpec::new(dtype, 2, 3, 97), LinearScanSpec::new(dtype, 1, 2, 100_000)] {
            for spec in [spec, spec.initial(), spec.complex().exclusive().reverse()] {
                by_dtype!(dtype, T => linear_scan::<T>(gpu, spec));
            }
        }
        for operator in AssociativeOperator::ALL {
            for length in [97, 100_000] {
                let spec = AssociativeScanSpec::new(dtype, operator, 2, 3, length);
                for spec in [spec, spec.initial().reverse().exclusive()] {
                    by_dtype!(dtype, T => associative_scan::<T>(gpu, spec));
                }
            }
        }
        by_dtype!(dtype, T => s4d::<T>(gpu, S4dSpec::new(LongConvSpec::new(dtype, 2, 3, 97), 4)));
        for spec in [LongConvSpec::new(dtype, 2, 3, 97), LongConvSpec::new(dtype, 1, 2, 20_000)] {
            for spec in [spec, spec.pre_gate().post_gate().skip()] {
                by_dtype!(dtype, T => long_conv::<T>(gpu, spec));
            }
        }
        let spec = SelectiveScanSpec::new(dtype, 2, 3, 97, 4);
        for spec in [spec, spec.skip().gated().delta_bias().delta_softplus().initial().complex()] {
            by_dtype!(dtype, T => selective_scan::<T>(gpu, spec));
        }
        let spec = SsdSpec::new(dtype, 2, 97, (4, 13), 7).groups(2);
        let whole = spec.clone().initial().skip(Skip::PerChannel).gated().dt_bias().dt_softplus();
        for spec in [SsdSpec { length: 0, ..spec.clone() }, spec, whole] {
            by_dtype!(dtype, T => ssd::<T>(gpu, &spec));
        }
        for gate in [Gate::Constant, Gate::PerStep, Gate::PerKey] {
            let spec = LinearAttentionSpec::new(dtype, 1, 70, 2, (16, 12), gate);
            by_dtype!(dtype, T => linear_attention::<T>(gpu, &spec));
        }
        let spec = DeltaRuleSpec::new(dtype, 2, 97, 2, (13, 7));
        for spec in [DeltaRuleSpec { length: 0, ..spec.clone() }, spec.clone(), spec.gated()] {
            by_dtype!(dtype, T => delta_rule::<T>(gpu, &spec));
        }
        let spec = MambaSpec::new(dtype, 2, 3, 97, 4);
        for spec in [spec, MambaSpec { scan: spec.scan.initial(), ..spec }] {
            by_dtype!(dtype, T => mamba::<T>(gpu, spec));
        }
        let spec = Mamba2Spec::new(dtype, 2, 97, (4, 13), 7);
        for ssd in [spec.ssd.clone(), spec.ssd.clone().groups(2).initial()] {
            let spec = Mamba2Spec { ssd, ..spec.clone() };
            by_dtype!(dtype, T => mamba2::<T>(gpu, &spec));
        }
        let spec = Conv1dSpec::new(dtype, 2, 3, 97, 4);
        for spec in [spec, spec.bias().silu().sequences().initial(), spec.channels_last()] {
            by_dtype!(dtype, T => conv1d::<T>(gpu, spec));
        }
    }
}
