// Powers of the modes of a diagonal state-space model, from those that the host computed in f64: no angle grows with the
// length, and few products make a power of any. The kernel declares `params`.

// For each mode its weight C B, and then its powers 1, 2, 4, … to beyond the length.
@group(0) @binding(0) var<storage, read> modes: array<vec2<f32>>; // (channels, pairs, 1 + bits)

fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

fn weight(mode: u32) -> vec2<f32> {
    return modes[mode * (1u + params.bits)];
}

// The power of a mode whose exponent has these bits, from one bit up to another, and no others.
fn power(mode: u32, exponent: u32, from_bit: u32, to_bit: u32) -> vec2<f32> {
    var product = vec2<f32>(1.0, 0.0);
    for (var bit = from_bit; bit < to_bit; bit++) {
        if (((exponent >> bit) & 1u) == 1u) {
            product = times(product, modes[mode * (1u + params.bits) + 1u + bit]);
        }
    }
    return product;
}
