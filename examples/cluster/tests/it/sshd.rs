//! A real `sshd` on a free port, with keys and a home directory that are thrown away.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The machine's alias in SSH's configuration.
pub(crate) const ALIAS: &str = "attic";

/// Where Debian, Fedora, Arch and macOS have it. It has to be started by its whole path.
const SSHD: [&str; 2] = ["/usr/sbin/sshd", "/usr/bin/sshd"];

/// An `sshd`: one process a connection, as by inetd, so that the port is the listener's that it's bound
/// to from the beginning.
pub(crate) struct Sshd {
    /// The configuration of `ssh` that leads to it.
    pub(crate) config: PathBuf,
    /// What its users take for their home.
    pub(crate) home: PathBuf,
}

impl Sshd {
    /// Starts one, whose files are in `directory`.
    pub(crate) fn start(directory: &Path) -> Self {
        let sshd = SSHD.into_iter().map(Path::new).find(|path| path.is_file());
        let sshd =
            sshd.expect("sshd is missing: install it (Debian: apt-get install openssh-server)");
        let path = |name: &str| directory.join(name);
        let home = path("home");
        fs::create_dir_all(&home).unwrap();
        for name in ["host", "key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(name));
            assert!(keygen.status().expect("ssh-keygen runs").success());
        }
        let server = format!(
            "HostKey {host}\nAuthorizedKeysFile {keys}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n\
             SetEnv HOME={home}\n",
            host = path("host").display(),
            keys = path("key.pub").display(),
            home = home.display(),
        );
        fs::write(path("sshd_config"), server).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let host_key = fs::read_to_string(path("host.pub")).unwrap();
        fs::write(path("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).unwrap();
        let client = format!(
            "Host {ALIAS}\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {key}\n  \
             IdentitiesOnly yes\n  UserKnownHostsFile {known}\n",
            key = path("key").display(),
            known = path("known_hosts").display(),
        );
        let config = path("ssh_config");
        fs::write(&config, client).unwrap();
        let log = File::create(path("sshd.log")).unwrap();
        let server = path("sshd_config");
        std::thread::spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                let connection = OwnedFd::from(connection);
                let mut command = Command::new(sshd);
                command
                    .args(["-i", "-e", "-f"])
                    .arg(&server)
                    .stdin(connection.try_clone().unwrap())
                    .stdout(connection)
                    .stderr(log.try_clone().map_or(Stdio::null(), Stdio::from));
                let mut child = command.spawn().expect("sshd starts");
                std::thread::spawn(move || child.wait());
            }
        });
        Self { config, home }
    }
}
