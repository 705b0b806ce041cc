// The gradients of scores that the user's mods changed.

fn modify_backward(gradient: vec4<f32>, scores: vec4<f32>, task: Task, head: u32, query: u32, key: u32) -> vec4<f32> {
    let natural = scores / LOG2_E;
    return vec4<f32>(
        score_mods_bwd(gradient.x, natural.x, task.batch, head, query, key),
        score_mods_bwd(gradient.y, natural.y, task.batch, head, query, key + 1u),
        score_mods_bwd(gradient.z, natural.z, task.batch, head, query, key + 2u),
        score_mods_bwd(gradient.w, natural.w, task.batch, head, query, key + 3u),
    );
}
