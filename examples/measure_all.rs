//! Scratch.
use std::time::*;
use tilewise::bench::*;
use tilewise::timing::Effort;
use tilewise::verify::Family;
fn main() {
    let gpu = tilewise::Gpu::request_blocking().unwrap();
    println!("{:?}", gpu.caps());
    let t = Instant::now();
    let c = ceilings(&gpu, Effort { warm_up: 1, runs: 5, budget: Duration::from_millis(300) }).unwrap();
    println!("{c} in {:?}", t.elapsed());
    let depth = if std::env::args().any(|a| a == "standard") { Depth::Standard } else { Depth::Quick };
    for f in Family::ALL {
        if std::env::args().len() > 1 && !std::env::args().any(|a| a == f.to_string()) {
            continue;
        }
        for w in suite(f, &c, depth) {
            let t = Instant::now();
            match measure(&gpu, &w, Effort { warm_up: 1, runs: 10, budget: Duration::from_secs(1) }, &c) {
                Ok(r) => {
                    println!(
                        "{w}  [{:?}]\n  fused {}\n     {}  wall {:?} x{}",
                        t.elapsed(),
                        r.fused,
                        r.fused.plan,
                        r.fused.timing.wall.median,
                        r.fused.timing.runs
                    );
                    for y in &r.yardsticks {
                        match &y.measured {
                            Measured::Figures(g) => println!("  {} {}\n     {}", y.name, g, g.plan),
                            Measured::Refused(e) => println!("  {} {e}", y.name),
                        }
                    }
                    println!("  speed-up {:?} memory {:?}", r.speed_up(), r.memory_saving());
                }
                Err(e) => println!("{w}: ERROR {e}"),
            }
        }
    }
}
