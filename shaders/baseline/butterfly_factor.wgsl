// One factor of a butterfly product on whole rows, as a framework would run it: a lane takes four neighbouring pairs of a
// row, which it reads and writes once for each factor.

struct Params {
    groups: u32,
    fours: u32, // of pairs, of all rows and stacks
    stacks: u32,
    log_n: u32, // of the nodes of a row, at least 3
    factors: u32,
    factor: u32,
    bit: u32, // log2 of the factor's stride
}

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<inputs_word>; // (rows, stacks, nodes)
@group(0) @binding(2) var<storage, read> twiddle: array<twiddle_word>; // (stacks, factors, nodes / 2, 2, 2)
@group(0) @binding(3) var<storage, read_write> outputs: array<outputs_word>; // (rows, stacks, nodes)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let four = flat_group(group_id, group_counts) * LANES + lane;
    if (four < params.fours) {
        mix_four(four);
    }
}

fn mix_four(four: u32) {
    let half = 1u << (params.log_n - 1u);
    let line = four / (half / 4u);
    let pair = four % (half / 4u) * 4u;
    let row = line << params.log_n;
    let matrix = (line % params.stacks * params.factors + params.factor) * half + pair;
    // Pairs less than four apart lie within the same eight nodes.
    let near = params.bit < 2u;
    let below = pair & ((1u << params.bit) - 1u);
    let first = row + select(((pair ^ below) << 1u) | below, 2u * pair, near);
    let second = first + select(1u << params.bit, 4u, near);
    let upper = inputs_load4(first, first + 4u);
    let lower = inputs_load4(second, second + 4u);
    let pairs = swapped(upper, lower);
    var mixed: array<vec4<f32>, 2>;
    for (var n = 0u; n < 4u; n++) {
        let at = 4u * (matrix + select(n, n % 2u * 2u + n / 2u, params.bit == 0u));
        let t = twiddle_load4(at, at + 4u);
        mixed[0][n] = fma(t.x, pairs[0][n], t.y * pairs[1][n]);
        mixed[1][n] = fma(t.z, pairs[0][n], t.w * pairs[1][n]);
    }
    let results = swapped(mixed[0], mixed[1]);
    outputs_store4(first, first + 4u, results[0]);
    outputs_store4(second, second + 4u, results[1]);
}

// Between eight nodes in their order and the first and second nodes of four pairs, either way. With a stride of 1 the
// middle two pairs change places.
fn swapped(a: vec4<f32>, b: vec4<f32>) -> mat2x4<f32> {
    if (params.bit == 0u) {
        return mat2x4<f32>(vec4<f32>(a.x, b.x, a.z, b.z), vec4<f32>(a.y, b.y, a.w, b.w));
    }
    if (params.bit == 1u) {
        return mat2x4<f32>(vec4<f32>(a.xy, b.xy), vec4<f32>(a.zw, b.zw));
    }
    return mat2x4<f32>(a, b);
}
