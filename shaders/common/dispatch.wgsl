// A dispatch of more workgroups than one dimension allows is folded into y and z; this undoes it. The fold may
// overshoot: workgroups from `groups` on have nothing to do.
fn flat_group(id: vec3<u32>, counts: vec3<u32>) -> u32 {
    return id.x + counts.x * (id.y + counts.y * id.z);
}
