//! A GPU adapter for the tests and the demo: found, or installed in software.
//!
//! Metal and DX12 (which has WARP, a software adapter) come with their systems, so only Linux needs anything
//! done. There wgpu needs the Vulkan loader and a driver, which the loader finds by its manifest. A manifest
//! does not tell whether the driver has its hardware: `tilewise info` does, once it is built.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::packages::{self, Need};
use crate::shell;

/// The exit code of `tilewise info` where there is no adapter.
const NO_ADAPTER: i32 = 3;

/// The name by which wgpu asks for the loader.
const LOADER: &str = "libvulkan.so.1";

/// Variables that name driver manifests, the second being the older name. While one is set, the loader looks
/// nowhere else.
const DRIVER_VARIABLES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// How a lookup of an environment variable is handed around, so that tests need not change this process's
/// own.
type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Makes sure that there are a Vulkan loader and a driver, and installs what is missing.
pub fn provide_vulkan() -> Result<()> {
    if !is_ours_to_provide() {
        return Ok(());
    }
    let missing = missing_parts(has_loader(), &driver_manifests());
    if missing.is_empty() {
        return Ok(());
    }
    if missing.contains(&Need::SoftwareVulkan) && driver_variable().is_some() {
        bail!("there is no Vulkan driver{}", variable_hint());
    }
    println!("for Vulkan this machine lacks: {missing:?}");
    packages::install(&missing)
}

/// Makes sure that the `tilewise` of a profile finds an adapter. Where the only drivers are for hardware that
/// is not here, installs one in software. `false`, for none, only where the user allows that.
pub fn ensure_adapter(profile: &str) -> Result<bool> {
    if has_adapter(profile)? || (install_software_driver()? && has_adapter(profile)?) {
        return Ok(true);
    }
    if is_absence_allowed() {
        println!("no GPU adapter, as TILEWISE_ALLOW_NO_GPU=1 allows: tests that need one will be skipped");
        return Ok(false);
    }
    bail!("found no GPU adapter, not even in software{}", variable_hint());
}

/// Whether an adapter in software could be added to drivers that have none; then it has been.
fn install_software_driver() -> Result<bool> {
    let is_pointless = has_software_driver(&driver_manifests()) || driver_variable().is_some();
    if !is_ours_to_provide() || is_pointless {
        return Ok(false);
    }
    println!("there are Vulkan drivers, but none of them finds its hardware");
    packages::install(&[Need::VulkanLoader, Need::SoftwareVulkan])?;
    Ok(true)
}

/// Whether this is a system without an adapter of its own, and a user who wants one.
fn is_ours_to_provide() -> bool {
    cfg!(target_os = "linux") && !is_absence_allowed()
}

/// Whether the user wants tests that need an adapter to be skipped.
pub fn is_absence_allowed() -> bool {
    env::var_os("TILEWISE_ALLOW_NO_GPU").is_some_and(|value| value == "1")
}

/// What wgpu finds. The list itself is not shown: callers are after one bit.
fn has_adapter(profile: &str) -> Result<bool> {
    let mut info = shell::tilewise(profile, "info --json")?;
    let output = shell::output(&mut info)?;
    match output.status.code() {
        Some(0) => Ok(true),
        Some(NO_ADAPTER) => Ok(false),
        _ => bail!(
            "{} from {}\n{}",
            output.status,
            shell::describe(&info),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

fn missing_parts(has_loader: bool, driver_manifests: &[PathBuf]) -> Vec<Need> {
    let loader = (!has_loader).then_some(Need::VulkanLoader);
    let driver = driver_manifests.is_empty().then_some(Need::SoftwareVulkan);
    loader.into_iter().chain(driver).collect()
}

/// Whether the dynamic linker knows the loader, or it lies where linkers look that keep no list (musl's, for
/// one).
fn has_loader() -> bool {
    // By its full path too: ordinary users often do not have /sbin among their paths.
    let lists =
        ["ldconfig", "/sbin/ldconfig"].map(|ldconfig| shell::answer(&mut shell::command(ldconfig, "-p")));
    let is_listed = lists.into_iter().flatten().any(|list| list.contains(LOADER));
    is_listed || library_folders().iter().any(|folder| folder.join(LOADER).is_file())
}

fn library_folders() -> Vec<PathBuf> {
    let set_by_user = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&set_by_user).collect();
    folders.extend(["/lib", "/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from));
    folders.push(format!("/usr/lib/{}-linux-gnu", env::consts::ARCH).into());
    folders
}

fn driver_manifests() -> Vec<PathBuf> {
    manifests_in(driver_places(&|name| env::var_os(name)))
}

/// The first of [`DRIVER_VARIABLES`] that is set.
fn driver_variable() -> Option<&'static str> {
    DRIVER_VARIABLES.into_iter().find(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The end of a message, for users whose environment hides the drivers that they have.
fn variable_hint() -> String {
    let Some(name) = driver_variable() else { return String::new() };
    let value = env::var_os(name).unwrap_or_default();
    format!("; {name} is set to {}, and Vulkan looks nowhere else", value.display())
}

/// Folders and files in which the Vulkan loader looks for drivers, as its documents on driver discovery say.
fn driver_places(variables: Variables) -> Vec<PathBuf> {
    let value = |name: &str| variables(name).filter(|value| !value.is_empty());
    if let Some(only) = DRIVER_VARIABLES.into_iter().find_map(value) {
        return env::split_paths(&only).collect();
    }
    let home = PathBuf::from(value("HOME").unwrap_or_default());
    let roots = [
        value("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config").into()),
        value("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into()),
        "/etc".into(),
        value("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share").into()),
        value("XDG_DATA_DIRS").unwrap_or_else(|| "/usr/local/share:/usr/share".into()),
    ];
    let added: Vec<PathBuf> = value("VK_ADD_DRIVER_FILES").iter().flat_map(env::split_paths).collect();
    let folders = roots.iter().flat_map(env::split_paths).map(|root| root.join("vulkan/icd.d"));
    added.into_iter().chain(folders).collect()
}

/// The manifests among files, and in folders.
fn manifests_in(places: Vec<PathBuf>) -> Vec<PathBuf> {
    let files = places.into_iter().flat_map(|place| files_in(&place).unwrap_or_else(|| vec![place]));
    files.filter(|file| file.is_file() && file.extension().is_some_and(|end| end == "json")).collect()
}

/// What a folder holds; `None` for anything that is no folder.
fn files_in(place: &Path) -> Option<Vec<PathBuf>> {
    let entries = place.read_dir().ok()?;
    Some(entries.flatten().map(|entry| entry.path()).collect())
}

/// Whether Mesa's lavapipe is among the drivers: it needs no hardware.
fn has_software_driver(manifests: &[PathBuf]) -> bool {
    let is_lavapipe = |name: &OsStr| name.to_string_lossy().starts_with("lvp_icd");
    manifests.iter().filter_map(|manifest| manifest.file_name()).any(is_lavapipe)
}

// Other systems write lists of paths differently, and have no use for this one.
#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    /// A fresh folder with empty files in it; each test names its own.
    fn folder_with(test: &str, files: &[&str]) -> PathBuf {
        let folder = env::temp_dir().join(format!("tilewise-xtask-{}-{test}", std::process::id()));
        let drivers = folder.join("vulkan/icd.d");
        fs::create_dir_all(&drivers).unwrap();
        for file in files {
            fs::write(drivers.join(file), "{}").unwrap();
        }
        folder
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let manifest = [PathBuf::from("nvidia_icd.json")];
        assert_eq!(missing_parts(true, &manifest), []);
        assert_eq!(missing_parts(false, &manifest), [Need::VulkanLoader]);
        assert_eq!(missing_parts(true, &[]), [Need::SoftwareVulkan]);
        assert_eq!(missing_parts(false, &[]), [Need::VulkanLoader, Need::SoftwareVulkan]);
    }

    #[test]
    fn drivers_are_looked_for_where_the_loader_looks() {
        let places = driver_places(&|name| (name == "HOME").then(|| "/home/me".into()));
        let expected = [
            "/home/me/.config/vulkan/icd.d",
            "/etc/xdg/vulkan/icd.d",
            "/etc/vulkan/icd.d",
            "/home/me/.local/share/vulkan/icd.d",
            "/usr/local/share/vulkan/icd.d",
            "/usr/share/vulkan/icd.d",
        ];
        assert_eq!(places, expected.map(PathBuf::from));
    }

    #[test]
    fn a_driver_variable_hides_all_other_places() {
        let set = |name: &str| match name {
            "VK_ICD_FILENAMES" => Some("/a/one.json:/b/two.json".into()),
            "XDG_DATA_DIRS" => Some("/usr/share".into()),
            _ => None,
        };
        assert_eq!(driver_places(&set), ["/a/one.json", "/b/two.json"].map(PathBuf::from));
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let places = driver_places(&|_| Some(OsString::new()));
        assert!(places.contains(&PathBuf::from("/usr/share/vulkan/icd.d")), "{places:?}");
    }

    #[test]
    fn manifests_are_found_in_folders_and_by_name() {
        let folder = folder_with("found", &["radeon_icd.x86_64.json", "lvp_icd.x86_64.json", "README"]);
        let data_dirs = |name: &str| (name == "XDG_DATA_DIRS").then(|| folder.clone().into_os_string());
        let is_here = |manifest: &PathBuf| manifest.starts_with(&folder);
        let manifests: Vec<_> = manifests_in(driver_places(&data_dirs)).into_iter().filter(is_here).collect();
        assert_eq!(manifests.len(), 2, "{manifests:?}");
        assert!(has_software_driver(&manifests));

        let one = folder.join("vulkan/icd.d/radeon_icd.x86_64.json");
        let gone = folder.join("gone.json");
        let manifests = manifests_in(vec![one.clone(), gone]);
        assert_eq!(manifests, [one]);
        assert!(!has_software_driver(&manifests));
        fs::remove_dir_all(folder).unwrap();
    }
}
