//! Rooflines: what each workload reaches, under what its adapter could (Williams, Waterman and Patterson, 2009).

use tilewise::bench::Ceilings;
use tilewise::verify::Family;

use super::model::{Machine, is_backward, tip, unfused};
use super::svg::{Axis, Svg, short};

const SIZE: [f64; 2] = [560.0, 400.0];
const LEFT: f64 = 64.0;
const RIGHT: f64 = 544.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 342.0;

/// The class of a family's points.
fn class(family: Family) -> &'static str {
    match family {
        Family::Attention => "c0",
        Family::Butterfly => "c1",
        Family::Scan => "c2",
    }
}

/// A machine's roofline. None if nothing was measured on it.
pub fn plot(machine: &Machine) -> Option<Svg> {
    let reports = &machine.record.reports;
    let ceilings = &machine.record.ceilings;
    let intensity = |flops: f64, bytes: u64| flops / bytes.max(1) as f64;
    let ridge = ceilings.fma_flops_per_second / ceilings.copy_bytes_per_second;
    let xs: Vec<_> = reports.iter().map(|report| intensity(report.flops, report.least_bytes)).collect();
    if xs.is_empty() {
        return None;
    }
    let x = Axis::around(xs.iter().copied().chain([ridge]), [LEFT, RIGHT]);
    let roof = ceilings.flops_per_second(tilewise::DType::F16).max(ceilings.fma_flops_per_second);
    let rates = reports.iter().flat_map(|report| {
        let unfused = unfused(report).map(|figures| figures.flops_per_second);
        [Some(report.fused.flops_per_second), unfused].into_iter().flatten()
    });
    let y = Axis::around(rates.chain([1.3 * roof]), [BOTTOM, TOP]);
    let title = format!("Roofline of {}", machine.label());
    let mut svg = Svg::new(format!("roofline-{}", machine.letter.to_lowercase()), &*title, SIZE);
    svg.text("strong", [LEFT, 18.0], &machine.label());
    axes(&mut svg, &x, &y);
    roofs(&mut svg, ceilings, &x, &y);
    for (report, at) in reports.iter().zip(xs) {
        if let Some(figures) = unfused(report) {
            let place = [x.at(at), y.at(figures.flops_per_second)];
            svg.point(
                &format!("hollow {}", class(report.family)),
                place,
                3.0,
                &tip(machine, report, "unfused", figures),
            );
        }
    }
    for (report, at) in reports.iter().zip(reports.iter().map(|r| intensity(r.flops, r.least_bytes))) {
        let place = [x.at(at), y.at(report.fused.flops_per_second)];
        let radius = if is_backward(report) { 3.2 } else { 4.5 };
        svg.point(class(report.family), place, radius, &tip(machine, report, "fused", &report.fused));
    }
    legend(&mut svg);
    Some(svg)
}

fn axes(svg: &mut Svg, x: &Axis, y: &Axis) {
    for tick in x.ticks() {
        svg.line("grid", [x.at(tick), TOP], [x.at(tick), BOTTOM]);
        svg.text("soft small middle", [x.at(tick), BOTTOM + 16.0], &short(tick));
    }
    for tick in y.ticks() {
        svg.line("grid", [LEFT, y.at(tick)], [RIGHT, y.at(tick)]);
        svg.text("soft small end", [LEFT - 6.0, y.at(tick) + 4.0], &short(tick));
    }
    svg.rect("frame", [LEFT, TOP], [RIGHT - LEFT, BOTTOM - TOP], 0.0, "");
    svg.text(
        "soft middle",
        [f64::midpoint(LEFT, RIGHT), BOTTOM + 33.0],
        "operations for each byte that must move",
    );
    svg.rising("soft", [14.0, f64::midpoint(TOP, BOTTOM)], 90.0, "operations a second");
}

/// The slope of the memory, and the flat roofs of arithmetic behind where it meets them.
fn roofs(svg: &mut Svg, ceilings: &Ceilings, x: &Axis, y: &Axis) {
    let Ceilings { copy_bytes_per_second: copy, fma_flops_per_second: fma, .. } = *ceilings;
    let [low, high] = x.ends();
    let [bottom, _] = y.ends();
    let mut roof = |class: &str, rate: f64, from: f64| {
        let corner = (rate / copy).clamp(from, high);
        let mut points =
            vec![[x.at(from), y.at(from * copy)], [x.at(corner), y.at((corner * copy).min(rate))]];
        if corner * copy >= rate * 0.999 {
            points.push([x.at(high), y.at(rate)]);
        }
        svg.path(class, &points);
    };
    let from = low.max(bottom / copy);
    roof("roof", fma, from);
    let matrix = ceilings.matrix_flops_per_second.filter(|rate| *rate > fma);
    if let Some(rate) = matrix {
        roof("matrix", rate, (fma / copy).max(from));
    }
    let mut label = |rate: f64, what: &str| {
        svg.text(
            "soft small end",
            [RIGHT - 6.0, y.at(rate) - 5.0],
            &format!("{what} {}FLOP/s", spaced(rate)),
        );
    };
    label(fma, "f32 multiply-adds");
    if let Some(rate) = matrix {
        label(rate, "f16 matrix units");
    }
    // Above the middle of the slope, along it.
    let middle = (from * (fma / copy).clamp(from, high)).sqrt();
    let [a, b] = [from, middle].map(|at| [x.at(at), y.at(at * copy)]);
    let rise = (a[1] - b[1]).atan2((b[0] - a[0]).max(1.0));
    let above = [b[0] - 7.0 * rise.sin(), b[1] - 7.0 * rise.cos()];
    svg.rising("soft small", above, rise.to_degrees(), &format!("copies {}B/s", spaced(copy)));
}

fn spaced(rate: f64) -> String {
    let text = short(rate);
    if text.contains(' ') { text } else { text + " " }
}

fn legend(svg: &mut Svg) {
    let mut at = LEFT;
    for family in Family::ALL {
        svg.point(class(family), [at + 5.0, 32.0], 4.5, "");
        svg.text("small", [at + 14.0, 36.0], family.name());
        at += 88.0;
    }
    svg.point("hollow c3", [at + 5.0, 32.0], 3.0, "");
    svg.text("small", [at + 14.0, 36.0], "unfused");
    svg.text("small soft", [at + 76.0, 36.0], "small: backward");
}
