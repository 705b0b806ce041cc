//! Output files that appear whole or not at all.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// A file that will be written: made beside its place, and moved there when whole. Dropped before that, it leaves
/// nothing behind.
#[derive(Debug)]
pub struct Draft {
    /// As the user wrote it.
    path: PathBuf,
    target: PathBuf,
    file: NamedTempFile,
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("cannot write {}: {why}", path.display()))
}

impl Draft {
    /// Fails at once if the file could not be written later, so that nothing is computed in vain.
    pub fn reserve(path: &Path) -> Result<Self, Failure> {
        if path.file_name().is_none() {
            return Err(refused(path, "it has no file name"));
        }
        // A link stays a link: what it points to is replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Ok(existing) = fs::metadata(&target) {
            if !existing.is_file() {
                return Err(refused(path, "it exists and is no regular file"));
            }
            if existing.permissions().readonly() {
                return Err(refused(path, "it exists and is read-only"));
            }
        }
        let folder = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tilewise-").suffix(".part");
        // Like any file that a program makes, not private as temporary files are.
        // And the reason of a failure is the system's own, where `tempfile_in` would add a name nobody chose.
        let file = builder.make_in(folder, |draft| File::create_new(draft));
        let file = file.map_err(|error| refused(path, error))?;
        Ok(Self { path: path.to_owned(), target, file })
    }

    /// Writes the bytes, and moves the file to its place.
    pub fn write(self, bytes: &[u8]) -> Result<(), Failure> {
        let Self { path, target, mut file } = self;
        file.as_file_mut()
            .write_all(bytes)
            .and_then(|()| file.as_file().sync_all())
            .map_err(|error| refused(&path, error))?;
        file.persist(target).map_err(|failed| refused(&path, failed.error))?;
        Ok(())
    }
}
