//! Files that hold secrets, and what is public beside them: written whole or not at all, secrets with mode 0600.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::text_file;

/// For the owner alone.
const SECRET: u32 = 0o600;
/// For anyone to read.
const PUBLIC: u32 = 0o644;

/// Creates `path` with `text`; an existing file is an error. A crash leaves either nothing or the whole file.
pub(crate) fn create(path: &Path, text: &str) -> io::Result<()> {
    create_with(path, text, SECRET)
}

/// The same for anyone to read.
pub(crate) fn create_public(path: &Path, text: &str) -> io::Result<()> {
    create_with(path, text, PUBLIC)
}

/// Writes `path`, new or not, in one step: a reader sees the old content or the new.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    replace_with(path, text, SECRET)
}

/// The same for anyone to read.
pub(crate) fn replace_public(path: &Path, text: &str) -> io::Result<()> {
    replace_with(path, text, PUBLIC)
}

fn create_with(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let temporary = sibling(path);
    write(&temporary, text, mode)?;
    // A hard link, unlike a rename, fails where the name is taken.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    linked?;
    sync_directory(path)
}

fn replace_with(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let temporary = sibling(path);
    write(&temporary, text, mode)?;
    fs::rename(&temporary, path)
}

/// The text of `path`, without the line ends around it; `None`: there is no such file.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    match text_file::read(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn sibling(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    // What a killed process of the same number left behind.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_for_the_owner_alone_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert_eq!(read(&path).unwrap(), None);
        create(&path, "one\n").unwrap();
        assert_eq!(create(&path, "two\n").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap().as_deref(), Some("one"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_are_replaced_and_keep_the_mode_of_their_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        replace_public(&path, "1").unwrap();
        replace_public(&path, "2").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("2"));
        assert_eq!(mode() & 0o600, 0o600);
        replace(&path, "3").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("3"));
        assert_eq!(mode(), 0o600);
    }
}
