// Stores a matrix of each subgroup of common/matrix_product, which begins at this line and output of its share, where rows hold
// the elements of a block side by side.
fn store_matrices(place: Place, tile: Tile, first_line: u32, first_output: u32) {
    for (var i = place.rank % SUBGROUP_LANES; i < MATRIX_FOURS; i += SUBGROUP_LANES) {
        let row = i / (SIDE / 4u);
        let along = i % (SIDE / 4u) * 4u;
        let line = place.line + first_line + select(row, along, OUTPUTS_TURNED);
        let output = place.output + first_output + select(along, row, OUTPUTS_TURNED);
        store(tile, place.block, line, output, sum_tile[place.subgroup * MATRIX_FOURS + i]);
    }
}
