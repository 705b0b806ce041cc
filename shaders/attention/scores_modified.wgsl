// Scores changed by the user's mods, which see natural scores where the kernels compute in base 2.

const MODIFIED = true;

fn modify(scores: vec4<f32>, task: Task, head: u32, query: u32, key: u32) -> vec4<f32> {
    let natural = scores / LOG2_E;
    return LOG2_E * vec4<f32>(
        score_mods(natural.x, task.batch, head, query, key),
        score_mods(natural.y, task.batch, head, query, key + 1u),
        score_mods(natural.z, task.batch, head, query, key + 2u),
        score_mods(natural.w, task.batch, head, query, key + 3u),
    );
}
