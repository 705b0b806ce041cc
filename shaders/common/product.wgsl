// The register tile of a matrix product: four rows by four columns, as a matrix whose columns are the tile's rows.

// sum + left · right, where `left` holds four rows of four factors, and `right` four rows of four columns.
fn add_product(sum: mat4x4<f32>, left: mat4x4<f32>, right: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        add_row(sum[0], left[0], right),
        add_row(sum[1], left[1], right),
        add_row(sum[2], left[2], right),
        add_row(sum[3], left[3], right),
    );
}

fn add_row(sum: vec4<f32>, left: vec4<f32>, right: mat4x4<f32>) -> vec4<f32> {
    let first = fma(vec4<f32>(left.y), right[1], fma(vec4<f32>(left.x), right[0], sum));
    return fma(vec4<f32>(left.w), right[3], fma(vec4<f32>(left.z), right[2], first));
}

// Multiplies each row by its own factor.
fn scale_rows(tile: mat4x4<f32>, factors: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(tile[0] * factors.x, tile[1] * factors.y, tile[2] * factors.z, tile[3] * factors.w);
}

// add_product, but what a factor of 0 multiplies is left out, be it infinite or NaN.
fn add_seen_product(sum: mat4x4<f32>, left: mat4x4<f32>, right: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        add_seen_row(sum[0], left[0], right),
        add_seen_row(sum[1], left[1], right),
        add_seen_row(sum[2], left[2], right),
        add_seen_row(sum[3], left[3], right),
    );
}

fn add_seen_row(sum: vec4<f32>, left: vec4<f32>, right: mat4x4<f32>) -> vec4<f32> {
    var all = sum;
    all = select(fma(vec4<f32>(left.x), right[0], all), all, left.x == 0.0);
    all = select(fma(vec4<f32>(left.y), right[1], all), all, left.y == 0.0);
    all = select(fma(vec4<f32>(left.z), right[2], all), all, left.z == 0.0);
    return select(fma(vec4<f32>(left.w), right[3], all), all, left.w == 0.0);
}
