//! The disk that the server under test is on.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How large the file system of one's own is, MiB; it takes memory only for what is in it.
const SIZE: u32 = 16 * 1024;

/// How much is let into it when it's filled up, KiB, and how often that is tried, each time with so
/// much more.
const SPARE: u64 = 512;
const TRIES: u64 = 20;

/// A directory for the data, as root on a file system of its own that can be made full. It's removed
/// when dropped, unless it's to be kept.
pub(crate) struct Place {
    directory: PathBuf,
    /// Whether it's a file system of its own.
    pub(crate) is_mounted: bool,
    is_kept: bool,
}

impl Place {
    pub(crate) fn new() -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("skep-soak-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let options = format!("size={SIZE}m,mode=0700");
        let is_mounted = run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], Some(&directory));
        if !is_mounted {
            eprintln!("soak: can't mount a file system of its own, so that no disk gets full");
        }
        Ok(Self { directory, is_mounted, is_kept: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Leaves no room for more than there is.
    pub(crate) fn fill_up(&self) -> bool {
        // A file system can't be made smaller than what it holds, and the server writes meanwhile:
        // a little is let in, and it's tried again when that was too little.
        (1..=TRIES).any(|at| {
            self.used().is_some_and(|used| self.resize(&format!("{}k", used + at * SPARE)))
        })
    }

    /// How much is in it, KiB.
    fn used(&self) -> Option<u64> {
        let output = Command::new("df").args(["--output=used", "-k"]).arg(&self.directory).output();
        String::from_utf8(output.ok()?.stdout).ok()?.lines().nth(1)?.trim().parse().ok()
    }

    /// Makes room again.
    pub(crate) fn empty(&self) -> bool {
        self.resize(&format!("{SIZE}m"))
    }

    fn resize(&self, size: &str) -> bool {
        run("mount", &["-o", &format!("remount,size={size}")], Some(&self.directory))
    }

    /// Leaves all that is there to be looked at; says how it's removed.
    pub(crate) fn keep(mut self) -> String {
        self.is_kept = true;
        let path = self.directory.display();
        let unmount = if self.is_mounted { format!("umount {path} && ") } else { String::new() };
        format!("{path} (remove it by `{unmount}rm -r {path}`)")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let is_left = self.is_mounted && !run("umount", &[], Some(&self.directory));
        if is_left || std::fs::remove_dir_all(&self.directory).is_err() {
            eprintln!("soak: {} can't be removed", self.directory.display());
        }
    }
}

/// Whether a command does what it's asked for.
pub(crate) fn run(program: &str, arguments: &[&str], path: Option<&Path>) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).args(path).stdin(Stdio::null());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
