//! `tilewise run attention` on caches and packed sequences, and `tilewise run merge`: the same numbers as from dense tensors,
//! or as the oracle's.

mod common;

use std::collections::HashMap;
use std::path::Path;

use common::{adapter, file, stderr, tilewise};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tilewise::oracle::{self, AttentionGiven, Precision};
use tilewise::{Alibi, AttentionSpec, CuSeqlens, DType};

/// A tensor by its name.
struct Given {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn floats(name: &'static str, shape: &[usize], values: &[f32]) -> Given {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Given { name, dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

fn integers(name: &'static str, shape: &[usize], values: &[i32]) -> Given {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Given { name, dtype: Dtype::I32, shape: shape.to_vec(), bytes }
}

fn write(path: &Path, given: &[Given]) {
    let named: Vec<_> = given
        .iter()
        .map(|given| (given.name, given.dtype, given.shape.as_slice(), given.bytes.clone()))
        .collect();
    std::fs::write(path, file(&named)).expect("written");
}

/// Runs an operation on these tensors; its outputs, or what it says against them.
fn run(folder: &Path, args: &[&str], given: &[Given]) -> Result<HashMap<String, Vec<f32>>, String> {
    let (input, output) = (folder.join("in.safetensors"), folder.join("out.safetensors"));
    write(&input, given);
    let files = [input.to_str().expect("text"), "-o", output.to_str().expect("text")];
    let ran = tilewise([["run"].as_slice(), args, files.as_slice()].concat());
    if !ran.status.success() {
        assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
        return Err(stderr(&ran));
    }
    let bytes = std::fs::read(output).expect("the output");
    let tensors = SafeTensors::deserialize(&bytes).expect("a whole file");
    let values = |view: &TensorView<'_>| {
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    Ok(tensors.tensors().iter().map(|(name, view)| (name.clone(), values(view))).collect())
}

/// Values that repeat nowhere nearby.
fn drawn(seed: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} against {expected}");
    }
}

const DIM: usize = 8;
const PAGE: usize = 4;

/// Two sequences of 6 and 3 keys in pages of four, and a new key for each.
fn paged() -> (Vec<Given>, [i32; 6]) {
    let table = [3, 1, 9, 0, 2, 9];
    let given = vec![
        floats("q", &[2, 1, 2, DIM], &drawn(1, 4 * DIM)),
        floats("k_cache", &[4, PAGE, 1, DIM], &drawn(2, 16 * DIM)),
        floats("v_cache", &[4, PAGE, 1, DIM], &drawn(3, 16 * DIM)),
        floats("k", &[2, 1, 1, DIM], &drawn(4, 2 * DIM)),
        floats("v", &[2, 1, 1, DIM], &drawn(5, 2 * DIM)),
        integers("cache_seqlens", &[2], &[6, 3]),
        integers("block_table", &[2, 3], &table),
    ];
    (given, table)
}

#[test]
fn pages_hold_what_dense_tensors_would() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (given, table) = paged();
    let found = run(folder.path(), &["attention", "--causal"], &given).expect("a right file");
    // The same keys, one sequence at a time, as dense tensors.
    let row = |values: &[f32], i: usize| values[i * DIM..(i + 1) * DIM].to_vec();
    for (sequence, length) in [(0, 6), (1, 3)] {
        let gather = |seed, new| {
            let (cache, new) = (drawn(seed, 16 * DIM), drawn(new, 2 * DIM));
            let page = |key: usize| table[sequence * 3 + key / PAGE] as usize * PAGE + key % PAGE;
            (0..length)
                .map(|key| row(&cache, page(key)))
                .chain([row(&new, sequence)])
                .collect::<Vec<_>>()
                .concat()
        };
        let dense = [
            floats("q", &[1, 1, 2, DIM], &drawn(1, 4 * DIM)[sequence * 2 * DIM..][..2 * DIM]),
            floats("k", &[1, length + 1, 1, DIM], &gather(2, 4)),
            floats("v", &[1, length + 1, 1, DIM], &gather(3, 5)),
        ];
        let expected = run(folder.path(), &["attention", "--causal"], &dense).expect("a right file");
        close(&found["o"][sequence * 2 * DIM..][..2 * DIM], &expected["o"]);
        close(&found["lse"][sequence * 2..][..2], &expected["lse"]);
        // The new key lies behind the others, bit for bit.
        let place = table[sequence * 3 + length / PAGE] as usize * PAGE + length % PAGE;
        assert_eq!(row(&found["k_cache"], place), row(&drawn(4, 2 * DIM), sequence));
    }
}

#[test]
fn what_points_outside_the_cache_is_refused() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |name, tensor: Given| {
        let (mut given, _) = paged();
        given.retain(|given| given.name != name);
        given.push(tensor);
        run(folder.path(), &["attention"], &given).expect_err("a wrong file")
    };
    let message = refused("block_table", integers("block_table", &[2, 3], &[3, 4, 9, 0, 2, 9]));
    assert!(
        message.contains("an index of the block table is 4, page 1 of sequence 0, expected below 4"),
        "{message}"
    );
    let message = refused("cache_seqlens", integers("cache_seqlens", &[2], &[12, 3]));
    assert!(message.contains("the length is 13 for sequence 0, expected at most 12"), "{message}");
    let message = refused("block_table", integers("block_table", &[2, 3], &[-1, 1, 9, 0, 2, 9]));
    assert!(message.contains("block_table holds -1"), "{message}");
    let message = refused("v_cache", floats("v_cache", &[4, PAGE, 2, DIM], &drawn(3, 32 * DIM)));
    assert!(message.contains("v_cache has shape"), "{message}");
}

/// A user's mods apply to a cache: keys are numbered within their sequence.
#[test]
fn mods_do_to_a_cache_what_the_built_in_options_do() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let nearby = "fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {\n\
                  return i + k_len(b) <= j + q_len(b) + reach(b);\n}\n";
    let doubled = "fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return 2.0 * score; }\n";
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let (nearby, doubled) = (path("nearby.wgsl", nearby), path("doubled.wgsl", doubled));
    let (mut given, _) = paged();
    let reach = [2_u32, 2].iter().flat_map(|reach| reach.to_le_bytes()).collect();
    given.push(Given { name: "reach", dtype: Dtype::U32, shape: vec![2], bytes: reach });
    let modded = ["attention", "--mask-mod", &nearby, "--score-mod", &doubled, "--buffer", "reach"];
    let found = run(folder.path(), &modded, &given).expect("a right file");
    let twice = (2.0 / (DIM as f64).sqrt()).to_string();
    let (given, _) = paged();
    let built_in = ["attention", "--window", "2,", "--scale", &twice];
    let expected = run(folder.path(), &built_in, &given).expect("a right file");
    close(&found["o"], &expected["o"]);
    close(&found["lse"], &expected["lse"]);
    let plain = run(folder.path(), &["attention"], &given).expect("a right file");
    assert!(plain["o"] != expected["o"], "the options do something");

    let refused = |args: &[&str], more: Given| {
        let (mut given, _) = paged();
        given.push(more);
        run(folder.path(), args, &given).expect_err("a wrong line")
    };
    let blocks = || floats("block_mask", &[1, 1], &[1.0]);
    let message = refused(&["attention", "--block", "1,16"], blocks());
    assert!(message.contains("block_mask is given, expected none for attention to a cache"), "{message}");
    let message = refused(&["attention", "--probabilities"], blocks());
    assert!(message.contains("--probabilities is not for attention to a cache"), "{message}");
}

/// No queries, no keys, and sequences without either: the answers that are mathematically right.
#[test]
fn empty_sequences_have_empty_answers() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let minus_infinity = |values: &[f32]| values.iter().all(|x| x.total_cmp(&f32::NEG_INFINITY).is_eq());
    let zeros = |values: &[f32], count: usize| values.len() == count && values.iter().all(|&x| x == 0.0);
    // No keys at all.
    let given = [
        floats("q", &[1, 3, 2, DIM], &drawn(1, 6 * DIM)),
        floats("k", &[1, 0, 1, DIM], &[]),
        floats("v", &[1, 0, 1, DIM], &[]),
        floats("do", &[1, 3, 2, DIM], &drawn(2, 6 * DIM)),
    ];
    let found = run(folder.path(), &["attention"], &given).expect("a right file");
    assert!(zeros(&found["o"], 6 * DIM) && zeros(&found["dq"], 6 * DIM), "{found:?}");
    assert!(found["dk"].is_empty() && found["dv"].is_empty() && minus_infinity(&found["lse"]), "{found:?}");
    // Packed: one with both, one without keys, one without queries, one without either.
    let given = [
        floats("q", &[5, 1, DIM], &drawn(1, 5 * DIM)),
        floats("k", &[6, 1, DIM], &drawn(2, 6 * DIM)),
        floats("v", &[6, 1, DIM], &drawn(3, 6 * DIM)),
        floats("do", &[5, 1, DIM], &drawn(4, 5 * DIM)),
        integers("cu_seqlens_q", &[5], &[0, 3, 5, 5, 5]),
        integers("cu_seqlens_k", &[5], &[0, 4, 4, 6, 6]),
    ];
    let found = run(folder.path(), &["attention", "--causal"], &given).expect("a right file");
    assert!(zeros(&found["o"][3 * DIM..], 2 * DIM) && minus_infinity(&found["lse"][3..]), "{found:?}");
    assert!(zeros(&found["dq"][3 * DIM..], 2 * DIM) && zeros(&found["dk"][4 * DIM..], 2 * DIM), "{found:?}");
    assert!(zeros(&found["dv"][4 * DIM..], 2 * DIM), "{found:?}");
    let alone = [
        floats("q", &[1, 3, 1, DIM], &drawn(1, 5 * DIM)[..3 * DIM]),
        floats("k", &[1, 4, 1, DIM], &drawn(2, 6 * DIM)[..4 * DIM]),
        floats("v", &[1, 4, 1, DIM], &drawn(3, 6 * DIM)[..4 * DIM]),
        floats("do", &[1, 3, 1, DIM], &drawn(4, 5 * DIM)[..3 * DIM]),
    ];
    let expected = run(folder.path(), &["attention", "--causal"], &alone).expect("a right file");
    for name in ["o", "lse", "dq", "dk", "dv"] {
        close(&found[name][..expected[name].len()], &expected[name]);
    }
    // A cache without a key for one of its sequences.
    let (mut given, _) = paged();
    given.retain(|given| !["k", "v", "cache_seqlens"].contains(&given.name));
    given.push(integers("cache_seqlens", &[2], &[6, 0]));
    let found = run(folder.path(), &["attention"], &given).expect("a right file");
    assert!(zeros(&found["o"][2 * DIM..], 2 * DIM) && minus_infinity(&found["lse"][2..]), "{found:?}");
    assert!(found["lse"][..2].iter().all(|x| x.is_finite()), "{found:?}");
}

/// Everything that training takes, and every gradient that it asks for, beside the oracle's.
#[test]
fn training_options_write_every_gradient() {
    const HEADS: usize = 4;
    const SEED: u64 = 0x1234_5678_9abc_def0;
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (q_sums, k_sums) = ([0, 9, 9, 22], [0, 14, 20, 33]);
    let spec = AttentionSpec::new(DType::F32, 3, (13, 14), HEADS, DIM).kv_heads(2).value_dim(5);
    let spec = spec.causal().window(Some(9), None).softcap(3.0).alibi(Alibi::PerBatchHead);
    let spec = spec.sinks().dropout(0.17).packed(22, 33);
    let tensor = |name, shape: &[usize], seed| floats(name, shape, &drawn(seed, shape.iter().product()));
    let given = [
        tensor("q", &spec.q_shape(), 1),
        tensor("k", &spec.k_shape(), 2),
        tensor("v", &spec.v_shape(), 3),
        tensor("do", &spec.o_shape(), 4),
        tensor("alibi_slopes", &spec.alibi_shape(), 5),
        tensor("sink", &[HEADS], 6),
        integers("cu_seqlens_q", &[4], &q_sums),
        integers("cu_seqlens_k", &[4], &k_sums),
    ];
    let seed = SEED.to_string();
    let options =
        ["attention", "--causal", "--window", "9,", "--softcap", "3", "--dropout", "0.17", "--seed"];
    let args = [options.as_slice(), &[&seed, "--probabilities"]].concat();
    let found = run(folder.path(), &args, &given).expect("a right file");

    let wide = |shape: &[usize], seed| -> Vec<f64> {
        drawn(seed, shape.iter().product()).into_iter().map(f64::from).collect()
    };
    let (q, k, v) = (wide(&spec.q_shape(), 1), wide(&spec.k_shape(), 2), wide(&spec.v_shape(), 3));
    let (slopes, sinks) = (wide(&spec.alibi_shape(), 5), wide(&[HEADS], 6));
    let (q_sums, k_sums) = (q_sums.map(i32::unsigned_abs), k_sums.map(i32::unsigned_abs));
    let given = AttentionGiven {
        alibi: Some(&slopes),
        sinks: Some(&sinks),
        cu_seqlens: Some(CuSeqlens { q: &q_sums, k: &k_sums }),
        seed: SEED,
        ..AttentionGiven::new(&q, &k, &v)
    };
    let forward = oracle::attention_of(&spec, Precision::Exact, &given);
    let backward = oracle::attention_backward(&spec, Precision::Exact, &given, &wide(&spec.o_shape(), 4));
    let expected = [
        ("o", forward.o),
        ("lse", forward.lse),
        ("p", forward.probabilities),
        ("dq", backward.dq),
        ("dk", backward.dk),
        ("dv", backward.dv),
        ("dalibi_slopes", backward.dalibi),
        ("dsink", backward.dsinks),
    ];
    assert_eq!(found.len(), expected.len(), "{:?}", found.keys());
    for (name, expected) in expected {
        let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
        assert!(largest > 0.0 && found[name].len() == expected.len(), "{name}");
        for (found, expected) in found[name].iter().zip(&expected) {
            let error = (f64::from(*found) - expected).abs();
            assert!(error <= 1e-5 * largest, "{name}: {found} against {expected}");
        }
    }
}

#[test]
fn parts_merge_to_the_whole() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (q, k, v) = (drawn(1, 3 * DIM), drawn(2, 9 * DIM), drawn(3, 9 * DIM));
    let attend = |from: usize, to: usize| {
        let rows = |values: &[f32]| values[from * DIM..to * DIM].to_vec();
        let shape = [1, to - from, 1, DIM];
        let given = [
            floats("q", &[1, 3, 1, DIM], &q),
            floats("k", &shape, &rows(&k)),
            floats("v", &shape, &rows(&v)),
        ];
        run(folder.path(), &["attention"], &given).expect("a right file")
    };
    let (a, b, whole) = (attend(0, 2), attend(2, 9), attend(0, 9));
    let parts = [
        floats("o_a", &[1, 3, 1, DIM], &a["o"]),
        floats("lse_a", &[1, 1, 3], &a["lse"]),
        floats("o_b", &[1, 3, 1, DIM], &b["o"]),
        floats("lse_b", &[1, 1, 3], &b["lse"]),
    ];
    let merged = run(folder.path(), &["merge"], &parts).expect("a right file");
    close(&merged["o"], &whole["o"]);
    close(&merged["lse"], &whole["lse"]);
}
