//! Reading records, of this version and of earlier ones.

use serde_json::{Map, Value, json};

use super::{Record, VERSION};

/// Keys by which a record of version 1 is known, which did not name itself.
const FIRST: [&str; 5] = ["adapter", "ceilings", "date", "reports", "versions"];

impl Record {
    /// Reads a record of this version or an earlier one. The error says what was found and what was expected.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        let Value::Object(object) = value else {
            return Err(foreign(&value));
        };
        let version = match (object.get("schema").and_then(Value::as_str), object.get("version")) {
            (Some("tilewise-benchmark"), Some(version)) => version.as_u64().unwrap_or(0),
            (None, _) if FIRST.iter().all(|key| object.contains_key(*key)) => 1,
            _ => return Err(foreign(&Value::Object(object))),
        };
        let read = match version {
            1 => serde_json::from_value(second(object)),
            2 => serde_json::from_str(text),
            _ => {
                let found = &object["version"];
                return Err(format!(
                    "it is a record of version {found}, and versions 1 to {VERSION} can be read"
                ));
            }
        };
        read.map_err(|error| {
            format!("it is a record of version {version} with something wrong in it: {error}")
        })
    }
}

fn foreign(found: &Value) -> String {
    let found = match found {
        Value::Object(object) if object.is_empty() => "an object without keys".to_owned(),
        Value::Object(object) => {
            let keys: Vec<_> = object.keys().take(6).map(|key| format!("{key:?}")).collect();
            let more = if object.len() > 6 { " and more" } else { "" };
            format!("an object with {}{more}", keys.join(", "))
        }
        Value::Array(items) => format!("a list of {}", items.len()),
        _ => "a single value".to_owned(),
    };
    format!(
        "it holds {found}, expected a record as `tilewise bench -o` writes it, with \"schema\": \"tilewise-benchmark\""
    )
}

/// A record of version 1 as one of version 2. What it does not say is null.
fn second(mut record: Map<String, Value>) -> Value {
    let versions = record.remove("versions").unwrap_or_default();
    let on = versions["wgpu"].as_str().map_or_else(|| "wgpu".to_owned(), |version| format!("wgpu {version}"));
    let engine = json!({ "name": "tilewise", "version": versions["tilewise"], "on": on });
    let added = [
        ("schema", json!("tilewise-benchmark")),
        ("version", json!(2)),
        ("note", Value::Null),
        ("engine", engine),
        ("suite", Value::Null),
    ];
    record.extend(added.map(|(key, value)| (key.to_owned(), value)));
    for report in record.get_mut("reports").and_then(Value::as_array_mut).into_iter().flatten() {
        let workload = report["workload"].as_str().unwrap_or_default();
        let pass = if workload.ends_with(", backward") { "backward" } else { "forward" };
        let case = json!(workload);
        let Some(report) = report.as_object_mut() else { continue };
        report.extend([("case".to_owned(), case), ("pass".to_owned(), json!(pass))]);
        if let Some(fused) = report.get_mut("fused") {
            complete(fused);
        }
        let yardsticks = report.get_mut("yardsticks").and_then(Value::as_array_mut);
        for figures in yardsticks.into_iter().flatten().filter_map(|one| one.pointer_mut("/measured/figures"))
        {
            complete(figures);
        }
    }
    for list in ["refused", "failed"] {
        for one in record.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let case = one["workload"].clone();
            one.as_object_mut().map(|one| one.insert("case".to_owned(), case));
        }
    }
    Value::Object(record)
}

/// Adds to figures of version 1 what was not measured then.
fn complete(figures: &mut Value) {
    let Some(timing) = figures.get_mut("timing").and_then(Value::as_object_mut) else { return };
    timing.extend([("drift".to_owned(), Value::Null), ("doubts".to_owned(), json!([]))]);
    for clock in ["device", "wall"] {
        if let Some(spread) = timing.get_mut(clock).and_then(Value::as_object_mut) {
            spread.insert("interval_ms".to_owned(), Value::Null);
        }
    }
}

#[cfg(test)]
mod tests {
    use tilewise::bench::Pass;

    use super::*;

    /// As `tilewise bench butterfly --quick -o` wrote it before records had versions, shortened to two workloads.
    const OLD: &str = include_str!("../../../cli/tests/fixtures/record-v1.json");

    #[test]
    fn a_record_of_version_1_is_read() {
        let record = Record::from_json(OLD).unwrap();
        assert_eq!((record.version, record.engine.on.as_str()), (2, "wgpu 30.0.1"));
        assert!(record.suite.is_none() && record.ceilings.matrix_flops_per_second.is_none());
        let [monarch, butterfly] = &record.reports[..] else { panic!("{record:?}") };
        assert_eq!((monarch.pass, monarch.case.as_str()), (Pass::Forward, monarch.workload.as_str()));
        let timing = &monarch.fused.timing;
        assert!(timing.median().as_secs_f64() > 1e-3 && timing.spread().interval.is_none(), "{timing:?}");
        assert!(butterfly.over_dense().is_some_and(|over| over > 1.0));
        // What was read is written as a record of this version.
        let again = Record::from_json(&record.to_json().unwrap()).unwrap();
        assert_eq!(again.to_json().unwrap(), record.to_json().unwrap());
    }

    #[test]
    fn backward_passes_of_version_1_are_known_by_their_names() {
        let record = Record::from_json(&OLD.replace("n 1024 = 32²", "n 1024 = 32², backward")).unwrap();
        assert_eq!(record.reports[0].pass, Pass::Backward);
    }

    #[test]
    fn foreign_files_are_refused_with_what_they_hold() {
        let refused = |text: &str| Record::from_json(text).unwrap_err();
        assert!(refused("not JSON").starts_with("it is no JSON: "));
        assert_eq!(
            refused(r#"{"name": "package", "version": "1.0"}"#),
            "it holds an object with \"name\", \"version\", expected a record as `tilewise bench -o` writes it, with \
             \"schema\": \"tilewise-benchmark\""
        );
        assert!(refused("[1, 2]").starts_with("it holds a list of 2"));
        assert!(refused("{}").starts_with("it holds an object without keys"));
        assert!(refused(r#"{"schema": "other", "version": 2}"#).contains("expected a record"));
        assert_eq!(
            refused(r#"{"schema": "tilewise-benchmark", "version": 3}"#),
            "it is a record of version 3, and versions 1 to 2 can be read"
        );
    }

    #[test]
    fn what_is_wrong_in_a_record_is_named() {
        let whole = Record::from_json(OLD).unwrap().to_json().unwrap();
        let refused = |from: &str, to: &str| {
            assert!(whole.contains(from), "{from}");
            Record::from_json(&whole.replacen(from, to, 1)).unwrap_err()
        };
        let missing = refused("\"shader_checks\": false,", "");
        assert!(missing.contains("version 2") && missing.contains("shader_checks"), "{missing}");
        let unknown = refused("\"reports\"", "\"surprise\": 1, \"reports\"");
        assert!(unknown.contains("surprise") && unknown.contains("line"), "{unknown}");
        let negative = refused("\"median_ms\": ", "\"median_ms\": -");
        assert!(negative.contains("ms is no time"), "{negative}");
    }
}
