//! Wrong input: exit code 2, a message with the numbers, no output, no panic. None of it needs an adapter.

mod common;

use std::path::Path;

use common::{Named, adapter, file, stderr, tensor, tilewise};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use safetensors::tensor::Dtype::{self, BF16, F16, F32, F64, I64};

/// Runs an operation on a file of these bytes. It must be refused with exit code 2 and these words, and leave its
/// folder as it was.
fn refused_bytes(op: &[&str], bytes: &[u8], words: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("in.safetensors");
    std::fs::write(&input, bytes).expect("written");
    let output = folder.path().join("out.safetensors");
    let ran = run(op, &input, &output);
    let message = stderr(&ran);
    assert_eq!(ran.status.code(), Some(2), "{op:?}, expected {words:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{op:?}: {word:?} is not in: {message}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1, "something was left behind");
}

fn run(op: &[&str], input: &Path, output: &Path) -> std::process::Output {
    let paths = [input.to_str().expect("text"), "-o", output.to_str().expect("text")];
    tilewise([&["run"], op, &paths].concat())
}

fn refused(op: &[&str], tensors: &[Named<'_>], words: &[&str]) {
    refused_bytes(op, &file(tensors), words);
}

fn qkv(dtype: Dtype, [q, k, v]: [&[usize; 4]; 3]) -> Vec<Named<'_>> {
    vec![tensor("q", dtype, q), tensor("k", dtype, k), tensor("v", dtype, v)]
}

const Q: &[usize; 4] = &[1, 5, 4, 8];
const K: &[usize; 4] = &[1, 7, 2, 8];

#[test]
fn attention_refuses_wrong_tensors() {
    let op = &["attention"];
    let small = |[q, k, v]: [&[usize; 4]; 3], words: &[&str]| refused(op, &qkv(F32, [q, k, v]), words);
    small([Q, &[1, 7, 2, 9], K], &["k has shape [1, 7, 2, 9]", "expected [1, 7, 2, 8]"]);
    small([Q, &[2, 7, 2, 8], K], &["k has shape [2, 7, 2, 8]", "expected [1, 7, 2, 8]"]);
    small([Q, K, &[1, 6, 2, 8]], &["v has shape [1, 6, 2, 8]", "expected [1, 7, 2, 8]"]);
    small([Q, &[1, 7, 3, 8], &[1, 7, 3, 8]], &["kv_heads is 3", "a divisor of heads = 4"]);
    small([&[1, 5, 4, 257], &[1, 7, 2, 257], K], &["head_dim is 257", "at most 256"]);
    small([Q, K, &[1, 7, 2, 300]], &["value_dim is 300", "at most 256"]);
    small([&[0, 5, 4, 8], &[0, 7, 2, 8], &[0, 7, 2, 8]], &["batch is 0", "at least 1"]);
    refused(op, &qkv(F64, [Q, K, K]), &["q holds F64", "expected F32, F16 or BF16"]);
    refused(op, &qkv(I64, [Q, K, K]), &["q holds I64", "expected F32, F16 or BF16"]);
    let mixed = [tensor("q", F32, Q), tensor("k", F16, K), tensor("v", F32, K)];
    refused(op, &mixed, &["k holds f16", "expected f32 like q"]);
    let mixed = [tensor("q", BF16, Q), tensor("k", BF16, K), tensor("v", F16, K)];
    refused(op, &mixed, &["v holds f16", "expected bf16 like q"]);
    let flat = [tensor("q", F32, &[5, 4, 8]), tensor("k", F32, K), tensor("v", F32, K)];
    refused(op, &flat, &["q has 3 dimensions", "[5, 4, 8]", "expected 4: (batch, q_len, heads, head_dim)"]);
    let missing = [tensor("q", F32, Q), tensor("keys", F32, K), tensor("v", F32, K)];
    refused(op, &missing, &["no tensor \"k\"", "there are: keys, q, v"]);
    let slopes = |shape| [qkv(F32, [Q, K, K]), vec![tensor("alibi_slopes", F16, shape)]].concat();
    refused(op, &slopes(&[3]), &["alibi_slopes has shape [3]", "expected [4]"]);
    refused(op, &slopes(&[2, 4]), &["alibi_slopes has shape [2, 4]", "expected [1, 4]"]);
    refused(op, &slopes(&[1, 1, 4]), &["alibi_slopes has shape [1, 1, 4]"]);
    refused(op, &[], &["no tensor \"q\"", "there are: none"]);
    refused(&["attention", "--prefix", "x/"], &qkv(F32, [Q, K, K]), &["begins with \"x/\"", "k, q, v"]);
}

#[test]
fn attention_refuses_wrong_sequences_and_gradients() {
    fn sums<'a>(name: &'a str, values: &[i32]) -> Named<'a> {
        const FOUR: &[usize] = &[4];
        const THREE: &[usize] = &[3];
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (name, Dtype::I32, if values.len() == 4 { FOUR } else { THREE }, bytes)
    }
    let packed = |q: &[i32], k: &[i32]| -> Vec<Named<'_>> {
        vec![
            tensor("q", F32, &[7, 2, 8]),
            tensor("k", F32, &[9, 1, 8]),
            tensor("v", F32, &[9, 1, 8]),
            sums("cu_seqlens_q", q),
            sums("cu_seqlens_k", k),
        ]
    };
    let op = &["attention"];
    let (q, k) = ([0, 3, 7], [0, 9, 9]);
    refused(op, &packed(&[0, 8, 7], &k), &["cu_seqlens_q is 7 after 8, at sequence 1", "never decrease"]);
    refused(op, &packed(&q, &[0, 9, 8]), &["cu_seqlens_k is 8 after 9, at sequence 1", "never decrease"]);
    refused(op, &packed(&q, &[0, 3, 8]), &["cu_seqlens_k is 8 at its end", "the total, 9"]);
    refused(op, &packed(&[1, 3, 7], &k), &["cu_seqlens_q is 1 at its beginning", "expected 0"]);
    refused(op, &packed(&[0, -3, 7], &k), &["cu_seqlens_q holds -3", "prefix sums from 0"]);
    refused(op, &packed(&q, &[0, 3, 5, 9]), &["cu_seqlens_k is 4 numbers", "expected 3"]);
    refused(op, &packed(&q, &k)[..4], &["cu_seqlens_q but no cu_seqlens_k", "need both"]);
    let with = |more: Named<'static>| [qkv(F32, [Q, K, K]), vec![more]].concat();
    refused(
        op,
        &with(tensor("do", F32, &[1, 5, 4, 9])),
        &["do has shape [1, 5, 4, 9]", "expected [1, 5, 4, 8]"],
    );
    refused(op, &with(tensor("do", F16, Q)), &["do holds f16", "expected f32 like q"]);
    refused(op, &with(tensor("sink", F32, &[2])), &["sink has shape [2]", "expected [4]"]);
    refused(
        op,
        &with(("block_mask", F32, &[5], vec![0; 20])),
        &["block_mask has shape [5]", "blocks of keys"],
    );
    refused(op, &with(tensor("block_mask", F64, &[1, 1])), &["block_mask holds F64", "0 or 1"]);
}

#[test]
fn attention_refuses_wrong_options() {
    for (options, words) in [
        (["--softcap", "0"], ["softcap is 0", "a positive number"]),
        (["--softcap", "-5"], ["softcap is -5", "a positive number"]),
        (["--softcap", "nan"], ["softcap is NaN", "a positive number"]),
        (["--softcap", "inf"], ["softcap is inf", "a positive number"]),
        (["--scale", "nan"], ["scale is NaN", "a number between"]),
        (["--scale", "-inf"], ["scale is -inf", "a number between"]),
        (["--scale", "big"], ["'big'", "--scale"]),
        (["--dropout", "1"], ["dropout is 1", "a share from 0 to below 1"]),
        (["--dropout", "-0.1"], ["dropout is -0.1", "a share from 0 to below 1"]),
        (["--dropout", "nan"], ["dropout is NaN", "a share from 0 to below 1"]),
        (["--seed", "3"], ["--dropout", "required"]),
        (["--window", "17"], ["'17'", "two sides"]),
        (["--window", "-1,5"], ["\"-1\"", "an empty side is unbounded"]),
        (["--window", "1,2,3"], ["\"2,3\"", "an empty side is unbounded"]),
        (["--window", "99999999999999999999,1"], ["99999999999999999999", "no number of keys"]),
    ] {
        refused(&["attention", options[0], options[1]], &qkv(F32, [Q, K, K]), &words);
    }
}

#[test]
fn monarch_refuses_wrong_tensors() {
    let op = &["monarch"];
    let (w1, w2) = (&[4, 12, 9], &[6, 10, 8]);
    let monarch = |x: &[usize], w1: &[usize], w2: &[usize], words: &[&str]| {
        refused(op, &[tensor("x", F32, x), tensor("w1", F32, w1), tensor("w2", F32, w2)], words);
    };
    monarch(&[5, 37], w1, w2, &["x has shape [5, 37]", "expected [5, 36]"]);
    monarch(&[36], w1, w2, &["x has 1 dimensions", "expected 2: (batch, k p)"]);
    monarch(&[5, 36], &[4, 12], w2, &["w1 has 2 dimensions", "expected 3: (k, q, p)"]);
    monarch(&[5, 36], w1, &[6, 10, 7], &["k q is 48", "6 × 7 = 42"]);
    monarch(&[0, 36], w1, w2, &["batch is 0", "at least 1"]);
    monarch(&[5, 0], &[4, 12, 0], w2, &["p is 0", "at least 1"]);
    refused(op, &[tensor("x", F32, &[5, 36])], &["no tensor \"w1\"", "there are: x"]);
    let mixed = [tensor("x", F32, &[5, 36]), tensor("w1", F32, w1), tensor("w2", BF16, w2)];
    refused(op, &mixed, &["w2 holds bf16", "expected f32 like x"]);
    let wide = [tensor("x", F64, &[5, 36]), tensor("w1", F64, w1), tensor("w2", F64, w2)];
    refused(op, &wide, &["x holds F64"]);
}

#[test]
fn butterfly_refuses_wrong_tensors() {
    let twiddle: &[usize] = &[2, 3, 5, 16, 2, 2];
    let butterfly = |x: &[usize], twiddle: &[usize], words: &[&str]| {
        refused(&["butterfly"], &[tensor("x", F32, x), tensor("twiddle", F32, twiddle)], words);
    };
    butterfly(&[3, 1, 27], twiddle, &["x has shape [3, 1, 27]", "expected [3, 2, 27]"]);
    butterfly(&[3, 27], twiddle, &["x has 2 dimensions", "expected 3: (batch, nstacks, n_in)"]);
    butterfly(&[3, 2, 27], &[2, 3, 5, 12, 2, 2], &["n is 24", "a power of two, at least 2"]);
    let expected = "expected [2, 3, 5, 16, 2, 2]";
    butterfly(&[3, 2, 27], &[2, 3, 4, 16, 2, 2], &["twiddle has shape [2, 3, 4, 16, 2, 2]", expected]);
    butterfly(
        &[3, 2, 27],
        &[5, 16, 2, 2],
        &["twiddle has 4 dimensions", "(nstacks, nblocks, log2 n, n/2, 2, 2)"],
    );
    butterfly(&[3, 2, 27], &[2, 0, 5, 16, 2, 2], &["nblocks is 0", "at least 1"]);
    butterfly(&[0, 2, 27], twiddle, &["batch is 0", "at least 1"]);
    let mixed = [tensor("x", F32, &[3, 2, 27]), tensor("twiddle", F16, twiddle)];
    refused(&["butterfly"], &mixed, &["twiddle holds f16", "expected f32 like x"]);
    let narrow =
        [tensor("x", F32, &[3, 2, 27]), tensor("twiddle", F32, twiddle), tensor("dy", F32, &[3, 2, 27])];
    refused(&["butterfly"], &narrow, &["dy has shape [3, 2, 27]", "expected [3, 2, 32]"]);
}

#[test]
fn butterfly_linear_refuses_wrong_tensors() {
    let layer = |x: &[usize], twiddle: &[usize], bias: &[usize], words: &[&str]| {
        let tensors = [tensor("x", F32, x), tensor("twiddle", F32, twiddle), tensor("bias", F32, bias)];
        refused(&["butterfly-linear"], &tensors, words);
    };
    let twiddle: &[usize] = &[2, 1, 3, 4, 2, 2];
    layer(
        &[3, 17],
        twiddle,
        &[11],
        &["twiddle has shape [2, 1, 3, 4, 2, 2]", "expected [1, 1, 5, 16, 2, 2]"],
    );
    layer(&[3, 7], twiddle, &[17], &["twiddle has shape [2, 1, 3, 4, 2, 2]", "expected [3, 1, 3, 4, 2, 2]"]);
    layer(&[3, 7], &[2, 3, 4, 2, 2], &[11], &["twiddle has 5 dimensions", "nstacks, nblocks, log2 n"]);
    layer(&[3, 7], twiddle, &[11, 1], &["bias has 2 dimensions"]);
    layer(&[0, 7], twiddle, &[11], &["batch is 0", "at least 1"]);
    let narrow = [
        tensor("x", F32, &[3, 7]),
        tensor("twiddle", F32, twiddle),
        tensor("bias", F32, &[11]),
        tensor("dy", F32, &[3, 12]),
    ];
    refused(&["butterfly-linear"], &narrow, &["dy has shape [3, 12]", "expected [3, 11]"]);
}

#[test]
fn linear_scan_refuses_wrong_tensors() {
    let op = &["linear-scan"];
    let scan = |a: &[usize], b: &[usize], h0: &[usize], words: &[&str]| {
        refused(op, &[tensor("a", F32, a), tensor("b", F32, b), tensor("h0", F32, h0)], words);
    };
    scan(&[2, 3, 9], &[2, 3, 8], &[2, 3], &["b has shape [2, 3, 8]", "expected [2, 3, 9]"]);
    scan(&[2, 3, 9], &[2, 3, 9], &[2, 4], &["h0 has shape [2, 4]", "expected [2, 3]"]);
    scan(&[2, 3, 9], &[2, 3, 9], &[6], &["h0 has shape [6]", "expected [2, 3]"]);
    scan(&[3, 9], &[3, 9], &[3], &["a has 2 dimensions", "expected 3: (batch, channels, length)"]);
    scan(&[2, 3, 0], &[2, 3, 0], &[2, 3], &["length is 0", "at least 1"]);
    refused(op, &[tensor("a", F32, &[1, 1, 4])], &["no tensor \"b\"", "there are: a"]);
    let integers = [tensor("a", F32, &[1, 1, 4]), tensor("b", F32, &[1, 1, 4]), tensor("h0", I64, &[1, 1])];
    refused(op, &integers, &["h0 holds I64", "expected F32, F16 or BF16"]);
}

#[test]
fn damaged_files_are_refused_with_their_lengths() {
    let op = &["linear-scan"];
    let whole = file(&[tensor("a", F32, &[1, 1, 4]), tensor("b", F32, &[1, 1, 4])]);
    let promised = format!("promises {} bytes", whole.len());
    refused_bytes(op, &[], &["it has 0 bytes", "at least 8"]);
    refused_bytes(op, &whole[..5], &["it has 5 bytes", "at least 8"]);
    refused_bytes(op, &whole[..20], &["truncated", "found 20"]);
    refused_bytes(
        op,
        &whole[..whole.len() - 3],
        &["truncated", &promised, &format!("found {}", whole.len() - 3)],
    );
    refused_bytes(op, &[whole.as_slice(), b"more"].concat(), &["too long", &promised]);
    refused_bytes(
        op,
        &[u64::MAX.to_le_bytes().as_slice(), b"{}"].concat(),
        &["truncated", "18446744073709551623"],
    );
    refused_bytes(
        op,
        &[1_u64.to_le_bytes().as_slice(), b"?"].concat(),
        &["no whole safetensors file", "JSON"],
    );
    refused_bytes(op, b"\x04\0\0\0\0\0\0\0\xff\xff\xff\xff", &["no whole safetensors file", "UTF-8"]);
    let huge = format!(r#"{{"a":{{"dtype":"F32","shape":[{0},{0},{0}],"data_offsets":[0,0]}}}}"#, u64::MAX);
    refused_bytes(
        op,
        &[(huge.len() as u64).to_le_bytes().as_slice(), huge.as_bytes()].concat(),
        &["overflow"],
    );
    // A text file, as one gets by saving a web page under the wrong name.
    refused_bytes(op, b"<!DOCTYPE html><html><body>Not found</body></html>", &["no whole safetensors file"]);
}

#[test]
fn paths_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = |name: &str| folder.path().join(name);
    let good = file(&[tensor("a", F32, &[1, 1, 4]), tensor("b", F32, &[1, 1, 4])]);
    std::fs::write(inside("in"), good).expect("written");
    let refused = |input: &Path, output: &Path, words: &[&str]| {
        let ran = run(&["linear-scan"], input, output);
        assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
        for word in words {
            assert!(stderr(&ran).contains(word), "{word:?} is not in: {}", stderr(&ran));
        }
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).expect("the folder").flatten().map(|e| e.file_name()).collect();
        assert_eq!(
            left.iter().filter(|name| name.to_string_lossy().contains("tilewise")).count(),
            0,
            "{left:?}"
        );
    };
    refused(&inside("absent"), &inside("out"), &["cannot read", "absent"]);
    refused(folder.path(), &inside("out"), &["cannot read"]);
    assert!(!inside("out").exists());
    let nowhere = inside("no/such/folder/out");
    refused(&inside("in"), &nowhere, &["cannot write", &format!("{}: ", nowhere.display()), "(os error"]);
    let ran = run(&["linear-scan"], &inside("in"), &nowhere);
    assert!(!stderr(&ran).contains(".part"), "a name that nobody chose: {}", stderr(&ran));
    refused(&inside("in"), folder.path(), &["cannot write", "no regular file"]);
    refused(&inside("in"), Path::new(".."), &["cannot write"]);
    std::fs::write(inside("kept"), "kept").expect("written");
    let mut permissions = std::fs::metadata(inside("kept")).expect("there").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(inside("kept"), permissions).expect("set");
    refused(&inside("in"), &inside("kept"), &["cannot write", "read-only"]);
    assert_eq!(std::fs::read_to_string(inside("kept")).expect("read"), "kept");
}

#[cfg(target_os = "linux")]
#[test]
fn devices_are_not_replaced() {
    let ran = run(&["linear-scan"], &common::goldens(), Path::new("/dev/null"));
    assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("no regular file"), "{}", stderr(&ran));
}

/// An input that is read first and wrong leaves an existing output as it was.
#[test]
fn a_failure_keeps_the_old_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&input, "nonsense").expect("written");
    std::fs::write(&output, "old").expect("written");
    assert_eq!(run(&["monarch"], &input, &output).status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&output).expect("read"), "old");
}

#[test]
fn wrong_lines_are_refused_with_the_choices() {
    for (line, words) in [
        ("frobnicate", vec!["frobnicate", "tour, info, plan, shader, verify, bench, report, compare, run"]),
        ("plan atention", vec!["atention", "attention, merge, butterfly, monarch"]),
        ("shader softmax", vec!["softmax", "attention, merge, butterfly, monarch"]),
        ("run softmax", vec!["softmax", "attention, merge, butterfly, monarch"]),
        ("run --json softmax", vec!["softmax", "attention, merge, butterfly, monarch"]),
        ("plan", vec!["attention, merge, butterfly, monarch"]),
        ("shader", vec!["attention, merge, butterfly, monarch"]),
        ("plan attention --profile voodoo", vec!["voodoo", "webgpu-baseline", "mali", "list"]),
        ("info --as voodoo", vec!["voodoo", "webgpu-baseline", "mali"]),
        ("plan attention --dtype f64", vec!["f64", "f32, f16, bf16"]),
        ("shader attention --target glsl", vec!["glsl", "wgsl, spirv, msl, hlsl"]),
        ("shader linear-scan --profile mali --kernel scan/nothing", vec!["scan/nothing", "scan/chunk_scan"]),
        ("shader linear-scan --profile mali --pass sideways", vec!["\"sideways\"", "forward, backward"]),
        ("verify convolution", vec!["convolution", "attention, butterfly, scan"]),
        ("bench convolution", vec!["convolution", "attention, butterfly, scan"]),
        ("plan attention --head-dim 300 --profile mali", vec!["head_dim is 300", "at most 256"]),
        ("plan attention --heads 6 --kv-heads 4 --profile mali", vec!["kv_heads is 4", "heads = 6"]),
        ("plan attention --q-len 18446744073709551615 --profile mali", vec!["too many elements"]),
        ("plan attention --page-len 16 --profile mali", vec!["--cache"]),
        ("plan attention --cache --page-len 0 --profile mali", vec!["the keys of a page is 0", "at least 1"]),
        ("plan attention --cache --rotary 65 --profile mali", vec!["the rotary dim is 65", "2 to 64"]),
        (
            "plan attention --cache --dropout 0.1 --profile mali",
            vec!["dropout is given", "none for attention to a cache"],
        ),
        (
            "plan attention --cache --packed 9,9 --profile mali",
            vec!["packed is given", "none for attention to a cache"],
        ),
        (
            "plan attention --cache --append 3000 --profile mali",
            vec!["the number of new keys is 3000", "at most 2048"],
        ),
        ("plan butterfly --n 1000 --profile mali", vec!["n is 1000", "a power of two, at least 2"]),
        ("plan butterfly --n 9223372036854775808 --profile mali", vec!["too many elements"]),
        ("plan butterfly --batch 18446744073709551615 --profile mali", vec!["too many elements"]),
        ("plan butterfly --entry 18446744073709551615 --profile mali", vec!["too many elements"]),
        ("plan butterfly-linear --in-features 0 --profile mali", vec!["in_features is 0", "at least 1"]),
        (
            "plan butterfly-linear --out-features 18446744073709551615 --profile mali",
            vec!["too many elements"],
        ),
        ("plan monarch --w1 4294967296,4294967296,2 --w2 2,2,2 --profile mali", vec!["too many elements"]),
        ("plan monarch --batch 18446744073709551615 --profile mali", vec!["too many elements"]),
        ("plan pixelfly --batch 18446744073709551615 --profile mali", vec!["too many elements"]),
        ("plan block-sparse --batch 18446744073709551615 --profile mali", vec!["too many elements"]),
        ("plan monarch --n 768 --profile mali", vec!["768", "729 or 784", "--w1"]),
        ("plan monarch --n 18446744073709551615 --profile mali", vec!["18446744073709551615", "--w1"]),
        ("plan monarch --w1 8,192 --w2 24,16,64 --profile mali", vec!["8,192", "expected 3"]),
        ("plan monarch --w1 8,192,x --w2 24,16,64 --profile mali", vec!["\"x\" is no size"]),
        ("plan monarch --w1 8,192,96", vec!["--w2"]),
        ("plan monarch --w1 8,192,96 --w2 24,16,63 --profile mali", vec!["k q is 1536", "24 × 63 = 1512"]),
        ("plan linear-scan --length 100000000000 --profile mali", vec!["too many elements", "100000000000"]),
        (
            "plan linear-scan --length 1000000 --profile mali",
            vec!["error: a", "1.9 GiB", "256 MiB", "a buffer of this adapter holds at most"],
        ),
        ("plan ssd --chunk 0 --profile mali", vec!["chunk is 0", "1 to 256"]),
        ("plan ssd --heads 6 --groups 4 --profile mali", vec!["groups is 4", "divisor of the 6 heads"]),
        ("plan retnet --chunk 257 --profile mali", vec!["chunk is 257", "1 to 256"]),
        ("plan attention --profile mali --adapter any", vec!["--profile mali", "--adapter"]),
        ("plan attention --profile mali --as mali", vec!["--profile mali", "--as"]),
        ("plan attention --profile mali --shader-checks", vec!["--profile", "--shader-checks"]),
        ("--adapter any shader attention --profile mali", vec!["--profile mali", "--adapter"]),
        ("shader attention --profile mali --as mali", vec!["--profile mali", "--as"]),
        ("run attention in.safetensors", vec!["--output"]),
    ] {
        let ran = tilewise(line.split_whitespace());
        assert_eq!(ran.status.code(), Some(2), "{line}: {}", stderr(&ran));
        for word in words {
            assert!(stderr(&ran).contains(word), "{line}: {word:?} is not in: {}", stderr(&ran));
        }
    }
}

#[test]
fn no_adapter_has_a_code_of_its_own() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tilewise"));
    let ran = command.args(["info", "--adapter", "an adapter that nobody has"]).output().expect("it starts");
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("an adapter that nobody has"), "{}", stderr(&ran));
}

/// Damage to files, of every kind: whatever it leads to, it ends in an orderly way.
#[test]
fn damage_never_leads_to_a_panic() {
    let whole = file(&[
        tensor("a", F32, &[2, 3, 10]),
        tensor("b", F32, &[2, 3, 10]),
        tensor("h0", BF16, &[2, 3]),
        tensor("q", F16, Q),
        tensor("k", F16, K),
        tensor("v", F16, K),
        tensor("x", F32, &[2, 4]),
        tensor("w1", F32, &[2, 2, 2]),
        tensor("w2", F32, &[2, 2, 2]),
    ]);
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("8 bytes")) as usize;
    let mut random = StdRng::seed_from_u64(2);
    let mut codes = std::collections::BTreeMap::new();
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let with_adapter = adapter();
    for round in 0..300 {
        let mut bytes = whole.clone();
        match round % 4 {
            // Where the file ends is any place, mostly in the header.
            0 => bytes.truncate(random.random_range(0..=header + 8)),
            1 => bytes[random.random_range(0..header)] ^= 1 << random.random_range(0..8),
            // Another digit makes another shape, offset or length.
            2 => {
                let digits: Vec<_> = (8..header).filter(|&i| bytes[i].is_ascii_digit()).collect();
                bytes[digits[random.random_range(0..digits.len())]] = b'0' + random.random_range(0..10_u8);
            }
            _ => {
                for _ in 0..8 {
                    let place = random.random_range(0..bytes.len());
                    bytes[place] = random.random();
                }
            }
        }
        std::fs::write(&input, bytes).expect("written");
        let op = ["attention", "monarch", "linear-scan"][round / 4 % 3];
        let ran = run(&[op], &input, &output);
        let code = ran.status.code();
        let expected = [Some(2), if with_adapter { Some(0) } else { Some(3) }];
        assert!(expected.contains(&code), "round {round}: {code:?}: {}", stderr(&ran));
        assert_eq!(output.exists(), code == Some(0), "round {round}: {}", stderr(&ran));
        let _ = std::fs::remove_file(&output);
        *codes.entry(code).or_insert(0) += 1;
    }
    assert!(codes[&Some(2)] > 150, "too little of the damage was noticed: {codes:?}");
}
