// What becomes of the results of scan/chunk_mix where units are heads: v skips the recurrence, and
// the sum may be gated.

const HAS_SKIP: bool = true; // without, `skip` is not read

@group(0) @binding(0) var<storage, read> skip: array<f32>; // (heads) or (heads, v_dim)
@group(0) @binding(1) var<storage, read_write> out: array<out_word>; // (tokens, heads, v_dim)

fn finish_four(at: u32, end: u32, head: u32, column: u32, four: vec4<f32>) {
    out_store4(at, end, gated(at, end, four + skipped(at, end, head, column)));
}

// v itself has the layout of the result.
fn skipped(at: u32, end: u32, head: u32, column: u32) -> vec4<f32> {
    if (!HAS_SKIP) {
        return vec4<f32>();
    }
    var factors: vec4<f32>;
    for (var n = 0u; n < 4u; n++) {
        let channel = min(column + n, params.v_dim - 1u);
        factors[n] = skip[head * params.skip_head + channel * params.skip_channel];
    }
    return factors * v_load4(at, end);
}

fn row_dots(task: Task, place: Place, head: u32, tile: ptr<function, Tile>) -> vec4<f32> {
    return vec4<f32>();
}

fn store_dots(lane: u32, task: Task, place: Place, head: u32, whole: vec4<f32>, of_state: vec4<f32>) {}
