//! What Cargo keeps of the registries and repositories of tests: nothing, once they are gone.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Has Cargo forget what it has fetched from below a directory, when it's dropped.
pub(crate) struct Fetched {
    from: PathBuf,
}

impl Fetched {
    /// From below this one.
    pub(crate) fn from(directory: &Path) -> Self {
        Self { from: directory.to_owned() }
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        let Some(home) = home() else { return };
        let url = format!("file://{}/", self.from.display());
        forget(&home.join("registry"), &["index", "cache", "src"], ".git/FETCH_HEAD", &url);
        forget(&home.join("git"), &["db", "checkouts"], "FETCH_HEAD", &url);
    }
}

/// Cargo's directory.
fn home() -> Option<PathBuf> {
    let named = env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// Removes what is from below `url`. A source has one name in each of the `kinds`; in the first it has
/// a file where git says what it fetched from where.
fn forget(root: &Path, kinds: &[&str], fetched: &str, url: &str) {
    for source in fs::read_dir(root.join(kinds[0])).into_iter().flatten().flatten() {
        let fetched = fs::read_to_string(source.path().join(fetched));
        if fetched.is_ok_and(|fetched| fetched.contains(url)) {
            for kind in kinds {
                let _ = fs::remove_dir_all(root.join(kind).join(source.file_name()));
            }
        }
    }
}
