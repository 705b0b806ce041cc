//! The unfused yardsticks on this machine's GPU, against the oracles: a wrong yardstick measures nothing.

#[allow(dead_code, reason = "each test uses its own part")]
mod common;
#[path = "baseline/scan.rs"]
mod scan;

use half::{bf16, f16};
use tilewise::baseline::{
    Dense, DirectLongConv, Matmul, MatmulPath, MatmulPlan, MatmulSpec, Operand, SequentialLinearScan,
    SequentialLinearScanBackward, SequentialLongConv, SequentialLongConvBackward, UnfusedAttention,
    UnfusedAttentionBackward, UnfusedButterfly, UnfusedLinearScan, UnfusedLinearScanBackward,
    UnfusedLongConv, UnfusedLongConvBackward, UnfusedMonarch,
};
use tilewise::oracle::{self, AttentionGiven, Precision};
use tilewise::verify::{Inputs, Outcome, Tolerance};
use tilewise::{
    Alibi, AttentionGradients, AttentionInputs, AttentionSpec, ButterflyInputs, ButterflySpec, DType,
    Element, Gpu, LinearScanBackwardInputs, LinearScanGradients, LinearScanInputs, LinearScanOutputs,
    LinearScanSpec, LongConvGradients, LongConvInputs, LongConvSpec, MonarchInputs, MonarchSpec, Tensor,
};

/// Values rounded to `T`, on the host and on the device.
struct Given<T> {
    host: Vec<f64>,
    tensor: Tensor<T>,
}

fn given<T: Element>(gpu: &Gpu, shape: &[usize], values: &[f64]) -> Given<T> {
    let rounded: Vec<T> = values.iter().map(|&value| T::from_f64(value)).collect();
    let tensor = Tensor::from_slice(gpu, shape, &rounded).unwrap();
    Given { host: rounded.into_iter().map(Element::to_f64).collect(), tensor }
}

fn normal<T: Element>(gpu: &Gpu, inputs: &mut Inputs, shape: &[usize]) -> Given<T> {
    given(gpu, shape, &inputs.normal(shape.iter().product(), 1.0))
}

/// A tensor in which an element nobody writes stays NaN.
fn poisoned<T: Element>(gpu: &Gpu, shape: &[usize]) -> Tensor<T> {
    let values = vec![T::from_f64(f64::NAN); shape.iter().product()];
    Tensor::from_slice(gpu, shape, &values).unwrap()
}

/// Records, submits, and compares what is read with twice the error of the plain oracle.
fn check<T: Element>(
    gpu: &Gpu,
    case: &str,
    output: &Tensor<T>,
    oracle: impl Fn(Precision) -> Vec<f64>,
    record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<(), tilewise::Error>,
) {
    // Small cases are a small sample of roundings: a few units of f32 beside twice the plain error.
    check_within(4.0 * f64::from(f32::EPSILON), gpu, case, output, oracle, record);
}

/// The same with that share of the largest value beside twice the error.
fn check_within<T: Element>(
    share: f64,
    gpu: &Gpu,
    case: &str,
    output: &Tensor<T>,
    oracle: impl Fn(Precision) -> Vec<f64>,
    record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<(), tilewise::Error>,
) {
    let mut encoder = gpu.encoder();
    record(&mut encoder).unwrap_or_else(|error| panic!("{case}: {error}"));
    gpu.submit(encoder).unwrap();
    let ours: Vec<f64> = output.read_blocking().unwrap().into_iter().map(Element::to_f64).collect();
    let (reference, plain) = (oracle(Precision::Exact), oracle(Precision::Stored(T::DTYPE)));
    let largest = reference.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    let tolerance = Tolerance { multiple: 2.0, atol: share * largest };
    let outcome = Outcome::new("the output", &ours, &reference, &plain, tolerance);
    assert!(outcome.passed(), "{case} in {}: {outcome:?}", T::DTYPE);
}

/// Runs a check in every element type, on the adapter as it is and posing as the least.
macro_rules! in_every_type {
    ($check:ident) => {
        for (name, gpu) in common::gpus() {
            $check::<f32>(&gpu, name);
            $check::<f16>(&gpu, name);
            $check::<bf16>(&gpu, name);
        }
    };
}

use in_every_type;

#[test]
fn matmul() {
    in_every_type!(check_matmuls);
}

/// On an adapter with matrix units the products above go through them where they can.
#[test]
fn matrix_units_are_used_where_they_are() {
    let Some(gpu) = common::open(None) else { return };
    let has_matrices = gpu.caps().matrices.iter().any(|shape| shape.f32_accumulator && shape.m == shape.n);
    let path = |dtype| MatmulPlan::new(&MatmulSpec::new(dtype, 200, 168, 100), gpu.caps()).unwrap().path;
    assert_eq!(matches!(path(DType::F16), MatmulPath::Matrices { .. }), has_matrices);
    assert!(matches!(path(DType::F32), MatmulPath::Lanes { .. }));
}

fn check_matmuls<T: Element>(gpu: &Gpu, name: &str) {
    for (m, n, k) in
        [(1, 1, 1), (4, 8, 12), (33, 65, 17), (5, 130, 64), (256, 200, 31), (300, 130, 20), (200, 168, 100)]
    {
        for transposed in [false, true] {
            let mut spec = MatmulSpec { scale: 0.5, ..MatmulSpec::new(T::DTYPE, m, n, k) };
            if transposed {
                spec = spec.b_transposed();
            }
            check_matmul::<T>(gpu, &format!("{m} × {n} × {k}, transposed {transposed} ({name})"), spec);
        }
    }
    // Enough products for the largest tile.
    let (m, n, k) = (130, 129, 6);
    let spec = MatmulSpec::new(T::DTYPE, m, n, k);
    let [a, b, c] = [(spec.a, m * k), (spec.b, n * k), (spec.c, m * n)]
        .map(|(operand, inner)| Operand { inner, ..operand });
    check_matmul::<T>(gpu, &format!("batched ({name})"), MatmulSpec { batch: [1, 9], a, b, c, ..spec });
    // Two outer and four inner products, interleaved by row, every two of which share a B.
    let (m, n, k) = (37, 40, 24);
    let spec = MatmulSpec {
        batch: [2, 4],
        a: Operand::new(T::DTYPE, [m * 4 * k, k, 4 * k]),
        b: Operand::new(T::DTYPE, [n * 2 * k, k, 2 * k]),
        b_transposed: true,
        b_share: 2,
        c: Operand::new(T::DTYPE, [m * 4 * n, n, 4 * n]),
        ..MatmulSpec::new(T::DTYPE, m, n, k)
    };
    check_matmul::<T>(gpu, &format!("strided ({name})"), spec);
}

fn check_matmul<T: Element>(gpu: &Gpu, case: &str, spec: MatmulSpec) {
    let MatmulSpec { batch: [outer, inner], m, n, k, .. } = spec;
    let mut inputs = Inputs::new((m * n * k) as u64);
    let a = normal::<T>(gpu, &mut inputs, &[outer, inner, m, k]);
    let b = normal::<T>(gpu, &mut inputs, &[outer, inner / spec.b_share, k, n]);
    let c = poisoned::<T>(gpu, &[outer, inner, m, n]);
    let oracle = |precision: Precision| {
        let mut product = vec![0.0; outer * inner * m * n];
        for (at, i, j) in (0..outer * inner).flat_map(|at| (0..m * n).map(move |c| (at, c / n, c % n))) {
            let (o, h) = (at / inner, at % inner);
            let (b_row, b_column) = if spec.b_transposed { (1, spec.b.row) } else { (spec.b.row, 1) };
            let b_first = o * spec.b.outer + h / spec.b_share * spec.b.inner + j * b_column;
            let a_first = o * spec.a.outer + h * spec.a.inner + i * spec.a.row;
            let sum = precision.dot((0..k).map(|t| (a.host[a_first + t], b.host[b_first + t * b_row])));
            let place = o * spec.c.outer + h * spec.c.inner + i * spec.c.row + j;
            product[place] = precision.store(f64::from(spec.scale) * sum);
        }
        product
    };
    let matmul = Matmul::new(gpu, spec).unwrap();
    check(gpu, &format!("{case}: {}", matmul.plan()), &c, oracle, |encoder| {
        matmul.encode(encoder, &a.tensor, &b.tensor, &c)
    });
}

#[test]
fn attention() {
    in_every_type!(check_attentions);
}

fn check_attentions<T: Element>(gpu: &Gpu, name: &str) {
    let small = AttentionSpec::new(T::DTYPE, 2, (29, 43), 4, 40);
    let specs = [
        ("one query, one key", AttentionSpec::new(T::DTYPE, 1, (1, 1), 1, 1)),
        ("plain", small),
        ("causal, shared keys", small.causal().kv_heads(2).value_dim(24)),
        // The first queries see no key at all.
        ("causal, more queries than keys", AttentionSpec::new(T::DTYPE, 1, (50, 20), 2, 32).causal()),
        ("window", small.window(Some(5), Some(3))),
        ("softcap and ALiBi", small.softcap(5.0).alibi(Alibi::PerHead)),
        ("every option", small.kv_heads(1).causal().softcap(8.0).alibi(Alibi::PerBatchHead).scale(0.3)),
        ("long", AttentionSpec::new(T::DTYPE, 1, (70, 1300), 2, 64)),
    ];
    for (label, spec) in specs {
        check_attention::<T>(gpu, &format!("{label} ({name})"), spec);
    }
}

#[test]
fn attention_backward() {
    in_every_type!(check_attention_backward);
}

fn check_attention_backward<T: Element>(gpu: &Gpu, name: &str) {
    let spec = AttentionSpec::new(T::DTYPE, 2, (33, 47), 3, 20).value_dim(12);
    for spec in
        [spec, spec.causal(), spec.window(Some(9), Some(2)), AttentionSpec { q_len: 60, ..spec.causal() }]
    {
        let mut inputs = Inputs::new(4);
        let mut drawn = |shape: &[usize]| normal::<T>(gpu, &mut inputs, shape);
        let [q, k, v] = [spec.q_shape(), spec.k_shape(), spec.v_shape()].map(|shape| drawn(&shape));
        let d_o = drawn(&spec.o_shape());
        let backward = UnfusedAttentionBackward::new(gpu, spec).unwrap();
        let scratch = backward.scratch().unwrap();
        let gradients = AttentionGradients {
            dq: poisoned::<T>(gpu, &spec.q_shape()),
            dk: poisoned(gpu, &spec.k_shape()),
            dv: poisoned(gpu, &spec.v_shape()),
            dalibi: None,
            dsinks: None,
        };
        let given = AttentionInputs::new(&q.tensor, &k.tensor, &v.tensor);
        let oracle = |precision| {
            let given = AttentionGiven::new(&q.host, &k.host, &v.host);
            oracle::attention_backward(&spec, precision, &given, &d_o.host)
        };
        let record = |encoder: &mut wgpu::CommandEncoder| {
            backward.encode_weights(encoder, given, &scratch)?;
            backward.encode(encoder, given, &d_o.tensor, &gradients, &scratch)
        };
        let case = format!("{spec} ({name})");
        check(gpu, &format!("{case}, dq"), &gradients.dq, |precision| oracle(precision).dq, record);
        check(gpu, &format!("{case}, dk"), &gradients.dk, |precision| oracle(precision).dk, record);
        check(gpu, &format!("{case}, dv"), &gradients.dv, |precision| oracle(precision).dv, record);
    }
    let refused = UnfusedAttentionBackward::new(gpu, spec.softcap(5.0)).unwrap_err().to_string();
    assert!(refused.contains("masks by position alone"), "{refused}");
}

fn check_attention<T: Element>(gpu: &Gpu, case: &str, spec: AttentionSpec) {
    let mut inputs = Inputs::new(spec.k_len as u64);
    let q = normal::<T>(gpu, &mut inputs, &spec.q_shape());
    let k = normal::<T>(gpu, &mut inputs, &spec.k_shape());
    let v = normal::<T>(gpu, &mut inputs, &spec.v_shape());
    let slopes = (spec.alibi != Alibi::None).then(|| {
        let shape = spec.alibi_shape();
        given::<f32>(gpu, &shape, &inputs.uniform(shape.iter().product(), 0.01, 0.5))
    });
    let o = poisoned::<T>(gpu, &spec.o_shape());
    let attention = UnfusedAttention::new(gpu, spec).unwrap();
    let scratch = attention.scratch().unwrap();
    let oracle = |precision| {
        let slopes = slopes.as_ref().map(|slopes| slopes.host.as_slice());
        oracle::attention(&spec, precision, &q.host, &k.host, &v.host, slopes).o
    };
    let alibi = slopes.as_ref().map(|slopes| &slopes.tensor);
    let given = AttentionInputs::new(&q.tensor, &k.tensor, &v.tensor).alibi(alibi);
    check(gpu, case, &o, oracle, |encoder| attention.encode(encoder, given, &o, &scratch));
}

#[test]
fn monarch() {
    in_every_type!(check_monarchs);
}

fn check_monarchs<T: Element>(gpu: &Gpu, name: &str) {
    let shapes = [
        ([1, 1, 1], [1, 1, 1]),
        ([2, 3, 5], [3, 4, 2]),
        ([4, 4, 4], [4, 4, 4]),
        ([3, 20, 7], [10, 9, 6]),
        ([8, 16, 12], [32, 8, 4]),
        ([33, 40, 36], [40, 34, 33]),
    ];
    for (w1, w2) in shapes {
        for batch in [1, 7, 131] {
            let spec = MonarchSpec::new(T::DTYPE, batch, w1, w2);
            check_monarch::<T>(gpu, &format!("{batch} rows, {w1:?} × {w2:?} ({name})"), spec);
        }
    }
}

fn check_monarch<T: Element>(gpu: &Gpu, case: &str, spec: MonarchSpec) {
    let mut inputs = Inputs::new(spec.n_mid() as u64);
    let x = normal::<T>(gpu, &mut inputs, &[spec.batch, spec.n_in()]);
    let w1 = normal::<T>(gpu, &mut inputs, &spec.w1);
    let w2 = normal::<T>(gpu, &mut inputs, &spec.w2);
    let y = poisoned::<T>(gpu, &[spec.batch, spec.n_out()]);
    let monarch = UnfusedMonarch::new(gpu, spec).unwrap();
    let scratch = monarch.scratch().unwrap();
    let oracle = |precision| oracle::monarch(&spec, precision, &x.host, &w1.host, &w2.host);
    let given = MonarchInputs { x: &x.tensor, w1: &w1.tensor, w2: &w2.tensor };
    check(gpu, case, &y, oracle, |encoder| monarch.encode(encoder, given, &y, &scratch));
}

#[test]
fn butterfly() {
    in_every_type!(check_butterflies);
}

fn check_butterflies<T: Element>(gpu: &Gpu, name: &str) {
    for (batch, n) in [(1, 8), (33, 16), (5, 256)] {
        for spec in
            [ButterflySpec::new(T::DTYPE, batch, n), ButterflySpec::new(T::DTYPE, batch, n).nstacks(2)]
        {
            let spec = spec.nblocks(2);
            let mut inputs = Inputs::new(n as u64);
            let x = normal::<T>(gpu, &mut inputs, &spec.x_shape());
            let twiddle = normal::<T>(gpu, &mut inputs, &spec.twiddle_shape());
            let y = poisoned::<T>(gpu, &spec.y_shape());
            let unfused = UnfusedButterfly::new(gpu, spec).unwrap();
            let scratch = unfused.scratch().unwrap();
            let oracle = |precision| oracle::butterfly(&spec, precision, &x.host, &twiddle.host);
            let given = ButterflyInputs { x: &x.tensor, twiddle: &twiddle.tensor };
            let record = |encoder: &mut wgpu::CommandEncoder| unfused.encode(encoder, given, &y, &scratch);
            check(gpu, &format!("{spec} ({name})"), &y, oracle, record);
        }
    }
}

#[test]
fn dense() {
    in_every_type!(check_dense);
}

fn check_dense<T: Element>(gpu: &Gpu, name: &str) {
    let spec = MonarchSpec::new(T::DTYPE, 19, [6, 8, 10], [12, 7, 4]);
    let mut inputs = Inputs::new(5);
    let x = normal::<T>(gpu, &mut inputs, &[spec.batch, spec.n_in()]);
    let weight = normal::<T>(gpu, &mut inputs, &[spec.n_out(), spec.n_in()]);
    let y = poisoned::<T>(gpu, &[spec.batch, spec.n_out()]);
    let oracle = |precision: Precision| {
        let row = |values: &[f64], i: usize| values[i * spec.n_in()..(i + 1) * spec.n_in()].to_vec();
        let entries = (0..spec.batch * spec.n_out()).map(|at| (at / spec.n_out(), at % spec.n_out()));
        entries
            .map(|(i, j)| {
                let pairs = row(&x.host, i).into_iter().zip(row(&weight.host, j));
                precision.store(precision.dot(pairs))
            })
            .collect()
    };
    let dense = Dense::new(gpu, &spec).unwrap();
    check(gpu, name, &y, oracle, |encoder| dense.encode(encoder, &x.tensor, &weight.tensor, &y));
}

#[test]
fn linear_scan() {
    in_every_type!(check_scans);
}

fn check_scans<T: Element>(gpu: &Gpu, name: &str) {
    for (batch, channels, length) in
        [(1, 1, 1), (2, 3, 5), (1, 7, 64), (1, 65, 203), (2, 2, 1000), (1, 1, 70_001)]
    {
        let spec = LinearScanSpec::new(T::DTYPE, batch, channels, length);
        for spec in [spec, spec.initial()] {
            check_scan::<T>(gpu, &format!("{spec:?} ({name})"), spec);
        }
    }
}

fn check_scan<T: Element>(gpu: &Gpu, case: &str, spec: LinearScanSpec) {
    let count = spec.rows() * spec.length;
    let mut inputs = Inputs::new(count as u64);
    let a = given::<T>(gpu, &spec.shape(), &inputs.uniform(count, 0.9, 1.0));
    let b = normal::<T>(gpu, &mut inputs, &spec.shape());
    let initial = spec.initial.then(|| normal::<f32>(gpu, &mut inputs, &spec.state_shape()));
    let oracle = |precision| {
        let initial = initial.as_ref().map(|initial| initial.host.as_slice());
        oracle::linear_scan(&spec, precision, &a.host, &b.host, initial)
    };
    let given = LinearScanInputs {
        a: &a.tensor,
        b: &b.tensor,
        initial: initial.as_ref().map(|initial| &initial.tensor),
    };
    let outputs = || LinearScanOutputs::<T> {
        h: poisoned(gpu, &spec.shape()),
        last: poisoned(gpu, &spec.state_shape()),
    };
    let check_last = |outputs: &LinearScanOutputs<T>| {
        let last = outputs.last.read_blocking().unwrap();
        let reference = oracle(Precision::Exact).last;
        for (ours, expected) in last.into_iter().zip(reference) {
            assert!((f64::from(ours) - expected).abs() < 1e-4, "{case}: {ours} for {expected}");
        }
    };

    let doubling = UnfusedLinearScan::new(gpu, spec).unwrap();
    let (scratch, found) = (doubling.scratch().unwrap(), outputs());
    check(
        gpu,
        case,
        &found.h,
        |precision| oracle(precision).h,
        |encoder| doubling.encode(encoder, given, &found, &scratch),
    );
    check_last(&found);

    let sequential = SequentialLinearScan::new(gpu, spec).unwrap();
    let found = outputs();
    check(
        gpu,
        case,
        &found.h,
        |precision| oracle(precision).h,
        |encoder| sequential.encode(encoder, given, &found),
    );
    check_last(&found);
    check_scan_backward::<T>(gpu, case, spec);
}

/// Gradients for states that need not be those of the scan.
fn check_scan_backward<T: Element>(gpu: &Gpu, case: &str, spec: LinearScanSpec) {
    let count = spec.rows() * spec.length;
    let mut inputs = Inputs::new(count as u64 + 1);
    let a = given::<T>(gpu, &spec.shape(), &inputs.uniform(count, 0.9, 1.0));
    let [h, dh] = [(); 2].map(|()| normal::<T>(gpu, &mut inputs, &spec.shape()));
    let initial = spec.initial.then(|| normal::<f32>(gpu, &mut inputs, &spec.state_shape()));
    let oracle = |precision| {
        let initial = initial.as_ref().map(|initial| initial.host.as_slice());
        oracle::linear_scan_backward(&spec, precision, (&a.host, &h.host), initial, &dh.host)
    };
    let given = LinearScanBackwardInputs {
        a: &a.tensor,
        h: &h.tensor,
        initial: initial.as_ref().map(|initial| &initial.tensor),
        dh: &dh.tensor,
    };
    let found = || LinearScanGradients::<T> {
        da: poisoned(gpu, &spec.shape()),
        db: poisoned(gpu, &spec.shape()),
        dinitial: poisoned(gpu, &spec.state_shape()),
    };
    let unfused = UnfusedLinearScanBackward::new(gpu, spec).unwrap();
    let sequential = SequentialLinearScanBackward::new(gpu, spec).unwrap();
    let scratch = unfused.scratch().unwrap();
    // A single step from 0 has no use for its factor.
    let both = [("da", spec.length > 1 || spec.initial), ("db", true)];
    for (i, (name, _)) in both.into_iter().enumerate().filter(|(_, (_, used))| *used) {
        let expected = |precision| {
            let derivatives = oracle(precision);
            [derivatives.da, derivatives.db][i].clone()
        };
        let gradients = found();
        let tensor = [&gradients.da, &gradients.db][i];
        check(gpu, &format!("{case}, unfused {name}"), tensor, expected, |encoder| {
            unfused.encode(encoder, given, &gradients, &scratch)
        });
        let gradients = found();
        let tensor = [&gradients.da, &gradients.db][i];
        check(gpu, &format!("{case}, sequential {name}"), tensor, expected, |encoder| {
            sequential.encode(encoder, given, &gradients)
        });
        let expected = oracle(Precision::Exact).dinitial;
        for (ours, expected) in gradients.dinitial.read_blocking().unwrap().into_iter().zip(expected) {
            assert!((f64::from(ours) - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{case}: dinitial");
        }
    }
}

#[test]
fn long_conv() {
    in_every_type!(check_long_convs);
}

fn check_long_convs<T: Element>(gpu: &Gpu, name: &str) {
    for (batch, channels, length) in [(1, 1, 1), (2, 3, 61), (1, 2, 1000)] {
        let spec = LongConvSpec::new(T::DTYPE, batch, channels, length);
        let whole = spec.pre_gate().post_gate().skip();
        check_long_conv::<T>(gpu, &format!("{whole} ({name})"), whole);
    }
    let spec = LongConvSpec::new(T::DTYPE, 1, 1, 256);
    check_long_conv::<T>(gpu, &format!("{spec} ({name})"), spec);
}

fn check_long_conv<T: Element>(gpu: &Gpu, case: &str, spec: LongConvSpec) {
    let mut inputs = Inputs::new(spec.length as u64);
    let [u, pre, post] = [(); 3].map(|()| normal::<T>(gpu, &mut inputs, &spec.shape()));
    let k = normal::<f32>(gpu, &mut inputs, &spec.kernel_shape());
    let skip = normal::<f32>(gpu, &mut inputs, &[spec.channels]);
    let operands = oracle::LongConvOperands {
        u: &u.host,
        k: &k.host,
        skip: spec.skip.then_some(skip.host.as_slice()),
        pre: spec.pre_gate.then_some(pre.host.as_slice()),
        post: spec.post_gate.then_some(post.host.as_slice()),
    };
    let oracle = |precision: Precision| {
        let conv = oracle::LongConv::new(&spec, precision, operands);
        (0..spec.rows() * spec.length).map(|i| conv.y(i / spec.length, i % spec.length)).collect()
    };
    let given = LongConvInputs {
        u: &u.tensor,
        k: &k.tensor,
        skip: spec.skip.then_some(&skip.tensor),
        pre: spec.pre_gate.then_some(&pre.tensor),
        post: spec.post_gate.then_some(&post.tensor),
    };
    let unfused = UnfusedLongConv::new(gpu, spec).unwrap();
    let (scratch, y) = (unfused.scratch().unwrap(), poisoned::<T>(gpu, &spec.shape()));
    check(gpu, case, &y, oracle, |encoder| unfused.encode(encoder, given, &y, &scratch));
    let direct = DirectLongConv::new(gpu, spec).unwrap();
    let y = poisoned::<T>(gpu, &spec.shape());
    check(gpu, case, &y, oracle, |encoder| direct.encode(encoder, given, &y));
    let sequential = SequentialLongConv::new(gpu, spec).unwrap();
    let y = poisoned::<T>(gpu, &spec.shape());
    check(gpu, case, &y, oracle, |encoder| sequential.encode(encoder, given, &y));

    let dy = normal::<T>(gpu, &mut inputs, &spec.shape());
    let of = |precision| oracle::LongConv::new(&spec, precision, operands);
    let found = long_conv_gradients::<T>(gpu, &spec);
    let unfused = UnfusedLongConvBackward::new(gpu, spec).unwrap();
    let scratch = unfused.scratch().unwrap();
    check_long_conv_gradients(gpu, &format!("{case}, unfused"), (&spec, &dy.host), of, &found, |encoder| {
        unfused.encode(encoder, given, &dy.tensor, &found, &scratch)
    });
    let found = long_conv_gradients::<T>(gpu, &spec);
    let sequential = SequentialLongConvBackward::new(gpu, spec).unwrap();
    check_long_conv_gradients(gpu, &format!("{case}, a loop"), (&spec, &dy.host), of, &found, |encoder| {
        sequential.encode(encoder, given, &dy.tensor, &found)
    });
}

fn long_conv_gradients<T: Element>(gpu: &Gpu, spec: &LongConvSpec) -> LongConvGradients<T> {
    let sequences = || poisoned::<T>(gpu, &spec.shape());
    LongConvGradients {
        du: sequences(),
        dk: poisoned(gpu, &spec.kernel_shape()),
        dskip: spec.skip.then(|| poisoned(gpu, &[spec.channels])),
        dpre: spec.pre_gate.then(sequences),
        dpost: spec.post_gate.then(sequences),
    }
}

fn check_long_conv_gradients<'a, T: Element>(
    gpu: &Gpu,
    case: &str,
    (spec, dy): (&LongConvSpec, &[f64]),
    of: impl Fn(Precision) -> oracle::LongConv<'a>,
    found: &LongConvGradients<T>,
    record: impl Fn(&mut wgpu::CommandEncoder) -> Result<(), tilewise::Error>,
) {
    let each = |precision, value: &dyn Fn(&oracle::LongConvGradients<'_>, usize, usize) -> f64| -> Vec<f64> {
        let conv = of(precision);
        let gradients = conv.gradients(dy);
        (0..dy.len()).map(|i| value(&gradients, i / spec.length, i % spec.length)).collect()
    };
    let lags = |precision, count: usize| -> Vec<f64> {
        let conv = of(precision);
        let gradients = conv.gradients(dy);
        (0..spec.channels * count).map(|i| gradients.dk(i / count, i % count)).collect()
    };
    let of_du = |precision| each(precision, &|gradients, row, t| gradients.du(row, t));
    check(gpu, &format!("{case}, du"), &found.du, of_du, &record);
    check(gpu, &format!("{case}, dk"), &found.dk, |precision| lags(precision, spec.taps), &record);
    if let Some(dskip) = &found.dskip {
        // A sum like that of any lag, and of few channels: what these are allowed is fair.
        check_within(1e-5, gpu, &format!("{case}, dD"), dskip, |precision| lags(precision, 1), &record);
    }
    if let Some(dpre) = &found.dpre {
        let of_dpre = |precision| each(precision, &|gradients, row, t| gradients.dpre(row, t));
        check(gpu, &format!("{case}, dpre"), dpre, of_dpre, &record);
    }
    if let Some(dpost) = &found.dpost {
        let of_dpost = |precision| each(precision, &|gradients, row, t| gradients.dpost(row, t));
        check(gpu, &format!("{case}, dpost"), dpost, of_dpost, &record);
    }
}

#[test]
fn scores_past_the_binding_limit_are_refused_by_name() {
    let caps = tilewise::caps::WEBGPU_BASELINE;
    let spec = AttentionSpec::new(DType::F32, 1, (8192, 8192), 8, 64);
    let refused = tilewise::baseline::UnfusedAttentionPlan::new(&spec, &caps).unwrap_err();
    let refused = refused.to_string();
    assert!(refused.starts_with("the score matrix") && refused.contains("2 GiB"), "{refused}");
}

#[test]
fn sizes_whose_product_overflows_are_refused() {
    let caps = tilewise::caps::WEBGPU_BASELINE;
    let refused = |spec: MatmulSpec, words: &str| {
        assert!(spec.flops().is_finite(), "{spec:?}");
        let refused = MatmulPlan::new(&spec, &caps).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}, expected {words}");
    };
    let small = MatmulSpec::new(DType::F32, 4, 4, 4);
    let (half, whole) = (1 << 32, usize::MAX);
    // Operands that are read again and again take no room, however many the products are.
    let still = |spec: MatmulSpec| {
        let [a, b, c] = [spec.a, spec.b, spec.c].map(|operand| Operand { row: 0, ..operand });
        MatmulSpec { a, b, c, ..spec }
    };
    refused(still(MatmulSpec { batch: [half, half], ..small }), "A of shape");
    refused(still(MatmulSpec { batch: [1 << 16, 1 << 16], ..small }), "A of shape");
    refused(still(MatmulSpec { m: whole, ..small }), "A of shape");
    refused(still(MatmulSpec { n: whole, ..small }), "B of shape");
    refused(still(MatmulSpec { k: whole, ..small }), "A of shape");
    refused(still(MatmulSpec { m: 1 << 20, n: 1 << 20, k: 1, ..small }), "C of shape");
    for b_share in [0, 4, half, half + 1, whole] {
        refused(MatmulSpec { batch: [1, 3], b_share, ..small }, &format!("b_share is {b_share}"));
    }
    refused(MatmulSpec { m: 0, ..small }, "m is 0");
    // A distance that nothing is multiplied with would still wrap.
    for distance in [half, half + 4, whole] {
        let operand = Operand { outer: distance, ..small.a };
        refused(MatmulSpec { a: operand, ..small }, &format!("a distance in A is {distance}"));
        refused(MatmulSpec { b: operand, ..small }, &format!("a distance in B is {distance}"));
        refused(MatmulSpec { c: operand, ..small }, &format!("a distance in C is {distance}"));
    }
    refused(MatmulSpec { c: Operand { row: 1 << 31, ..small.c }, ..small }, "C of shape");
}

/// Kernels do not check the scratch themselves: that of a smaller operation must not reach them.
#[test]
fn scratch_of_another_operation_is_refused() {
    for (_, gpu) in common::gpus() {
        let record = |what: &str, recorded: Result<(), tilewise::Error>| {
            let refused = recorded.unwrap_err();
            assert!(matches!(refused, tilewise::Error::Shape { .. }), "{what}: {refused}");
            assert!(refused.to_string().contains("expected"), "{what}: {refused}");
        };
        let gpu = &gpu;
        let zeros = |shape: &[usize]| Tensor::<f32>::zeros(gpu, shape).unwrap();
        let mut encoder = gpu.encoder();

        let spec = LinearScanSpec::new(DType::F32, 2, 3, 50);
        let scan = UnfusedLinearScan::new(gpu, spec).unwrap();
        let (a, b, outputs) = (zeros(&spec.shape()), zeros(&spec.shape()), scan.outputs().unwrap());
        let inputs = LinearScanInputs { a: &a, b: &b, initial: None };
        for other in [LinearScanSpec::new(DType::F32, 2, 3, 49), LinearScanSpec::new(DType::F32, 3, 2, 51)] {
            let scratch = UnfusedLinearScan::new(gpu, other).unwrap().scratch().unwrap();
            record("scan", scan.encode(&mut encoder, inputs, &outputs, &scratch));
        }

        let spec = AttentionSpec::new(DType::F32, 1, (8, 12), 2, 16);
        let attention = UnfusedAttention::new(gpu, spec).unwrap();
        let (q, k, v) = (zeros(&spec.q_shape()), zeros(&spec.k_shape()), zeros(&spec.v_shape()));
        let inputs = AttentionInputs::new(&q, &k, &v);
        let other = AttentionSpec { k_len: 8, ..spec };
        let scratch = UnfusedAttention::new(gpu, other).unwrap().scratch().unwrap();
        record("attention", attention.encode(&mut encoder, inputs, &attention.outputs().unwrap(), &scratch));

        let spec = MonarchSpec::new(DType::F32, 5, [4, 4, 4], [4, 4, 4]);
        let monarch = UnfusedMonarch::new(gpu, spec).unwrap();
        let (x, w1, w2) = (zeros(&[5, 16]), zeros(&spec.w1), zeros(&spec.w2));
        let inputs = MonarchInputs { x: &x, w1: &w1, w2: &w2 };
        let scratch = UnfusedMonarch::new(gpu, MonarchSpec { batch: 4, ..spec }).unwrap().scratch().unwrap();
        record("monarch", monarch.encode(&mut encoder, inputs, &monarch.outputs().unwrap(), &scratch));
    }
}
