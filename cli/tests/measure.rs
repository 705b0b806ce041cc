//! Commands that compute and measure, on this machine's adapter.

mod common;

use common::{adapter, assert_record, published_schema, stderr, stdout, tilewise};
use serde_json::Value;

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout([args, &["--json"]].concat())).expect("JSON")
}

#[test]
fn a_benchmark_leaves_a_record() {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.json");
    let path = path.to_str().expect("text");
    let printed = json(&["bench", "scan", "--quick", "--note", "a test", "-o", path]);
    let written: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the record")).expect("JSON");
    assert_eq!(printed, written);
    assert_record(&written);
    let [engine, suite] = [&written["engine"], &written["suite"]];
    assert!(engine["on"].as_str().is_some_and(|on| on.starts_with("wgpu 30.")), "{engine}");
    assert_eq!(
        (suite["depth"].as_str(), suite["complete"].as_bool()),
        (Some("quick"), Some(true)),
        "{suite}"
    );
    assert_eq!(written["note"], "a test");
    let over = |report: &Value| {
        !report["length"].is_null() && report["yardsticks"].as_array().map(Vec::len) == Some(2)
    };
    let reports = written["reports"].as_array().expect("reports");
    for operation in ["linear scan", "selective scan", "ssd", "conv1d"] {
        let of =
            |report: &&Value| report["workload"].as_str().is_some_and(|name| name.starts_with(operation));
        assert!(reports.iter().filter(of).any(over), "{operation} beside both yardsticks in {written}");
    }
    for report in reports {
        assert!(report["fused"]["plan"].as_str().is_some_and(|plan| !plan.is_empty()), "{report}");
        let timing = &report["fused"]["timing"];
        assert!(timing["wall"]["median_ms"].as_f64() > Some(0.0), "{report}");
        let case = report["case"].as_str().expect("text");
        assert_eq!(case.ends_with(", backward"), report["pass"] == "backward", "{report}");
    }
    let refused = tilewise(["bench", "scan", "--quick", "-o", "no/such/folder/bench.json"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
}

#[test]
fn a_family_is_verified() {
    if !adapter() {
        return;
    }
    let table = stdout(["verify", "scan"]);
    for word in ["scan", "f32", "f16", "bf16", "worst error", "ok"] {
        assert!(table.contains(word), "{word:?} is not in {table}");
    }
    assert!(!table.contains("WRONG"), "{table}");
    let cases = stdout(["verify", "scan", "--as", "webgpu-baseline", "-v"]);
    assert!(cases.lines().count() > table.lines().count(), "{cases}");
}

/// What is published is what the types say. `TILEWISE_WRITE_SCHEMA=1` writes it anew.
#[test]
fn the_published_schema_is_that_of_records() {
    let printed = stdout(["bench", "--schema"]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmark.schema.json");
    if std::env::var_os("TILEWISE_WRITE_SCHEMA").is_some() {
        std::fs::write(path, &printed).expect("the schema can be written");
    }
    assert_eq!(std::fs::read_to_string(path).expect("the schema"), printed);
}

/// The schema is no formality: it refuses what a record does not say, and what it says besides.
#[test]
fn the_published_schema_is_strict() {
    let schema = jsonschema::validator_for(&published_schema()).expect("a schema");
    let old = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/record-v1.json"));
    let old: Value = serde_json::from_str(&old.expect("a record")).expect("JSON");
    let missing: Vec<_> = schema.iter_errors(&old).map(|error| error.to_string()).collect();
    for key in ["schema", "suite", "engine", "versions"] {
        assert!(
            missing
                .iter()
                .any(|error| error.contains(&format!("\"{key}\"")) || error.contains(&format!("'{key}'"))),
            "{key} is not in {missing:?}"
        );
    }
}

/// Ctrl-C ends a benchmark after the workload under way, and what was measured is kept.
#[cfg(unix)]
#[test]
fn an_interrupted_benchmark_keeps_what_it_measured() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::{Command, Stdio};

    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilewise"));
    if let Ok(adapter) = std::env::var("TILEWISE_ADAPTER") {
        command.args(["--adapter", &adapter]);
    }
    command.args(["bench", "butterfly", "--quick", "-v", "-o"]).arg(&path);
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe"));
    let mut log = String::new();
    // The first workload is measured once the second is announced.
    while log.matches("measuring ").count() < 2 {
        assert!(lines.read_line(&mut log).expect("text") > 0, "it ended early: {log}");
    }
    let killed = Command::new("kill").args(["-INT", &process.id().to_string()]).status();
    assert!(killed.expect("kill starts").success());
    lines.read_to_string(&mut log).expect("text");
    assert_eq!(process.wait().expect("it ends").code(), Some(130), "{log}");
    let record: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("the record")).expect("JSON");
    assert_record(&record);
    let (measured, all) = (record["reports"].as_array().map(Vec::len), record["suite"]["workloads"].as_u64());
    assert!(
        (1..all.unwrap_or_default() as usize).contains(&measured.unwrap_or_default()),
        "{measured:?} of {all:?}"
    );
    assert_eq!(record["suite"]["complete"], false);
    assert!(log.contains(&format!("stopped: {} of {}", measured.unwrap(), all.unwrap())), "{log}");
}
