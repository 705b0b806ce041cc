// Whether the largest score of some row has grown: for adapters whose subgroups must stay together, all of the workgroup's.

var<workgroup> growth: vec4<u32>;

// One lane calls this, in front of a barrier.
fn expect_growth() {
    growth = vec4<u32>();
}

fn any_grows(grows: bool, rank: u32) -> bool {
    if (grows) {
        growth = vec4<u32>(1u);
    }
    let any_grow = workgroupUniformLoad(&growth).x > 0u;
    // Another barrier lies in front of the next tile's scores.
    if (rank == 0u) {
        expect_growth();
    }
    return any_grow;
}
