//! State-space duality on this machine's GPU.

use crate::common;
use tilewise::verify::{self, Family, Grid};

/// The grid of this operation alone, for whoever works on it.
#[test]
fn ssd_grid() {
    let mut failures = Vec::new();
    for (name, gpu) in common::gpus() {
        for case in verify::cases(Family::Scan, Grid::Thin) {
            if !case.to_string().starts_with("ssd") {
                continue;
            }
            let start = std::time::Instant::now();
            let before = gpu.kernels_compiled();
            for o in pollster::block_on(case.run(&gpu)).unwrap() {
                if !o.passed() {
                    failures.push(format!(
                        "{case} ({name}) {}: {:.3e} / {:.3e} of {:.3e}",
                        o.tensor, o.error, o.allowed, o.largest
                    ));
                }
            }
            println!("{case}: {:?}, {} compiled", start.elapsed(), gpu.kernels_compiled() - before);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
