//! What the demo page plans, checks and measures: the library's own planner, `verify` and `bench`.

use std::time::Duration;

use clap::Parser;
use js_sys::{Array, Function, Promise};
use tilewise::bench::{Ceilings, Measured, measure};
use tilewise::timing::Effort;
use tilewise::verify::{self, Family, Grid};
use tilewise::{AttentionSpec, DType, Error, wgpu};
use tilewise_named::ops::SizedOp;
use tilewise_named::record::{Progress, Record, Thoroughness};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::future_to_promise;

use crate::engine::Engine;
use crate::js::{error, texts};

/// The first line of what clap says; the rest is about a command line.
fn option_error(refused: &clap::Error) -> JsValue {
    let text = refused.to_string();
    let line = text.lines().next().unwrap_or_default();
    error(line.strip_prefix("error: ").unwrap_or(line))
}

/// Options of an operation of given sizes.
#[derive(Parser)]
#[command(name = "tilewise", disable_help_flag = true, disable_help_subcommand = true)]
struct OfSizes {
    #[command(subcommand)]
    op: SizedOp,
}

/// JSON of plain data of ours.
fn json(value: &impl serde::Serialize) -> Result<String, JsValue> {
    serde_json::to_string(value).map_err(error)
}

fn family(name: &str) -> Result<Family, JsValue> {
    let named = Family::ALL.into_iter().find(|family| family.name() == name);
    named.ok_or_else(|| error(format!("there is no family {name:?}")))
}

/// The names of the cases of a family's thinned acceptance grid.
#[wasm_bindgen]
pub fn cases(name: &str) -> Result<Array, JsValue> {
    let cases = verify::cases(family(name)?, Grid::Thin);
    Ok(cases.iter().map(|case| JsValue::from(case.to_string())).collect())
}

/// A few runs: a race shows ratios, the benchmark measures.
const RACE: Effort = Effort { warm_up: Duration::ZERO, runs: 3, budget: Duration::from_millis(500) };

/// A race shows times and memory, and asks for no ceilings.
const NO_CEILINGS: Ceilings =
    Ceilings { copy_bytes_per_second: f64::INFINITY, fma_flops_per_second: f64::INFINITY };

#[wasm_bindgen]
impl Engine {
    /// How an operation of given sizes runs here, as JSON. Options are written as for the command line.
    pub fn plan(&self, name: &str, options: &Array) -> Result<String, JsValue> {
        let line = ["tilewise".to_owned(), name.to_owned()].into_iter().chain(texts(options));
        let parsed = OfSizes::try_parse_from(line).map_err(|refused| option_error(&refused))?;
        let operation = parsed.op.operation().map_err(error)?;
        let plans = operation.plans(self.device.gpu.caps()).map_err(error)?;
        json(&serde_json::json!({
            "operation": operation.to_string(),
            "spec": operation.fields(),
            "note": operation.note(),
            "plans": plans,
        }))
    }

    /// Runs a case of the thinned acceptance grid: its name, and how each of its outputs compares with the oracle, or why
    /// this adapter is too small for it.
    pub fn check(&self, name: &str, index: usize) -> Promise {
        let (device, family) = (self.device.clone(), family(name));
        future_to_promise(async move {
            let mut cases = verify::cases(family?, Grid::Thin);
            if index >= cases.len() {
                return Err(error(format!("case {index} of {}", cases.len())));
            }
            let case = cases.swap_remove(index);
            let (name, dtype) = (case.to_string(), case.dtype());
            let found = case.run(&device.gpu).await;
            device.gpu.free_dropped();
            let report = match found {
                Ok(outcomes) => {
                    let passed = outcomes.iter().all(verify::Outcome::passed);
                    serde_json::json!({ "case": name, "dtype": dtype, "passed": passed, "outcomes": outcomes })
                }
                Err(Error::Plan(reason)) => {
                    serde_json::json!({ "case": name, "dtype": dtype, "refused": reason.to_string() })
                }
                Err(failed) => return Err(error(format!("{name}: {failed}"))),
            };
            Ok(json(&report)?.into())
        })
    }

    /// One length of the race: attention in f32, twelve heads of 64 as in the smallest GPT-2, fused and unfused. On software
    /// heads are a quarter as wide: there the arithmetic takes the time, and the table of scores is as large all the same.
    /// Both answers are checked before they are timed.
    pub fn race(&self, length: usize) -> Promise {
        let device = self.device.clone();
        future_to_promise(async move {
            let software = device.gpu.device().adapter_info().device_type == wgpu::DeviceType::Cpu;
            let head_dim = if software { 16 } else { 64 };
            let spec = AttentionSpec::new(DType::F32, 1, (length, length), 12, head_dim);
            let report = measure(&device.gpu, &spec, RACE, &NO_CEILINGS).await;
            device.gpu.free_dropped();
            let report = report.map_err(error)?;
            let unfused = report.yardsticks.into_iter().next().map(|yardstick| yardstick.measured);
            let figures = |figures: &tilewise::bench::Figures| {
                let milliseconds = figures.timing.median().as_secs_f64() * 1e3;
                serde_json::json!({ "ms": milliseconds, "bytes": figures.peak_bytes, "plan": figures.plan })
            };
            let unfused = match unfused {
                Some(Measured::Figures(found)) => figures(&found),
                Some(Measured::Refused(reason)) => serde_json::json!({ "refused": reason }),
                None => serde_json::Value::Null,
            };
            let fused = figures(&report.fused);
            let step = serde_json::json!({ "length": length, "head_dim": head_dim, "fused": fused, "unfused": unfused });
            Ok(json(&step)?.into())
        })
    }

    /// The benchmark, of a family or all: the record that `tilewise bench -o` writes. `tell` gets how many workloads were
    /// measured, how many there are, and what is measured next.
    pub fn bench(&self, name: Option<String>, quick: bool, date: Function, tell: Function) -> Promise {
        let device = self.device.clone();
        future_to_promise(async move {
            let families = match name {
                Some(name) => vec![family(&name)?],
                None => Family::ALL.to_vec(),
            };
            let thoroughness = if quick { Thoroughness::QUICK } else { Thoroughness::standard() };
            let tell = |progress: Progress<'_>| {
                let (measured, all, next) = match progress {
                    Progress::Ceilings => (0, 0, "copy bandwidth and FMA rate".to_owned()),
                    Progress::Before { workload, measured, all } => (measured, all, workload.to_string()),
                    Progress::Measured(_) => return,
                };
                device.gpu.free_dropped();
                // What the page does with it is its own concern.
                let _ = tell.call3(&JsValue::NULL, &measured.into(), &all.into(), &next.into());
            };
            let now =
                || date.call0(&JsValue::NULL).ok().and_then(|date| date.as_string()).unwrap_or_default();
            let record = Record::measure(&device.gpu, &families, thoroughness, tell, now).await;
            let text = serde_json::to_string_pretty(&record.map_err(error)?).map_err(error)?;
            Ok(format!("{text}\n").into())
        })
    }
}
