//! Fused attention, and its gradients, against those that write scores to memory.
//!
//! Answer: the oracle's, in f64, for 512 queries of two heads, full and causal, and for the gradient of the queries; a
//! contender may have twice the error of the same mathematics done plainly in f32.

mod common;

use common::{Answer, Given, Race};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tilewise::baseline::{UnfusedAttention, UnfusedAttentionBackward};
use tilewise::oracle;
use tilewise::verify::Inputs;
use tilewise::{Attention, AttentionBackward, AttentionInputs, AttentionSpec, DType, Gpu};

fn attention(criterion: &mut Criterion) {
    let Some(gpu) = common::gpu() else { return };
    let full = AttentionSpec::new(DType::F32, 1, (512, 512), 2, 64);
    race(criterion, &gpu, "attention/full", full);
    race(criterion, &gpu, "attention/causal", full.causal());
    race_backward(criterion, &gpu, full.causal());
}

fn race_backward(criterion: &mut Criterion, gpu: &Gpu, spec: AttentionSpec) {
    let mut inputs = Inputs::new(1);
    let [q, k, v, d_o] = [spec.q_shape(), spec.k_shape(), spec.v_shape(), spec.o_shape()]
        .map(|shape| Given::normal(gpu, &mut inputs, &shape, 1.0));
    let answer = Answer::of(|precision| {
        let given = oracle::AttentionGiven::new(&q.host, &k.host, &v.host);
        oracle::attention_backward(&spec, precision, &given, &d_o.host).dq
    });
    // Five products where the forward pass has two.
    let throughput = Throughput::Elements((2.5 * spec.flops()) as u64);
    let mut race = Race::new(criterion, gpu, "attention/backward", throughput, answer);
    let inputs = AttentionInputs::new(&q.device, &k.device, &v.device);

    let fused = AttentionBackward::new(gpu, spec).expect("the spec fits");
    let outputs = Attention::new(gpu, spec).and_then(|op| op.run(inputs)).expect("the spec fits");
    let gradients = fused.outputs().expect("the gradients fit");
    race.enter("fused", &gradients.dq, |encoder| {
        fused.encode(encoder, inputs, &outputs, &d_o.device, &gradients)
    });

    let unfused = UnfusedAttentionBackward::new(gpu, spec).expect("the scores fit");
    let scratch = unfused.scratch().expect("the scores fit");
    let mut encoder = gpu.encoder();
    unfused.encode_weights(&mut encoder, inputs, &scratch).expect("the tensors are the spec's");
    gpu.submit(encoder).expect("the device is there");
    race.enter("unfused", &gradients.dq, |encoder| {
        unfused.encode(encoder, inputs, &d_o.device, &gradients, &scratch)
    });
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
