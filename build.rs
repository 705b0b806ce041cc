//! For browsers, which download them, shaders lose their comments and their indentation.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo::rerun-if-changed=shaders");
        let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo gives a folder")).join("shaders");
        strip_folder(Path::new("shaders"), &target).expect("the shaders can be read and written");
    }
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
