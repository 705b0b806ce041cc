//! What the benches share: an adapter, inputs, and a race in which nothing is timed before its answer is right.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use tilewise::oracle::Precision;
use tilewise::verify::{Inputs, Outcome, Tolerance};
use tilewise::{DType, Error, Gpu, GpuOptions, Tensor};
use wgpu::CommandEncoder;

/// This machine's adapter, or `None` where the environment allows there to be none.
pub fn gpu() -> Option<Gpu> {
    let options = GpuOptions { adapter: std::env::var("TILEWISE_ADAPTER").ok(), ..Default::default() };
    match pollster::block_on(Gpu::request_with(options)) {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var("TILEWISE_ALLOW_NO_GPU").is_ok_and(|value| value == "1") => {
            eprintln!("SKIPPED, since TILEWISE_ALLOW_NO_GPU is set: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Values in f32, on the host and on the device.
pub struct Given {
    pub host: Vec<f64>,
    pub device: Tensor<f32>,
}

impl Given {
    pub fn new(gpu: &Gpu, shape: &[usize], values: &[f64]) -> Self {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let device = Tensor::from_slice(gpu, shape, &values).expect("inputs fit");
        Self { host: values.into_iter().map(f64::from).collect(), device }
    }

    pub fn normal(gpu: &Gpu, inputs: &mut Inputs, shape: &[usize], deviation: f64) -> Self {
        Self::new(gpu, shape, &inputs.normal(shape.iter().product(), deviation))
    }
}

/// The right answer, and the error that a plain f32 computation makes.
pub struct Answer {
    reference: Vec<f64>,
    plain: Vec<f64>,
}

impl Answer {
    pub fn of(oracle: impl Fn(Precision) -> Vec<f64>) -> Self {
        Self { reference: oracle(Precision::Exact), plain: oracle(Precision::Stored(DType::F32)) }
    }

    fn check(&self, name: &str, found: &[f64]) {
        let largest = self.reference.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
        let tolerance = Tolerance { multiple: 2.0, atol: 4.0 * f64::from(f32::EPSILON) * largest };
        let outcome = Outcome::new("the output", found, &self.reference, &self.plain, tolerance);
        assert!(outcome.passed(), "{name}: {outcome:?}");
    }
}

/// Contenders for one answer, on one adapter.
pub struct Race<'a> {
    gpu: &'a Gpu,
    answer: Answer,
    group: BenchmarkGroup<'a, WallTime>,
}

impl<'a> Race<'a> {
    pub fn new(
        criterion: &'a mut Criterion,
        gpu: &'a Gpu,
        name: &str,
        throughput: Throughput,
        answer: Answer,
    ) -> Self {
        let mut group = criterion.benchmark_group(name);
        group.throughput(throughput).sample_size(20);
        Self { gpu, answer, group }
    }

    /// Runs once and checks `output`, then times from submission to completion.
    pub fn enter(
        &mut self,
        name: &str,
        output: &Tensor<f32>,
        mut record: impl FnMut(&mut CommandEncoder) -> Result<(), Error>,
    ) {
        let gpu = self.gpu;
        let mut run = || {
            let mut encoder = gpu.encoder();
            record(&mut encoder)?;
            gpu.submit(encoder)?;
            gpu.wait()
        };
        run().unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = output.read_blocking().unwrap_or_else(|error| panic!("{name}: {error}"));
        self.answer.check(name, &found.into_iter().map(f64::from).collect::<Vec<_>>());
        self.group.bench_function(name, |bencher| {
            bencher.iter(|| run().unwrap_or_else(|error| panic!("{name}: {error}")));
        });
    }
}
