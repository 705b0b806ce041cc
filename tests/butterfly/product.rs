//! The butterfly product beyond its acceptance grid.

use crate::common;

#[test]
fn temporary_grid() {
    for (name, gpu) in common::gpus() {
        for case in tilewise::verify::cases(tilewise::verify::Family::Butterfly, tilewise::verify::Grid::Thin)
        {
            if !case.to_string().starts_with("butterfly")
                || (std::env::var("ONLY").is_ok_and(|o| !case.to_string().contains(&o)))
            {
                continue;
            }
            let now = std::time::Instant::now();
            match pollster::block_on(case.run(&gpu)) {
                Err(error) => println!("{case} ({name}): {error}"),
                Ok(outcomes) => {
                    for o in outcomes {
                        println!(
                            "{} {case} ({name}) {}: {:.2e} of {:.2e}, largest {:.2e} {:?}",
                            if o.passed() { "ok" } else { "WRONG" },
                            o.tensor,
                            o.error,
                            o.allowed,
                            o.largest,
                            now.elapsed()
                        );
                    }
                }
            }
        }
    }
}
