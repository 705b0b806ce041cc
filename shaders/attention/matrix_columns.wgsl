// The rows of `tensor` that are the columns of a tile, in workgroup memory. They are fetched from device memory, in
// registers, while the tile before is worked on.

const TENSOR_FOURS = (WIDTH + SIDE - 1u) / SIDE * SIDE_FOURS;
const TENSOR_STRIDE = TENSOR_FOURS + 2u;

var<workgroup> tensor_tile: array<vec4<f16>, COLUMNS * TENSOR_STRIDE>;

// One of the fours that the lane stages of a tile.
fn fetch_tensor(task: Task, place: Place, column: u32, turn: u32) -> vec4<f16> {
    let i = turn * LANES + place.rank;
    return tensor_halves(task, column + i / TENSOR_FOURS, i % TENSOR_FOURS * 4u);
}

fn stage_tensor(place: Place, turn: u32, four: vec4<f16>) {
    let i = turn * LANES + place.rank;
    if (COLUMNS * TENSOR_FOURS % LANES == 0u || i < COLUMNS * TENSOR_FOURS) {
        tensor_tile[i / TENSOR_FOURS * TENSOR_STRIDE + i % TENSOR_FOURS] = four;
    }
}
