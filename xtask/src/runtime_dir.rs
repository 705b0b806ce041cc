//! A private folder for `XDG_RUNTIME_DIR`, without which some Vulkan drivers complain whenever a program
//! starts.

use std::path::Path;
use std::{env, io};

use anyhow::{Context, Result};

use crate::shell;

/// Sets the variable for all commands to come, where a Linux system has not (containers and CI machines do
/// not).
pub fn provide() -> Result<()> {
    if !cfg!(target_os = "linux") || env::var_os("XDG_RUNTIME_DIR").is_some() {
        return Ok(());
    }
    let folder = shell::target_dir()?.join("xdg-runtime");
    create_private(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // SAFETY: this process has one thread, so that nothing reads the environment meanwhile.
    unsafe { env::set_var("XDG_RUNTIME_DIR", folder) };
    Ok(())
}

/// Creates a folder that nobody else can enter, as the specification of the variable demands.
#[cfg(unix)]
fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Never called: other systems do not know the variable.
#[cfg(not(unix))]
fn create_private(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}
