//! `tilewise project`, and `tilewise run` on structured layers that have no goldens.

mod common;

use std::path::Path;

use common::{Named, adapter, file, stderr, stdout, tensor, tilewise};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

fn floats<'a>(name: &'a str, shape: &'a [usize], values: &[f32]) -> Named<'a> {
    (name, Dtype::F32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn values(path: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("the output");
    let tensors = SafeTensors::deserialize(&bytes).expect("a whole file");
    let data = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data().to_vec();
    data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn line<'a>(args: &[&'a str], input: &'a Path, output: &'a Path) -> Vec<&'a str> {
    let paths = [input.to_str().expect("text"), "-o", output.to_str().expect("text")];
    [args, &paths].concat()
}

/// The slices of even rows and of odd ones, two columns each: one of rank 2 loses its smaller singular value, 1 of a
/// norm of √35. What is left is what a product with the factors gives of the identity.
#[test]
fn a_dense_weight_becomes_its_nearest_monarch() {
    let folder = tempfile::tempdir().expect("a folder");
    let [input, factors, product, y] =
        ["in", "factors", "product", "y"].map(|name| folder.path().join(name).with_extension("safetensors"));
    #[rustfmt::skip]
    let weight = [
        3.0, 0.0, 0.0, 0.0,
        0.0, 0.0, 0.0, 0.0,
        0.0, 1.0, 0.0, 0.0,
        0.0, 0.0, 0.0, 5.0,
    ];
    std::fs::write(&input, file(&[floats("weight", &[4, 4], &weight)])).expect("written");
    let text = stdout(line(&["project", "--to", "monarch", "--blocks", "2"], &input, &factors));
    assert!(text.contains("weight to w1 2 × 2 × 2 and w2 2 × 2 × 2: 16 parameters"), "{text}");
    let distance =
        "error 1.690e-1 of the weight's Frobenius norm (1.0000e0 of 5.9161e0), 1.690e-1 as written in f32";
    assert!(text.contains(distance), "{text}");
    let json =
        stdout(line(&["--json", "project", "--to", "monarch", "--blocks", "2,2", "--rank", "2"], &input, &y));
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(report["relative_error"].as_f64().is_some_and(|error| error < 1e-12), "{report}");
    let written = report["written_relative_error"].as_f64().expect("a number");
    assert!((1e-10..1e-7).contains(&written), "roots of 3 and 5 are not f32: {report}");
    // And back, under a name of its own.
    let text = stdout(line(&["project", "--to", "dense", "--name", "near"], &factors, &product));
    assert!(text.contains("w1 and w2 to near 4 × 4: 16 parameters"), "{text}");
    for (at, found) in values(&product, "near").into_iter().enumerate() {
        let expected = if at == 2 * 4 + 1 { 0.0 } else { weight[at] };
        assert!((found - expected).abs() < 1e-6, "at {at}: {found} for {expected}");
    }

    if !adapter() {
        return;
    }
    let identity: Vec<f32> = (0..16).map(|at| f32::from(u8::from(at / 4 == at % 4))).collect();
    let (w1, w2) = (values(&factors, "w1"), values(&factors, "w2"));
    let cube = &[2, 2, 2];
    let tensors = [floats("x", &[4, 4], &identity), floats("w1", cube, &w1), floats("w2", cube, &w2)];
    std::fs::write(&product, file(&tensors)).expect("written");
    stdout(line(&["run", "monarch"], &product, &y));
    // Row i of y is column i of the matrix.
    let near = values(&y, "y");
    for (at, &found) in near.iter().enumerate() {
        let (row, column) = (at % 4, at / 4);
        let expected = if (row, column) == (2, 1) { 0.0 } else { weight[row * 4 + column] };
        assert!((found - expected).abs() < 1e-6, "row {row}, column {column}: {found} for {expected}");
    }
}

/// One block for one output of two inputs, a gate of a quarter: as the oracle's hand-computed test.
#[test]
fn a_pixelfly_layer_and_its_gradients_by_hand() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
    let mut w = [9.0; 64];
    (w[0], w[1]) = (3.0, 5.0);
    let tensors = [
        floats("x", &[1, 2], &[1.0, 10.0]),
        floats("mask", &[1, 1], &[1.0]),
        floats("w", &[1, 8, 8], &w),
        floats("u", &[2, 1], &[7.0, 11.0]),
        floats("v", &[1, 1], &[2.0]),
        floats("gate", &[1], &[0.25]),
        floats("bias", &[1], &[100.0]),
        floats("dy", &[1, 1], &[4.0]),
    ];
    std::fs::write(&input, file(&tensors)).expect("written");
    stdout(line(&["run", "pixelfly"], &input, &output));
    assert_eq!(values(&output, "y"), [198.25]);
    assert_eq!(values(&output, "dx"), [23.0, 37.0]);
    assert_eq!(values(&output, "dw")[..3], [3.0, 30.0, 0.0]);
    assert_eq!((values(&output, "du"), values(&output, "dv")), (vec![2.0, 20.0], vec![117.0]));
    assert_eq!((values(&output, "dgate"), values(&output, "dbias")), (vec![724.0], vec![4.0]));
}

/// Two inputs and three outputs: two products of two nodes, the last of whose four results is trimmed. As the oracle's
/// hand-computed test.
#[test]
fn a_butterfly_layer_and_its_gradients_by_hand() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
    let tensors = [
        floats("x", &[2, 2], &[1.0, 10.0, 2.0, 0.0]),
        floats("twiddle", &[2, 1, 1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
        floats("bias", &[3], &[0.5, 0.0, -1.0]),
        floats("dy", &[2, 3], &[1.0, 0.0, 2.0, 0.0, 1.0, 1.0]),
    ];
    std::fs::write(&input, file(&tensors)).expect("written");
    stdout(line(&["run", "butterfly-linear"], &input, &output));
    assert_eq!(values(&output, "y"), [21.5, 43.0, 64.0, 2.5, 6.0, 9.0]);
    assert_eq!(values(&output, "dx"), [11.0, 14.0, 8.0, 10.0]);
    assert_eq!(values(&output, "dtwiddle"), [1.0, 10.0, 2.0, 0.0, 4.0, 20.0, 0.0, 0.0]);
    assert_eq!(values(&output, "dbias"), [1.0, 1.0, 3.0]);
    // Without a bias and dy, all that the products give.
    std::fs::write(&input, file(&tensors[..2])).expect("written");
    stdout(line(&["run", "butterfly-linear"], &input, &output));
    assert_eq!(values(&output, "y"), [21.0, 43.0, 65.0, 87.0, 2.0, 6.0, 10.0, 14.0]);
}

/// A mask of truth values, as comparisons make them, or of integers.
#[test]
fn masks_may_hold_truth_values() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
    let mut w = [0.0; 64];
    w[0] = 3.0;
    let [x, w] = [floats("x", &[1, 8], &[2.0; 8]), floats("w", &[1, 8, 8], &w)];
    let mut expected = vec![0.0; 16];
    expected[8] = 6.0;
    let minus_two = (-2_i64).to_le_bytes().to_vec();
    for (dtype, mask) in [
        (Dtype::BOOL, vec![0, 1]),
        (Dtype::U8, vec![0, 1]),
        (Dtype::I8, vec![0, 255]),
        (Dtype::I64, [vec![0; 8], minus_two].concat()),
    ] {
        std::fs::write(&input, file(&[x.clone(), w.clone(), ("mask", dtype, &[1, 2], mask)]))
            .expect("written");
        stdout(line(&["run", "block-sparse"], &input, &output));
        assert_eq!(values(&output, "y"), expected);
    }
}

/// One block of one weight each: y = 2 · 3 x + 5.
#[test]
fn a_monarch_layer_takes_a_bias() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
    let one = &[1, 1, 1];
    let tensors = [
        floats("x", &[2, 1], &[1.0, 10.0]),
        floats("w1", one, &[2.0]),
        floats("w2", one, &[3.0]),
        floats("bias", &[1], &[5.0]),
        floats("dy", &[2, 1], &[1.0, -2.0]),
    ];
    std::fs::write(&input, file(&tensors)).expect("written");
    stdout(line(&["run", "monarch"], &input, &output));
    assert_eq!((values(&output, "y"), values(&output, "dx")), (vec![11.0, 65.0], vec![6.0, -12.0]));
    assert_eq!((values(&output, "dw1"), values(&output, "dw2")), (vec![-57.0], vec![-38.0]));
    assert_eq!(values(&output, "dbias"), [-1.0]);
    let text = stdout(["plan", "monarch", "--bias", "--profile", "webgpu-baseline"]);
    assert!(text.contains("528384 parameters, 31.8 times fewer than dense (16781312)"), "{text}");
}

/// Slices of one rank or none are projected like any other.
#[test]
fn singular_and_zero_weights_have_projections() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
    for (weight, words) in [([1.0; 64], "as written in f32"), ([0.0; 64], "error 0.000e0 of")] {
        std::fs::write(&input, file(&[floats("weight", &[8, 8], &weight)])).expect("written");
        let project = ["project", "--to", "monarch", "--blocks", "4", "--rank", "2"];
        let text = stdout(line(&project, &input, &output));
        assert!(text.contains(words), "{text}");
        assert!(values(&output, "w1").iter().all(|weight| weight.is_finite()));
        stdout(line(&["project", "--to", "dense"], &output, &input));
        let near = values(&input, "weight");
        assert!(near.iter().zip(weight).all(|(near, weight)| (near - weight).abs() < 1e-6), "{near:?}");
    }
}

#[test]
fn wrong_masks_blocks_and_weights_are_refused_with_numbers() {
    let refused = |args: &[&str], tensors: &[Named<'_>], words: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let (input, output) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
        std::fs::write(&input, file(tensors)).expect("written");
        let ran = tilewise(line(args, &input, &output));
        let message = stderr(&ran);
        assert_eq!(ran.status.code(), Some(2), "{args:?}, expected {words:?}: {message}");
        assert!(message.contains(words), "{args:?}: {words:?} is not in: {message}");
        assert!(!output.exists(), "{args:?} left an output behind");
    };
    let project = &["project", "--to", "monarch", "--blocks", "4"];
    let weight = |shape| vec![tensor("weight", Dtype::F32, shape)];
    refused(project, &weight(&[8, 9]), "the number of blocks of columns is 4, expected a divisor of 9");
    refused(project, &weight(&[8]), "weight has 1 dimensions");
    refused(project, &[floats("weight", &[4, 4], &[f32::NAN; 16])], "the dense matrix is NaN");
    let ranked = [&project[..], &["--rank", "3"]].concat();
    refused(&ranked, &weight(&[8, 8]), "rank is 3, expected 1 to 2");
    refused(&["project", "--to", "monarch"], &weight(&[8, 8]), "--blocks");
    let factors = |w2| vec![tensor("w1", Dtype::F32, &[2, 3, 4]), tensor("w2", Dtype::F32, w2)];
    let back = &["project", "--to", "dense"];
    refused(back, &factors(&[3, 5, 3]), "k q is 6, expected l r = 3 × 3 = 9");
    refused(back, &factors(&[3, 6]), "w2 has 2 dimensions");
    refused(&[&back[..], &["--rank", "2"]].concat(), &factors(&[3, 5, 2]), "--rank is for --to monarch");

    let layer = |mask: &[f32], side: usize, inputs: usize| {
        let shape = vec![1, side, side];
        let shape: &'static [usize] = Vec::leak(shape);
        let x: &'static [usize] = Vec::leak(vec![3, inputs]);
        vec![tensor("x", Dtype::F32, x), tensor("w", Dtype::F32, shape), floats("mask", &[1, 2], mask)]
    };
    let run = &["run", "block-sparse"];
    refused(run, &layer(&[0.0, 0.0], 16, 16), "the number of blocks in the mask is 0, expected at least 1");
    refused(run, &layer(&[1.0, 1.0], 16, 16), "w has shape [1, 16, 16], expected [2, 16, 16]");
    refused(run, &layer(&[1.0, 0.0], 24, 24), "the side of a block is 24, expected 8, 16, 32 or 64");
    let flat = [&layer(&[], 16, 16)[..2], &[floats("mask", &[2], &[1.0; 2])]].concat();
    refused(run, &flat, "mask has 1 dimensions, of shape [2]; expected 2: (row blocks, column blocks)");
    let doubles = [&layer(&[], 16, 16)[..2], &[tensor("mask", Dtype::F64, &[1, 2])]].concat();
    refused(run, &doubles, "mask holds F64, expected booleans or numbers");
    let overhang = "rows of blocks in the mask is 1, expected 2: 17 in blocks of 16";
    refused(run, &layer(&[1.0, 0.0], 16, 17), overhang);
}

/// No adapter is needed to say what structure saves.
#[test]
fn plans_say_how_many_times_fewer_than_dense() {
    let text = stdout(["plan", "monarch", "--n", "4096", "--profile", "webgpu-baseline"]);
    let saved = "524288 parameters, 32.0 times fewer than dense (16777216); \
                 1.074e9 operations, 32.0 times fewer (3.436e10)";
    assert!(text.contains(saved), "{text}");
    assert!(text.contains("forward: ") && text.contains("backward: "), "{text}");
    let text = stdout(["plan", "butterfly-linear", "--bias", "--profile", "webgpu-baseline"]);
    assert!(text.contains("102400 parameters, 163.9 times fewer than dense (16781312)"), "{text}");
    assert!(text.contains(" operations, "), "{text}");
    let text = stdout(["plan", "pixelfly", "--config", "mixer-b", "--profile", "apple-m1"]);
    assert!(text.contains("times fewer than dense"), "{text}");
    // 2 · 4096 · 12 numbers; of blocks, 6 of each 32; and of complex elements, two numbers each on either side.
    let text = stdout(["plan", "butterfly", "--profile", "webgpu-baseline"]);
    assert!(text.contains("98304 parameters, 170.7 times fewer than dense (16777216)"), "{text}");
    let text = stdout([
        "plan",
        "butterfly",
        "--n",
        "64",
        "--complex",
        "--nstacks",
        "3",
        "--profile",
        "webgpu-baseline",
    ]);
    assert!(text.contains("4608 parameters, 5.3 times fewer than dense (24576)"), "{text}");
    let text = stdout(["plan", "block-sparse", "--n", "1024", "--profile", "webgpu-baseline"]);
    assert!(text.contains("196608 parameters, 5.3 times fewer than dense (1048576)"), "{text}");
}
