// The factors of a pass, two at a time.

fn apply_factors(lane: u32, place: Place) {
    for (var at = 0u; at < params.count; at += 2u) {
        let levels = min(params.count - at, 2u);
        let axes = axes_of(at, levels);
        for (var quad = lane; quad < TILE_NODES / 4u; quad += LANES) {
            let corner = corner_of(quad, axes);
            let first = mix_of(place.stack, place.position, at, corner, axes, false);
            var points = mixed_quad(first, read_quad(corner, axes));
            if (levels == 2u) {
                let second = mix_of(place.stack, place.position, at + 1u, corner, axes, axes.across);
                points = mixed_quad(second, points);
            }
            write_quad(corner, axes, points);
        }
        workgroupBarrier();
    }
}
