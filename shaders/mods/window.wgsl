// A query sees LEFT keys before its position and RIGHT after it, as with the built-in window.

const LEFT: u32 = 0;
const RIGHT: u32 = 0;

fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {
    let after = i32(j + q_len(b) - i - k_len(b));
    return after >= -i32(LEFT) && after <= i32(RIGHT);
}
