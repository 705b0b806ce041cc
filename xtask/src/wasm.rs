//! A compiler for `wasm32-unknown-unknown`, and the check that the library compiles for the web.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::packages::{self, Need};
use crate::{shell, toolchain};

const TARGET: &str = "wasm32-unknown-unknown";

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

    /// The command that type-checks the library for the web, where wgpu has only its WebGPU backend.
    pub fn check(&self) -> Result<Command> {
        let mut check = shell::cargo(&format!("check --locked --package tilewise --lib --target {TARGET}"));
        if let Self::FromSources(rustc) = self {
            // Building the standard library is an unstable option, which this variable allows to stable
            // compilers.
            check.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            // None of it will run, and the standard library is quicker to build unoptimised.
            check.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
            // A folder of its own: what one compiler built is of no use to another, and must not evict it.
            check
                .args(["-Zbuild-std=std,panic_abort", "--target-dir"])
                .arg(shell::target_dir()?.join("wasm"));
        }
        Ok(check)
    }
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
    fn a_ready_compiler_shares_what_the_other_checks_built() {
        let line = shell::describe(&Compiler::Ready.check().unwrap());
        assert_eq!(line, "cargo check --locked --package tilewise --lib --target wasm32-unknown-unknown");
    }

    #[test]
    fn a_compiler_with_sources_builds_its_own_library() {
        let line = shell::describe(&Compiler::FromSources(SYSTEM_RUSTC.to_string()).check().unwrap());
        assert!(line.contains("RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 cargo check "), "{line}");
        assert!(line.contains(" -Zbuild-std=std,panic_abort --target-dir "), "{line}");
    }

    #[test]
    fn a_compiler_that_is_not_there_has_nothing() {
        assert!(!has_library("no-such-rustc") && !has_sources("no-such-rustc"));
    }
}
