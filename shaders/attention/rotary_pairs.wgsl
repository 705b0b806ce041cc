// Rows turned by their positions: of a pair of elements (a, b) remain (a cos - b sin, b cos + a sin). The host computes the
// tables in f64: an angle of thousands of turns loses its fraction in f32, and the built-in functions lose more.

const ROTARY_DIM: u32 = 64;      // elements of a row that are turned
const INTERLEAVED: bool = false; // whether neighbours make a pair, or the two halves

const PAIRS = ROTARY_DIM / 2u;

@group(0) @binding(0) var<storage, read> rotary_cos: array<f32>; // (positions, PAIRS)
@group(0) @binding(1) var<storage, read> rotary_sin: array<f32>; // (positions, PAIRS)

fn load_turned4(start: u32, column: u32, position: u32) -> vec4<f32> {
    var four = x_load4(start + column, start + WIDTH);
    for (var n = 0u; n < 4u; n++) {
        if (column + n < ROTARY_DIM) {
            four[n] = turned(four[n], start, column + n, position);
        }
    }
    return four;
}

fn turned(value: f32, start: u32, column: u32, position: u32) -> f32 {
    let is_first = select(column < PAIRS, column % 2u == 0u, INTERLEAVED);
    let pair = select(column % PAIRS, column / 2u, INTERLEAVED);
    let distance = select(PAIRS, 1u, INTERLEAVED);
    let other = x_load(start + select(column - distance, column + distance, is_first));
    let at = position * PAIRS + pair;
    return value * rotary_cos[at] + select(other, -other, is_first) * rotary_sin[at];
}
