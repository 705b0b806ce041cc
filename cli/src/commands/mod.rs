//! The commands, one a file.

pub mod bench;
pub mod compare;
pub mod info;
pub mod plan;
pub mod project;
pub mod report;
pub mod run;
pub mod shader;
pub mod tour;
pub mod verify;
