// A subgroup's share of a product on matrix units: 4 x 4 cooperative matrices. They are named one by one, since an array of
// them cannot be written as SPIR-V.

struct RightRow {
    r0: Right,
    r1: Right,
    r2: Right,
    r3: Right,
}

struct SumRow {
    s0: Sum,
    s1: Sum,
    s2: Sum,
    s3: Sum,
}

struct SumTile {
    row0: SumRow,
    row1: SumRow,
    row2: SumRow,
    row3: SumRow,
}

fn add_row(sums: SumRow, left: Left, right: RightRow) -> SumRow {
    return SumRow(
        coopMultiplyAdd(left, right.r0, sums.s0),
        coopMultiplyAdd(left, right.r1, sums.s1),
        coopMultiplyAdd(left, right.r2, sums.s2),
        coopMultiplyAdd(left, right.r3, sums.s3),
    );
}
