// What the lanes of a subgroup wrote into workgroup memory, the others of it may read behind this.
fn sync_subgroup() {
    subgroupBarrier();
}
