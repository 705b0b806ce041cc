// One pass of a Fourier transform over memory (Stockham's, which sorts as it goes): butterflies of four or of two.

struct Params {
    groups: u32, // LANES butterflies each
    total: u32, // butterflies of all rows
    points: u32, // numbers of a row
    radix: u32, // 4 or 2
    done: u32, // numbers of the transforms that the passes before have made
    sign: f32, // -1 on the way back
}

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> turns: array<vec2<f32>>; // exp(-2 pi i j / points)
@group(0) @binding(2) var<storage, read> before: array<vec2<f32>>; // (rows, points)
@group(0) @binding(3) var<storage, read_write> after: array<vec2<f32>>; // (rows, points)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i >= params.total) {
        return;
    }
    let step = params.points / params.radix;
    let row = i / step * params.points;
    let j = i % step;
    let place = j % params.done;
    let unit = place * (step / params.done);
    let to = row + (j - place) * params.radix + place;
    let x0 = before[row + j];
    let x1 = turned(before[row + j + step], unit);
    if (params.radix == 2u) {
        after[to] = x0 + x1;
        after[to + params.done] = x0 - x1;
        return;
    }
    let x2 = turned(before[row + j + 2u * step], 2u * unit);
    let x3 = turned(before[row + j + 3u * step], 3u * unit);
    let left = x1 - x3;
    let quarter = params.sign * vec2<f32>(left.y, -left.x);
    after[to] = x0 + x2 + (x1 + x3);
    after[to + params.done] = x0 - x2 + quarter;
    after[to + 2u * params.done] = x0 + x2 - (x1 + x3);
    after[to + 3u * params.done] = x0 - x2 - quarter;
}

fn turned(number: vec2<f32>, j: u32) -> vec2<f32> {
    return times(number, turns[j] * vec2<f32>(1.0, params.sign));
}

fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}
