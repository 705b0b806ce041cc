//! Which share of its ceiling each case reaches on each machine.

use super::model::{Case, Machine, Outcome, tip};
use super::svg::{Svg, text_width};

const ROW: f64 = 22.0;
const HEAD: f64 = 44.0;
const GAP: f64 = 26.0;

/// A row a case, a column a machine.
pub fn plot(machines: &[Machine], cases: &[Case]) -> Svg {
    let left = cases.iter().map(|case| text_width(&case.name)).fold(120.0, f64::max) + 14.0;
    let column = (640.0 / machines.len().max(1) as f64).clamp(62.0, 150.0);
    let width = left + column * machines.len() as f64 + 8.0;
    let families = cases.chunk_by(|a, b| a.family == b.family).count() as f64;
    let height = HEAD + ROW * cases.len() as f64 + GAP * families + 8.0;
    let mut svg =
        Svg::new("heatmap", "Share of the ceiling, case by case and machine by machine", [width, height]);
    let x = |at: usize| left + column * at as f64;
    for (at, machine) in machines.iter().enumerate() {
        let middle = x(at) + column / 2.0;
        svg.text("strong middle", [middle, 16.0], &machine.letter);
        svg.text("soft small middle", [middle, 32.0], &cut(&machine.name, (column / 6.2) as usize));
    }
    let mut y = HEAD;
    for family in cases.chunk_by(|a, b| a.family == b.family) {
        let name = family[0].family.map_or("not measured anywhere", |family| family.name());
        svg.text("strong", [4.0, y + 17.0], name);
        y += GAP;
        for case in family {
            svg.text("end", [left - 10.0, y + 15.0], &case.name);
            for (at, machine) in machines.iter().enumerate() {
                cell(&mut svg, [x(at), y], column, &machine.outcome(&case.name), machine);
            }
            y += ROW;
        }
    }
    svg
}

fn cell(svg: &mut Svg, [x, y]: [f64; 2], column: f64, outcome: &Outcome<'_>, machine: &Machine) {
    let size = [column - 2.0, ROW - 2.0];
    let middle = [x + column / 2.0 - 1.0, y + 15.0];
    match outcome {
        Outcome::Measured(reports) => {
            let share = outcome.share().unwrap_or_default();
            let tips: Vec<_> =
                reports.iter().map(|report| tip(machine, report, "fused", &report.fused)).collect();
            // The eye tells small shares apart too.
            let opacity = 0.06 + 0.7 * share.clamp(0.0, 1.0).sqrt();
            svg.rect("heat", [x, y], size, opacity, &tips.join("\n\n"));
            let doubtful = reports.iter().any(|report| !report.fused.timing.doubts.is_empty());
            svg.text(
                "middle small",
                middle,
                &format!("{}{}", percent(share), if doubtful { " ?" } else { "" }),
            );
        }
        Outcome::Unmeasured(reason) => {
            svg.rect("none", [x, y], size, 0.35, reason);
            svg.text("middle small soft", middle, "no");
        }
        Outcome::Absent => svg.text("middle small soft", middle, "·"),
    }
}

/// A share as a person reads it.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// The beginning of a text that is too long.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}
