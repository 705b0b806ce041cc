// Keys hidden by masks of blocks and by the user's mods.

const MASKED = true;

fn shows(task: Task, head: u32, query: u32, key: u32) -> vec4<bool> {
    return vec4<bool>(
        shows_key(task, head, query, key),
        shows_key(task, head, query, key + 1u),
        shows_key(task, head, query, key + 2u),
        shows_key(task, head, query, key + 3u),
    );
}

fn shows_key(task: Task, head: u32, query: u32, key: u32) -> bool {
    return shows_block(task.batch, head, query, key) && mask_mods(task.batch, head, query, key);
}
