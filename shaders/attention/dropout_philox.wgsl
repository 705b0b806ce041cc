// Dropout by Philox 4x32-10 (Salmon et al. 2011), a pure function of the seed, the batch, the head, the query and the key: no
// state, and so the same forward and backward and on every adapter. A counter gives four words, for four neighbouring
// keys; the first of them is a multiple of four.

const DROPOUT = true;

// Which of the weights of one query and four neighbouring keys are kept.
fn keeps(task: Task, head: u32, query: u32, key: u32) -> vec4<bool> {
    return philox(vec4<u32>(key / 4u, query, head, task.batch)) >= vec4<u32>(params.drop_below);
}

// The factor of those that are.
fn keep_factor() -> f32 {
    return params.keep_factor;
}

fn philox(start: vec4<u32>) -> vec4<u32> {
    var counter = start;
    var key = vec2<u32>(params.seed_low, params.seed_high);
    for (var round = 0u; round < 10u; round++) {
        let first = wide_product(0xd2511f53u, counter.x);
        let second = wide_product(0xcd9e8d57u, counter.z);
        counter = vec4<u32>(second.y ^ counter.y ^ key.x, second.x, first.y ^ counter.w ^ key.y, first.x);
        key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}

// The low and the high word of a product.
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
    return vec2<u32>(a * b, (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u));
}
