// Stores a matrix of each subgroup of common/matrix_product, which begins at this line and output of its share, where rows hold
// one element of every block before the next: what four blocks have for one of them is read across their matrices.

const_assert !OUTPUTS_TURNED && SUBGROUPS == BLOCKS && BLOCKS % 4u == 0u;

fn store_matrices(place: Place, tile: Tile, first_line: u32, first_output: u32) {
    for (var i = place.rank; i < BLOCKS * MATRIX_FOURS; i += LANES) {
        let block = i % (BLOCKS / 4u) * 4u;
        let element = i / (BLOCKS / 4u);
        let four = block * MATRIX_FOURS + element / 4u;
        let across = vec4<f32>(
            sum_tile[four][element % 4u],
            sum_tile[four + MATRIX_FOURS][element % 4u],
            sum_tile[four + 2u * MATRIX_FOURS][element % 4u],
            sum_tile[four + 3u * MATRIX_FOURS][element % 4u],
        );
        store_across(tile, block, first_line + element / SIDE, first_output + element % SIDE, across);
    }
}
