// Which factor is applied where. The kernel declares in its Params `log_n`, `factors` (of all blocks), `increasing` (1 if
// the first block's strides grow), `first` (of its pass) and `window` (the first factor that is bound, counted over all
// stacks).

const TRANSPOSED: bool = false; // factors in reverse, each transposed

// The factor at that place of the pass, in the order of the twiddle.
fn factor_at(place: u32) -> u32 {
    let at = params.first + place;
    return select(at, params.factors - 1u - at, TRANSPOSED);
}

// log2 of the factor's stride; the direction alternates from block to block.
fn stride_bit(factor: u32) -> u32 {
    let block = factor / params.log_n;
    let i = factor % params.log_n;
    return select(params.log_n - 1u - i, i, (block + params.increasing) % 2u == 1u);
}

// A number with a zero put in at this bit.
fn with_zero_at(number: u32, bit: u32) -> u32 {
    let below = number & ((1u << bit) - 1u);
    return ((number ^ below) << 1u) | below;
}

// The number of the pair that a node belongs to: that of the node without the factor's bit.
fn pair_of(node: u32, bit: u32) -> u32 {
    return ((node >> (bit + 1u)) << bit) | (node & ((1u << bit) - 1u));
}

// The number of the factor's first pair among those that are bound.
fn first_pair(stack: u32, factor: u32) -> u32 {
    return (stack * params.factors + factor - params.window) << (params.log_n - 1u);
}
