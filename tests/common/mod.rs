//! What the GPU tests share: the adapters to run on, and a report that names every failure.

use std::sync::OnceLock;

use tilewise::verify::{self, Family, Grid};
use tilewise::{Caps, Gpu, GpuOptions, caps};

/// The machine as it is, and the machine posing as the least WebGPU allows.
pub fn gpus() -> Vec<(&'static str, Gpu)> {
    [("as it is", None), ("webgpu-baseline", Some(caps::WEBGPU_BASELINE))]
        .into_iter()
        .filter_map(|(name, ceiling)| Some((name, open(ceiling)?)))
        .collect()
}

/// This machine's adapter, under a ceiling if one is given; `None` where the environment allows there to be none.
pub fn open(ceiling: Option<Caps>) -> Option<Gpu> {
    static LOGGER: OnceLock<()> = OnceLock::new();
    LOGGER.get_or_init(|| drop(env_logger::builder().is_test(true).try_init()));
    let options = GpuOptions {
        adapter: std::env::var("TILEWISE_ADAPTER").ok(),
        ceiling,
        shader_checks: set("TILEWISE_SHADER_CHECKS"),
    };
    match pollster::block_on(Gpu::request_with(options)) {
        Ok(gpu) => Some(gpu),
        Err(error) if set("TILEWISE_ALLOW_NO_GPU") => {
            eprintln!("SKIPPED, since TILEWISE_ALLOW_NO_GPU is set: {error}");
            None
        }
        Err(error) => panic!("{error}. `cargo xtask setup` installs a software adapter."),
    }
}

fn set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

/// Runs a family's grid on every adapter, and fails with the list of what is wrong. With `TILEWISE_CASES` set, only the cases
/// whose names contain it, and each outcome is printed.
pub fn verify_family(family: Family) {
    let grid = if set("TILEWISE_FULL") { Grid::Full } else { Grid::Thin };
    let only = std::env::var("TILEWISE_CASES").unwrap_or_default();
    let mut failures = Vec::new();
    let mut checked = 0;
    for (name, gpu) in gpus() {
        for case in verify::cases(family, grid).iter().filter(|case| case.to_string().contains(&only)) {
            let outcomes =
                pollster::block_on(case.run(&gpu)).unwrap_or_else(|error| panic!("{case} ({name}): {error}"));
            for outcome in outcomes {
                checked += 1;
                let words = format!(
                    "{case} ({name}), {}: error {:.3e}, allowed {:.3e}, largest value {:.3e}",
                    outcome.tensor, outcome.error, outcome.allowed, outcome.largest
                );
                if !only.is_empty() {
                    println!("{words}");
                }
                if !outcome.passed() {
                    failures.push(words);
                }
            }
        }
    }
    println!("{checked} outputs compared with the oracle");
    assert!(checked > 0 || gpus().is_empty(), "no case has {only:?} in its name");
    assert!(
        failures.is_empty(),
        "{} of {checked} outputs are wrong:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
