//! A cluster's own CA and certificates, made by the commands that operators use.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::server::binary;

/// The directory of a cluster's CA.
#[derive(Debug)]
pub struct ClusterCertificates {
    directory: TempDir,
}

impl Default for ClusterCertificates {
    fn default() -> Self {
        Self::new()
    }
}

impl ClusterCertificates {
    /// Makes a CA.
    ///
    /// # Panics
    /// When the command fails.
    #[must_use]
    pub fn new() -> Self {
        let made = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        made.run(&["init"]);
        made
    }

    /// Certifies a process at an address, or certifies it anew.
    ///
    /// # Panics
    /// When the command fails.
    pub fn issue(&self, name: &str, host: &str) {
        self.run(&["issue", "--name", name, "--host", host]);
    }

    /// The same for so many days.
    ///
    /// # Panics
    /// When the command fails.
    pub fn issue_for(&self, name: &str, host: &str, days: u32) {
        self.run(&["issue", "--name", name, "--host", host, "--days", &days.to_string()]);
    }

    /// The arguments of the process of that name.
    ///
    /// # Panics
    /// When the directory's path is no text.
    #[must_use]
    pub fn args(&self, name: &str) -> Vec<String> {
        let path = |file: String| self.file(&file).to_str().expect("a path that is text").to_owned();
        let (cert, key) = (path(format!("{name}.pem")), path(format!("{name}.key")));
        ["--cluster-cert", &cert, "--cluster-key", &key, "--cluster-ca", &path("ca.pem".into())]
            .map(str::to_owned)
            .to_vec()
    }

    /// The certificate of the CA.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// A file of the directory, such as `ca.key`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, args: &[&str]) {
        let output = Command::new(binary())
            .arg("certs")
            .args(args)
            .arg("--dir")
            .arg(self.directory.path() as &Path)
            .output()
            .expect("the command starts");
        assert!(output.status.success(), "certs {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
