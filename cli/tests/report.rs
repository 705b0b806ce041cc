//! Records side by side and one after the other. None of these needs an adapter.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{assert_record, stderr, stdout, tilewise};
use serde_json::{Value, json};

/// A record that `tilewise bench --quick` wrote, shortened to five workloads.
const RECORD: &str = include_str!("fixtures/record-v2.json");

/// The same from before records had versions, with two workloads.
const OLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/record-v1.json");

fn record() -> Value {
    serde_json::from_str(RECORD).expect("JSON")
}

/// A folder with these records in files, whose paths are returned.
fn files<const N: usize>(records: [&Value; N]) -> (tempfile::TempDir, [String; N]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |at: usize| folder.path().join(format!("{at}.json")).to_str().expect("text").to_owned();
    let mut at = 0;
    let paths = records.map(|record| {
        at += 1;
        fs::write(path(at), record.to_string()).expect("a file");
        path(at)
    });
    (folder, paths)
}

fn reports(record: &mut Value) -> &mut Vec<Value> {
    record["reports"].as_array_mut().expect("reports")
}

/// Makes the fused times of a workload as many times as long.
fn slow_down(record: &mut Value, at: usize, times: f64) {
    for clock in ["device", "wall"] {
        let spread = &mut reports(record)[at]["fused"]["timing"][clock];
        for key in ["lower_ms", "median_ms", "upper_ms"] {
            spread[key] = json!(spread[key].as_f64().expect("a number") * times);
        }
        for end in spread["interval_ms"].as_array_mut().into_iter().flatten() {
            *end = json!(end.as_f64().expect("a number") * times);
        }
    }
}

/// The same record with other shares of the ceiling, on an adapter of that name.
fn on(adapter: &str, share: f64) -> Value {
    let mut record = record();
    record["adapter"]["name"] = json!(adapter);
    for report in reports(&mut record) {
        report["fused"]["ceiling_fraction"] = json!(share);
    }
    record
}

#[test]
fn the_fixture_is_a_record() {
    assert_record(&record());
}

#[test]
fn a_page_has_everything_and_needs_nothing() {
    let (folder, [ours, theirs]) = files([&record(), &on("Example GPU 9000", 0.5)]);
    let page = folder.path().join("report.html");
    let out = tilewise(["report", &ours, &theirs, OLD, "-o", page.to_str().expect("text")]);
    assert!(out.status.success() && out.stdout.is_empty(), "{}", stderr(&out));
    let page = fs::read_to_string(page).expect("a page");
    for section in ["machines", "portability", "ceiling", "rooflines", "fused", "memory", "scaling", "all"] {
        assert!(page.contains(&format!("<h2 id=\"{section}\">")), "{section}");
    }
    for text in [
        "Example GPU 9000",
        "B · Example GPU 9000",
        "attention f16 s 2048 d 64",
        "times faster than unfused",
        "operations for each byte that must move",
        "different versions of the suite",
        "prefers-color-scheme: dark",
        "@media print",
        "aria-sort",
    ] {
        assert!(page.contains(text), "{text:?} is not in the page");
    }
    // The plan that each adapter got.
    let plan = record()["reports"][0]["fused"]["plan"].as_str().expect("text").to_owned();
    assert!(page.contains(&plan), "{plan}");
    // Rooflines of three machines, a heat map, two comparisons, a scaling.
    assert_eq!(page.matches("<svg").count(), 7);
    for loads in ["http:", "https:", "//", "src=", "@import", "url(", "<link", "fetch("] {
        let comments = |line: &&str| !line.trim_start().starts_with("//");
        let found = page.lines().filter(comments).find(|line| line.contains(loads));
        assert_eq!(found, None, "{loads:?} loads something");
    }
}

#[test]
fn nothing_in_a_record_becomes_markup() {
    let evil = "<script>alert('x')</script> & | \"b\"";
    let mut record = on(evil, 0.5);
    record["note"] = json!(evil);
    record["adapter"]["driver"] = json!(evil);
    reports(&mut record)[0]["workload"] = json!(evil);
    reports(&mut record)[0]["case"] = json!(evil);
    reports(&mut record)[1]["fused"]["plan"] = json!(evil);
    record["refused"] = json!([{ "workload": evil, "case": "other", "reason": evil }]);
    let (folder, [path]) = files([&record]);
    let page = folder.path().join("report.html").to_str().expect("text").to_owned();
    let plots = folder.path().join("plots");
    stdout(["report", &path, "-o", &page, "--svg", plots.to_str().expect("text")]);
    let page = fs::read_to_string(page).expect("a page");
    assert_eq!(page.matches("<script>").count(), 1, "only our own");
    assert!(!page.contains("alert('x')") && page.contains("alert(&#39;x&#39;)"));
    for plot in fs::read_dir(plots).expect("plots") {
        let text = fs::read_to_string(plot.expect("a file").path()).expect("text");
        assert!(!text.contains("<script>"), "{text}");
    }
    let markdown = stdout(["report", &path]);
    assert!(!markdown.contains("<script>") && markdown.contains("\\<script\\>"), "{markdown}");
    let pipes = |line: &str| line.replace("\\|", "").matches('|').count();
    let table: Vec<_> = markdown
        .lines()
        .filter(|line| line.starts_with("| A |") || line.starts_with("|  | machine"))
        .collect();
    assert!(table.len() >= 2 && table.iter().all(|line| pipes(line) == pipes(table[0])), "{table:?}");
}

#[test]
fn plots_are_files_of_their_own() {
    let (folder, [path]) = files([&record()]);
    let plots = folder.path().join("some/plots");
    stdout(["report", &path, "--svg", plots.to_str().expect("text")]);
    let mut names: Vec<_> =
        fs::read_dir(&plots).expect("plots").map(|file| file.expect("a file").file_name()).collect();
    names.sort();
    let expected = ["fused-over-unfused.svg", "heatmap.svg", "memory.svg", "roofline-a.svg", "scaling.svg"]
        .map(Into::into);
    assert_eq!(names, expected.to_vec() as Vec<std::ffi::OsString>);
    for name in names {
        let text = fs::read_to_string(plots.join(name)).expect("text");
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
        assert!(text.contains("xmlns=") && text.contains("prefers-color-scheme"), "{text}");
        for tag in ["text", "title", "style", "circle", "rect"] {
            let opened =
                text.matches(&format!("<{tag} ")).count() + text.matches(&format!("<{tag}>")).count();
            let closed = text.matches(&format!("</{tag}>")).count();
            let alone = text.matches(&format!("<{tag} class=\"ground\"")).count();
            assert_eq!(opened - alone, closed, "{tag}");
        }
        for wrong in ["NaN", "inf", "Infinity"] {
            let numbers = text.split('"').filter(|part| part.parse::<f64>().is_ok());
            assert!(numbers.clone().all(|number| !number.contains(wrong)), "{wrong}");
        }
    }
}

#[test]
fn portability_is_the_harmonic_mean() {
    let (_folder, [a, b, peer]) = files([&on("A", 0.5), &on("B", 0.125), &{
        let mut peer = on("A", 1.0);
        peer["engine"] = json!({ "name": "PyTorch", "version": "2", "on": "CPU" });
        peer
    }]);
    let number = |paths: &[&str]| -> Value {
        let args = [&["report", "--json"], paths].concat();
        serde_json::from_str(&stdout(args)).expect("JSON")
    };
    // 2 / (1/0.5 + 1/0.125) = 0.2, for every case.
    let found = number(&[&a, &b, &peer]);
    let portability = &found["portability"];
    assert!((portability["overall"].as_f64().expect("a number") - 0.2).abs() < 1e-9, "{portability}");
    assert_eq!(portability["machines"], json!(["A", "B"]), "peers do not count");
    assert_eq!(portability["families"].as_array().map(Vec::len), Some(3));
    assert_eq!(portability["cases"][0]["least"], json!(["B", 0.125]));
    // Beyond the ceiling is no better than at it.
    let (_folder, [fast]) = files([&on("C", 1.7)]);
    assert!((number(&[&fast])["portability"]["overall"].as_f64().expect("a number") - 1.0).abs() < 1e-9);
}

#[test]
fn what_cannot_run_on_a_machine_is_not_portable() {
    let mut lesser = on("B", 0.5);
    let gone = reports(&mut lesser).remove(2);
    lesser["refused"] =
        json!([{ "workload": gone["workload"], "case": gone["case"], "reason": "too large" }]);
    let mut partial = on("C", 0.5);
    reports(&mut partial).truncate(2);
    let (_folder, [a, b, c]) = files([&on("A", 0.5), &lesser, &partial]);
    let portability = |paths: [&str; 2]| {
        let found: Value =
            serde_json::from_str(&stdout(["report", "--json", paths[0], paths[1]])).expect("JSON");
        found["portability"].clone()
    };
    let refused = portability([&a, &b]);
    assert_eq!(refused["overall"], json!(0.0), "{refused}");
    assert_eq!(refused["cases"][0]["name"], gone["case"]);
    assert!((refused["where_all_run"]["value"].as_f64().expect("a number") - 0.5).abs() < 1e-9);
    // What was not asked for is another matter.
    let fewer = portability([&a, &c]);
    assert_eq!(fewer["cases"].as_array().map(Vec::len), Some(2));
    assert!((fewer["overall"].as_f64().expect("a number") - 0.5).abs() < 1e-9);
}

/// A browser that tells no name, has no timestamps, and takes long to submit anything.
#[test]
fn what_a_browser_hides_is_said() {
    let mut hidden = on("", 0.5);
    hidden["engine"]["on"] = json!("wgpu 30.0.1 in Firefox 153.0");
    hidden["ceilings"]["submission_seconds"] = json!(0.1);
    for report in reports(&mut hidden) {
        report["fused"]["timing"]["device"] = Value::Null;
    }
    let (_folder, [hidden, plain]) = files([&hidden, &record()]);
    let markdown = stdout(["report", &hidden]);
    assert!(markdown.contains("software on the CPU in Firefox 153.0"), "{markdown}");
    assert!(markdown.contains("to submit anything takes 100 ms"), "{markdown}");
    assert!(!stdout(["report", &plain]).contains("to submit anything"));
}

#[test]
fn peers_stand_beside_us() {
    let mut peer = record();
    peer["engine"] = json!({ "name": "PyTorch", "version": "2.9", "on": "CUDA 13" });
    slow_down(&mut peer, 0, 2.0);
    let (_folder, [ours, theirs]) = files([&record(), &peer]);
    let markdown = stdout(["report", &ours, &theirs]);
    let table = markdown.split_once("### Beside peers").expect("a table").1;
    assert!(table.contains("2.00× as fast") && table.contains("1.00× as fast"), "{table}");
    assert!(markdown.contains("PyTorch on llvmpipe"), "{markdown}");
    assert!(!stdout(["report", &ours]).contains("Beside peers"));
}

#[test]
fn foreign_files_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = folder.path().join("package.json");
    fs::write(&foreign, r#"{"name": "x", "version": "1"}"#).expect("a file");
    let missing: PathBuf = Path::new("no/such/record.json").into();
    for (path, words) in [(&foreign, "expected a record"), (&missing, "cannot read")] {
        for command in ["report", "compare"] {
            let path = path.to_str().expect("text");
            let out = tilewise([command, OLD, path]);
            assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
            assert!(stderr(&out).contains(words) && stderr(&out).contains(path), "{}", stderr(&out));
        }
    }
    assert_eq!(tilewise(["report"]).status.code(), Some(2));
}

#[test]
fn the_same_record_is_no_regression() {
    let (_folder, [path]) = files([&record()]);
    let table = stdout(["compare", &path, &path, "--fail-above", "10%"]);
    assert!(table.contains("0 slower and 0 faster by more than 10 %, 5 the same"), "{table}");
    let json: Value = serde_json::from_str(&stdout(["compare", OLD, OLD, "--json"])).expect("JSON");
    assert_eq!(json["changes"].as_array().map(Vec::len), Some(2), "{json}");
}

#[test]
fn a_regression_fails_with_its_confidence() {
    let mut slower = record();
    // The scan of 512 steps, whose interval is narrow.
    slow_down(&mut slower, 2, 1.3);
    let (_folder, [old, new]) = files([&record(), &slower]);
    let compare = |more: &[&str]| tilewise([&["compare", &old, &new], more].concat());
    let failed = compare(&["--fail-above", "10%"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("1 workload regressed"), "{}", stderr(&failed));
    let table = String::from_utf8(failed.stdout).expect("text");
    let first = table.lines().nth(1).expect("a row");
    assert!(first.starts_with("linear scan f32 1 × 128 × 512 "), "the worst first: {table}");
    assert!(first.contains("+30.0 %") && first.contains("slower") && first.contains("99.9 %"), "{table}");
    assert_eq!(compare(&[]).status.code(), Some(0), "nothing was asked to fail");
    assert_eq!(compare(&["--fail-above", "40%"]).status.code(), Some(0));
    assert_eq!(compare(&["--fail-above", "ten"]).status.code(), Some(2));
    let back = tilewise(["compare", &new, &old, "--fail-above", "10%"]);
    assert_eq!(back.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&back.stdout).contains("faster"));
}

#[test]
fn what_is_not_sure_does_not_fail() {
    // The attention took too few runs to tell, and the scan of 8192 steps was noisy.
    let mut slower = record();
    slow_down(&mut slower, 0, 1.3);
    slow_down(&mut slower, 3, 1.15);
    let (_folder, [old, new]) = files([&record(), &slower]);
    let table = stdout(["compare", &old, &new, "--fail-above", "10%"]);
    assert!(table.contains("too few runs"), "{table}");
    assert!(table.contains("2 slower"), "{table}");
    let strict = ["compare", &old, &new, "--fail-above", "10%", "--confidence", "50%"];
    assert_eq!(tilewise(strict).status.code(), Some(1));
}

#[test]
fn what_no_longer_runs_is_a_regression() {
    let mut broken = record();
    let gone = reports(&mut broken).remove(1);
    let (_folder, [old, absent]) = files([&record(), &broken]);
    let table = stdout(["compare", &old, &absent, "--fail-above", "10%"]);
    assert!(table.contains("only in the old record: monarch"), "{table}");
    broken["failed"] =
        json!([{ "workload": gone["workload"], "case": gone["case"], "reason": "wrong by 3" }]);
    let (_folder, [broken]) = files([&broken]);
    let failed = tilewise(["compare", &old, &broken, "--fail-above", "10%"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stdout).contains("wrong by 3"));
}

#[test]
fn records_without_a_workload_in_common_are_refused() {
    let mut other = record();
    for report in reports(&mut other) {
        report["workload"] = json!("another");
    }
    let (_folder, [old, new]) = files([&record(), &other]);
    let refused = tilewise(["compare", &old, &new]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("no workload in common: 5 and 5 were measured"),
        "{}",
        stderr(&refused)
    );
}

/// What is published was written by this format's writers: the command line, the page in two browsers, and a peer.
#[test]
fn the_published_results_are_records() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results");
    let files = fs::read_dir(folder).expect("docs/results").map(|file| file.expect("a file").path());
    let records: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    assert!(records.len() >= 3, "{records:?}");
    for path in &records {
        assert_record(&serde_json::from_str(&fs::read_to_string(path).expect("a record")).expect("JSON"));
    }
    let report = stdout([Path::new("report")].into_iter().chain(records.iter().map(PathBuf::as_path)));
    assert!(report.contains("harmonic mean"), "{report}");
}
