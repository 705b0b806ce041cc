//! What a page's browser computes as well as the library that Rust brings, which would be a part of what the page downloads.

/// The sine and the cosine of an angle in radians, to within a unit in the last place or so.
pub(crate) fn sin_cos(angle: f64) -> (f64, f64) {
    #[cfg(target_arch = "wasm32")]
    return (js_sys::Math::sin(angle), js_sys::Math::cos(angle));
    #[cfg(not(target_arch = "wasm32"))]
    angle.sin_cos()
}
