//! Plans of the scan family.

mod chunked;
mod linear_scan;
mod token;

pub(crate) use chunked::{ChunkKernel, Mixed, record_words};
pub use chunked::{ChunkedBackwardPlan, ChunkedPlan, Steps};
pub use linear_scan::LinearScanPlan;
pub(crate) use token::ROOM as TOKEN_ROOM;
pub use token::TokenPlan;
