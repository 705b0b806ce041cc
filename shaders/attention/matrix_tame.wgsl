// Puts 0 for what is infinite or NaN of a four of `tensor` that the lane staged.
fn tame_tensor(place: Place, turn: u32) {
    let i = turn * LANES + place.rank;
    if (i < COLUMNS * TENSOR_FOURS) {
        let at = i / TENSOR_FOURS * TENSOR_STRIDE + i % TENSOR_FOURS;
        let four = tensor_tile[at];
        tensor_tile[at] = select(four, vec4<f16>(), is_nan_or_infinite(vec4<f32>(four)));
    }
}
