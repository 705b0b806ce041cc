//! Finds out which version of wgpu is built in, for the records that measurements keep.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let locks = manifest.ancestors().map(|folder| folder.join("Cargo.lock"));
    let lock = locks.into_iter().find(|lock| lock.exists()).unwrap_or_default();
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(&lock).unwrap_or_default();
    println!("cargo::rustc-env=WGPU_VERSION={}", version(&text).unwrap_or("unknown"));
}

/// The lines after a package's name begin with its version.
fn version(lock: &str) -> Option<&str> {
    let (_, rest) = lock.split_once("name = \"wgpu\"")?;
    rest.trim_start().strip_prefix("version = \"")?.split('"').next()
}
