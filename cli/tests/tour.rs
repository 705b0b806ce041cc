//! The tour, alone in its file: a test beside it would take the cores that its time limit counts on.

mod common;

use std::time::{Duration, Instant};

use common::{adapter, stdout};
use serde_json::Value;

/// The tour's promise: every family right, and attention at 2048 keys in a tenth of the memory.
#[test]
fn the_tour_shows_what_fusing_gains() {
    if !adapter() {
        return;
    }
    let started = Instant::now();
    let tour = serde_json::from_str::<Value>(&stdout(["tour", "--json"])).expect("JSON");
    assert!(started.elapsed() < Duration::from_mins(2), "the tour took {:?}", started.elapsed());
    let families = tour["families"].as_array().expect("families");
    assert_eq!(families.len(), 3);
    for stop in families {
        assert!(stop["checks"]["outputs"].as_u64() > Some(0), "{stop}");
        assert_eq!(stop["checks"]["wrong"], 0, "{stop}");
        assert!(stop["report"]["fused"]["peak_bytes"].as_u64() > Some(0), "{stop}");
    }
    let attention = &families[0]["report"];
    assert!(attention["workload"].as_str().is_some_and(|name| name.contains("s 2048")), "{attention}");
    let unfused = &attention["yardsticks"][0];
    assert_eq!(unfused["name"], "unfused");
    let bytes = |figures: &Value| figures["peak_bytes"].as_f64().expect("bytes");
    let saving = bytes(&unfused["measured"]["figures"]) / bytes(&attention["fused"]);
    assert!(saving >= 10.0, "fused attention takes {saving} times less memory");
}
