//! Functions of f64 that a page's browser has as well as the library that comes with Rust, whose code would be a part of what
//! the page downloads. Good to a unit in the last place or so.

#[cfg(target_arch = "wasm32")]
pub(crate) use js_sys::Math::{atan2, cos, exp, hypot, log, sin};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{atan2, cos, exp, hypot, log, sin};

#[cfg(not(target_arch = "wasm32"))]
mod native {
    pub(crate) fn sin(angle: f64) -> f64 {
        angle.sin()
    }

    pub(crate) fn cos(angle: f64) -> f64 {
        angle.cos()
    }

    pub(crate) fn atan2(y: f64, x: f64) -> f64 {
        y.atan2(x)
    }

    pub(crate) fn exp(x: f64) -> f64 {
        x.exp()
    }

    pub(crate) fn log(x: f64) -> f64 {
        x.ln()
    }

    pub(crate) fn hypot(x: f64, y: f64) -> f64 {
        x.hypot(y)
    }
}
