//! `tilewise run` on the goldens, as a user would call it.

mod common;

use common::{adapter, goldens, stderr, tilewise};
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// Outputs that are f32 whatever the inputs are, of every operation or of one.
const IN_F32: &[&str] = &[
    "lse",
    "dalibi_slopes",
    "dsink",
    "long-conv/dk",
    "long-conv/dD",
    "last_state",
    "dh0",
    "dweight",
    "dbias",
    "dA",
    "selective-scan/dD",
    "ddelta_bias",
    "ssd/final_states",
    "ssd/dD",
    "ssd/dinitial_states",
];

/// Everything of a tensor in f64.
fn values(view: &TensorView<'_>) -> Vec<f64> {
    let data = view.data();
    match view.dtype() {
        Dtype::F32 => {
            data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()).collect()
        }
        Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).into()).collect(),
        Dtype::BF16 => data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).into()).collect(),
        other => panic!("{other:?} is no type of an output"),
    }
}

/// The largest difference as a share of the largest value; infinities must be equal.
fn error(ours: &TensorView<'_>, reference: &TensorView<'_>) -> f64 {
    assert_eq!(ours.shape(), reference.shape());
    let (ours, reference) = (values(ours), values(reference));
    let largest = reference.iter().filter(|x| x.is_finite()).fold(0.0_f64, |max, x| max.max(x.abs()));
    assert!(largest > 0.0, "a golden of zeros checks nothing");
    // Equal infinities differ by nothing.
    let difference = |(x, y): (&f64, &f64)| if x.to_bits() == y.to_bits() { 0.0 } else { (x - y).abs() };
    let differences: Vec<_> = ours.iter().zip(&reference).map(difference).collect();
    assert!(differences.iter().all(|d| d.is_finite()), "a NaN, or an infinity out of place");
    differences.into_iter().fold(0.0, f64::max) / largest
}

/// Runs every case of these options through the binary and compares its outputs.
fn check_goldens(file: &std::path::Path, extra: &[&str], dtype: Dtype, tolerance: f64) {
    let bytes = std::fs::read(goldens()).expect("the fixture");
    let expected = SafeTensors::deserialize(&bytes).expect("a whole file");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let cases = header.metadata().clone().expect("the cases' options");
    let folder = tempfile::tempdir().expect("a folder");
    let mut compared = 0;
    for (case, line) in cases {
        let op = line.split_whitespace().next().expect("an operation");
        let output = folder.path().join(format!("{case}.safetensors"));
        let mut args: Vec<String> = vec!["run".to_owned()];
        args.extend(line.split_whitespace().map(str::to_owned));
        args.extend([file.display().to_string(), "-o".to_owned(), output.display().to_string()]);
        args.extend(["--prefix".to_owned(), format!("{case}/")]);
        args.extend(extra.iter().map(|arg| (*arg).to_owned()));
        let ran = tilewise(&args);
        assert!(ran.status.success(), "{case}: {}", stderr(&ran));
        let bytes = std::fs::read(&output).expect("the output");
        let ours = SafeTensors::deserialize(&bytes).expect("a whole file");
        for (name, reference) in expected.tensors() {
            let Some(tensor) = name.strip_prefix(&format!("{case}/out.")) else { continue };
            let found = ours.tensor(tensor).unwrap_or_else(|error| panic!("{case}: {error}"));
            let in_f32 = IN_F32.contains(&tensor) || IN_F32.contains(&format!("{op}/{tensor}").as_str());
            let stored = if in_f32 { Dtype::F32 } else { dtype };
            assert_eq!(found.dtype(), stored, "{case}/{tensor}");
            let error = error(&found, &reference);
            assert!(
                error <= tolerance,
                "{case}/{tensor}: {error:.2e} of the largest value, allowed {tolerance:.0e}"
            );
            compared += 1;
        }
    }
    let outputs = expected.names().iter().filter(|name| name.contains("/out.")).count();
    assert_eq!(compared, outputs, "every output of the file was compared");
}

#[test]
fn every_golden_agrees() {
    if adapter() {
        check_goldens(&goldens(), &[], Dtype::F32, 1e-4);
    }
}

#[test]
fn every_golden_agrees_on_the_least_machine() {
    if adapter() {
        check_goldens(&goldens(), &["--as", "webgpu-baseline"], Dtype::F32, 1e-4);
    }
}

/// The goldens' inputs rounded to a narrower type: how errors grow is the acceptance grid's subject, here it counts
/// that the types go in and out.
#[test]
fn narrow_types_go_in_and_out() {
    if !adapter() {
        return;
    }
    let bytes = std::fs::read(goldens()).expect("the fixture");
    let file = SafeTensors::deserialize(&bytes).expect("a whole file");
    let folder = tempfile::tempdir().expect("a folder");
    for (dtype, tolerance) in [(Dtype::F16, 1e-2), (Dtype::BF16, 8e-2)] {
        let narrow = |(name, view): (String, TensorView<'_>)| {
            let bytes: Vec<u8> = values(&view)
                .into_iter()
                .flat_map(|x| match dtype {
                    Dtype::F16 => f16::from_f64(x).to_le_bytes(),
                    _ => bf16::from_f64(x).to_le_bytes(),
                })
                .collect();
            (name, view.shape().to_vec(), bytes)
        };
        let tensors: Vec<_> = file.tensors().into_iter().map(narrow).collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            (name, TensorView::new(dtype, shape.clone(), bytes).expect("bytes fill the shape"))
        });
        let path = folder.path().join("narrow.safetensors");
        std::fs::write(&path, safetensors::serialize(views, None).expect("a file")).expect("written");
        check_goldens(&path, &[], dtype, tolerance);
    }
}

#[test]
fn an_output_replaces_its_input() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("both.safetensors");
    std::fs::copy(goldens(), &path).expect("copied");
    let path = path.to_str().expect("a path of text");
    let args = ["run", "monarch", path, "-o", path, "--prefix", "monarch-rect/"];
    let ran = tilewise(args);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let bytes = std::fs::read(path).expect("the output");
    let mut names: Vec<_> = SafeTensors::deserialize(&bytes)
        .expect("a whole file")
        .names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["dw1", "dw2", "dx", "y"]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1, "no draft is left");
    // Nothing is ignored without saying so.
    assert!(stderr(&ran).contains("out.y"), "{}", stderr(&ran));
}

/// Attention from no queries is an answer without rows, as it is of an empty array.
#[test]
fn no_queries_have_empty_answers() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let tensors = [
        common::tensor("q", Dtype::F32, &[1, 0, 4, 8]),
        common::tensor("k", Dtype::F32, &[1, 7, 2, 8]),
        common::tensor("v", Dtype::F32, &[1, 7, 2, 8]),
    ];
    std::fs::write(&input, common::file(&tensors)).expect("written");
    let paths = [input.to_str().expect("text"), "-o", output.to_str().expect("text")];
    let ran = tilewise([&["run", "attention"][..], &paths].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let bytes = std::fs::read(&output).expect("the output");
    let answer = SafeTensors::deserialize(&bytes).expect("a whole file");
    assert_eq!(answer.tensor("o").expect("o").shape(), [1, 0, 4, 8]);
    assert_eq!(answer.tensor("lse").expect("lse").shape(), [1, 4, 0]);
}
