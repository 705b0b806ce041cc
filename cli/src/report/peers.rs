//! This library beside its peers, on the workloads that both measured.

use tilewise::bench::Report;

use super::model::{Machine, milliseconds};
use super::sheet::{Cell, Sheet};
use super::svg::short;

/// A row for each workload that a machine of ours and one of a peer's have in common.
pub fn table(machines: &[Machine]) -> Sheet {
    let mut sheet =
        Sheet::new(["workload", "tilewise", "ms", "peer", "ms", "tilewise over peer", "adapters"]);
    let (ours, peers): (Vec<_>, Vec<_>) = machines.iter().partition(|machine| machine.is_ours());
    for (our, peer) in ours.iter().flat_map(|our| peers.iter().map(move |peer| (our, peer))) {
        let same = our.record.adapter.name == peer.record.adapter.name;
        for (ours, theirs) in
            our.record.reports.iter().filter_map(|report| Some((report, twin(report, peer)?)))
        {
            let (here, there) = (milliseconds(&ours.fused), milliseconds(&theirs.fused));
            sheet.row([
                (&ours.workload).into(),
                (&our.letter).into(),
                Cell::number(here, short(here)),
                format!("{} {}", peer.letter, theirs.fused.plan).into(),
                Cell::number(there, short(there)),
                Cell::number(there / here, format!("{:.2}× as fast", there / here)),
                if same { "the same" } else { "different" }.into(),
            ]);
        }
    }
    sheet
}

fn twin<'a>(report: &Report, peer: &'a Machine) -> Option<&'a Report> {
    peer.record.reports.iter().find(|other| other.workload == report.workload)
}
