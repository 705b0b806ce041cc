//! A compiler for `wasm32-unknown-unknown`, and building with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::packages::{self, Need};
use crate::{shell, toolchain};

const TARGET: &str = "wasm32-unknown-unknown";

/// The profile of what a page downloads.
const PROFILE: &str = "web";

const LINKER: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER";

const RUSTFLAGS: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS";

/// A panic stops a page's WebAssembly, which the JavaScript beside it tells (`web/build.mjs`): neither its place nor its words
/// are kept.
const FLAGS: &str = "-Zlocation-detail=none -Zunstable-options -Cpanic=immediate-abort";

/// The standard library comes from its sources, as small as it can be.
const LIBRARY: [&str; 2] = ["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"];

/// Where Debian puts the compiler of its packages `rustc-web` and `rust-web-src`.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// What compiles for the web on this machine: a compiler that has the sources of its standard library beside it.
#[derive(Debug, PartialEq)]
pub struct Compiler {
    rustc: String,
}

impl Compiler {
    /// Finds a compiler. Where none has the sources, tries rustup, and where that cannot download, the system's packages.
    pub fn provide() -> Result<Self> {
        if let Some(compiler) = Self::find() {
            return Ok(compiler);
        }
        if !toolchain::rustup("component add rust-src") {
            packages::install(&[Need::CompilerWithSources])?;
        }
        match Self::find() {
            Some(compiler) => Ok(compiler),
            None => bail!("no compiler on this machine has the sources of its standard library"),
        }
    }

    /// What is there already.
    fn find() -> Option<Self> {
        let rustc = [active(), SYSTEM_RUSTC.to_string()].into_iter().find(|rustc| has_sources(rustc));
        rustc.map(|rustc| Self { rustc })
    }

    /// The command that builds the browser package's WebAssembly, where wgpu has only its WebGPU backend.
    pub fn build(&self, features: &str) -> Result<Command> {
        let line =
            format!("build --locked --package tilewise-web --profile {PROFILE} --target {TARGET}{features}");
        let mut build = shell::cargo(&line);
        // Unstable options, which this variable allows to stable compilers.
        build.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1").env(RUSTFLAGS, FLAGS).args(LIBRARY);
        // A system's compiler comes without a linker for the web; the active toolchain's serves as well.
        if let Some(linker) = linker(&active()) {
            build.env(LINKER, linker);
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

/// The compiler that cargo uses.
fn active() -> String {
    std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_string())
}

/// The linker that a toolchain brings for the web, if it does.
fn linker(rustc: &str) -> Option<PathBuf> {
    let sysroot = shell::answer(&mut shell::command(rustc, "--print sysroot"))?;
    let version = shell::answer(&mut shell::command(rustc, "-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "))?;
    let program = format!("rust-lld{}", std::env::consts::EXE_SUFFIX);
    let linker = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin").join(program);
    linker.is_file().then_some(linker)
}

fn target_dir() -> Result<PathBuf> {
    Ok(shell::target_dir()?.join("wasm"))
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
    fn the_standard_library_is_compiled_too() {
        let compiler = Compiler { rustc: SYSTEM_RUSTC.to_string() };
        let line = shell::describe(&compiler.build(" --features lab").unwrap());
        assert!(line.contains("RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 cargo build --locked "), "{line}");
        assert!(line.contains(" --package tilewise-web --profile web "), "{line}");
        assert!(line.contains(" --features lab -Zbuild-std=std,panic_abort "), "{line}");
    }

    #[test]
    fn a_compiler_that_is_not_there_has_no_sources() {
        assert!(!has_sources("no-such-rustc") && linker("no-such-rustc").is_none());
    }
}
