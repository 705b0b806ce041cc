// A bias is added to rows before they are stored. Elements are real.

@group(0) @binding(0) var<storage, read> bias: array<bias_word>; // (outputs), of all stacks

fn finished(stack: u32, element: u32, points: array<Point, 4>) -> array<Point, 4> {
    let four = bias_load4(stack * params.y_stack + element, params.y_row);
    var sums = points;
    for (var n = 0u; n < 4u; n++) {
        sums[n] += Rows(four[n]);
    }
    return sums;
}
