// Stages an operand of common/matrix_product whose rows hold the elements of a block side by side. The loop has as many turns
// for all lanes, so that a compiler knows how many and has the loads of all under way at once.
fn stage_tensor(rank: u32, tile: Tile, source: Source) {
    for (var turn = 0u; turn < BLOCKS * TENSOR_ROWS * TENSOR_FOURS / LANES; turn++) {
        let i = turn * LANES + rank;
        let row = i / TENSOR_FOURS % TENSOR_ROWS;
        let block = i / TENSOR_FOURS / TENSOR_ROWS;
        let along = i % TENSOR_FOURS * 4u;
        let element = select(along, row, TENSOR_BY_STEPS);
        let step = select(row, along, TENSOR_BY_STEPS);
        tensor_tile[i / TENSOR_FOURS * TENSOR_STRIDE + along / 4u] = tensor_four(tile, source, block, element, step);
    }
}
