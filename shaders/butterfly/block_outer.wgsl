// Products over the rows of a batch, block by block: outputs[n, a, c] = sum over rows of left[row, a of a block]
// right[row, c of a block], where the pair of blocks that belongs to n is the module's. It is the gradient of a
// block-diagonal factor, and a product of dense matrices sampled where a mask has blocks. A workgroup takes a tile of
// blocks x a x c, whose lines are a, and runs over its part of the rows, TILE_STEPS at a time.

struct Params {
    groups: u32, // parts x tiles of blocks x a x c, the last running fastest
    rows: u32,
    part_rows: u32, // rows of a part
    blocks: u32,
    height: u32, // a of a block
    width: u32,  // c of a block
    left_width: u32, // elements of a row; blocks may overhang it
    right_width: u32,
}

const LEFT_TURNED: bool = false;  // left is stored (left_width, rows)
const RIGHT_TURNED: bool = false; // right is stored (right_width, rows)

const_assert !INTERLEAVED || !(LEFT_TURNED || RIGHT_TURNED);

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<left_word>; // (rows, left_width)
@group(0) @binding(2) var<storage, read> right: array<right_word>; // (rows, right_width)
@group(0) @binding(3) var<storage, read_write> outputs: array<outputs_word>; // (parts, blocks, height, width)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        multiply_tile(lane, origin(group));
    }
}

struct Place {
    part: u32,
    block: u32,
    line: u32,
    output: u32,
}

fn origin(group: u32) -> Place {
    let across = (params.width + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;
    let down = (params.height + TILE_LINES - 1u) / TILE_LINES;
    let along = (params.blocks + TILE_BLOCKS - 1u) / TILE_BLOCKS;
    return Place(
        group / across / down / along,
        group / across / down % along * TILE_BLOCKS,
        group / across % down * TILE_LINES,
        group % across * TILE_OUTPUTS,
    );
}

fn multiply_tile(lane: u32, tile: Place) {
    let start = tile.part * params.part_rows;
    let end = min(start + params.part_rows, params.rows);
    var sums: array<vec4<f32>, SUMS>;
    for (var row = start; row < end; row += TILE_STEPS) {
        if (INTERLEAVED) {
            stage_interleaved(lane, tile, row, end);
        } else {
            stage_left(lane, tile, row, end);
            stage_right(lane, tile, row, end);
        }
        workgroupBarrier();
        add_products(lane, &sums);
        // The next step overwrites the tiles.
        workgroupBarrier();
    }
    for (var n = 0u; n < LANE_QUADS; n++) {
        let quad = quad_at(quad_of(lane, n));
        for (var m = 0u; m < LANE_LINES; m++) {
            let line = tile.line + line_of(lane, m);
            let at = Place(tile.part, tile.block + quad.block, line, tile.output + quad.output);
            store_quad(at, sums[LANE_LINES * n + m]);
        }
    }
}

// Rows are read along their elements, by fours as the tile has them.
fn stage_left(lane: u32, tile: Place, first: u32, end: u32) {
    if (LEFT_TURNED) {
        for (var cell = lane; cell < STEP_QUADS * TILE_BLOCKS * LINE_QUADS; cell += LANES) {
            let step = cell % STEP_QUADS * 4u;
            let line_quad = cell / STEP_QUADS % LINE_QUADS;
            let block = cell / STEP_QUADS / LINE_QUADS;
            let columns = turned_left(tile.block + block, tile.line + line_quad * 4u, first + step, end);
            for (var n = 0u; n < 4u; n++) {
                left_tile[left_quad(step + n, block, line_quad)] = columns[n];
            }
        }
    } else {
        for (var cell = lane; cell < TILE_STEPS * TILE_BLOCKS * LINE_QUADS; cell += LANES) {
            let line_quad = cell % LINE_QUADS;
            let block = cell / LINE_QUADS % TILE_BLOCKS;
            let step = cell / LINE_QUADS / TILE_BLOCKS;
            left_tile[left_quad(step, block, line_quad)] =
                left_four(tile.block + block, tile.line + line_quad * 4u, first + step, end);
        }
    }
}

fn stage_right(lane: u32, tile: Place, first: u32, end: u32) {
    if (RIGHT_TURNED) {
        for (var cell = lane; cell < STEP_QUADS * QUADS; cell += LANES) {
            let step = cell % STEP_QUADS * 4u;
            let quad = cell / STEP_QUADS;
            let at = quad_at(quad);
            let columns = turned_right(tile.block + at.block, tile.output + at.output, first + step, end);
            for (var n = 0u; n < 4u; n++) {
                right_tile[(step + n) * QUADS + quad] = columns[n];
            }
        }
    } else {
        for (var cell = lane; cell < TILE_STEPS * QUADS; cell += LANES) {
            let at = quad_at(cell % QUADS);
            right_tile[cell] = right_four(tile.block + at.block, tile.output + at.output, first + cell / QUADS, end);
        }
    }
}

fn left_four(block: u32, line: u32, row: u32, end: u32) -> vec4<f32> {
    let start = row * params.left_width;
    let side = min(block_of(block).x * params.height + params.height, params.left_width);
    let inside = row < end && block < params.blocks;
    return left_load4(start + block_of(block).x * params.height + line, end_if(inside, start + side));
}

fn right_four(block: u32, output: u32, row: u32, end: u32) -> vec4<f32> {
    let start = row * params.right_width;
    let side = min(block_of(block).y * params.width + params.width, params.right_width);
    let inside = row < end && block < params.blocks;
    return right_load4(start + block_of(block).y * params.width + output, end_if(inside, start + side));
}

// Four rows of four elements, from where each element has its row.
fn turned_left(block: u32, line: u32, row: u32, end: u32) -> mat4x4<f32> {
    let first = block_of(block).x * params.height + line;
    let side = min(block_of(block).x * params.height + params.height, params.left_width);
    var lines: array<vec4<f32>, 4>;
    for (var n = 0u; n < 4u; n++) {
        let start = (first + n) * params.rows;
        lines[n] = left_load4(start + row, end_if(block < params.blocks && first + n < side, start + end));
    }
    return transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
}

fn turned_right(block: u32, output: u32, row: u32, end: u32) -> mat4x4<f32> {
    let first = block_of(block).y * params.width + output;
    let side = min(block_of(block).y * params.width + params.width, params.right_width);
    var lines: array<vec4<f32>, 4>;
    for (var n = 0u; n < 4u; n++) {
        let start = (first + n) * params.rows;
        lines[n] = right_load4(start + row, end_if(block < params.blocks && first + n < side, start + end));
    }
    return transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
}

fn block_of(block: u32) -> vec2<u32> {
    return pair(min(block, params.blocks - 1u));
}

// Rows are read across the blocks, by fours as the tile has them.
fn stage_interleaved(lane: u32, tile: Place, first: u32, end: u32) {
    for (var word = lane; word < TILE_STEPS * TILE_LINES * BLOCK_QUADS; word += LANES) {
        let block = tile.block + word % BLOCK_QUADS * 4u;
        let line = tile.line + word / BLOCK_QUADS % TILE_LINES;
        let row = first + word / BLOCK_QUADS / TILE_LINES;
        let start = row * params.left_width + interleaved(0u, params.blocks, line);
        let inside = row < end && line < params.height;
        left_tile[word] = left_load4(start + block, end_if(inside, start + params.blocks));
    }
    for (var word = lane; word < TILE_STEPS * QUADS; word += LANES) {
        let at = quad_at(word % QUADS);
        let output = tile.output + at.output;
        let row = first + word / QUADS;
        let start = row * params.right_width + interleaved(0u, params.blocks, output);
        let inside = row < end && output < params.width;
        right_tile[word] = right_load4(start + tile.block + at.block, end_if(inside, start + params.blocks));
    }
}

fn store_quad(at: Place, sum: vec4<f32>) {
    let inside = at.block < params.blocks && at.line < params.height && at.output < params.width;
    let line = ((at.part * params.blocks + at.block) * params.height + at.line) * params.width;
    if (INTERLEAVED) {
        // The sums are of four blocks, whose outputs do not meet in memory.
        for (var n = 0u; n < 4u; n++) {
            let i = line + n * params.height * params.width + at.output;
            outputs_store4(i, end_if(inside && at.block + n < params.blocks, i + 1u), vec4<f32>(sum[n]));
        }
    } else {
        outputs_store4(line + at.output, end_if(inside, line + params.width), sum);
    }
}
