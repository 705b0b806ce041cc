//! Fused attention against the one that writes its scores to memory.
//!
//! Answer: the oracle's, in f64, for 512 queries of two heads, full and causal; a contender may have twice the error
//! of the same mathematics done plainly in f32.

mod common;

use common::{Answer, Given, Race};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tilewise::baseline::UnfusedAttention;
use tilewise::oracle;
use tilewise::verify::Inputs;
use tilewise::{Attention, AttentionInputs, AttentionSpec, DType, Gpu};

fn attention(criterion: &mut Criterion) {
    let Some(gpu) = common::gpu() else { return };
    let full = AttentionSpec::new(DType::F32, 1, (512, 512), 2, 64);
    race(criterion, &gpu, "attention/full", full);
    race(criterion, &gpu, "attention/causal", full.causal());
}

fn race(criterion: &mut Criterion, gpu: &Gpu, name: &str, spec: AttentionSpec) {
    let mut inputs = Inputs::new(1);
    let [q, k, v] = [spec.q_shape(), spec.k_shape(), spec.v_shape()]
        .map(|shape| Given::normal(gpu, &mut inputs, &shape, 1.0));
    let answer =
        Answer::of(|precision| oracle::attention(&spec, precision, &q.host, &k.host, &v.host, None).o);
    let mut race = Race::new(criterion, gpu, name, Throughput::Elements(spec.flops() as u64), answer);
    let inputs = AttentionInputs::new(&q.device, &k.device, &v.device);

    let fused = Attention::new(gpu, spec).expect("the spec fits");
    let outputs = fused.outputs().expect("the outputs fit");
    race.enter("fused", &outputs.o, |encoder| fused.encode(encoder, inputs, &outputs));

    let unfused = UnfusedAttention::new(gpu, spec).expect("the scores fit");
    let (o, scratch) =
        (unfused.outputs().expect("the output fits"), unfused.scratch().expect("the scores fit"));
    race.enter("unfused", &o, |encoder| unfused.encode(encoder, inputs, &o, &scratch));
}

criterion_group!(benches, attention);
criterion_main!(benches);
