// A query sees its own position and every STEP-th before and after it.

const STEP: u32 = 2;

fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {
    return u32(abs(i32(j + q_len(b) - i - k_len(b)))) % STEP == 0u;
}
