//! One server to a data directory.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::OpenError;

const FILE: &str = "skep.lock";

/// The right to write to a data directory. The system takes it back when the process ends, however
/// it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes it, and leaves our process's id for whoever comes next.
    pub(crate) fn take(data_dir: &Path) -> Result<Self, OpenError> {
        let path = data_dir.join(FILE);
        let failed = |error| OpenError::io("write to", &path)(error);
        // What stands in it is the holder's, until the lock is ours.
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    data_dir: data_dir.to_owned(),
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(OpenError::io("lock", &path)(error)),
        }
        let id = std::process::id().to_string();
        file.set_len(0).and_then(|()| file.write_all(id.as_bytes())).map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing it isn't enough: a child process that this one is just starting has it open too, until
        // it runs its program. What can't be given back goes with the process.
        let _ = self.file.unlock();
    }
}

fn holder(file: &mut File) -> String {
    let mut id = String::new();
    match file.read_to_string(&mut id) {
        Ok(_) if !id.is_empty() => format!("process {}", id.trim()),
        _ => "another process".to_owned(),
    }
}
