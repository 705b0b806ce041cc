//! Performance portability as a number: the metric of Pennycook, Sewall and Lee, "A metric for performance portability"
//! (2016), with the share of the measured ceiling as the efficiency.

use serde::Serialize;
use tilewise::verify::Family;

use super::model::{Case, Machine, harmonic};

/// How it is computed, for readers.
pub const HOW: &str = "For each case, the harmonic mean over all machines of the share of the ceiling that its fused \
    kernel reaches there: n / (1/e₁ + … + 1/eₙ), where e is the least time that the machine's own measured ceilings allow \
    over the time taken, at most 1. It is 0 if the case cannot run on one of them. A case counts if every machine's run \
    has it. The number of a family, and of all, is the harmonic mean of its cases. Peers do not count. It is a number of \
    these machines alone: with others it is another.";

/// The numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Portability {
    /// Letters of the machines.
    pub machines: Vec<String>,
    /// Of all cases; absent if there are none that every machine's run has.
    pub overall: Option<f64>,
    /// Of those cases alone that run on every machine, where that is another number.
    pub where_all_run: Option<Score>,
    /// Of each family.
    pub families: Vec<Score>,
    /// Of each case, the worst first.
    pub cases: Vec<Score>,
}

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Of what.
    pub name: String,
    /// From 0 to 1.
    pub value: f64,
    /// The letter of the machine that has the least share, and the share.
    pub least: Option<(String, f64)>,
}

impl Portability {
    /// Over these machines.
    pub fn of(machines: &[Machine], cases: &[Case]) -> Self {
        let ours: Vec<_> = machines.iter().filter(|machine| machine.is_ours()).collect();
        let scored: Vec<_> =
            cases.iter().filter_map(|case| Some((case.family, score(&ours, case)?))).collect();
        let mean = |family: Option<Family>| {
            let counts = |of: &Option<Family>| family.is_none_or(|family| *of == Some(family));
            let values: Vec<_> =
                scored.iter().filter(|(of, _)| counts(of)).map(|(_, score)| score.value).collect();
            (!values.is_empty()).then(|| harmonic(values))
        };
        let family = |family: Family| {
            Some(Score { name: family.name().to_owned(), value: mean(Some(family))?, least: None })
        };
        let (overall, families) = (mean(None), Family::ALL.into_iter().filter_map(family).collect());
        let positive = scored.iter().map(|(_, score)| score.value).filter(|value| *value > 0.0);
        let positive: Vec<_> = positive.collect();
        let where_all_run = (positive.len() < scored.len() && !positive.is_empty()).then(|| Score {
            name: format!("the {} that run everywhere", positive.len()),
            value: harmonic(positive),
            least: None,
        });
        let mut cases: Vec<_> = scored.into_iter().map(|(_, score)| score).collect();
        cases.sort_by(|a, b| a.value.total_cmp(&b.value));
        Self {
            machines: ours.iter().map(|machine| machine.letter.clone()).collect(),
            overall,
            where_all_run,
            families,
            cases,
        }
    }
}

/// Of one case; none where a machine's run does not have it.
fn score(machines: &[&Machine], case: &Case) -> Option<Score> {
    let share = |machine: &&Machine| {
        Some((machine.letter.clone(), machine.outcome(&case.name).share()?.clamp(0.0, 1.0)))
    };
    let shares: Vec<_> = machines.iter().map(share).collect::<Option<_>>()?;
    let least = shares.iter().min_by(|a, b| a.1.total_cmp(&b.1)).cloned();
    let value = harmonic(shares.into_iter().map(|(_, share)| share));
    least.map(|least| Score { name: case.name.clone(), value, least: Some(least) })
}
