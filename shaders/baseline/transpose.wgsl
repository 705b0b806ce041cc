// Turns each of a batch of matrices, (rows, columns) into (columns, rows). A workgroup turns a tile of SIDE x SIDE
// elements through workgroup memory, so that both tensors are read and written along their rows.

struct Params {
    groups: u32, // matrices x tiles of a matrix
    rows: u32,
    columns: u32,
    tiles_rows: u32,
    tiles_columns: u32,
}

const LANES: u32 = 256;
const SIDE = 32u;
// One column more than the tile has: lanes that read a column then meet different memory banks.
const PITCH = SIDE + 1u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<source_word>; // (batch, rows, columns)
@group(0) @binding(2) var<storage, read_write> turned: array<turned_word>; // (batch, columns, rows)

var<workgroup> tile: array<f32, SIDE * PITCH>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        turn_tile(lane, group);
    }
}

fn turn_tile(lane: u32, group: u32) {
    let first = group / (params.tiles_rows * params.tiles_columns) * (params.rows * params.columns);
    let first_row = ((group / params.tiles_columns) % params.tiles_rows) * SIDE;
    let first_column = (group % params.tiles_columns) * SIDE;
    for (var vector = lane; vector < SIDE * SIDE / 4u; vector += LANES) {
        let row = vector / (SIDE / 4u);
        let column = 4u * (vector % (SIDE / 4u));
        if (first_row + row < params.rows) {
            let start = first + (first_row + row) * params.columns;
            let four = source_load4(start + first_column + column, start + params.columns);
            for (var n = 0u; n < 4u; n++) {
                tile[row * PITCH + column + n] = four[n];
            }
        }
    }
    workgroupBarrier();
    for (var vector = lane; vector < SIDE * SIDE / 4u; vector += LANES) {
        let column = vector / (SIDE / 4u);
        let row = 4u * (vector % (SIDE / 4u));
        if (first_column + column < params.columns) {
            let start = first + (first_column + column) * params.rows;
            var four: vec4<f32>;
            for (var n = 0u; n < 4u; n++) {
                four[n] = tile[(row + n) * PITCH + column];
            }
            turned_store4(start + first_row + row, start + params.rows, four);
        }
    }
}
