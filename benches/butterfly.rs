//! Fused Monarch products against two batched products with permuting copies between them.
//!
//! Answer: the oracle's, in f64, for 64 rows of 1024; a contender may have twice the error of the same mathematics
//! done plainly in f32.

mod common;

use common::{Answer, Given, Race};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tilewise::baseline::{UnfusedButterfly, UnfusedMonarch};
use tilewise::oracle;
use tilewise::verify::Inputs;
use tilewise::{
    Butterfly, ButterflyInputs, ButterflySpec, DType, LinearSpec as _, Monarch, MonarchInputs, MonarchSpec,
};

fn monarch(criterion: &mut Criterion) {
    let Some(gpu) = common::gpu() else { return };
    let spec = MonarchSpec::square(DType::F32, 64, 32);
    let mut inputs = Inputs::new(1);
    let x = Given::normal(&gpu, &mut inputs, &[spec.batch, spec.n_in()], 1.0);
    // Weights that keep the variance of a row.
    let [w1, w2] = [spec.w1, spec.w2]
        .map(|shape| Given::normal(&gpu, &mut inputs, &shape, (shape[2] as f64).powf(-0.5)));
    let answer = Answer::of(|precision| oracle::monarch(&spec, precision, &x.host, &w1.host, &w2.host));
    let mut race =
        Race::new(criterion, &gpu, "monarch/1024", Throughput::Elements(spec.flops() as u64), answer);
    let inputs = MonarchInputs { x: &x.device, w1: &w1.device, w2: &w2.device };

    let fused = Monarch::new(&gpu, spec).expect("the spec fits");
    let y = fused.outputs().expect("the output fits");
    race.enter("fused", &y, |encoder| fused.encode(encoder, inputs, &y));

    let unfused = UnfusedMonarch::new(&gpu, spec).expect("the spec fits");
    let (y, scratch) =
        (unfused.outputs().expect("the output fits"), unfused.scratch().expect("the rows fit"));
    race.enter("unfused", &y, |encoder| unfused.encode(encoder, inputs, &y, &scratch));
}

/// Ten factors in one kernel against one kernel each.
fn butterfly(criterion: &mut Criterion) {
    let Some(gpu) = common::gpu() else { return };
    let spec = ButterflySpec::new(DType::F32, 64, 1024);
    let mut inputs = Inputs::new(1);
    let x = Given::normal(&gpu, &mut inputs, &spec.x_shape(), 1.0);
    let twiddle = Given::normal(&gpu, &mut inputs, &spec.twiddle_shape(), 0.5_f64.sqrt());
    let answer = Answer::of(|precision| oracle::butterfly(&spec, precision, &x.host, &twiddle.host));
    let mut race =
        Race::new(criterion, &gpu, "butterfly/1024", Throughput::Elements(spec.flops() as u64), answer);
    let inputs = ButterflyInputs { x: &x.device, twiddle: &twiddle.device };

    let fused = Butterfly::new(&gpu, spec).expect("the spec fits");
    let y = fused.outputs().expect("the output fits");
    race.enter("fused", &y, |encoder| fused.encode(encoder, inputs, &y));

    let unfused = UnfusedButterfly::new(&gpu, spec).expect("the spec fits");
    let (y, scratch) =
        (unfused.outputs().expect("the output fits"), unfused.scratch().expect("the rows fit"));
    race.enter("unfused", &y, |encoder| unfused.encode(encoder, inputs, &y, &scratch));
}

criterion_group!(benches, monarch, butterfly);
criterion_main!(benches);
