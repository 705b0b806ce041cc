//! For browsers, which download them, shaders lose their comments and their indentation, and those of operations are packed.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[path = "src/shader/native.rs"]
mod native;
#[path = "src/shader/pack.rs"]
mod pack;

/// The folders of the archive that every page needs.
const COMMON: [&str; 3] = ["common", "elem", "mods"];

/// Those of the others. A page unpacks one when it first needs something of it.
const FAMILIES: [&str; 3] = ["attention", "butterfly", "scan"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/shader/native.rs");
    println!("cargo::rerun-if-changed=src/shader/pack.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo::rerun-if-changed=shaders");
        let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo gives a folder")).join("shaders");
        strip_folder(Path::new("shaders"), &target).expect("the shaders can be read and written");
        let common: String = COMMON.into_iter().map(|folder| archive(&target, folder)).collect();
        write(&target, "common", &pack::pack(common.as_bytes(), &[]));
        for family in FAMILIES {
            write(&target, family, &pack::pack(archive(&target, family).as_bytes(), common.as_bytes()));
        }
    }
}

fn write(target: &Path, name: &str, packed: &[u8]) {
    fs::write(target.join(name).with_extension("pack"), packed).expect("the shaders can be written");
}

fn archive(target: &Path, folder: &str) -> String {
    let mut archive = String::new();
    append(&mut archive, target, &target.join(folder)).expect("what was written can be read");
    archive
}

/// Appends the files of a folder that a page can reach: the name, a zero, the text, a zero.
fn append(archive: &mut String, root: &Path, folder: &Path) -> io::Result<()> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            append(archive, root, &path)?;
            continue;
        }
        let name = path.strip_prefix(root).expect("it lies there").with_extension("");
        let name = name.to_str().expect("names are ASCII").replace(std::path::MAIN_SEPARATOR, "/");
        if !native::NATIVE.contains(&name.as_str()) {
            for part in [name, fs::read_to_string(&path)?] {
                archive.push_str(&part);
                archive.push('\0');
            }
        }
    }
    Ok(())
}

fn strip_folder(source: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        if from.is_dir() {
            strip_folder(&from, &to)?;
        } else {
            fs::write(to, stripped(&fs::read_to_string(from)?))?;
        }
    }
    Ok(())
}

/// The lines without what no compiler reads. WGSL has no strings, so that every `//` begins a comment; those that the
/// linker reads, `// each NAME`, stay.
fn stripped(source: &str) -> String {
    let line = |line: &str| {
        let code = match line.find("//") {
            Some(comment) if !line[comment..].starts_with("// each ") => &line[..comment],
            _ => line,
        };
        let code = code.trim();
        if code.is_empty() { String::new() } else { format!("{code}\n") }
    };
    source.lines().map(line).collect()
}
