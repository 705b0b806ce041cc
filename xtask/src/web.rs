//! The browser package and the demo page: built, served, and tested in real browsers.

use std::env::{join_paths, split_paths};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Need};
use crate::shell;
use crate::wasm::Compiler;

/// The oldest Node.js that the tools of `web/` run on.
const NODE: (u32, u32) = (20, 19);

/// Which one to fetch where the system's is older.
const NEWER_NODE: &str = "22";

/// Programs of each browser, as systems name them.
const BROWSERS: [(Need, &[&str]); 2] = [
    (Need::Chromium, &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]),
    (Need::Firefox, &["firefox-esr", "firefox"]),
];

/// What is built twice: the package with the operations, and what the demo page measures and checks with besides.
const MODULES: [(&str, &str); 2] = [("", "js/wasm"), (" --features lab", "demo/lab")];

/// Provides Node.js and what `web/` takes from npm.
pub fn provide() -> Result<()> {
    if node_version().is_none() {
        packages::install(&[Need::Node])?;
    }
    if node_version().is_some_and(|version| version < NODE) {
        provide_newer_node()?;
    }
    match node_version() {
        Some(version) if version >= NODE => {}
        Some((major, minor)) => {
            bail!("Node.js {major}.{minor} is too old for the tools of web/: {}.{} is needed", NODE.0, NODE.1)
        }
        None => bail!("Node.js is missing"),
    }
    shell::run(&mut npm("ci --no-audit --no-fund"))
}

/// Some systems' Node.js is old, such as Debian 12's; but its npm fetches a newer one, which then goes before it.
fn provide_newer_node() -> Result<()> {
    let mut fetch = npm("install --no-save --no-audit --no-fund --prefix");
    fetch.arg(shell::target_dir()?.join("node")).arg(format!("{}@{NEWER_NODE}", node_package()));
    shell::run(&mut fetch)
}

/// What npm calls Node.js for this machine.
fn node_package() -> String {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        "windows" => "win",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("node-{system}-{processor}")
}

/// Builds the package into `web/dist` and the page into `web/dist-demo`, and says how large the WebAssembly is.
pub fn build() -> Result<()> {
    let compiler = Compiler::provide()?;
    shell::run(&mut shell::cargo("build --quiet --package tilewise-bindgen --locked"))?;
    for (features, folder) in MODULES {
        shell::run(&mut compiler.build(features)?)?;
        let mut bindgen = shell::built("debug", "tilewise-bindgen", "")?;
        shell::run(bindgen.arg(Compiler::built()?).arg(folder_of_web(folder)))?;
    }
    shell::run(&mut node("build.mjs"))
}

/// Builds, and serves the page until it is interrupted.
pub fn serve() -> Result<()> {
    provide()?;
    build()?;
    shell::run(&mut node("server.mjs"))
}

/// Makes sure that the browsers of the tests are there.
pub fn provide_browsers() -> Result<()> {
    let is_missing = |programs: &[&str]| {
        programs.iter().all(|program| shell::answer(&mut shell::command(program, "--version")).is_none())
    };
    let missing: Vec<Need> =
        BROWSERS.iter().filter(|(_, programs)| is_missing(programs)).map(|(need, _)| *need).collect();
    if missing.is_empty() { Ok(()) } else { packages::install(&missing) }
}

/// The command that has the Rust tests write all shaders that a page can lead to.
pub fn write_shaders() -> Result<Command> {
    let mut test = shell::cargo("test --workspace --locked --test shaders variants_for_browsers");
    test.env("TILEWISE_WRITE_SHADERS", shaders()?);
    Ok(test)
}

/// The command that tests the package and the page in browsers.
pub fn test() -> Result<Command> {
    let mut test =
        node("--test --test-reporter=spec --test-concurrency=1 tests/module.test.mjs tests/page.test.mjs");
    test.env("TILEWISE_WRITE_SHADERS", shaders()?);
    test.env("TILEWISE_SCREENSHOTS", shell::target_dir()?.join("web-screenshots"));
    Ok(test)
}

fn shaders() -> Result<PathBuf> {
    Ok(shell::target_dir()?.join("browser-shaders.json"))
}

fn folder_of_web(folder: &str) -> PathBuf {
    shell::root().join("web").join(folder)
}

/// In `web/`, with the Node.js that was fetched before the system's, if one was.
fn in_web(mut command: Command) -> Command {
    command.current_dir(shell::root().join("web"));
    if let Some(path) = path_with_newer_node() {
        command.env("PATH", path);
    }
    command
}

fn path_with_newer_node() -> Option<OsString> {
    let fetched =
        shell::target_dir().ok()?.join("node").join("node_modules").join(node_package()).join("bin");
    let system = std::env::var_os("PATH").unwrap_or_default();
    fetched.is_dir().then(|| join_paths([fetched].into_iter().chain(split_paths(&system))).ok())?
}

fn node(arguments: &str) -> Command {
    in_web(shell::command("node", arguments))
}

fn npm(arguments: &str) -> Command {
    in_web(shell::command(if cfg!(windows) { "npm.cmd" } else { "npm" }, arguments))
}

/// Major and minor version of Node.js; `None` where it, or npm, is not there.
fn node_version() -> Option<(u32, u32)> {
    shell::answer(&mut npm("--version"))?;
    parse_version(&shell::answer(&mut node("--version"))?).ok()
}

fn parse_version(text: &str) -> Result<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').split('.');
    let mut part = || parts.next().context("a version has two parts")?.parse().context("a number");
    Ok((part()?, part()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node_are_read() {
        assert_eq!(parse_version("v20.19.2").unwrap(), (20, 19));
        assert!(parse_version("v20.20.2").unwrap() > NODE && parse_version("v18.19.0").unwrap() < NODE);
        assert!(parse_version("node").is_err() && parse_version("").is_err());
    }
}
