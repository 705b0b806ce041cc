//! How long work takes: on the device's own clock where it has one, on the host's beside it.

mod spread;

pub use spread::{Doubt, Spread};

use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;
#[cfg(target_arch = "wasm32")]
use web_time::Instant;

use crate::{Error, Gpu};

/// What was measured of one piece of work.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timing {
    /// Between device timestamps; absent where the adapter has none.
    pub device: Option<Spread>,
    /// From submission to completion on the host's clock.
    pub wall: Spread,
    /// How many runs were measured.
    pub runs: usize,
    /// By which share of the median the last quarter of the runs took longer than the first, on the clock that counts;
    /// absent with fewer than twelve runs.
    pub drift: Option<f64>,
    /// Why this may not be what the machine gives; empty if nothing speaks against it.
    pub doubts: Vec<Doubt>,
}

impl Timing {
    /// Of runs in the order in which they were measured, with the least share of the median that its interval was to
    /// reach. None if there are none.
    fn of(device: &[Duration], wall: &[Duration], within: f64) -> Option<Self> {
        let counts = if device.is_empty() { wall } else { device };
        let (device, wall, drift) = (Spread::of(device), Spread::of(wall)?, spread::drift(counts));
        let doubts = spread::doubts(&device.unwrap_or(wall), drift, within);
        Some(Self { device, wall, runs: counts.len(), drift, doubts })
    }

    /// The clock that counts: the device's, or the host's where the device has none.
    pub fn spread(&self) -> Spread {
        self.device.unwrap_or(self.wall)
    }

    /// The median on the clock that counts.
    pub fn median(&self) -> Duration {
        self.spread().median
    }
}

/// How often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How long to run before measuring, once at least: clocks rise, caches fill, drivers finish compiling.
    pub warm_up: Duration,
    /// Measured runs at least, one at least.
    pub runs: usize,
    /// Measured runs at most.
    pub most: usize,
    /// Measured until the [interval](Spread::interval) of the median reaches no further than this share of it.
    pub within: f64,
    /// Stop measuring after this long, once one run is done.
    pub budget: Duration,
}

impl Effort {
    /// As many runs as that, however they spread.
    pub const fn fixed(warm_up: Duration, runs: usize, budget: Duration) -> Self {
        Self { warm_up, runs, most: runs, within: f64::INFINITY, budget }
    }

    /// Whether to measure another run after these.
    fn wants_more(&self, runs: &[Duration], elapsed: Duration) -> bool {
        let settled = || Spread::of(runs).is_some_and(|spread| spread.reach() <= self.within);
        let enough = runs.len() >= self.runs && (runs.len() >= self.most || settled());
        runs.is_empty() || (!enough && elapsed < self.budget)
    }
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_millis(300),
            runs: 10,
            most: 200,
            within: 0.02,
            budget: Duration::from_secs(2),
        }
    }
}

/// Times work that `record` encodes, again for every run, until the effort is met. Recording itself is not timed.
pub async fn measure(
    gpu: &Gpu,
    effort: Effort,
    mut record: impl FnMut(&mut wgpu::CommandEncoder) -> Result<(), Error>,
) -> Result<Timing, Error> {
    let stamps = gpu.caps().timestamps.then(|| Stamps::new(gpu));
    let first = run(gpu, stamps.as_ref(), &mut record).await?;
    if first.wall >= effort.warm_up + effort.budget {
        // There is no time for another, and nothing to warm up.
        return timing(effort, &[first]).ok_or_else(|| gpu.refusal("timing", "nothing was run"));
    }
    warm_up(gpu, effort, &mut record).await?;
    let mut runs = Vec::new();
    let started = Instant::now();
    while effort.wants_more(&counting(&runs), started.elapsed()) {
        runs.push(run(gpu, stamps.as_ref(), &mut record).await?);
    }
    timing(effort, &runs).ok_or_else(|| gpu.refusal("timing", "nothing was run"))
}

/// How long a run took on either clock.
struct Run {
    device: Option<Duration>,
    wall: Duration,
}

/// Runs once.
async fn run(
    gpu: &Gpu,
    stamps: Option<&Stamps>,
    record: &mut impl FnMut(&mut wgpu::CommandEncoder) -> Result<(), Error>,
) -> Result<Run, Error> {
    let mut encoder = gpu.encoder();
    if let Some(stamps) = stamps {
        encoder.write_timestamp(&stamps.queries, 0);
    }
    record(&mut encoder)?;
    if let Some(stamps) = stamps {
        encoder.write_timestamp(&stamps.queries, 1);
        encoder.resolve_query_set(&stamps.queries, 0..2, &stamps.buffer, 0);
    }
    let before = Instant::now();
    gpu.submit(encoder)?;
    gpu.done().await?;
    let wall = before.elapsed();
    let device = match stamps {
        Some(stamps) => Some(stamps.read(gpu).await?),
        None => None,
    };
    Ok(Run { device, wall })
}

/// Runs on the clock that counts.
fn counting(runs: &[Run]) -> Vec<Duration> {
    runs.iter().map(|run| run.device.unwrap_or(run.wall)).collect()
}

fn timing(effort: Effort, runs: &[Run]) -> Option<Timing> {
    let device: Vec<_> = runs.iter().filter_map(|run| run.device).collect();
    let wall: Vec<_> = runs.iter().map(|run| run.wall).collect();
    Timing::of(&device, &wall, effort.within)
}

/// How much work is under way at a time while a device warms up.
const WARMING: Duration = Duration::from_millis(50);

/// A run that takes less than this share of the fastest so far is faster.
const FASTER: f64 = 0.98;

/// Runs until the device is warm: once at least, and until runs have got no faster for as long as the effort says, or time
/// is up. All the while there is work in the queue: the clock of a device that waits for its host half of the time stays
/// where it was when the host prepared the work, and one that fell rises by steps, each of which may last a fifth of a
/// second.
async fn warm_up(
    gpu: &Gpu,
    effort: Effort,
    record: &mut impl FnMut(&mut wgpu::CommandEncoder) -> Result<(), Error>,
) -> Result<(), Error> {
    let started = Instant::now();
    let (mut runs, mut fastest, mut since) = (1, f64::INFINITY, started);
    loop {
        let batch = Instant::now();
        for _ in 0..runs {
            let mut encoder = gpu.encoder();
            record(&mut encoder)?;
            gpu.submit(encoder)?;
        }
        gpu.done().await?;
        let run = batch.elapsed() / runs;
        if run.as_secs_f64() < FASTER * fastest {
            (fastest, since) = (run.as_secs_f64(), batch);
        }
        if since.elapsed() >= effort.warm_up || started.elapsed() >= effort.warm_up + effort.budget {
            return Ok(());
        }
        runs = (WARMING.as_nanos() / run.as_nanos().max(1)).clamp(1, 100) as u32;
    }
}

/// A pair of timestamps on the device.
struct Stamps {
    queries: wgpu::QuerySet,
    buffer: wgpu::Buffer,
}

impl Stamps {
    fn new(gpu: &Gpu) -> Self {
        let queries = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timing"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("timing"),
            size: 16,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self { queries, buffer }
    }

    async fn read(&self, gpu: &Gpu) -> Result<Duration, Error> {
        let raw = gpu.download(&self.buffer, 16).await?;
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&raw);
        let ticks = stamps[1].saturating_sub(stamps[0]) as f64;
        Ok(Duration::from_nanos((ticks * f64::from(gpu.queue().get_timestamp_period())) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_when_they_agree_or_time_is_up() {
        let effort = Effort { runs: 6, most: 20, within: 0.05, ..Effort::default() };
        let runs = |count: usize, step: u64| -> Vec<_> {
            (0..count as u64).map(|i| Duration::from_micros(1000 + step * i)).collect()
        };
        let more = |runs: &[Duration]| effort.wants_more(runs, Duration::ZERO);
        assert!(more(&[]) && more(&runs(5, 0)), "too few");
        assert!(!more(&runs(6, 0)), "as many as asked for, all alike");
        assert!(more(&runs(6, 40)) && more(&runs(19, 40)), "far apart");
        assert!(!more(&runs(20, 40)), "as many as allowed");
        let late = |runs: &[Duration]| effort.wants_more(runs, effort.budget);
        assert!(late(&[]) && !late(&runs(1, 0)), "one run whatever it takes");
        let fixed = Effort::fixed(Duration::ZERO, 3, Duration::from_secs(1));
        assert!(
            fixed.wants_more(&runs(2, 0), Duration::ZERO) && !fixed.wants_more(&runs(3, 900), Duration::ZERO)
        );
    }
}
