// The gradient of one factor whose entries are matrices: over the rows of a chunk, the sum of dy x^H for each pair. A
// lane takes four elements of a pair's dy with four of its x, and its neighbours the next four of the same x's and dy's,
// so that caches serve most loads.

struct Params {
    groups: u32, // stacks x chunks x parts of the cells, the last running fastest
    stack: u32,  // the first
    batch: u32,
    chunk: u32, // rows
    chunks: u32,
    stacks: u32,
    log_n: u32,
    bit: u32,   // log2 of the factor's stride
    x_row: u32, // sides: see tile.wgsl
    x_stack: u32,
    x_width: u32,
    dy_row: u32,
    dy_stack: u32,
    dy_width: u32,
}

const LANES: u32 = 64;
const ENTRY: u32 = 8;
const COMPLEX: bool = false;
const TRANSPOSED: bool = false; // the factor is applied transposed

const PARTS: u32 = select(1u, 2u, COMPLEX);
const QUADS: u32 = (ENTRY + 3u) / 4u; // of a node
const CELLS: u32 = 4u * QUADS * QUADS; // of a pair

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, stacks, nodes, ENTRY), before the factor
@group(0) @binding(2) var<storage, read> dy: array<dy_word>; // (batch, stacks, nodes, ENTRY), after the factor
@group(0) @binding(3) var<storage, read_write> slices: array<f32>; // (chunks, stacks, nodes / 2, 2, 2, ENTRY, ENTRY)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    let cells = CELLS << (params.log_n - 1u);
    let across = (cells + LANES - 1u) / LANES;
    let cell = group % across * LANES + lane;
    if (group < params.groups && cell < cells) {
        sum_cell(group / across / params.chunks, group / across % params.chunks, cell / CELLS, cell % CELLS);
    }
}

// Four complex elements.
struct Four {
    re: vec4<f32>,
    im: vec4<f32>,
}

fn sum_cell(stack: u32, chunk: u32, pair: u32, cell: u32) {
    let to = cell / (2u * QUADS);
    let given = cell % (2u * QUADS);
    var re: array<vec4<f32>, 4>;
    var im: array<vec4<f32>, 4>;
    let end = min((chunk + 1u) * params.chunk, params.batch);
    for (var row = chunk * params.chunk; row < end; row++) {
        let a = load_dy(row * params.dy_row + (params.stack + stack) * params.dy_stack, pair, to);
        let b = load_x(row * params.x_row + (params.stack + stack) * params.x_stack, pair, given);
        for (var n = 0u; n < 4u; n++) {
            re[n] = fma(vec4<f32>(a.re[n]), b.re, re[n]);
            if (COMPLEX) {
                re[n] = fma(vec4<f32>(a.im[n]), b.im, re[n]);
                im[n] = fma(vec4<f32>(a.im[n]), b.re, fma(vec4<f32>(-a.re[n]), b.im, im[n]));
            }
        }
    }
    let matrix = ((chunk * params.stacks + stack) << (params.log_n - 1u)) + pair;
    for (var n = 0u; n < 4u; n++) {
        for (var m = 0u; m < 4u; m++) {
            let k1 = to % QUADS * 4u + n;
            let k2 = given % QUADS * 4u + m;
            if (k1 < ENTRY && k2 < ENTRY) {
                let i = matrix * 4u * ENTRY * ENTRY + place_in_matrix(to / QUADS, given / QUADS, k1, k2);
                slices[i * PARTS] = re[n][m];
                if (COMPLEX) {
                    slices[i * PARTS + 1u] = im[n][m];
                }
            }
        }
    }
}

fn place_in_matrix(to: u32, given: u32, k1: u32, k2: u32) -> u32 {
    if (TRANSPOSED) {
        return ((2u * given + to) * ENTRY + k2) * ENTRY + k1;
    }
    return ((2u * to + given) * ENTRY + k1) * ENTRY + k2;
}

// The elements of a node of the pair: those of the first node come first.
fn first_element(pair: u32, quad: u32) -> u32 {
    let below = pair & ((1u << params.bit) - 1u);
    let node = ((pair ^ below) << 1u) | ((quad / QUADS) << params.bit) | below;
    return node * ENTRY + quad % QUADS * 4u;
}

// One past the node's last element.
fn node_end(pair: u32, quad: u32) -> u32 {
    return first_element(pair, quad) - quad % QUADS * 4u + ENTRY;
}

fn load_x(line: u32, pair: u32, quad: u32) -> Four {
    let i = line + first_element(pair, quad) * PARTS;
    let end = line + min(node_end(pair, quad) * PARTS, params.x_width);
    let first = x_load4(i, end);
    if (!COMPLEX) {
        return Four(first, vec4<f32>());
    }
    let second = x_load4(i + 4u, end);
    return Four(vec4<f32>(first.xz, second.xz), vec4<f32>(first.yw, second.yw));
}

fn load_dy(line: u32, pair: u32, quad: u32) -> Four {
    let i = line + first_element(pair, quad) * PARTS;
    let end = line + min(node_end(pair, quad) * PARTS, params.dy_width);
    let first = dy_load4(i, end);
    if (!COMPLEX) {
        return Four(first, vec4<f32>());
    }
    let second = dy_load4(i + 4u, end);
    return Four(vec4<f32>(first.xz, second.xz), vec4<f32>(first.yw, second.yw));
}
