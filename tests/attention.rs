//! The attention family on this machine's GPU, against its oracle.

mod common;

use tilewise::verify::Family;

#[test]
fn acceptance_grid() {
    common::verify_family(Family::Attention);
}
