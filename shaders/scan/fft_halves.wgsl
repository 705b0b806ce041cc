// Spectra of real sequences. A transform of N complex numbers takes 2 N samples, those of even place as real and those
// of odd place as imaginary parts, and its values at k and N - k together are the spectra E[k] and O[k] of the two
// halves. A real sequence's spectrum repeats itself, conjugate, past N / 2: the pairs (E[k], O[k]) for k < N / 2 are all
// there is. E and O are real at 0 and at N / 2, which share the first pair: (E[0], E[N / 2], O[0], O[N / 2]).
//
// In bit-reversed order the frequencies below N / 2 lie in even places, the others in odd ones.

// The place of frequency N - k, where k lies in this one: the bits below the highest are its complement. Places 0 and 1
// hold 0 and N / 2, which are their own opposites; asked for 0 it answers 1, with which it shares its pair.
fn opposite(place: u32) -> u32 {
    let number = max(place, 1u);
    return number ^ ((1u << firstLeadingBit(number)) - 1u);
}

// The halves' spectra from the values in a place and in its opposite.
fn split(is_first: bool, a: vec2<f32>, b: vec2<f32>) -> vec4<f32> {
    if (is_first) {
        return vec4<f32>(a.x, b.x, a.y, b.y);
    }
    return 0.5 * vec4<f32>(a.x + b.x, a.y - b.y, a.y + b.y, b.x - a.x);
}

// The values in a place and in its opposite, from the halves' spectra.
fn join(is_first: bool, halves: vec4<f32>) -> vec4<f32> {
    if (is_first) {
        return halves.xzyw;
    }
    let even = halves.xy;
    let odd = halves.zw;
    return vec4<f32>(even.x - odd.y, even.y + odd.x, even.x + odd.y, odd.x - even.y);
}

// The halves' spectra of a convolution. An even sample of it is made of even with even, and of odd with odd samples, one
// place late; an odd one of the two others. `late` is exp(-2 pi i k / N).
fn convolved(is_first: bool, x: vec4<f32>, k: vec4<f32>, late: vec2<f32>) -> vec4<f32> {
    if (is_first) {
        return vec4<f32>(x.xy * k.xy + vec2<f32>(1.0, -1.0) * x.zw * k.zw, x.xy * k.zw + x.zw * k.xy);
    }
    let even = times(x.xy, k.xy) + times(late, times(x.zw, k.zw));
    return vec4<f32>(even, times(x.xy, k.zw) + times(x.zw, k.xy));
}
