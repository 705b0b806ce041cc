//! How many times less a fused kernel takes than the unfused version: of time, of memory.

use tilewise::bench::{Figures, Report};

use super::model::{Case, Machine, Outcome, milliseconds, unfused};
use super::svg::{Axis, Svg, short, text_width};

const ROW: f64 = 20.0;
const WIDTH: f64 = 520.0;

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// The name of the file.
    pub name: &'static str,
    /// What a person reads about the axis.
    pub axis: &'static str,
    of: fn(&Figures) -> f64,
}

/// Of time.
pub const TIME: Ratio =
    Ratio { name: "fused-over-unfused", axis: "times faster than unfused", of: milliseconds };

/// Of memory.
pub const MEMORY: Ratio = Ratio {
    name: "memory",
    axis: "times less memory than unfused, beyond the inputs",
    of: |figures| figures.peak_bytes as f64,
};

impl Ratio {
    /// Unfused over fused, where both are there.
    pub fn of(self, report: &Report) -> Option<f64> {
        let (fused, unfused) = ((self.of)(&report.fused), (self.of)(unfused(report)?));
        (fused > 0.0 && unfused > 0.0).then(|| unfused / fused)
    }

    /// The machine's number, the workload and the ratio of each that has one.
    fn points<'a>(self, machines: &'a [Machine], case: &Case) -> Vec<(usize, &'a Report, f64)> {
        let mut points = Vec::new();
        for (at, machine) in machines.iter().enumerate() {
            if let Outcome::Measured(reports) = machine.outcome(&case.name) {
                points.extend(reports.into_iter().filter_map(|report| Some((at, report, self.of(report)?))));
            }
        }
        points
    }

    /// A row a case, a point a machine. None if no case has both.
    pub fn plot(self, machines: &[Machine], cases: &[Case]) -> Option<Svg> {
        let rows: Vec<_> = cases
            .iter()
            .map(|case| (case, self.points(machines, case)))
            .filter(|(_, of)| !of.is_empty())
            .collect();
        if rows.is_empty() {
            return None;
        }
        let left = rows.iter().map(|(case, _)| text_width(&case.name)).fold(120.0, f64::max) + 14.0;
        let top = 14.0 + 18.0 * machines.len() as f64;
        let bottom = top + ROW * rows.len() as f64 + 6.0;
        let values = rows.iter().flat_map(|(_, points)| points.iter().map(|(.., ratio)| *ratio));
        let x = Axis::around(values.chain([0.8, 2.0]), [left, left + WIDTH]);
        let size = [left + WIDTH + 20.0, bottom + 44.0];
        let mut svg = Svg::new(self.name, self.axis, size);
        legend(&mut svg, machines, left);
        for tick in x.ticks() {
            let class = if (tick - 1.0).abs() < 1e-9 { "one" } else { "grid" };
            svg.line(class, [x.at(tick), top], [x.at(tick), bottom]);
            svg.text("soft small middle", [x.at(tick), bottom + 16.0], &format!("{}×", short(tick)));
        }
        svg.text("soft middle", [left + WIDTH / 2.0, bottom + 34.0], self.axis);
        for (row, (case, points)) in rows.iter().enumerate() {
            let y = top + ROW * (row as f64 + 0.5) + 3.0;
            svg.text("end", [left - 10.0, y + 4.0], &case.name);
            svg.line("row", [left, y], [left + WIDTH, y]);
            for (at, report, ratio) in points {
                // Machines that agree would hide one another.
                let y = y + 2.5 * (*at as f64 - (machines.len() as f64 - 1.0) / 2.0).clamp(-3.0, 3.0);
                let tip = format!("{}\n{}\n{ratio:.2} {}", machines[*at].label(), report.workload, self.axis);
                svg.point(&format!("c{}", at % 8), [x.at(*ratio), y], 5.0, &tip);
            }
        }
        Some(svg)
    }
}

/// A point and a name for each machine, one below the other.
pub fn legend(svg: &mut Svg, machines: &[Machine], left: f64) {
    for (at, machine) in machines.iter().enumerate() {
        let y = 12.0 + 18.0 * at as f64;
        svg.point(&format!("c{}", at % 8), [left + 6.0, y], 5.0, "");
        svg.text("small", [left + 18.0, y + 4.0], &machine.label());
    }
}
