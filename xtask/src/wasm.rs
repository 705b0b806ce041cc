//! A compiler for `wasm32-unknown-unknown`, and building with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::packages::{self, Need};
use crate::{shell, toolchain};

const TARGET: &str = "wasm32-unknown-unknown";

/// The profile of what a page downloads.
const PROFILE: &str = "web";

const RUSTFLAGS: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS";

/// Where Debian puts the compiler of its packages `rustc-web` and `rust-web-src`.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// What compiles for the web on this machine.
#[derive(Debug, PartialEq)]
pub enum Compiler {
    /// The active toolchain has the standard library for the target.
    Ready,
    /// This compiler has the sources of the standard library instead, which are then compiled too.
    FromSources(String),
}

impl Compiler {
    /// Finds a compiler. Where there is none, tries rustup, and where that cannot download, the system's
    /// packages.
    pub fn provide() -> Result<Self> {
        if let Some(compiler) = Self::find() {
            return Ok(compiler);
        }
        if !toolchain::rustup(&format!("target add {TARGET}")) {
            packages::install(&[Need::CompilerWithSources])?;
        }
        match Self::find() {
            Some(compiler) => Ok(compiler),
            None => bail!("no compiler on this machine has a standard library for {TARGET}"),
        }
    }

    /// What is there already.
    fn find() -> Option<Self> {
        let active = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_string());
        if has_library(&active) {
            return Some(Self::Ready);
        }
        let from_sources = [active, SYSTEM_RUSTC.to_string()].into_iter().find(|rustc| has_sources(rustc));
        from_sources.map(Self::FromSources)
    }

    /// The command that builds the browser package's WebAssembly, where wgpu has only its WebGPU backend.
    pub fn build(&self, features: &str) -> Result<Command> {
        let line =
            format!("build --locked --package tilewise-web --profile {PROFILE} --target {TARGET}{features}");
        let mut build = shell::cargo(&line);
        // Unstable options, which this variable allows to stable compilers. Nobody reads the places in panics.
        build.env("RUSTC_BOOTSTRAP", "1").env(RUSTFLAGS, "-Zlocation-detail=none");
        if let Self::FromSources(rustc) = self {
            build.env("RUSTC", rustc).arg("-Zbuild-std=std,panic_abort");
        }
        // A folder of its own: what one compiler built is of no use to another, and must not evict it.
        build.arg("--target-dir").arg(target_dir()?);
        Ok(build)
    }

    /// What [`build`](Self::build) made.
    pub fn built() -> Result<PathBuf> {
        Ok(target_dir()?.join(TARGET).join(PROFILE).join("tilewise_web.wasm"))
    }
}

fn target_dir() -> Result<PathBuf> {
    Ok(shell::target_dir()?.join("wasm"))
}

/// Whether a compiler has the standard library for the target, compiled.
fn has_library(rustc: &str) -> bool {
    let Some(folder) =
        shell::answer(&mut shell::command(rustc, &format!("--print target-libdir --target {TARGET}")))
    else {
        return false;
    };
    let is_core = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    };
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.any(is_core))
}

/// Whether a compiler has the sources of the standard library beside it.
fn has_sources(rustc: &str) -> bool {
    let sysroot = shell::answer(&mut shell::command(rustc, "--print sysroot"));
    sysroot.is_some_and(|sysroot| {
        Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_compiler_with_sources_builds_its_own_library() {
        let ready = shell::describe(&Compiler::Ready.build(" --features lab").unwrap());
        assert!(
            ready.contains(" --package tilewise-web --profile web ") && ready.contains(" --features lab "),
            "{ready}"
        );
        assert!(!ready.contains("-Zbuild-std"), "{ready}");
        let sources = shell::describe(&Compiler::FromSources(SYSTEM_RUSTC.to_string()).build("").unwrap());
        assert!(sources.contains("RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 cargo build "), "{sources}");
        assert!(sources.contains(" -Zbuild-std=std,panic_abort --target-dir "), "{sources}");
    }

    #[test]
    fn a_compiler_that_is_not_there_has_nothing() {
        assert!(!has_library("no-such-rustc") && !has_sources("no-such-rustc"));
    }
}
