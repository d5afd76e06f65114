//! A registry of crates on this machine: an index that is a git repository, and files beside it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::cargo_home::Fetched;
use crate::support::{operation, run, write_crate};

/// The index that plugins without a word about it ask: the public one.
const PUBLIC: &str = "https://github.com/rust-lang/crates.io-index";

/// A registry, which Cargo knows as `local`.
pub(crate) struct Registry {
    root: PathBuf,
    _fetched: Fetched,
}

impl Registry {
    /// An empty one.
    pub(crate) fn new(root: PathBuf) -> Self {
        let registry = Self { _fetched: Fetched::from(&root), root };
        fs::create_dir_all(registry.root.join("index")).unwrap();
        let dl = format!("file://{}/{{crate}}-{{version}}.crate", registry.root.display());
        fs::write(registry.root.join("index/config.json"), json!({ "dl": dl }).to_string())
            .unwrap();
        registry.git(&["init", "--quiet"]);
        registry.commit();
        registry
    }

    /// Publishes a version of a plugin that has one operation of its name, for `core`.
    pub(crate) fn publish(&self, (name, version): (&str, &str), core: &str) {
        let staged = self.root.join(version);
        let dependency = format!("skep = \"{core}\"");
        let sources = write_crate(&staged, (name, version), &dependency, &operation(name));
        let packed = format!("{name}-{version}");
        fs::rename(sources, staged.join(&packed)).unwrap();
        let file = self.root.join(format!("{packed}.crate"));
        let mut tar = Command::new("tar");
        run(tar.arg("-czf").arg(&file).arg("-C").arg(&staged).arg(&packed)).stdout();

        let digest = Sha256::digest(fs::read(file).unwrap());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let entry = json!({
            "name": name,
            "vers": version,
            "deps": [{
                "name": "skep",
                "req": format!("^{core}"),
                "features": [],
                "optional": false,
                "default_features": true,
                "target": null,
                "kind": "normal",
                "registry": PUBLIC,
            }],
            "cksum": digest,
            "features": {},
            "yanked": false,
        });
        let index = self.root.join("index").join(&name[..2]).join(&name[2..4]);
        fs::create_dir_all(&index).unwrap();
        let mut index =
            OpenOptions::new().create(true).append(true).open(index.join(name)).unwrap();
        writeln!(index, "{entry}").unwrap();
        self.commit();
    }

    /// Has a command know the registry.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let index = format!("file://{}", self.root.join("index").display());
        command.env("CARGO_REGISTRIES_LOCAL_INDEX", index)
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["-c", "user.name=T", "-c", "user.email=t@t", "commit", "--quiet", "-m", "."]);
    }

    fn git(&self, arguments: &[&str]) {
        let index: &Path = &self.root.join("index");
        run(Command::new("git").args(arguments).current_dir(index)).stdout();
    }
}
