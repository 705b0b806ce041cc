//! The report as Markdown, for an issue.

use super::heatmap::percent;
use super::sheet::plain;
use super::{Contents, portability, tables};

/// The tables that fit in an issue.
pub fn text(contents: &Contents) -> String {
    let Contents { machines, cases, portability, peers } = contents;
    let warning = |words: &String| format!("> {}\n\n", plain(words));
    let warnings = super::warnings(machines).iter().map(warning).collect::<Vec<_>>().concat();
    let overall = portability.overall.map_or_else(
        || "These machines have no case in common.".to_owned(),
        |overall| {
            let over =
                format!("all {} cases on {}", portability.cases.len(), portability.machines.join(", "));
            let families = portability.where_all_run.iter().chain(&portability.families);
            let families = families.map(|score| format!("{} {}", score.name, percent(score.value)));
            let families: Vec<_> = families.collect();
            format!("**{}** over {over}; {}.", percent(overall), families.join(", "))
        },
    );
    let peers =
        if peers.is_empty() { String::new() } else { format!("\n### Beside peers\n\n{}", peers.markdown()) };
    format!(
        "## tilewise benchmark\n\n{}\n{warnings}### Performance portability\n\n{overall}\n\n{}\n\n{}\n### Share of the \
         ceiling\n\n{}\n### Times less than unfused\n\n{}{peers}",
        tables::machines(machines).markdown(),
        portability::HOW,
        tables::portability(portability).markdown(),
        tables::shares(machines, cases).markdown(),
        tables::gains(machines, cases).markdown(),
    )
}
