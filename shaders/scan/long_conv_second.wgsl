// A second output of a long convolution: the same samples under another gate.

@group(0) @binding(0) var<storage, read> second_gate: array<second_gate_word>; // (batch, channels, length)
@group(0) @binding(1) var<storage, read_write> second: array<second_word>; // (batch, channels, length)

fn write_second(at: Samples, four: vec4<f32>) {
    second_store4(at.first, at.end, four * second_gate_load4(at.first, at.end));
}
