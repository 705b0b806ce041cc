//! Commands that compute and measure, on this machine's adapter.

mod common;

use common::{adapter, stderr, stdout, tilewise};
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
    let printed = json(&["bench", "scan", "--quick", "-o", path]);
    let written: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the record")).expect("JSON");
    assert_eq!(printed, written);
    for key in ["date", "versions", "adapter", "caps", "ceilings", "reports"] {
        assert!(!written[key].is_null(), "{key} is not in {written}");
    }
    assert!(
        written["versions"]["wgpu"].as_str().is_some_and(|version| version.starts_with("30.")),
        "{written}"
    );
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
        assert!(report["fused"]["timing"]["wall"]["median_ms"].as_f64() > Some(0.0), "{report}");
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
