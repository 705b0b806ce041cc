//! What the tests of the command line share: the built binary, safetensors files, and the tests' own adapter.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, TensorView};

/// The goldens, from the workspace's root: inputs and forward outputs in f32, computed in f64 by others.
pub fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/goldens.safetensors")
}

/// Runs the binary.
pub fn tilewise<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilewise"));
    if let Ok(adapter) = std::env::var("TILEWISE_ADAPTER") {
        command.args(["--adapter", &adapter]);
    }
    command.args(args).output().expect("the binary starts")
}

/// Runs the binary, which must succeed, and returns what it printed.
pub fn stdout<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = tilewise(args);
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(&output));
    String::from_utf8(output.stdout).expect("text")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether there is an adapter. Where there is none the test fails, unless the environment allows it.
pub fn adapter() -> bool {
    let output = tilewise(["info"]);
    match output.status.code() {
        Some(0) => true,
        Some(3) if std::env::var("TILEWISE_ALLOW_NO_GPU").is_ok_and(|value| value == "1") => {
            eprintln!("SKIPPED, since TILEWISE_ALLOW_NO_GPU is set: {}", stderr(&output));
            false
        }
        code => panic!("exit code {code:?}: {}", stderr(&output)),
    }
}

/// A tensor to be written, as name, type, shape and bytes.
pub type Named<'a> = (&'a str, Dtype, &'a [usize], Vec<u8>);

/// A tensor of small values of that type.
pub fn tensor<'a>(name: &'a str, dtype: Dtype, shape: &'a [usize]) -> Named<'a> {
    let count: usize = shape.iter().product();
    let bytes = (0..count).flat_map(|i| {
        let value = (i % 7) as f32 / 8.0;
        match dtype {
            Dtype::F32 => value.to_le_bytes().to_vec(),
            Dtype::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
            Dtype::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
            _ => vec![0; dtype.bitsize() / 8],
        }
    });
    (name, dtype, shape, bytes.collect())
}

/// The bytes of a file of these tensors.
pub fn file(tensors: &[Named<'_>]) -> Vec<u8> {
    let view = |(name, dtype, shape, bytes)| {
        (name, TensorView::new(dtype, shape, bytes).expect("bytes fill the shape"))
    };
    let views =
        tensors.iter().map(|(name, dtype, shape, bytes)| view((*name, *dtype, shape.to_vec(), bytes)));
    safetensors::serialize(views, None).expect("a file")
}

/// The JSON Schema of records, as it is published.
pub fn published_schema() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmark.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("docs/benchmark.schema.json")).expect("JSON")
}

/// Fails with everything in the record that the published schema does not allow.
pub fn assert_record(record: &serde_json::Value) {
    let schema = jsonschema::validator_for(&published_schema()).expect("a schema");
    let errors: Vec<_> =
        schema.iter_errors(record).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}
