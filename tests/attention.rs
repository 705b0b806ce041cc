//! The attention family on this machine's GPU, against its oracle.

#[path = "attention/cached.rs"]
mod cached;
mod common;
#[path = "attention/training.rs"]
mod training;

use half::f16;
use tilewise::verify::{Family, Inputs};
use tilewise::{
    Attention, AttentionInputs, AttentionOutputs, AttentionSpec, Caps, DType, Element, Gpu, Merge, MergeSpec,
    Tensor,
};

#[test]
fn acceptance_grid() {
    common::verify_family(Family::Attention);
}

#[test]
fn rows_that_see_no_key_are_exact() {
    for (name, gpu) in common::gpus() {
        // Queries 0 to 48 stand before the first key: a whole tile of them, and a part of one.
        let spec = AttentionSpec::new(DType::F32, 1, (90, 41), 2, 32).causal();
        let (o, lse) = run::<f32>(&gpu, spec);
        for (query, head) in (0..90).flat_map(|query| [(query, 0), (query, 1)]) {
            let (o, lse) = (&o[(query * 2 + head) * 32..][..32], lse[head * 90 + query]);
            if query < 49 {
                assert!(o.iter().all(|&x| x == 0.0), "query {query} ({name}): {o:?}");
                assert_eq!(lse.to_bits(), f32::NEG_INFINITY.to_bits(), "query {query} ({name})");
            } else {
                assert!(o.iter().all(|x| x.is_finite() && *x != 0.0), "query {query} ({name}): {o:?}");
                assert!(lse.is_finite(), "query {query} ({name})");
            }
        }
    }
}

#[test]
fn packed_and_native_f16_agree() {
    let Some(gpu) = common::open(None) else { return };
    if !gpu.caps().f16 {
        println!("this adapter has packed f16 alone");
        return;
    }
    // Matrix units round weights too.
    let lanes = Caps { matrices: vec![].into(), ..gpu.caps().clone() };
    let gpu = common::open(Some(lanes.clone())).expect("it opened before");
    let without_f16 = common::open(Some(Caps { f16: false, ..lanes })).expect("it opened before");
    for dim in [59, 64] {
        let spec = AttentionSpec::new(DType::F16, 2, (70, 113), 2, dim);
        let ((native, native_lse), (packed, packed_lse)) =
            (run::<f16>(&gpu, spec), run::<f16>(&without_f16, spec));
        // Inputs are read exactly either way, and outputs rounded by two means: a unit in the last place.
        for (native, packed) in native.iter().zip(&packed) {
            let (native, packed) = (native.to_f64(), packed.to_f64());
            let unit = f16::EPSILON.to_f64() * native.abs().max(1e-4);
            assert!((native - packed).abs() <= unit, "{native} against {packed}");
        }
        assert_eq!(native_lse, packed_lse);
    }
}

/// Output and log-sum-exp on inputs that follow from the spec.
fn run<T: Element>(gpu: &Gpu, spec: AttentionSpec) -> (Vec<T>, Vec<f32>) {
    let mut inputs = Inputs::new(7);
    let mut tensor = |shape: &[usize]| {
        let values = inputs.normal(shape.iter().product(), 1.0);
        let values: Vec<_> = values.into_iter().map(T::from_f64).collect();
        Tensor::from_slice(gpu, shape, &values).unwrap()
    };
    let (q, k, v) = (tensor(&spec.q_shape()), tensor(&spec.k_shape()), tensor(&spec.v_shape()));
    let attention = Attention::new(gpu, spec).unwrap();
    let outputs = attention.run(AttentionInputs::new(&q, &k, &v)).unwrap();
    (outputs.o.read_blocking().unwrap(), outputs.lse.read_blocking().unwrap())
}

/// Scores far below any usual one are scores all the same, and not the mark of a hidden key; a NaN stays one.
#[test]
fn low_scores_and_nans_are_not_taken_for_hidden() {
    for (name, gpu) in common::gpus() {
        let spec = AttentionSpec::new(DType::F32, 1, (2, 2), 1, 1).scale(1.0);
        let upload = |values: [f32; 2]| Tensor::from_slice(&gpu, &spec.q_shape(), &values).unwrap();
        let (q, k, v) = (upload([1e15, f32::NAN]), upload([-1e15, -2e15]), upload([3.0, 4.0]));
        let inputs = AttentionInputs::new(&q, &k, &v);
        let outputs = Attention::new(&gpu, spec).unwrap().run(inputs).unwrap();
        let (o, lse) = (outputs.o.read_blocking().unwrap(), outputs.lse.read_blocking().unwrap());
        assert!((o[0] - 3.0).abs() < 1e-6 && (lse[0] / -1e30 - 1.0).abs() < 1e-6, "{name}: {o:?}, {lse:?}");
        assert!(o[1].is_nan() && lse[1].is_nan(), "{name}: {o:?}, {lse:?}");
    }
}

/// One query of eight heads that share two key heads is the same work as four queries of two heads, bit for bit.
#[test]
fn one_query_of_grouped_heads_is_a_sequence_of_as_many_queries() {
    for (name, gpu) in common::gpus() {
        let grouped = AttentionSpec::new(DType::F32, 2, (1, 700), 8, 40).kv_heads(2);
        let alone = AttentionSpec::new(DType::F32, 2, (4, 700), 2, 40);
        let [of_grouped, of_alone] = [grouped, alone].map(|spec| Attention::new(&gpu, spec).unwrap());
        let (ours, other) = (of_grouped.plan(), of_alone.plan());
        assert!(ours.grouped && !other.grouped, "{name}");
        assert_eq!((ours.path, ours.splits), (other.path, other.splits), "{name}: {ours} against {other}");
        // (batch, 2 key heads, 4 queries of each) in one, (batch, 4 queries, 2 heads) in the other.
        let turned = |values: &[f32], width: usize| -> Vec<f32> {
            let rows = (0..16).map(|at| [at / 8, at % 2, at / 2 % 4]);
            let rows = rows.map(|[batch, head, query]| (batch * 2 + head) * 4 + query);
            rows.flat_map(|row| values[row * width..][..width].to_vec()).collect()
        };
        let mut inputs = Inputs::new(5);
        let mut drawn = |shape: &[usize]| -> Vec<f32> {
            inputs.normal(shape.iter().product(), 1.0).into_iter().map(|value| value as f32).collect()
        };
        let upload = |shape: &[usize], values: &[f32]| Tensor::from_slice(&gpu, shape, values).unwrap();
        let q = drawn(&grouped.q_shape());
        let (k, v) = (drawn(&grouped.k_shape()), drawn(&grouped.v_shape()));
        let (k, v) = (upload(&grouped.k_shape(), &k), upload(&grouped.v_shape(), &v));
        let (q, q_turned) = (upload(&grouped.q_shape(), &q), upload(&alone.q_shape(), &turned(&q, 40)));
        let found = of_grouped.run(AttentionInputs::new(&q, &k, &v)).unwrap();
        let expected = of_alone.run(AttentionInputs::new(&q_turned, &k, &v)).unwrap();
        let (o, lse) = (found.o.read_blocking().unwrap(), found.lse.read_blocking().unwrap());
        assert!(
            o.iter().any(|&x| x != 0.0) && turned(&o, 40) == expected.o.read_blocking().unwrap(),
            "{name}"
        );
        // Log-sum-exps are (batch, heads, queries) in both.
        assert_eq!(lse, expected.lse.read_blocking().unwrap(), "{name}");
    }
}

/// What a part has of a NaN is not lost where parts are put together, and reaches no other row.
#[test]
fn nans_of_parts_are_merged() {
    for (name, gpu) in common::gpus() {
        let spec = MergeSpec::new(DType::F32, 1, 3, 1, 4);
        let part = |o: [f32; 3], lse: [f32; 3]| AttentionOutputs {
            o: Tensor::from_slice(&gpu, &spec.o_shape(), &o.map(|o| [o; 4]).concat()).unwrap(),
            lse: Tensor::from_slice(&gpu, &spec.lse_shape(), &lse).unwrap(),
        };
        let (nan, none) = (f32::NAN, f32::NEG_INFINITY);
        let (a, b) = (part([nan, nan, 5.0], [nan, nan, 0.0]), part([3.0, 4.0, 7.0], [1.0, none, 0.0]));
        let merge = Merge::new(&gpu, spec).unwrap();
        for (a, b) in [(&a, &b), (&b, &a)] {
            let merged = merge.run(a, b).unwrap();
            let (o, lse) = (merged.o.read_blocking().unwrap(), merged.lse.read_blocking().unwrap());
            assert!(o[..8].iter().chain(&lse[..2]).all(|x| x.is_nan()), "{name}: {o:?}, {lse:?}");
            assert!(o[8..].iter().all(|&x| (x - 6.0).abs() < 1e-5), "{name}: {o:?}");
            assert!((lse[2] - 2_f32.ln()).abs() < 1e-5, "{name}: {lse:?}");
        }
    }
}
