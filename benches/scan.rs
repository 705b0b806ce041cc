//! The chunked linear scan against doubling passes over whole arrays and against a loop with a lane for each row.
//!
//! Answer: the oracle's, in f64, for one row of 262,144 steps and for 64 rows of 4096; a contender may have twice the
//! error of the loop done plainly in f32.

mod common;

use common::{Answer, Given, Race};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tilewise::baseline::{SequentialLinearScan, UnfusedLinearScan};
use tilewise::oracle;
use tilewise::verify::Inputs;
use tilewise::{DType, Gpu, LinearScan, LinearScanInputs, LinearScanSpec};

fn linear_scan(criterion: &mut Criterion) {
    let Some(gpu) = common::gpu() else { return };
    race(criterion, &gpu, "linear_scan/one_row", LinearScanSpec::new(DType::F32, 1, 1, 1 << 18));
    race(criterion, &gpu, "linear_scan/many_rows", LinearScanSpec::new(DType::F32, 1, 64, 4096));
}

fn race(criterion: &mut Criterion, gpu: &Gpu, name: &str, spec: LinearScanSpec) {
    let mut inputs = Inputs::new(1);
    let decays = inputs.uniform(spec.rows() * spec.length, 0.9, 1.0);
    let a = Given::new(gpu, &spec.shape(), &decays);
    let b = Given::normal(gpu, &mut inputs, &spec.shape(), 1.0);
    let answer = Answer::of(|precision| oracle::linear_scan(&spec, precision, &a.host, &b.host, None).h);
    let mut race = Race::new(criterion, gpu, name, Throughput::Bytes(spec.least_bytes()), answer);
    let inputs = LinearScanInputs { a: &a.device, b: &b.device, initial: None };

    let fused = LinearScan::new(gpu, spec).expect("the spec fits");
    let outputs = fused.outputs().expect("the outputs fit");
    race.enter("fused", &outputs.h, |encoder| fused.encode(encoder, inputs, &outputs));

    let unfused = UnfusedLinearScan::new(gpu, spec).expect("the spec fits");
    let (outputs, scratch) =
        (unfused.outputs().expect("the outputs fit"), unfused.scratch().expect("the pairs fit"));
    race.enter("unfused", &outputs.h, |encoder| unfused.encode(encoder, inputs, &outputs, &scratch));

    let sequential = SequentialLinearScan::new(gpu, spec).expect("the spec fits");
    let outputs = sequential.outputs().expect("the outputs fit");
    race.enter("sequential", &outputs.h, |encoder| sequential.encode(encoder, inputs, &outputs));
}

criterion_group!(benches, linear_scan);
criterion_main!(benches);
