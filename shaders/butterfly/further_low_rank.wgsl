// A low-rank product beside the block-sparse one: (1 - gate) of the sums so far, and gate of h times a factor.

const FACTOR_TURNED: bool = false; // the factor is stored (outputs, rank)

@group(0) @binding(0) var<storage, read> h: array<h_word>; // (rows, rank)
@group(0) @binding(1) var<storage, read> factor: array<factor_word>; // (rank, outputs)
@group(0) @binding(2) var<storage, read> gate: array<f32>; // (1)

fn add_further(lane: u32, row: u32, output: u32, sums: ptr<function, array<vec4<f32>, SUMS>>) {
    for (var n = 0u; n < SUMS; n++) {
        (*sums)[n] *= 1.0 - gate[0];
    }
    for (var first = 0u; first < params.rank; first += TILE_STEPS) {
        stage_h(lane, row, first);
        stage_factor(lane, first, output);
        workgroupBarrier();
        add_products(lane, sums);
        // The next step overwrites the tiles.
        workgroupBarrier();
    }
}

fn stage_h(lane: u32, first_row: u32, first: u32) {
    for (var cell = lane; cell < STEP_QUADS * LINE_QUADS; cell += LANES) {
        let step = cell % STEP_QUADS * 4u;
        let line_quad = cell / STEP_QUADS;
        var lines: array<vec4<f32>, 4>;
        for (var n = 0u; n < 4u; n++) {
            let row = first_row + line_quad * 4u + n;
            let line = row * params.rank;
            lines[n] = gate[0] * h_load4(line + first + step, end_if(row < params.rows, line + params.rank));
        }
        let columns = transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
        for (var n = 0u; n < 4u; n++) {
            left_tile[left_quad(step + n, 0u, line_quad)] = columns[n];
        }
    }
}

fn stage_factor(lane: u32, first: u32, output: u32) {
    if (FACTOR_TURNED) {
        for (var cell = lane; cell < STEP_QUADS * QUADS; cell += LANES) {
            let step = cell % STEP_QUADS * 4u;
            let quad = cell / STEP_QUADS;
            var lines: array<vec4<f32>, 4>;
            for (var n = 0u; n < 4u; n++) {
                let u = output + quad * 4u + n;
                let line = u * params.rank;
                lines[n] = factor_load4(line + first + step, end_if(u < params.outputs_width, line + params.rank));
            }
            let columns = transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
            for (var n = 0u; n < 4u; n++) {
                right_tile[(step + n) * QUADS + quad] = columns[n];
            }
        }
    } else {
        for (var cell = lane; cell < TILE_STEPS * QUADS; cell += LANES) {
            let step = first + cell / QUADS;
            let line = step * params.outputs_width;
            let end = end_if(step < params.rank, line + params.outputs_width);
            right_tile[cell] = factor_load4(line + output + cell % QUADS * 4u, end);
        }
    }
}
