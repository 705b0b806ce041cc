//! Attention as it is trained: gradients, packed sequences, dropout and sinks.

use tilewise::oracle::kept;
use tilewise::verify::Inputs;
use tilewise::{
    Alibi, Attention, AttentionBackward, AttentionInputs, AttentionProbabilities, AttentionSpec, CuSeqlens,
    DType, Element, Gpu, Tensor, by_dtype,
};

use crate::common;

/// What the host gives.
#[derive(Clone, Default)]
struct Given {
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    d_o: Vec<f64>,
    alibi: Vec<f64>,
    sinks: Vec<f64>,
    sums: [Vec<u32>; 2],
}

/// Everything that training computes, as bits: o, lse, dq, dk, dv, and the gradients of slopes and sinks.
type Bits = [Vec<u64>; 7];

const SEED: u64 = 77;

fn given(spec: &AttentionSpec) -> Given {
    let mut inputs = Inputs::new(11);
    let mut tensor = |shape: &[usize]| inputs.normal(shape.iter().product(), 1.0);
    Given {
        q: tensor(&spec.q_shape()),
        k: tensor(&spec.k_shape()),
        v: tensor(&spec.v_shape()),
        d_o: tensor(&spec.o_shape()),
        alibi: tensor(&[spec.batch * spec.heads]),
        sinks: tensor(&[spec.heads]),
        sums: [vec![], vec![]],
    }
}

fn upload<T: Element>(gpu: &Gpu, shape: &[usize], values: &[f64]) -> Tensor<T> {
    let values: Vec<T> = values.iter().map(|&value| T::from_f64(value)).collect();
    Tensor::from_slice(gpu, shape, &values).unwrap()
}

fn bits<T: Element>(tensor: &Tensor<T>) -> Vec<u64> {
    tensor.read_blocking().unwrap().into_iter().map(|value| value.to_f64().to_bits()).collect()
}

/// Forward and backward.
fn train<T: Element>(gpu: &Gpu, spec: AttentionSpec, given: &Given) -> Bits {
    let q = upload::<T>(gpu, &spec.q_shape(), &given.q);
    let k = upload::<T>(gpu, &spec.k_shape(), &given.k);
    let v = upload::<T>(gpu, &spec.v_shape(), &given.v);
    let d_o = upload::<T>(gpu, &spec.o_shape(), &given.d_o);
    let shape = spec.alibi_shape();
    let slopes = (spec.alibi != Alibi::None)
        .then(|| upload::<f32>(gpu, &shape, &given.alibi[..shape.iter().product()]));
    let sinks = spec.sinks.then(|| upload::<f32>(gpu, &[spec.heads], &given.sinks));
    let [q_sums, k_sums] = &given.sums;
    let inputs = AttentionInputs::new(&q, &k, &v)
        .alibi(slopes.as_ref())
        .sinks(sinks.as_ref())
        .cu_seqlens(spec.packed.map(|_| CuSeqlens { q: q_sums, k: k_sums }))
        .seed(spec.dropout.map(|_| SEED));
    let outputs = Attention::new(gpu, spec).unwrap().run(inputs).unwrap();
    let gradients = AttentionBackward::new(gpu, spec).unwrap().run(inputs, &outputs, &d_o).unwrap();
    let optional = |tensor: &Option<Tensor<f32>>| tensor.as_ref().map(bits).unwrap_or_default();
    [
        bits(&outputs.o),
        bits(&outputs.lse),
        bits(&gradients.dq),
        bits(&gradients.dk),
        bits(&gradients.dv),
        optional(&gradients.dalibi),
        optional(&gradients.dsinks),
    ]
}

fn value(bits: u64) -> f64 {
    f64::from_bits(bits)
}

/// Two heads of 32: small enough to place a value by hand.
const HEADS: usize = 2;
const DIM: usize = 32;

fn causal(length: usize) -> AttentionSpec {
    AttentionSpec::new(DType::F32, 1, (length, length), HEADS, DIM).causal()
}

/// Every head's row of a tensor (1, rows, heads, dim).
fn row(tensor: &mut [f64], rows: usize, row: usize) -> &mut [f64] {
    let width = tensor.len() / rows;
    &mut tensor[row * width..(row + 1) * width]
}

/// Fails unless these rows are the same.
fn same_rows(what: &str, (found, clean): (&[u64], &[u64]), count: usize, rows: impl Iterator<Item = usize>) {
    let width = found.len() / count;
    for row in rows {
        let range = row * width..(row + 1) * width;
        assert!(found[range.clone()] == clean[range], "{what}: row {row} was reached");
    }
}

#[test]
fn infinities_and_nans_stay_within_reach() {
    let square = causal(70);
    let shared = AttentionSpec { causal: false, ..square.kv_heads(1) }.window(Some(9), Some(4));
    for spec in [
        square,
        shared.sinks().softcap(5.0).alibi(Alibi::PerHead),
        AttentionSpec { dtype: DType::F16, ..square.dropout(0.17) },
        AttentionSpec { dtype: DType::Bf16, q_len: 50, head_dim: 3, value_dim: 5, ..square },
        AttentionSpec { q_len: 60, k_len: 3000, ..square },
    ] {
        for (name, gpu) in common::gpus() {
            let split = Attention::new(&gpu, spec).unwrap().plan().splits > 1;
            assert!(spec.k_len < 3000 || split, "many keys are to be split ({name})");
            by_dtype!(spec.dtype, T => spoil::<T>(&gpu, spec, &format!("{spec} ({name})")));
        }
    }
}

/// Puts infinities and NaNs into keys and values, and then into queries and gradients, and looks where they come out.
fn spoil<T: Element>(gpu: &Gpu, spec: AttentionSpec, name: &str) {
    let AttentionSpec { q_len, k_len, heads, .. } = spec;
    let clean = given(&spec);
    let expected = train::<T>(gpu, spec, &clean);
    let sees = |query: usize, keys: &[usize]| {
        let (first, end) = spec.keys_seen(query);
        keys.iter().any(|key| (first..end).contains(key))
    };
    let is_nan = |bits: &[u64], rows: usize, row: usize| value(bits[bits.len() / rows * row]).is_nan();

    // Among the last keys.
    let [a, b, c, d] = [40, 41, 50, 51].map(|key| key + k_len - 70);
    let mut spoilt = clean.clone();
    row(&mut spoilt.v, k_len, a).fill(f64::INFINITY);
    row(&mut spoilt.v, k_len, b).fill(f64::NAN);
    row(&mut spoilt.k, k_len, c).fill(f64::NAN);
    row(&mut spoilt.k, k_len, d).fill(f64::NEG_INFINITY);
    let found = train::<T>(gpu, spec, &spoilt);
    let others = || (0..q_len).filter(|&query| !sees(query, &[a, b, c, d]));
    assert!(others().count() > 10, "{name}");
    for (part, what) in [(0, "o"), (2, "dq")] {
        same_rows(&format!("{what} of {name}"), (&found[part], &expected[part]), q_len, others());
    }
    for (at, query) in (0..heads).flat_map(|head| others().map(move |query| (head * q_len + query, query))) {
        assert!(found[1][at] == expected[1][at], "the log-sum-exp of query {query} of {name} was reached");
    }
    let reached = (0..q_len).find(|&query| sees(query, &[c])).expect("a query sees the key");
    assert!(is_nan(&found[0], q_len, reached) && is_nan(&found[2], q_len, reached), "{name}");

    // Nothing that a query holds reaches another, nor keys that it does not see.
    let mut spoilt = clean.clone();
    row(&mut spoilt.q, q_len, 20).fill(f64::NAN);
    row(&mut spoilt.d_o, q_len, 30).fill(f64::INFINITY);
    let found = train::<T>(gpu, spec, &spoilt);
    let others = || (0..q_len).filter(|&query| query != 20 && query != 30);
    for (part, what) in [(0, "o"), (2, "dq")] {
        same_rows(&format!("{what} of {name}"), (&found[part], &expected[part]), q_len, others());
    }
    let hidden = || (0..k_len).filter(|&key| !sees(20, &[key]) && !sees(30, &[key]));
    assert!(hidden().count() > 10, "{name}");
    for (part, what) in [(3, "dk"), (4, "dv")] {
        same_rows(&format!("{what} of {name}"), (&found[part], &expected[part]), k_len, hidden());
        // Not every key: dropout leaves some out.
        let mut reached = (0..k_len).filter(|&key| sees(20, &[key]));
        assert!(reached.any(|key| is_nan(&found[part], k_len, key)), "{what} of {name}");
    }
}

#[test]
fn packed_sequences_do_not_touch_each_other() {
    for (name, gpu) in common::gpus() {
        let dense = causal(37);
        let alone = given(&dense);
        let expected = train::<f32>(&gpu, dense, &alone);
        let spec = AttentionSpec { batch: 3, ..dense }.packed(70, 70);
        let mut packed = given(&spec);
        packed.sums = [vec![0, 20, 57, 70], vec![0, 20, 57, 70]];
        for tensor in [&mut packed.q, &mut packed.k, &mut packed.v, &mut packed.d_o] {
            tensor.fill(f64::NAN);
        }
        let pairs = [
            (&mut packed.q, &alone.q),
            (&mut packed.k, &alone.k),
            (&mut packed.v, &alone.v),
            (&mut packed.d_o, &alone.d_o),
        ];
        for (packed, alone) in pairs {
            packed[20 * HEADS * DIM..57 * HEADS * DIM].copy_from_slice(alone);
        }
        let found = train::<f32>(&gpu, spec, &packed);
        for part in [0, 2, 3, 4] {
            let middle = &found[part][20 * HEADS * DIM..57 * HEADS * DIM];
            assert!(middle == expected[part], "part {part} of the middle sequence ({name})");
            assert!(value(found[part][0]).is_nan(), "part {part} of the first sequence ({name})");
        }
    }
}

#[test]
fn gradients_of_rows_that_see_no_key_are_zero() {
    for (name, gpu) in common::gpus() {
        // Queries 0 to 48 stand before the first key.
        let spec = AttentionSpec { k_len: 41, ..causal(90) };
        let found = train::<f32>(&gpu, spec, &given(&spec));
        let (dead, live) = found[2].split_at(49 * HEADS * DIM);
        assert!(dead.iter().all(|&bits| value(bits) == 0.0), "{name}");
        // The first query that sees a key sees one, whose weight is 1 whatever its score.
        assert!(live[HEADS * DIM..].iter().all(|&bits| value(bits).is_finite() && value(bits) != 0.0));
        assert!(found[3].iter().chain(&found[4]).all(|&bits| value(bits).is_finite()), "{name}");
    }
}

#[test]
fn lengths_of_zero_give_what_is_left() {
    for (name, gpu) in common::gpus() {
        let spec = AttentionSpec { k_len: 0, ..AttentionSpec::new(DType::F32, 2, (5, 5), HEADS, DIM) };
        let found = train::<f32>(&gpu, spec, &given(&spec));
        assert!(found[0].len() == 10 * HEADS * DIM && found[0].iter().all(|&o| value(o) == 0.0), "{name}");
        assert!(found[1].iter().all(|&lse| value(lse).total_cmp(&f64::NEG_INFINITY).is_eq()), "{name}");
        assert!(found[2].iter().all(|&dq| value(dq) == 0.0) && found[3].is_empty(), "{name}");
        // A sink is left.
        let spec = spec.sinks();
        let parts = given(&spec);
        let found = train::<f32>(&gpu, spec, &parts);
        assert!(found[0].iter().all(|&o| value(o) == 0.0), "{name}");
        assert!((value(found[1][0]) - parts.sinks[0]).abs() < 1e-5, "{name}");
        assert!(found[6].iter().all(|&dsink| value(dsink) == 0.0), "{name}");

        let spec = AttentionSpec { q_len: 0, ..AttentionSpec::new(DType::F32, 2, (5, 5), HEADS, DIM) };
        let found = train::<f32>(&gpu, spec, &given(&spec));
        assert!(found[0].is_empty() && found[1].is_empty() && found[2].is_empty(), "{name}");
        for part in [3, 4] {
            assert!(found[part].len() == 10 * HEADS * DIM && found[part].iter().all(|&d| value(d) == 0.0));
        }
    }
}

/// With scores of 0 every weight is the same, and the probabilities show which are kept.
#[test]
fn dropout_keeps_the_weights_that_the_oracle_keeps() {
    for (name, gpu) in common::gpus() {
        let spec = AttentionSpec::new(DType::F32, 2, (61, 103), 2, 8).dropout(0.17);
        let [q, k, v] = [spec.q_shape(), spec.k_shape(), spec.v_shape()]
            .map(|shape| Tensor::<f32>::zeros(&gpu, &shape).unwrap());
        let (attention, probabilities) =
            (Attention::new(&gpu, spec).unwrap(), AttentionProbabilities::new(&gpu, spec).unwrap());
        // The halves of a seed are told apart.
        let masks: Vec<Vec<bool>> = [3, 3 << 32]
            .into_iter()
            .map(|seed| {
                let inputs = AttentionInputs::new(&q, &k, &v).seed(seed);
                let outputs = attention.run(inputs).unwrap();
                let p = probabilities.run(inputs, &outputs.lse).unwrap().read_blocking().unwrap();
                let mask: Vec<_> = p.iter().map(|&weight| weight != 0.0).collect();
                let at = |n: usize| [n / (2 * 61 * 103), n / (61 * 103) % 2, n / 103 % 61, n % 103];
                let expected: Vec<_> = (0..p.len()).map(|n| kept(&spec, seed, at(n))).collect();
                assert!(mask == expected, "another mask than the oracle's ({name})");
                let weight = 1.0 / (103.0 * 0.83);
                assert!(p.iter().all(|&p| p == 0.0 || (p / weight - 1.0).abs() < 1e-5), "{name}");
                mask
            })
            .collect();
        assert!(masks[0] != masks[1], "{name}");
        let share = masks[0].iter().filter(|&&kept| kept).count() as f64 / masks[0].len() as f64;
        // Five standard deviations of the share of 25,132 draws.
        assert!((share - 0.83).abs() < 5.0 * (0.17 * 0.83 / 25_132_f64).sqrt(), "{share} ({name})");
    }
}

#[test]
fn what_a_call_lacks_is_refused_by_name() {
    let Some(gpu) = common::open(None) else { return };
    let spec = AttentionSpec::new(DType::F32, 2, (5, 5), 1, 8).packed(7, 7);
    let [q, k, v] = [spec.q_shape(), spec.k_shape(), spec.v_shape()]
        .map(|shape| Tensor::<f32>::zeros(&gpu, &shape).unwrap());
    let inputs = AttentionInputs::new(&q, &k, &v);
    let attention = Attention::new(&gpu, spec).unwrap();
    let refusal = |inputs| attention.run(inputs).unwrap_err().to_string();
    assert_eq!(refusal(inputs), "cu_seqlens is missing, expected prefix sums: the spec packs sequences");
    let sums = |q, k| inputs.cu_seqlens(CuSeqlens { q, k });
    assert_eq!(
        refusal(sums(&[0, 5, 7], &[0, 5, 4])),
        "cu_seqlens_k is 4 after 5, at sequence 1, expected sums that never decrease"
    );
    assert_eq!(
        refusal(sums(&[0, 5, 7], &[0, 5, 7]).seed(1)),
        "the seed is given, but the spec has no use for it"
    );
    let outputs = attention.run(sums(&[0, 5, 7], &[0, 5, 7])).unwrap();
    let backward = AttentionBackward::new(&gpu, spec).unwrap();
    let short = Tensor::<f32>::zeros(&gpu, &[6, 1, 8]).unwrap();
    let error = backward.run(sums(&[0, 5, 7], &[0, 5, 7]), &outputs, &short).unwrap_err();
    assert_eq!(error.to_string(), "do has shape [6, 1, 8], expected [7, 1, 8]");
    let sinking = Attention::new(&gpu, AttentionSpec { packed: None, ..spec.sinks() }).unwrap();
    let [q, k, v] = [(); 3].map(|()| Tensor::<f32>::zeros(&gpu, &[2, 5, 1, 8]).unwrap());
    let error = sinking.run(AttentionInputs::new(&q, &k, &v)).unwrap_err();
    assert_eq!(error.to_string(), "the sink of each head is missing, but the spec needs it");
}
