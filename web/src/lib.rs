//! tilewise in a browser: what JavaScript calls. `web/js/tilewise.ts` is what people call.
//!
//! An `Engine` is a `tilewise::Gpu` on a `GPUDevice` that the page has. Operations come by name,
//! through the same table as the command line's, so that an operation added there is here too. Nothing blocks: computing
//! encodes and submits, reading awaits.

#[cfg(target_arch = "wasm32")]
mod call;
#[cfg(target_arch = "wasm32")]
mod device;
#[cfg(target_arch = "wasm32")]
mod engine;
#[cfg(target_arch = "wasm32")]
mod js;
#[cfg(all(target_arch = "wasm32", feature = "lab"))]
mod lab;
