// The register tile of block products: for every block of a workgroup's tile, product[line, output] = sum over steps of
// left[line, step] right[output, step]. A kernel stages TILE_STEPS steps at a time in the two arrays below; each lane
// keeps LANE_LINES lines x LANE_QUADS quads of sums. A quad is four outputs that are consecutive in memory: of one block
// where rows are blocked, the same output of four neighbouring blocks where they are interleaved.

const INTERLEAVED: bool = false; // how blocks lie in a row, on every side
const TILE_LINES: u32 = 64;
const TILE_BLOCKS: u32 = 1;
const TILE_OUTPUTS: u32 = 64; // of a block
const TILE_STEPS: u32 = 16;
const LANE_LINES: u32 = 4;
const LANE_QUADS: u32 = 4;

const LINE_QUADS: u32 = TILE_LINES / 4u;
const STEP_QUADS: u32 = TILE_STEPS / 4u;
const QUADS: u32 = TILE_BLOCKS * TILE_OUTPUTS / 4u; // of one line of the tile
const QUAD_LANES: u32 = QUADS / LANE_QUADS;
const LINE_SETS: u32 = LANE_LINES / 4u;
const LINE_LANES: u32 = LINE_QUADS / LINE_SETS;
const LANES: u32 = LINE_LANES * QUAD_LANES;
const SUMS: u32 = LANE_LINES * LANE_QUADS;

// Quads side by side: the outputs of one block, or the same output of neighbouring blocks. One of the two is not
// used, and may be less than a quad.
const OUTPUT_QUADS: u32 = max(TILE_OUTPUTS / 4u, 1u);
const BLOCK_QUADS: u32 = max(TILE_BLOCKS / 4u, 1u);

const_assert TILE_LINES % 4u == 0u && TILE_STEPS % 4u == 0u && QUADS % LANE_QUADS == 0u;
const_assert LANE_LINES % 4u == 0u && LINE_QUADS % LINE_SETS == 0u;
// All quads of a lane share its lines.
const_assert INTERLEAVED || (TILE_OUTPUTS % 4u == 0u && OUTPUT_QUADS % LANE_QUADS == 0u);
const_assert !INTERLEAVED || (TILE_BLOCKS % 4u == 0u && QUAD_LANES % BLOCK_QUADS == 0u);

// (TILE_STEPS, TILE_BLOCKS, TILE_LINES) by fours along lines where blocked, (TILE_STEPS, TILE_LINES, TILE_BLOCKS) by
// fours along blocks where interleaved: what a lane reads at once.
var<workgroup> left_tile: array<vec4<f32>, TILE_STEPS * TILE_BLOCKS * LINE_QUADS>;
var<workgroup> right_tile: array<vec4<f32>, TILE_STEPS * QUADS>; // a quad's factors for one step

fn left_quad(step: u32, block: u32, line_quad: u32) -> u32 {
    return (step * TILE_BLOCKS + block) * LINE_QUADS + line_quad;
}

fn left_blocks(step: u32, line: u32, block_quad: u32) -> u32 {
    return (step * TILE_LINES + line) * BLOCK_QUADS + block_quad;
}

// A block of the tile, and one of its outputs: the first of a quad.
struct Quad {
    block: u32,
    output: u32,
}

fn quad_at(quad: u32) -> Quad {
    if (INTERLEAVED) {
        return Quad(quad % BLOCK_QUADS * 4u, quad / BLOCK_QUADS);
    }
    return Quad(quad / OUTPUT_QUADS, quad % OUTPUT_QUADS * 4u);
}

// Lanes next to each other take quads next to each other, so that their loads and stores meet in memory.
fn quad_of(lane: u32, n: u32) -> u32 {
    let quad_lane = lane % QUAD_LANES;
    if (INTERLEAVED) {
        return quad_lane + n * QUAD_LANES;
    }
    let stride = OUTPUT_QUADS / LANE_QUADS;
    return quad_lane / stride * OUTPUT_QUADS + quad_lane % stride + n * stride;
}

fn line_quad_of(lane: u32, n: u32) -> u32 {
    return lane / QUAD_LANES + n * LINE_LANES;
}

// Line `m` of a lane, in its tile.
fn line_of(lane: u32, m: u32) -> u32 {
    return line_quad_of(lane, m / 4u) * 4u + m % 4u;
}

fn add_products(lane: u32, sums: ptr<function, array<vec4<f32>, SUMS>>) {
    let first = quad_at(quad_of(lane, 0u));
    for (var step = 0u; step < TILE_STEPS; step++) {
        var lefts: array<vec4<f32>, LANE_LINES>;
        for (var n = 0u; n < LINE_SETS; n++) {
            let line_quad = line_quad_of(lane, n);
            if (INTERLEAVED) {
                for (var m = 0u; m < 4u; m++) {
                    lefts[4u * n + m] = left_tile[left_blocks(step, line_quad * 4u + m, first.block / 4u)];
                }
            } else {
                let lines = left_tile[left_quad(step, first.block, line_quad)];
                for (var m = 0u; m < 4u; m++) {
                    lefts[4u * n + m] = vec4<f32>(lines[m]);
                }
            }
        }
        for (var n = 0u; n < LANE_QUADS; n++) {
            let rights = right_tile[step * QUADS + quad_of(lane, n)];
            for (var m = 0u; m < LANE_LINES; m++) {
                (*sums)[LANE_LINES * n + m] = fma(rights, lefts[m], (*sums)[LANE_LINES * n + m]);
            }
        }
    }
}
