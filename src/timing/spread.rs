//! What a number of runs say together: their median, how sure it is, and what speaks against it.

use std::fmt;
use std::time::Duration;

/// Median, quartiles and interval of a number of runs; in JSON, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Spread {
    /// A quarter of the runs took less.
    #[cfg_attr(feature = "serde", serde(rename = "lower_ms", with = "milliseconds"))]
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    pub lower: Duration,
    /// Half of the runs took less.
    #[cfg_attr(feature = "serde", serde(rename = "median_ms", with = "milliseconds"))]
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    pub median: Duration,
    /// Three quarters of the runs took less.
    #[cfg_attr(feature = "serde", serde(rename = "upper_ms", with = "milliseconds"))]
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    pub upper: Duration,
    /// Two of the runs, between which the median of all possible ones lies with a confidence of 95 % at least, as far as
    /// runs are independent. Fewer than six runs give none.
    #[cfg_attr(feature = "serde", serde(rename = "interval_ms", with = "interval"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<[f64; 2]>"))]
    pub interval: Option<[Duration; 2]>,
}

#[cfg(feature = "serde")]
mod milliseconds {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64() * 1e3)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Duration, D::Error> {
        of(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    pub fn of(milliseconds: f64) -> Result<Duration, String> {
        Duration::try_from_secs_f64(milliseconds / 1e3)
            .map_err(|_| format!("{milliseconds} ms is no time, expected a number that is not negative"))
    }
}

#[cfg(feature = "serde")]
mod interval {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::milliseconds;

    #[allow(clippy::ref_option, reason = "serde's own signature")]
    pub fn serialize<S: Serializer>(ends: &Option<[Duration; 2]>, serializer: S) -> Result<S::Ok, S::Error> {
        ends.map(|ends| ends.map(|end| end.as_secs_f64() * 1e3)).serialize(serializer)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<[Duration; 2]>, D::Error> {
        let Some([low, high]) = Option::<[f64; 2]>::deserialize(deserializer)? else { return Ok(None) };
        let end = |ms| milliseconds::of(ms).map_err(D::Error::custom);
        Ok(Some([end(low)?, end(high)?]))
    }
}

impl Spread {
    /// Of at least one run.
    pub(super) fn of(runs: &[Duration]) -> Option<Self> {
        let mut runs = runs.to_vec();
        runs.sort_unstable();
        let at = |quarter: usize| runs.get((runs.len().checked_sub(1)? * quarter + 2) / 4).copied();
        let interval = outer_rank(runs.len()).map(|rank| [runs[rank], runs[runs.len() - 1 - rank]]);
        Some(Self { lower: at(1)?, median: at(2)?, upper: at(3)?, interval })
    }

    /// How far the interval reaches from the median, as a share of it; infinite where there is no interval.
    pub fn reach(&self) -> f64 {
        let Some([low, high]) = self.interval else { return f64::INFINITY };
        let [low, median, high] = [low, self.median, high].map(|time| time.as_secs_f64());
        (median - low).max(high - median) / median.max(1e-9)
    }
}

/// From either end the rank of a run, so that between the two lies the median with 95 % at least: the most runs that are
/// left out on one side while fewer than so many falling there has a chance of 2.5 % at most (the sign test's interval;
/// Conover, Practical Nonparametric Statistics, 3.2). None for fewer than six runs.
fn outer_rank(runs: usize) -> Option<usize> {
    // From a thousand runs on the binomial distribution is a normal one, and its first term would underflow.
    if runs > 1000 {
        let runs = runs as f64;
        return Some((runs / 2.0 - 0.98 * runs.sqrt() - 1.0) as usize);
    }
    let mut term = 0.5_f64.powf(runs as f64);
    let (mut below, mut rank) = (0.0, 0);
    while below + term <= 0.025 {
        below += term;
        term *= (runs - rank) as f64 / (rank + 1) as f64;
        rank += 1;
    }
    rank.checked_sub(1)
}

/// Why a figure may not be what the machine gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Doubt {
    /// Quartiles lie more than a tenth of the median apart: something else kept the machine busy.
    Noisy,
    /// The last quarter of the runs took more than a twentieth longer or less long than the first, and more than quartiles
    /// lie apart: clocks changed, as they do with heat.
    Drifting,
    /// When time was up, the interval of the median was still wider than asked for.
    Unsettled,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Noisy => "noisy",
            Self::Drifting => "drifting",
            Self::Unsettled => "unsettled",
        })
    }
}

/// What speaks against a median.
pub(super) fn doubts(spread: &Spread, drift: Option<f64>, within: f64) -> Vec<Doubt> {
    let [lower, median, upper] = [spread.lower, spread.median, spread.upper].map(|time| time.as_secs_f64());
    // A trend makes quarters differ by one and a half times as much as quartiles, chance by less.
    let trend = ((upper - lower) / median.max(1e-9)).max(0.05);
    [
        (upper - lower > 0.1 * median, Doubt::Noisy),
        (drift.is_some_and(|drift| drift.abs() > trend), Doubt::Drifting),
        (within.is_finite() && spread.reach() > within, Doubt::Unsettled),
    ]
    .into_iter()
    .filter_map(|(is, doubt)| is.then_some(doubt))
    .collect()
}

/// See [`Timing::drift`](super::Timing::drift); runs are in the order in which they were measured.
pub(super) fn drift(runs: &[Duration]) -> Option<f64> {
    let quarter = runs.len() / 4;
    if quarter < 3 {
        return None;
    }
    let median = |runs: &[Duration]| Spread::of(runs).map(|spread| spread.median.as_secs_f64());
    let (first, last) = (median(&runs[..quarter])?, median(&runs[runs.len() - quarter..])?);
    Some((last - first) / median(runs)?.max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(values: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        values.into_iter().map(Duration::from_micros).collect()
    }

    #[test]
    fn ranks_are_those_of_the_tables() {
        // The sign test's ranks for 95 %, counted from 1 in the books: Conover, table A3; none below six.
        let ranks = [
            (5, None),
            (6, Some(0)),
            (8, Some(0)),
            (9, Some(1)),
            (20, Some(5)),
            (50, Some(17)),
            (100, Some(39)),
        ];
        for (runs, rank) in ranks {
            assert_eq!(outer_rank(runs), rank, "{runs} runs");
        }
        let [exact, normal] = [1000, 1001].map(|runs| outer_rank(runs).unwrap());
        assert!(exact.abs_diff(normal) <= 1, "{exact} and {normal}");
    }

    /// Medians of fair samples lie within their intervals in at least 95 of 100 cases.
    #[test]
    fn intervals_cover_the_median() {
        for runs in [6, 9, 20, 51] {
            let draws = crate::verify::Inputs::new(runs as u64).uniform(runs * 4000, 0.0, 1000.0);
            let covers = |sample: &[f64]| {
                let sample: Vec<_> = sample.iter().map(|x| Duration::from_secs_f64(*x)).collect();
                let [low, high] = Spread::of(&sample).unwrap().interval.unwrap();
                low <= Duration::from_secs(500) && Duration::from_secs(500) <= high
            };
            let covered = draws.chunks_exact(runs).filter(|sample| covers(sample)).count();
            assert!(covered as f64 > 0.94 * 4000.0, "{covered} of 4000 with {runs} runs");
        }
    }

    #[test]
    fn quartiles_and_intervals_by_hand() {
        let spread = Spread::of(&micros([9, 1, 5, 3, 7, 2, 8, 4, 6])).unwrap();
        let [lower, median, upper] = [3, 5, 7].map(Duration::from_micros);
        assert_eq!((spread.lower, spread.median, spread.upper), (lower, median, upper));
        assert_eq!(spread.interval, Some([2, 8].map(Duration::from_micros)));
        assert!((spread.reach() - 0.6).abs() < 1e-9);
        assert!(Spread::of(&micros([1, 2, 3])).unwrap().interval.is_none());
        assert!(Spread::of(&[]).is_none());
    }

    #[test]
    fn noise_drift_and_haste_are_told_apart() {
        let of = |runs: &[Duration]| doubts(&Spread::of(runs).unwrap(), drift(runs), 0.03);
        assert_eq!(of(&micros([100; 20])), []);
        let slower = micros((0..20).map(|i| 1000 + 4 * i));
        assert!(
            drift(&slower).is_some_and(|drift| (drift - 60.0 / 1038.0).abs() < 1e-3),
            "{:?}",
            drift(&slower)
        );
        assert_eq!(of(&slower), [Doubt::Drifting]);
        let noisy = micros([100, 150, 80].repeat(8));
        assert_eq!(of(&noisy), [Doubt::Noisy, Doubt::Unsettled]);
        assert_eq!(of(&micros([100; 5])), [Doubt::Unsettled], "no interval at all");
        assert!(drift(&micros([1; 11])).is_none());
    }
}
