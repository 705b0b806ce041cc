//! `tilewise run` on scans, with answers by hand.

mod common;

use common::{adapter, stderr, tilewise};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

/// A tensor of the file: its name, shape and values.
type Given<'a> = (&'a str, &'a [usize], &'a [f32]);

fn floats((name, shape, values): Given<'_>) -> common::Named<'_> {
    (name, Dtype::F32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Runs an operation, and returns the values of its outputs of those names.
fn run<const N: usize>(line: &str, tensors: &[common::Named<'_>], names: [&str; N]) -> [Vec<f32>; N] {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&input, common::file(tensors)).expect("written");
    let paths = [input.to_str().expect("text"), "-o", output.to_str().expect("text")];
    let ran = tilewise(["run"].into_iter().chain(line.split_whitespace()).chain(paths));
    assert!(ran.status.success(), "{line}: {}", stderr(&ran));
    assert!(!stderr(&ran).contains("ignored"), "{line}: {}", stderr(&ran));
    let bytes = std::fs::read(&output).expect("the output");
    let file = SafeTensors::deserialize(&bytes).expect("a whole file");
    names.map(|name| {
        let view = file.tensor(name).unwrap_or_else(|error| panic!("{line}: {error}"));
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    })
}

#[test]
fn sums_and_maxima() {
    if !adapter() {
        return;
    }
    let shape = &[1, 1, 4][..];
    let x = ("x", shape, &[2.0, 2.0, 3.0, 1.0][..]);
    let (dy, start) = (("dy", shape, &[1.0, 10.0, 100.0, 1000.0][..]), ("h0", &[1, 1][..], &[2.0][..]));
    let tensors = [x, dy, start].map(floats);
    let found = run("associative-scan --op sum", &tensors, ["y", "last_state", "dx", "dh0"]);
    assert_eq!(found[0], [4.0, 6.0, 9.0, 10.0]);
    assert_eq!((&found[1][..], &found[3][..]), (&[10.0][..], &[1111.0][..]));
    assert_eq!(found[2], [1111.0, 1110.0, 1100.0, 1000.0]);
    let line = "associative-scan --op sum --reverse --exclusive";
    let found = run(line, &tensors, ["y", "last_state", "dx", "dh0"]);
    assert_eq!(found[0], [8.0, 6.0, 3.0, 2.0]);
    assert_eq!((&found[1][..], &found[3][..]), (&[10.0][..], &[1111.0][..]));
    assert_eq!(found[2], [0.0, 1.0, 11.0, 111.0]);
    let found = run("associative-scan --op max", &tensors, ["y", "last_state", "dx", "dh0"]);
    assert_eq!(found[0], [2.0, 2.0, 3.0, 3.0]);
    assert_eq!((&found[1][..], &found[3][..]), (&[3.0][..], &[11.0][..]));
    assert_eq!(found[2], [0.0, 0.0, 1100.0, 0.0]);
}

#[test]
fn complex_and_exclusive_recurrences() {
    if !adapter() {
        return;
    }
    // h = 1 + i, then i (1 + i) + 2 = 1 + i.
    let shape = &[1, 1, 2, 2][..];
    let (a, b) = (("a", shape, &[9.0, 9.0, 0.0, 1.0][..]), ("b", shape, &[1.0, 1.0, 2.0, 0.0][..]));
    let dh = ("dh", shape, &[0.0, 0.0, 1.0, 0.0][..]);
    let found = run("linear-scan --complex", &[a, b, dh].map(floats), ["h", "last_state", "da", "db"]);
    assert_eq!((&found[0][..], &found[1][..]), (&[1.0, 1.0, 1.0, 1.0][..], &[1.0, 1.0][..]));
    assert_eq!((&found[2][..], &found[3][..]), (&[0.0, 0.0, 1.0, -1.0][..], &[0.0, -1.0, 1.0, 0.0][..]));
    let shape = &[1, 1, 3][..];
    let (a, b) = (("a", shape, &[2.0, 3.0, 5.0][..]), ("b", shape, &[1.0, 1.0, 1.0][..]));
    let start = ("h0", &[1, 1][..], &[7.0][..]);
    let tensors = [a, b, ("dh", shape, &[1.0, 1.0, 1.0][..]), start].map(floats);
    let found = run("linear-scan --exclusive", &tensors, ["h", "last_state", "da", "db", "dh0"]);
    assert_eq!((&found[0][..], &found[1][..]), (&[7.0, 15.0, 46.0][..], &[231.0][..]));
    assert_eq!((&found[2][..], &found[3][..]), (&[28.0, 15.0, 0.0][..], &[4.0, 1.0, 0.0][..]));
    assert_eq!(found[4], [9.0]);
    let found = run("linear-scan --exclusive --reverse", &tensors, ["h", "last_state"]);
    assert_eq!((&found[0][..], &found[1][..]), (&[109.0, 36.0, 7.0][..], &[219.0][..]));
}

/// The taps of a step end where its sequence begins, whatever the numbers of sequences are.
#[test]
fn convolutions_of_several_sequences() {
    if !adapter() {
        return;
    }
    let shape = &[1, 1, 5][..];
    let (x, dy) = (("x", shape, &[1.0, 2.0, 3.0, 4.0, 5.0][..]), ("dy", shape, &[1.0; 5][..]));
    let weight = ("weight", &[1, 2][..], &[10.0, 1.0][..]);
    let indices = [7_i64, 7, 1 << 40, 1 << 40, 7];
    let bytes = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
    let mut tensors = [x, dy, weight].map(floats).to_vec();
    tensors.push(("seq_idx", Dtype::I64, &[1, 5], bytes));
    let [y, dx, dweight] = run("conv1d", &tensors, ["y", "dx", "dweight"]);
    assert_eq!(y, [1.0, 12.0, 3.0, 34.0, 5.0]);
    assert_eq!(dx, [11.0, 1.0, 11.0, 1.0, 1.0]);
    assert_eq!(dweight, [4.0, 15.0]);
}

/// Packed sequences have states of their own, of which one may have no steps; two channels lie innermost.
#[test]
fn convolutions_of_packed_sequences() {
    if !adapter() {
        return;
    }
    let shape = &[1, 4, 2][..];
    let x = ("x", shape, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0][..]);
    let dy = ("dy", shape, &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0][..]);
    let weight = ("weight", &[2, 2][..], &[10.0, 1.0, 100.0, 1.0][..]);
    let initial = ("initial_state", &[3, 2, 1][..], &[5.0, 0.0, 6.0, 7.0, 8.0, 9.0][..]);
    let mut tensors = [x, dy, weight, initial].map(floats).to_vec();
    let bytes = [0_i64, 1, 1, 4].iter().flat_map(|start| start.to_le_bytes()).collect();
    tensors.push(("cu_seqlens", Dtype::I64, &[4], bytes));
    let names = ["y", "last_state", "dx", "dweight", "dinitial_state"];
    let [y, last, dx, dweight, dinitial] = run("conv1d --channels-last", &tensors, names);
    assert_eq!(y, [51.0, 10.0, 82.0, 920.0, 23.0, 2030.0, 34.0, 3040.0]);
    assert_eq!(last, [1.0, 10.0, 6.0, 7.0, 4.0, 40.0]);
    assert_eq!(dx, [1.0, 0.0, 11.0, 0.0, 11.0, 100.0, 1.0, 1.0]);
    assert_eq!(dweight, [18.0, 10.0, 30.0, 40.0]);
    assert_eq!(dinitial, [10.0, 0.0, 0.0, 0.0, 10.0, 0.0]);
}

/// Sequences that are packed are each what it is alone: results, states and gradients.
#[test]
fn packed_sequences_of_a_mamba2_core() {
    if !adapter() {
        return;
    }
    let values = |first: f32, count: usize| -> Vec<f32> {
        (0..count).map(|i| (first + 1.7 * i as f32).sin()).collect()
    };
    let [xbc, dt, dout] = [values(0.1, 18), values(0.2, 6), values(0.3, 6)];
    let [weight, conv_initial, initial] = [values(0.4, 9), values(0.5, 12), values(0.6, 2)];
    let names = ["out", "conv_last_state", "final_states", "dxBC", "dweight", "dconv_initial_state"];
    // The given sequences' steps from one to before another, and their states.
    let core = |steps: std::ops::Range<usize>, states: std::ops::Range<usize>, starts: Option<[i64; 3]>| {
        let (length, count) = (steps.len(), states.len());
        let of = |values: &[f32], width: usize, range: &std::ops::Range<usize>| {
            values[range.start * width..range.end * width].to_vec()
        };
        let given = [
            ("xBC", vec![1, length, 3], of(&xbc, 3, &steps)),
            ("dt", vec![1, length, 1], of(&dt, 1, &steps)),
            ("dout", vec![1, length, 1, 1], of(&dout, 1, &steps)),
            ("weight", vec![3, 3], weight.clone()),
            ("A", vec![1], vec![-0.5]),
            ("conv_initial_state", vec![count, 3, 2], of(&conv_initial, 6, &states)),
            ("initial_states", vec![count, 1, 1, 1], of(&initial, 1, &states)),
        ];
        let mut tensors: Vec<_> =
            given.iter().map(|(name, shape, values)| floats((name, &shape[..], &values[..]))).collect();
        if let Some(starts) = starts {
            let bytes = starts.iter().flat_map(|start| start.to_le_bytes()).collect();
            tensors.push(("cu_seqlens", Dtype::I64, &[3], bytes));
        }
        run("mamba2 --state-dim 1 --dt-softplus", &tensors, names)
    };
    let (one, two) = (core(0..1, 0..1, None), core(1..6, 1..2, None));
    let packed = core(0..6, 0..2, Some([0, 1, 6]));
    for (i, name) in names.into_iter().enumerate() {
        let alone = if name == "dweight" {
            one[i].iter().zip(&two[i]).map(|(one, two)| one + two).collect()
        } else {
            [&one[i][..], &two[i]].concat()
        };
        assert_eq!(packed[i].len(), alone.len(), "{name}");
        assert!(alone.iter().any(|x| x.abs() > 0.05), "{name}");
        for (found, expected) in packed[i].iter().zip(&alone) {
            assert!((found - expected).abs() < 1e-5, "{name}: {found} for {expected}");
        }
    }
}

/// Chunks of nothing, groups that do not divide, tensors of other lengths, no steps: refused with the numbers, exit code 2,
/// and nothing is written. None of it needs an adapter.
#[test]
fn bad_input_is_refused_with_numbers() {
    let refused = |line: &str, tensors: &[common::Named<'_>], words: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let (input, output) = (folder.path().join("in"), folder.path().join("out"));
        std::fs::write(&input, common::file(tensors)).expect("written");
        let paths = [input.to_str().expect("text"), "-o", output.to_str().expect("text")];
        let ran = tilewise(["run"].into_iter().chain(line.split_whitespace()).chain(paths));
        assert_eq!(ran.status.code(), Some(2), "{line}: {}", stderr(&ran));
        assert!(stderr(&ran).contains(words), "{line}: {words:?} is not in: {}", stderr(&ran));
        assert!(!output.exists(), "{line} left an output behind");
    };
    let named = |tensors: &[(&'static str, &'static [usize])]| -> Vec<common::Named<'static>> {
        tensors.iter().map(|&(name, shape)| common::tensor(name, Dtype::F32, shape)).collect()
    };

    let ssd = |b: &'static [usize]| {
        named(&[("x", &[1, 9, 4, 8]), ("dt", &[1, 9, 4]), ("A", &[4]), ("B", b), ("C", b)])
    };
    refused("ssd --chunk 0", &ssd(&[1, 9, 1, 5]), "chunk is 0, expected 1 to 256");
    refused("ssd --chunk 257", &ssd(&[1, 9, 1, 5]), "chunk is 257, expected 1 to 256");
    refused("ssd", &ssd(&[1, 9, 3, 5]), "groups is 3, expected a divisor of the 4 heads");
    refused("ssd", &ssd(&[1, 8, 1, 5]), "B has shape [1, 8, 1, 5], expected [1, 9, 1, 5]");

    let selective = |b: &'static [usize], length: &'static [usize]| {
        named(&[("u", &[1, 6, 9]), ("delta", length), ("A", &[6, 4]), ("B", b), ("C", b)])
    };
    let words = "groups is 4, expected a divisor of the 6 channels";
    refused("selective-scan", &selective(&[1, 4, 4, 9], &[1, 6, 9]), words);
    let words = "delta has shape [1, 6, 8], expected [1, 6, 9]";
    refused("selective-scan", &selective(&[1, 4, 9], &[1, 6, 8]), words);
    let words = "B has shape [1, 4, 10], expected [1, 4, 9]";
    refused("selective-scan", &selective(&[1, 4, 10], &[1, 6, 9]), words);
    let none = named(&[
        ("u", &[1, 6, 0]),
        ("delta", &[1, 6, 0]),
        ("A", &[6, 4]),
        ("B", &[1, 4, 0]),
        ("C", &[1, 4, 0]),
    ]);
    refused("selective-scan", &none, "length is 0, expected at least 1");

    refused("conv1d", &named(&[("x", &[1, 2, 0]), ("weight", &[2, 4])]), "length is 0, expected at least 1");
    refused("conv1d", &named(&[("x", &[1, 2, 9]), ("weight", &[2, 5])]), "width is 5, expected 2 to 4");
    let packed = |x: &'static [usize], starts: &[i64]| {
        let mut tensors = named(&[("x", x), ("weight", &[2, 4])]);
        let bytes = starts.iter().flat_map(|start| start.to_le_bytes()).collect();
        tensors.push(("cu_seqlens", Dtype::I64, Box::leak(Box::new([starts.len()])), bytes));
        tensors
    };
    let innermost = "expected channels that lie innermost";
    refused("conv1d", &packed(&[1, 2, 9], &[0, 4, 9]), innermost);
    let words = "the last sequence's end is 8, expected the length, 9";
    refused("conv1d --channels-last", &packed(&[1, 9, 2], &[0, 4, 8]), words);
    let words = "batch is 3, expected 1, since its sequences are packed";
    refused("conv1d --channels-last", &packed(&[3, 9, 2], &[0, 4, 9]), words);
    refused("long-conv", &named(&[("u", &[1, 2, 0]), ("k", &[2, 0])]), "length is 0, expected at least 1");
    let words = "dy has shape [1, 2, 8], expected [1, 2, 9]";
    refused("long-conv", &named(&[("u", &[1, 2, 9]), ("k", &[2, 9]), ("dy", &[1, 2, 8])]), words);
    let words = "length is 0, expected at least 1";
    refused("associative-scan --op max", &named(&[("x", &[1, 2, 0])]), words);
    let gla = named(&[("q", &[1, 9, 2, 4]), ("k", &[1, 9, 2, 4]), ("v", &[1, 9, 2, 4]), ("g", &[1, 8, 2])]);
    refused("gla", &gla, "g has shape [1, 8, 2], expected [1, 9, 2]");
}
