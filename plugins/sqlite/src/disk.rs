//! Files and directories that are there after a crash too.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::error::OpenError;

/// Has a file's content, or a directory's entries, reach the disk.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory that isn't there, and those above it.
pub(crate) fn make_directory(path: &Path) -> Result<(), OpenError> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(path).map_err(OpenError::io("make", path))?;
    for made in missing {
        let parent = parent(made);
        sync(parent).map_err(OpenError::io("sync", parent))?;
    }
    Ok(())
}

/// The directory that a path is an entry of.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
