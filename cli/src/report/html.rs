//! The page: one file that needs nothing else.

use std::fmt::Write as _;

use super::heatmap::percent;
use super::model::Machine;
use super::svg::{STYLE, escape};
use super::{Contents, Plots, portability, tables};

const PAGE: &str = include_str!("page.css");
const SORT: &str = include_str!("sort.js");

/// Everything in one page.
pub fn page(contents: &Contents, plots: &Plots) -> String {
    let Contents { machines, cases, portability, peers } = contents;
    let mut body = String::new();
    let mut section = |id: &str, title: &str, words: &str, what: &[String]| {
        let _ = write!(
            body,
            "<section>\n<h2 id=\"{id}\">{title}</h2>\n<p>{words}</p>\n{}</section>\n",
            what.concat()
        );
    };
    section("machines", "Machines", MACHINES, &[tables::machines(machines).html(), warnings(machines)]);
    section(
        "portability",
        "Performance portability",
        portability::HOW,
        &[numbers(contents), tables::portability(portability).html()],
    );
    section("ceiling", "Share of the ceiling", CEILING, &[figure(&plots.heatmap.inline())]);
    let rooflines: String = plots.rooflines.iter().map(|plot| figure(&plot.inline())).collect();
    section("rooflines", "Rooflines", ROOFLINES, &[format!("<div class=\"pair\">{rooflines}</div>\n")]);
    if let Some(plot) = &plots.time {
        section("fused", "Fused against unfused", FUSED, &[figure(&plot.inline())]);
    }
    if let Some(plot) = &plots.memory {
        section("memory", "Memory", MEMORY, &[figure(&plot.inline())]);
    }
    if let Some(plot) = &plots.scaling {
        section("scaling", "Scaling with length", SCALING, &[figure(&plot.inline())]);
    }
    if !peers.is_empty() {
        section("peers", "Beside peers", PEERS, &[peers.html()]);
    }
    let all: Vec<_> = machines.iter().map(everything).collect();
    section("all", "Everything measured, and the plan each adapter got", ALL, &all);
    let style = format!("{STYLE}{PAGE}");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>tilewise benchmark: {title}</title>\n<style>\n{style}</style>\n\
         </head>\n<body>\n<header>\n<h1>tilewise benchmark</h1>\n<p class=\"soft\">{count} cases on {title}</p>\n{nav}</header>\n<main>\n{body}</main>\n\
         <script>\n{SORT}</script>\n</body>\n</html>\n",
        title = escape(&machines.iter().map(Machine::label).collect::<Vec<_>>().join(", ")),
        count = cases.len(),
        nav = nav(&body),
    )
}

const MACHINES: &str = "What each machine can do at all was measured in the same run, with kernels that do nothing else: \
    copies of a buffer too large for caches, multiply-adds in registers, products on matrix units where there are any. A \
    median is doubtful (?) if its runs were noisy, drifted, or did not settle in the time allowed. Click a heading to sort.";
const CEILING: &str = "The least time that the machine's own ceilings allow for a case, by traffic or by arithmetic, \
    whichever takes longer, over the time that the fused kernel takes. Cases are called alike on all machines; how many rows, \
    heads or channels fill a machine differs. Above 100 % caches hold the whole workload. “no”: refused or failed; “·”: not \
    part of what was measured; “?”: doubtful.";
const ROOFLINES: &str = "Each point is a workload: how much arithmetic it needs for each byte that must move at least, and \
    how much it reaches. The sloping line is what copies allow, the flat ones what arithmetic does; only f16 is held against \
    matrix units. Point at a mark for its name.";
const FUSED: &str = "The unfused version is what a framework would compose of library calls, decently written, on the same \
    adapter. To the right of the line fusing gains.";
const MEMORY: &str = "What an implementation allocates beyond its inputs: outputs and scratch, at its peak.";
const SCALING: &str = "The same amount of work as short sequences and as long ones, where the suite has several lengths of a \
    case. A flat line is ideal.";
const PEERS: &str = "The same workloads, checked and timed the same way. Peers choose their own kernels.";
const ALL: &str = "Medians on the device's clock where it has one. The plan says how a kernel was made for its adapter, and \
    which limit bound it.";

fn figure(plot: &str) -> String {
    format!("<figure>\n{plot}</figure>\n")
}

fn nav(body: &str) -> String {
    let links = body.split("<h2 id=\"").skip(1).filter_map(|rest| {
        let (id, rest) = rest.split_once("\">")?;
        Some(format!("<a href=\"#{id}\">{}</a>", rest.split_once("</h2>")?.0))
    });
    format!("<nav>{}</nav>\n", links.collect::<Vec<_>>().join("\n"))
}

fn numbers(contents: &Contents) -> String {
    let portability = &contents.portability;
    let Some(overall) = portability.overall else {
        return "<p>These machines have no case in common.</p>\n".to_owned();
    };
    let card = |name: &str, value: f64| format!("<div><b>{}</b>{}</div>\n", percent(value), escape(name));
    let families = portability
        .where_all_run
        .iter()
        .chain(&portability.families)
        .map(|score| card(&score.name, score.value));
    let over = format!("all {} cases on {}", portability.cases.len(), portability.machines.join(", "));
    format!("<div class=\"numbers\">\n{}{}</div>\n", card(&over, overall), families.collect::<String>())
}

/// What a reader should know before comparing.
fn warnings(machines: &[Machine]) -> String {
    let words = super::warnings(machines);
    let paragraph = |words: &String| format!("<p class=\"warning\">{}</p>\n", escape(words));
    words.iter().map(paragraph).collect::<Vec<_>>().concat()
}

fn everything(machine: &Machine) -> String {
    let unmeasured = tables::unmeasured(machine);
    let unmeasured = if unmeasured.is_empty() { String::new() } else { unmeasured.html() };
    format!("<h3>{}</h3>\n{}{unmeasured}", escape(&machine.label()), tables::measured(machine).html())
}
