// Where the sequences of a long convolution lie. The kernel declares `params`.

// The row of a tensor (batch, channels, length), for a sequence of the slice that is worked on.
fn row_of(batch: u32, channel: u32) -> u32 {
    return (params.first_batch + batch) * params.channels + params.first_channel + channel;
}

// Up to four samples of a row, as they lie in memory.
struct Samples {
    first: u32,
    end: u32,
}

// The samples t to t + 3 of a row that are within it, counted from its end if reversed, where what is bound begins with
// the element `origin`.
fn samples_at(row: u32, t: u32, from_the_end: bool, origin: u32) -> Samples {
    let count = min(4u, params.length - t);
    let first = row * params.length + select(t, params.length - t - count, from_the_end) - origin;
    return Samples(first, first + count);
}

// The first `count` of four in reverse, and zeros behind them.
fn flipped(four: vec4<f32>, count: u32) -> vec4<f32> {
    let all = four.wzyx;
    let moved = vec4<f32>(all[4u - count], all[min(5u - count, 3u)], all[min(6u - count, 3u)], all.w);
    return select(vec4<f32>(), moved, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count));
}
