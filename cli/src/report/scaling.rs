//! How the share of the ceiling changes with the length of a sequence.

use tilewise::bench::Report;

use super::heatmap::cut;
use super::model::{Machine, series, unfused};
use super::ratios::legend;
use super::svg::{Axis, Svg, length, short};

const PANEL: [f64; 2] = [330.0, 214.0];
const LEFT: f64 = 46.0;
const TOP: f64 = 30.0;
const RIGHT: f64 = 12.0;
const BOTTOM: f64 = 44.0;
const COLUMNS: usize = 3;

/// A point of a line: the length, and the share of the ceiling in percent.
type Point = [f64; 2];

/// One panel: a series, with the lines of each machine.
struct Panel {
    name: String,
    lines: Vec<Line>,
}

struct Line {
    machine: usize,
    fused: Vec<Point>,
    unfused: Vec<Point>,
}

/// A panel for each series of lengths, a line for each machine. None if no machine has two lengths of anything.
pub fn plot(machines: &[Machine]) -> Option<Svg> {
    let panels = panels(machines);
    if panels.is_empty() {
        return None;
    }
    let rows = panels.len().div_ceil(COLUMNS);
    let top = 12.0 + 18.0 * machines.len() as f64;
    let columns = panels.len().min(COLUMNS) as f64;
    let size = [PANEL[0] * columns, top + PANEL[1] * rows as f64];
    let mut svg = Svg::new("scaling", "Share of the ceiling by length", size);
    legend(&mut svg, machines, LEFT);
    svg.text("soft small end", [size[0] - RIGHT, 16.0], "solid: fused · dashed: unfused");
    for (at, panel) in panels.iter().enumerate() {
        let corner = [PANEL[0] * (at % COLUMNS) as f64, top + PANEL[1] * (at / COLUMNS) as f64];
        draw(&mut svg, panel, corner, machines);
    }
    Some(svg)
}

fn panels(machines: &[Machine]) -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    for (at, machine) in machines.iter().enumerate() {
        let found = machine.record.reports.iter().filter_map(|report| Some((series(report)?, report)));
        for ((name, length), report) in found {
            let place = panels.iter().position(|panel| panel.name == name).unwrap_or_else(|| {
                panels.push(Panel { name, lines: vec![] });
                panels.len() - 1
            });
            let panel = &mut panels[place];
            if panel.lines.last().is_none_or(|line| line.machine != at) {
                panel.lines.push(Line { machine: at, fused: vec![], unfused: vec![] });
            }
            if let Some(line) = panel.lines.last_mut() {
                line.add(length, report);
            }
        }
    }
    for line in panels.iter_mut().flat_map(|panel| &mut panel.lines) {
        line.fused.sort_by(|a, b| a[0].total_cmp(&b[0]));
        line.unfused.sort_by(|a, b| a[0].total_cmp(&b[0]));
    }
    panels.retain(|panel| panel.lines.iter().any(|line| line.fused.len() > 1));
    panels
}

impl Line {
    /// Of several workloads of one length the first counts: they differ in how they fill the adapter alone.
    fn add(&mut self, length: usize, report: &Report) {
        let length = length as f64;
        if self.fused.iter().any(|point| (point[0] - length).abs() < 0.5) {
            return;
        }
        self.fused.push([length, 100.0 * report.fused.ceiling_fraction]);
        if let Some(unfused) = unfused(report) {
            self.unfused.push([length, 100.0 * unfused.ceiling_fraction]);
        }
    }
}

fn draw(svg: &mut Svg, panel: &Panel, [left, top]: [f64; 2], machines: &[Machine]) {
    let points = || panel.lines.iter().flat_map(|line| line.fused.iter().chain(&line.unfused));
    let [from, to] = [left + LEFT, left + PANEL[0] - RIGHT];
    let [high, low] = [top + TOP, top + PANEL[1] - BOTTOM];
    let x = Axis::of_lengths(points().map(|point| point[0]), [from, to]);
    let y = Axis::around(points().map(|point| point[1]).chain([100.0]), [low, high]);
    svg.text("strong small", [from, top + 20.0], &cut(&panel.name, 46));
    for tick in x.ticks() {
        svg.line("grid", [x.at(tick), high], [x.at(tick), low]);
        svg.text("soft small middle", [x.at(tick), low + 15.0], &length(tick));
    }
    for tick in y.ticks() {
        svg.line(
            if (tick - 100.0).abs() < 1e-6 { "one" } else { "grid" },
            [from, y.at(tick)],
            [to, y.at(tick)],
        );
        svg.text("soft small end", [from - 5.0, y.at(tick) + 4.0], &format!("{} %", short(tick)));
    }
    svg.rect("frame", [from, high], [to - from, low - high], 0.0, "");
    svg.text("soft small middle", [f64::midpoint(from, to), low + 31.0], "length");
    for Line { machine, fused, unfused } in &panel.lines {
        let colour = format!("c{}", machine % 8);
        let place = |points: &[Point]| points.iter().map(|p| [x.at(p[0]), y.at(p[1])]).collect::<Vec<_>>();
        svg.path(&format!("dashed {colour}"), &place(unfused));
        svg.path(&colour, &place(fused));
        for point in fused {
            let share = short(point[1]);
            let tip =
                format!("{}\nlength {:.0}: {share} % of the ceiling", machines[*machine].label(), point[0]);
            svg.point(&colour, [x.at(point[0]), y.at(point[1])], 3.5, &tip);
        }
    }
}
