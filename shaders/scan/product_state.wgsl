// The factors of scan/chunk_product where rows of a chunk's steps read its state.

const STATE_TURNED: bool = true; // rows of a state are columns of the factor

@group(0) @binding(0) var<storage, read> rows: array<rows_word>; // (tokens, heads, depth)
@group(0) @binding(1) var<storage, read> states: array<states_word>; // (chunks, heads, width, depth), or the other way round if not turned

fn depth_of(span: Span) -> u32 {
    return params.depth;
}

fn prepare_steps(lane: u32) {}

fn stage_left(lane: u32, record: u32, span: Span, first: u32) {
    for (var i = lane; i < CHUNK * (SLICE / 4u); i += LANES) {
        let step = i / (SLICE / 4u);
        let line = ((span.first + step) * params.heads + record % params.heads) * params.depth;
        let end = select(0u, line + params.depth, step < span.steps);
        left[step * STRIDE + i % (SLICE / 4u)] = rows_load4(line + first + i % (SLICE / 4u) * 4u, end);
    }
}

// A lane takes four elements of four rows of a state at a time where it turns them round.
fn stage_right(lane: u32, record: u32, span: Span, first: u32, first_column: u32) {
    if (!STATE_TURNED) {
        for (var i = lane; i < SLICE * COLUMN_LANES; i += LANES) {
            right[i] = load_state(record, first + i / COLUMN_LANES, first_column + i % COLUMN_LANES * 4u);
        }
        return;
    }
    for (var i = lane; i < COLUMN_LANES * (SLICE / 4u); i += LANES) {
        let column = i / (SLICE / 4u);
        let four = i % (SLICE / 4u);
        let row = first_column + 4u * column;
        let turned = transpose(mat4x4<f32>(
            load_state(record, row, first + 4u * four),
            load_state(record, row + 1u, first + 4u * four),
            load_state(record, row + 2u, first + 4u * four),
            load_state(record, row + 3u, first + 4u * four),
        ));
        let at = 4u * four * COLUMN_LANES + column;
        right[at] = turned[0];
        right[at + COLUMN_LANES] = turned[1];
        right[at + 2u * COLUMN_LANES] = turned[2];
        right[at + 3u * COLUMN_LANES] = turned[3];
    }
}

fn load_state(record: u32, row: u32, column: u32) -> vec4<f32> {
    let count = select(params.depth, params.width, STATE_TURNED);
    let columns = select(params.width, params.depth, STATE_TURNED);
    let line = (record * count + row) * columns;
    return states_load4(line + column, select(0u, line + columns, row < count));
}
