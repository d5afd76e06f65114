//! From a path of the client's to a model in the catalog.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use skep::prelude::*;

use crate::catalog::{Catalog, Model, not_stored, taken};
use crate::digest::{hexadecimal, mismatch};
use crate::gguf;
use crate::id::ModelId;

/// How much is read at once: between two pieces the import can be cancelled.
const PIECE: usize = 1 << 20;

/// Imports the file at `path` as `id`; it must have the SHA-256 that is `expected`, if one is. Blocks
/// its thread.
///
/// `progress` is told how many bytes of how many are read, and ends the import by its error.
///
/// The model is a hard link to the file where the two are on one file system, else a copy. A link
/// costs no space; if its file is written to later, the model changes with it, which
/// [`Catalog::locate`] notices by the size. Programs that replace a file leave the model alone.
pub(crate) fn import(
    catalog: &Catalog,
    path: &str,
    id: &ModelId,
    expected: Option<&str>,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Model> {
    let source = regular_file(path)?;
    let staged = catalog.stage().map_err(|error| not_stored(&error))?;
    let linked = fs::hard_link(&source, staged.file()).is_ok();
    // From here on all is read through one handle: what is checked is what is kept, even if the
    // path leads elsewhere by now.
    let unreadable = |error: std::io::Error| invalid_path(path, &error.to_string());
    let opened = if linked { File::open(staged.file()) } else { File::open(&source) };
    let mut file = opened.map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let header = gguf::read(BufReader::new(&file), bytes).map_err(|error| {
        let detail = format!("`{path}` can't be imported: {error}");
        OperationError::new("invalid-model", detail).with_status(422)
    })?;
    // A large file need not be read to learn that another one has its id.
    if let Some(kept) = catalog.find(id)?.filter(|kept| kept.bytes != bytes) {
        return Err(taken(&kept));
    }
    file.rewind().map_err(unreadable)?;
    let copy = if linked { None } else { Some(File::create_new(staged.file())) };
    let copy = copy.transpose().map_err(|error| not_stored(&error))?;
    let sha256 = transfer(&file, copy, bytes, path, progress)?;
    if let Some(expected) = expected
        && sha256 != expected
    {
        return Err(mismatch(&format!("`{path}`"), expected, &sha256));
    }
    let file = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let model = Model::new(id, file, None, (bytes, sha256), header);
    catalog.keep(staged, id, model)
}

/// Reads all of `file` and returns its SHA-256; writes what it reads to `copy`, if there is one.
fn transfer(
    mut file: &File,
    mut copy: Option<File>,
    bytes: u64,
    path: &str,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<String> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    loop {
        progress(done, bytes)?;
        let read = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => &piece[..read],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(invalid_path(path, &error.to_string())),
        };
        hash.update(read);
        if let Some(copy) = &mut copy {
            copy.write_all(read).map_err(|error| not_stored(&error))?;
        }
        done += read.len() as u64;
    }
    if done != bytes {
        return Err(invalid_path(path, "it changed while it was read"));
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// The file that `path` leads to, without links on the way: a hard link to a symbolic link would
/// be one more symbolic link.
fn regular_file(path: &str) -> Result<PathBuf> {
    if !Path::new(path).is_absolute() {
        return Err(invalid_path(path, "the path is not absolute, as seen from the server"));
    }
    let found = fs::canonicalize(path).and_then(|path| Ok((fs::metadata(&path)?, path)));
    match found {
        Ok((metadata, path)) if metadata.is_file() => Ok(path),
        Ok(_) => Err(invalid_path(path, "it is not a regular file")),
        Err(error) => Err(invalid_path(path, &error.to_string())),
    }
}

fn invalid_path(path: &str, reason: &str) -> OperationError {
    let detail = format!("`{path}` can't be imported: {reason}");
    OperationError::new("invalid-path", detail).with_status(422)
}
