//! How much memory an adapter gives, as far as a benchmark asks for it.

use crate::{Error, Gpu, Tensor};

/// What is asked for at a time: every adapter has buffers as large.
const PIECE: u64 = 128 << 20;

/// Bytes that the adapter gives at once, asked for piece by piece up to `most` and given back. WebGPU has no other way to
/// tell how much memory there is. In a browser refusals arrive later, and what is told is what was asked for.
pub async fn memory(gpu: &Gpu, most: u64) -> Result<u64, Error> {
    let mut pieces = Vec::new();
    while (pieces.len() as u64 + 1) * PIECE <= most {
        match Tensor::<f32>::zeros(gpu, &[(PIECE / 4) as usize]) {
            Ok(piece) => pieces.push(piece),
            Err(Error::Allocation { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    gpu.done().await?;
    Ok(pieces.len() as u64 * PIECE)
}
