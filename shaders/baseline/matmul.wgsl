// C[b] = scale A[b] B[b]. A workgroup computes a TILE_LINES x TILE_OUTPUTS tile of one product: it stages TILE_STEPS of the summed
// dimension at a time in workgroup memory, and each lane keeps LANE_M x LANE_N sums in registers.

const TILE_LINES: u32 = 64;
const TILE_OUTPUTS: u32 = 64;
const TILE_STEPS: u32 = 16;
const RIGHT_TURNED: bool = false; // B is stored (n, k)
const LANE_M: u32 = 4; // rows of C a lane
const LANE_N: u32 = 4; // columns of C a lane

const_assert TILE_STEPS % 4u == 0u;
const_assert LANE_M % 4u == 0u && LANE_N % 4u == 0u;
const_assert TILE_LINES % LANE_M == 0u && TILE_OUTPUTS % LANE_N == 0u;

const LANES_M = TILE_LINES / LANE_M;
const LANES_N = TILE_OUTPUTS / LANE_N;
const LANES = LANES_M * LANES_N;
const VECTORS_M = LANE_M / 4u;
const VECTORS_N = LANE_N / 4u;

// Both by the summed dimension first, so that a lane reads its rows and its columns as vectors.
var<workgroup> a_tile: array<vec4<f32>, TILE_STEPS * TILE_LINES / 4u>;
var<workgroup> b_tile: array<vec4<f32>, TILE_STEPS * TILE_OUTPUTS / 4u>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        multiply_tile(lane, group);
    }
}

fn multiply_tile(lane: u32, group: u32) {
    let tile = tile_of(group);
    // A lane's vectors lie a whole row of lanes apart: neighbouring lanes read neighbouring vectors.
    let lane_m = lane / LANES_N;
    let lane_n = lane % LANES_N;
    var sums: array<vec4<f32>, LANE_M * VECTORS_N>;
    for (var k = 0u; k < params.k; k += TILE_STEPS) {
        stage_a(lane, tile, k);
        stage_b(lane, tile, k);
        workgroupBarrier();
        for (var step = 0u; step < TILE_STEPS; step++) {
            var columns: array<vec4<f32>, VECTORS_N>;
            for (var j = 0u; j < VECTORS_N; j++) {
                columns[j] = b_tile[step * (TILE_OUTPUTS / 4u) + j * LANES_N + lane_n];
            }
            for (var i = 0u; i < VECTORS_M; i++) {
                let rows = a_tile[step * (TILE_LINES / 4u) + i * LANES_M + lane_m];
                for (var j = 0u; j < VECTORS_N; j++) {
                    let s = i * 4u * VECTORS_N + j;
                    sums[s] = fma(rows.xxxx, columns[j], sums[s]);
                    sums[s + VECTORS_N] = fma(rows.yyyy, columns[j], sums[s + VECTORS_N]);
                    sums[s + 2u * VECTORS_N] = fma(rows.zzzz, columns[j], sums[s + 2u * VECTORS_N]);
                    sums[s + 3u * VECTORS_N] = fma(rows.wwww, columns[j], sums[s + 3u * VECTORS_N]);
                }
            }
        }
        // The next step overwrites the tiles.
        workgroupBarrier();
    }
    for (var i = 0u; i < VECTORS_M; i++) {
        for (var j = 0u; j < VECTORS_N; j++) {
            let s = i * 4u * VECTORS_N + j;
            let row = 4u * (i * LANES_M + lane_m);
            let column = 4u * (j * LANES_N + lane_n);
            store(tile, 0u, row, column, sums[s]);
            store(tile, 0u, row + 1u, column, sums[s + VECTORS_N]);
            store(tile, 0u, row + 2u, column, sums[s + 2u * VECTORS_N]);
            store(tile, 0u, row + 3u, column, sums[s + 3u * VECTORS_N]);
        }
    }
}

// Lanes stage blocks of 4 x 4 elements, which a transposed operand turns in registers.
fn stage_a(lane: u32, tile: Tile, first_k: u32) {
    for (var block = lane; block < TILE_STEPS * TILE_LINES / 16u; block += LANES) {
        let k = block % (TILE_STEPS / 4u);
        let m = block / (TILE_STEPS / 4u);
        let row = tile.m + 4u * m;
        let column = first_k + 4u * k;
        let turned = transpose(mat4x4<f32>(
            a_four(tile.a, row, column),
            a_four(tile.a, row + 1u, column),
            a_four(tile.a, row + 2u, column),
            a_four(tile.a, row + 3u, column),
        ));
        let place = k * TILE_LINES + m;
        a_tile[place] = turned[0];
        a_tile[place + TILE_LINES / 4u] = turned[1];
        a_tile[place + TILE_LINES / 2u] = turned[2];
        a_tile[place + 3u * TILE_LINES / 4u] = turned[3];
    }
}

fn stage_b(lane: u32, tile: Tile, first_k: u32) {
    for (var block = lane; block < TILE_STEPS * TILE_OUTPUTS / 16u; block += LANES) {
        // Neighbouring lanes follow the dimension that is contiguous in memory.
        var k = block / (TILE_OUTPUTS / 4u);
        var n = block % (TILE_OUTPUTS / 4u);
        var row = first_k + 4u * k;
        var column = tile.n + 4u * n;
        if (RIGHT_TURNED) {
            k = block % (TILE_STEPS / 4u);
            n = block / (TILE_STEPS / 4u);
            row = tile.n + 4u * n;
            column = first_k + 4u * k;
        }
        var four = mat4x4<f32>(
            b_four(tile.b, row, column),
            b_four(tile.b, row + 1u, column),
            b_four(tile.b, row + 2u, column),
            b_four(tile.b, row + 3u, column),
        );
        if (RIGHT_TURNED) {
            four = transpose(four);
        }
        let place = k * TILE_OUTPUTS + n;
        b_tile[place] = four[0];
        b_tile[place + TILE_OUTPUTS / 4u] = four[1];
        b_tile[place + TILE_OUTPUTS / 2u] = four[2];
        b_tile[place + 3u * TILE_OUTPUTS / 4u] = four[3];
    }
}

// Four elements of a row; zeros outside the matrix add nothing to a sum.
fn a_four(first: u32, row: u32, column: u32) -> vec4<f32> {
    let start = first + row * params.a_row;
    return a_load4(start + column, select(0u, start + params.k, row < params.m));
}

fn b_four(first: u32, row: u32, column: u32) -> vec4<f32> {
    let start = first + row * params.b_row;
    let end = start + select(params.n, params.k, RIGHT_TURNED);
    return b_load4(start + column, select(0u, end, row < select(params.k, params.n, RIGHT_TURNED)));
}
