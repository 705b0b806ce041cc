// The samples of the sequences that are convolved, times a gate if there is one.

const READ_REVERSED: bool = false; // time runs backwards
const HAS_PRE: bool = true; // without, `pre` is not read

@group(0) @binding(0) var<storage, read> x: array<x_word>; // (batch, channels, length)
@group(0) @binding(1) var<storage, read> pre: array<pre_word>; // (batch, channels, length)

// Samples t to t + 3 of a row; zeros past its end.
fn read4(row: u32, t: u32) -> vec4<f32> {
    if (t >= params.length) {
        return vec4<f32>();
    }
    let at = samples_at(row, t, READ_REVERSED, params.read_from);
    var four = x_load4(at.first, at.end);
    if (HAS_PRE) {
        four *= pre_load4(at.first, at.end);
    }
    if (READ_REVERSED) {
        return flipped(four, at.end - at.first);
    }
    return four;
}
