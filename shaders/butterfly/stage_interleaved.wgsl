// Stages an operand of common/matrix_product whose rows hold one element of every block before the next: four blocks at a
// time are read for each of four neighbours, and turned.

const_assert BLOCKS % 4u == 0u && BLOCKS * TENSOR_ROWS * TENSOR_FOURS / 4u % LANES == 0u;

fn stage_tensor(rank: u32, tile: Tile, source: Source) {
    for (var turn = 0u; turn < BLOCKS * TENSOR_ROWS * TENSOR_FOURS / 4u / LANES; turn++) {
        let i = turn * LANES + rank;
        // Lanes next to each other read blocks next to each other.
        let block = i % (BLOCKS / 4u) * 4u;
        let along = i / (BLOCKS / 4u) % TENSOR_FOURS * 4u;
        let row = i / (BLOCKS / 4u) / TENSOR_FOURS;
        let element = select(along, row, TENSOR_BY_STEPS);
        let step = select(row, along, TENSOR_BY_STEPS);
        let next_element = select(1u, 0u, TENSOR_BY_STEPS);
        let next_step = 1u - next_element;
        let blocks = transpose(mat4x4<f16>(
            tensor_across(tile, source, block, element, step),
            tensor_across(tile, source, block, element + next_element, step + next_step),
            tensor_across(tile, source, block, element + 2u * next_element, step + 2u * next_step),
            tensor_across(tile, source, block, element + 3u * next_element, step + 3u * next_step),
        ));
        for (var n = 0u; n < 4u; n++) {
            tensor_tile[((block + n) * TENSOR_ROWS + row) * TENSOR_STRIDE + along / 4u] = blocks[n];
        }
    }
}
