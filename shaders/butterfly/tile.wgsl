// The tile that a workgroup keeps in its memory: TILE_NODES nodes of ENTRY elements each, of a set of rows, or of
// several sets if a pass needs fewer nodes of each row.
//
// The factors of a pass mix nodes whose numbers differ in the bits from `low` on, `bits` of them. A tile has all values
// of these, and all of the `run` lowest bits, so that memory is read in runs; the bits that are left are the same for a
// whole tile, and number the tiles of a row: its positions. In the tile the run's bits come first, then the factors',
// then the set. The kernel declares LANES, and in its Params `batch`, `low`, `bits` and `run`.

const TILE_NODES: u32 = 1024;
const ENTRY: u32 = 1; // elements of a node

const TILE_POINTS: u32 = TILE_NODES * ENTRY;

const_assert TILE_NODES >= 4u;

// Whole groups of eight, within which slots are swapped.
var<workgroup> tile: array<Point, (TILE_POINTS + 7u) / 8u * 8u>;

// Which part of the tensors a tile is.
struct Place {
    stack: u32,
    row: u32, // of the first set
    position: u32,
}

// How rows lie in a tensor, in numbers: the distance between rows and between stacks, how many of a stack are the tile's,
// and how many that are behind them become zeros. What is past the end of a row belongs to no stack.
struct Side {
    row: u32,
    stack: u32,
    width: u32,
    spare: u32,
}

// Where an element of the tile is kept. Lanes that read with a stride of four, as those do which take a quad of
// neighbours, would otherwise meet in the same banks of the memory.
fn slot(point: u32) -> u32 {
    return point ^ ((point / 8u) % 8u);
}

// Nodes of a row in the tile, as a power of two.
fn set_bits() -> u32 {
    return params.run + params.bits;
}

// The number in its row of a node of the tile.
fn node_of(position: u32, tile_node: u32) -> u32 {
    let in_set = tile_node & ((1u << set_bits()) - 1u);
    let run = in_set & ((1u << params.run) - 1u);
    let mixing = in_set >> params.run;
    let between_bits = params.low - params.run;
    let between = position & ((1u << between_bits) - 1u);
    let above = position >> between_bits;
    return (((above << params.bits) | mixing) << params.low) | (between << params.run) | run;
}

// Four elements that are neighbours in the tile and in memory.
struct Quad {
    at: u32,  // of the set's first row
    end: u32, // of that row
    inside: u32, // rows of the set that are in the batch
    element: u32, // in its row
}

fn quad_at(place: Place, side: Side, quad: u32) -> Quad {
    let tile_node = 4u * quad / ENTRY;
    let row = place.row + (tile_node >> set_bits()) * ROWS;
    let element = node_of(place.position, tile_node) * ENTRY + 4u * quad % ENTRY;
    let line = row * side.row + place.stack * side.stack;
    let end = line + min(side.width, side.row - place.stack * side.stack);
    let inside = select(0u, params.batch - row, row < params.batch);
    return Quad(line + element * PARTS, end, inside, element);
}

fn load_tile(lane: u32, place: Place, side: Side, source: u32) {
    for (var quad = lane; quad < TILE_POINTS / 4u; quad += LANES) {
        let at = quad_at(place, side, quad);
        var points = load_points(source, at.at, at.end, side.row, at.inside);
        for (var n = 0u; n < 4u; n++) {
            tile[slot(4u * quad + n)] = points[n];
        }
    }
}

fn store_tile(lane: u32, place: Place, side: Side) {
    for (var quad = lane; quad < TILE_POINTS / 4u; quad += LANES) {
        let at = quad_at(place, side, quad);
        var points: array<Point, 4>;
        for (var n = 0u; n < 4u; n++) {
            points[n] = tile[slot(4u * quad + n)];
        }
        store_points(at.at, at.end, side.row, at.inside, finished(place.stack, at.element, points));
    }
    // Elements that were trimmed away had no share in the product.
    if (place.position == 0u && side.spare > 0u) {
        clear_spare(lane, place, side);
    }
}

fn clear_spare(lane: u32, place: Place, side: Side) {
    let rows = (TILE_NODES >> set_bits()) * ROWS;
    for (var row = place.row; row < min(place.row + rows, params.batch); row++) {
        let first = row * side.row + place.stack * side.stack + side.width;
        for (var i = 4u * lane; i < side.spare; i += 4u * LANES) {
            result_store4(first + i, first + side.spare, vec4<f32>());
        }
    }
}
