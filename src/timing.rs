//! How long work takes: on the device's own clock where it has one, on the host's beside it.

use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;
#[cfg(target_arch = "wasm32")]
use web_time::Instant;

use crate::{Error, Gpu};

/// Median and quartiles of a number of runs; as serde values, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Spread {
    /// A quarter of the runs took less.
    #[cfg_attr(feature = "serde", serde(rename = "lower_ms", serialize_with = "milliseconds"))]
    pub lower: Duration,
    /// Half of the runs took less.
    #[cfg_attr(feature = "serde", serde(rename = "median_ms", serialize_with = "milliseconds"))]
    pub median: Duration,
    /// Three quarters of the runs took less.
    #[cfg_attr(feature = "serde", serde(rename = "upper_ms", serialize_with = "milliseconds"))]
    pub upper: Duration,
}

#[cfg(feature = "serde")]
fn milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1e3)
}

impl Spread {
    /// Of at least one run.
    fn of(mut runs: Vec<Duration>) -> Option<Self> {
        runs.sort_unstable();
        let at = |quarter: usize| runs.get((runs.len().checked_sub(1)? * quarter + 2) / 4).copied();
        Some(Self { lower: at(1)?, median: at(2)?, upper: at(3)? })
    }
}

/// What was measured of one piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Timing {
    /// Between device timestamps; absent where the adapter has none.
    pub device: Option<Spread>,
    /// From submission to completion on the host's clock.
    pub wall: Spread,
    /// How many runs were measured.
    pub runs: usize,
}

impl Timing {
    /// The median on the device's clock, or on the host's where the device has none.
    pub fn median(&self) -> Duration {
        self.device.unwrap_or(self.wall).median
    }
}

/// How often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How long to run before measuring, once at least: clocks rise, caches fill, drivers finish compiling.
    pub warm_up: Duration,
    /// Measured runs, at least one.
    pub runs: usize,
    /// Stop measuring after this long, once one run is done.
    pub budget: Duration,
}

impl Default for Effort {
    fn default() -> Self {
        Self { warm_up: Duration::from_millis(300), runs: 20, budget: Duration::from_secs(2) }
    }
}

/// Times work that `record` encodes, again for every run. Recording itself is not timed.
pub async fn measure(
    gpu: &Gpu,
    effort: Effort,
    mut record: impl FnMut(&mut wgpu::CommandEncoder) -> Result<(), Error>,
) -> Result<Timing, Error> {
    let stamps = gpu.caps().timestamps.then(|| Stamps::new(gpu));
    let started = Instant::now();
    loop {
        let mut encoder = gpu.encoder();
        record(&mut encoder)?;
        gpu.submit(encoder)?;
        gpu.done().await?;
        if started.elapsed() >= effort.warm_up {
            break;
        }
    }
    let (mut device, mut wall) = (Vec::new(), Vec::new());
    let started = Instant::now();
    while wall.len() < effort.runs.max(1) && (wall.is_empty() || started.elapsed() < effort.budget) {
        let mut encoder = gpu.encoder();
        if let Some(stamps) = &stamps {
            encoder.write_timestamp(&stamps.queries, 0);
        }
        record(&mut encoder)?;
        if let Some(stamps) = &stamps {
            encoder.write_timestamp(&stamps.queries, 1);
            encoder.resolve_query_set(&stamps.queries, 0..2, &stamps.buffer, 0);
        }
        let before = Instant::now();
        gpu.submit(encoder)?;
        gpu.done().await?;
        wall.push(before.elapsed());
        if let Some(stamps) = &stamps {
            device.push(stamps.read(gpu).await?);
        }
    }
    let runs = wall.len();
    let wall = Spread::of(wall).ok_or_else(|| gpu.refusal("timing", "nothing was run"))?;
    Ok(Timing { device: Spread::of(device), wall, runs })
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
