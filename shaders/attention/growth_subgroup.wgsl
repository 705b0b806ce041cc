// Whether the largest score of some row has grown: a subgroup asks its own lanes.

fn expect_growth() {}

fn any_grows(grows: bool, rank: u32) -> bool {
    return subgroupAny(grows);
}
