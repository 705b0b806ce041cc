//! Which weights dropout keeps.

use crate::AttentionSpec;

/// Whether a weight is kept, by batch, head, query and key.
///
/// The word of the key is one of the four that Philox gives for the counter (key / 4, query, head, batch) under the seed,
/// the low half of the seed first; it is kept unless the word is below the share of 2^32.
pub fn kept(spec: &AttentionSpec, seed: u64, [batch, head, i, j]: [usize; 4]) -> bool {
    if spec.dropout.is_none() {
        return true;
    }
    let words = philox([j as u32 / 4, i as u32, head as u32, batch as u32], seed);
    words[j % 4] >= spec.drop_below()
}

/// Philox 4x32-10: four random words that are a pure function of a counter and a key (Salmon et al. 2011).
pub fn philox(mut counter: [u32; 4], key: u64) -> [u32; 4] {
    let mut key = [key as u32, (key >> 32) as u32];
    let words = |product: u64| (product as u32, (product >> 32) as u32);
    for _ in 0..10 {
        let (low_0, high_0) = words(0xd251_1f53 * u64::from(counter[0]));
        let (low_1, high_1) = words(0xcd9e_8d57 * u64::from(counter[2]));
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    /// The known answers that the authors publish.
    #[test]
    fn philox_gives_its_known_answers() {
        assert_eq!(philox([0; 4], 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], u64::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], 0x299f_31d0_a409_3822),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn the_share_that_is_asked_for_is_dropped() {
        let spec = AttentionSpec::new(DType::F32, 1, (1, 1), 1, 8).dropout(0.17);
        let count = 100_000;
        let kept = (0..count).filter(|&n| kept(&spec, 9, [0, n % 3, n / 100, n % 100])).count();
        // Five standard deviations of a binomial share.
        let deviation = (0.17 * 0.83 / f64::from(count as u32)).sqrt();
        let share = kept as f64 / count as f64;
        assert!((share - 0.83).abs() < 5.0 * deviation, "{share}");
    }
}
