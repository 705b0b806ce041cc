// The samples that come of a long convolution, times a gate if there is one.

const WRITE_REVERSED: bool = false; // time runs backwards
const HAS_POST: bool = true; // without, `post` is not read

@group(0) @binding(0) var<storage, read> post: array<post_word>; // (batch, channels, length)
@group(0) @binding(1) var<storage, read_write> y: array<y_word>; // (batch, channels, length)

// Samples t to t + 3 of a row, those that are within it.
fn write4(row: u32, t: u32, samples: vec4<f32>) {
    if (t >= params.length) {
        return;
    }
    let at = samples_at(row, t, WRITE_REVERSED, params.write_from);
    var four = samples;
    if (WRITE_REVERSED) {
        four = flipped(four, at.end - at.first);
    }
    write_second(at, four);
    if (HAS_POST) {
        four *= post_load4(at.first, at.end);
    }
    y_store4(at.first, at.end, four);
}
