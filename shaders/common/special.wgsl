// NaNs and infinities, known by their bits: compilers may assume that there are none, and make of a comparison that would
// keep a NaN a `min` or a `max` that loses it.

fn is_nan(values: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(values) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

fn is_nan_or_infinite(values: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(values) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u);
}
