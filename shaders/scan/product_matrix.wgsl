// The factors of scan/chunk_product where a square matrix of each chunk is applied to rows of its steps, each times its own
// factor.

const TURNED: bool = false; // the matrix's rows are columns
const INTO: bool = false;   // rows are multiplied by decays from the chunk's beginning
const OUT_OF: bool = false; // rows are multiplied by their weights and by decays to the chunk's end

@group(0) @binding(0) var<storage, read> matrices: array<f32>; // (chunks, heads, CHUNK, CHUNK)
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (tokens, heads, width)

fn depth_of(span: Span) -> u32 {
    return span.steps;
}

// Leaves each step's factor where its weight was.
fn prepare_steps(lane: u32) {
    for (var four = lane; four < CHUNK_FOURS; four += LANES) {
        if (INTO) {
            weights[four] = decays_in(four);
        } else if (OUT_OF) {
            weights[four] *= decays_out(four);
        } else {
            weights[four] = vec4<f32>(1.0);
        }
    }
    workgroupBarrier();
}

fn stage_left(lane: u32, record: u32, span: Span, first: u32) {
    let base = record * CHUNK * CHUNK;
    for (var i = lane; i < CHUNK * (SLICE / 4u); i += LANES) {
        // Neighbouring lanes read neighbouring words.
        let row = select(i / (SLICE / 4u), i % CHUNK, TURNED);
        let four = select(i % (SLICE / 4u), i / CHUNK, TURNED);
        let at = base + select(row * CHUNK + first + 4u * four, (first + 4u * four) * CHUNK + row, TURNED);
        let stride = select(1u, CHUNK, TURNED);
        left[row * STRIDE + four] =
            vec4<f32>(matrices[at], matrices[at + stride], matrices[at + 2u * stride], matrices[at + 3u * stride]);
    }
}

fn stage_right(lane: u32, record: u32, span: Span, first: u32, first_column: u32) {
    for (var i = lane; i < SLICE * COLUMN_LANES; i += LANES) {
        let step = first + i / COLUMN_LANES;
        let line = ((span.first + step) * params.heads + record % params.heads) * params.width;
        let end = select(0u, line + params.width, step < span.steps);
        right[i] = weights[step / 4u][step % 4u] * x_load4(line + first_column + i % COLUMN_LANES * 4u, end);
    }
}
