//! `realtime certs`: a directory with the CA of a cluster and the certificates of its processes.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rcgen::SanType;
use realtime_proto::timestamp;
use serde_json::json;

use super::print;
use crate::authority::{self, Authority, BadAuthority, Made};
use crate::cli::{CertsInitArgs, CertsIssueArgs, defaults};
use crate::config::{Layers, Noted, Resolver, parse};
use crate::credentials::now;
use crate::failure::Failure;
use crate::{private_file, text_file};

/// The CA's own name in the directory; no process may have it.
const CA: &str = "ca";

/// `NAME.pem` and `NAME.key` in the directory.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(dir: &str, name: &str) -> Self {
        let file = |suffix| Path::new(dir).join(format!("{name}.{suffix}"));
        Self { certificate: file("pem"), key: file("key") }
    }

    /// Says what was written.
    fn print(&self, made: &Made, json: bool) -> Result<(), Failure> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let expires = timestamp(made.expires_at * 1000);
        let document =
            || json!({"cert": certificate.to_string(), "key": key.to_string(), "expiresAt": expires});
        print::either(json, document, &format!("{certificate}\n{key}\nexpires {expires}"))
    }
}

/// Makes a CA. One that is there is never overwritten: every certificate of the cluster hangs on its key.
pub(super) fn init(args: &CertsInitArgs, layers: &Layers) -> Result<(), Failure> {
    let mut r = Resolver::new(layers);
    let dir = directory(&mut r, args.dir.as_ref());
    let name = r.value("name", args.name.as_ref(), defaults::CA_NAME, authority::common_name);
    let days = r.value("days", args.days.as_ref(), defaults::CA_DAYS, authority::days);
    let json = r.switch("json", args.json.as_ref());
    r.finish()?;
    let (dir, name, days, json) = (dir?, name?, days?, json?);
    let files = Files::of(&dir, CA);
    let exists = |path: &Path| {
        Failure::new(format!(
            "{} exists, and a CA is never overwritten; --dir names another place",
            path.display()
        ))
    };
    if let Some(there) =
        [&files.certificate, &files.key].into_iter().find(|path| path.symlink_metadata().is_ok())
    {
        return Err(exists(there));
    }
    let made = authority::create(&name, now(), days).map_err(|e| cannot_make(&e))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|e| cannot_write(Path::new(&dir), &e))?;
    let failed = |path: &Path, e: io::Error| match e.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => cannot_write(path, &e),
    };
    private_file::create(&files.key, &made.key).map_err(|e| failed(&files.key, e))?;
    private_file::create_public(&files.certificate, &made.certificate)
        .map_err(|e| failed(&files.certificate, e))?;
    files.print(&made, json)
}

/// Certifies a process. What it had before is replaced: this is also how certificates are renewed.
pub(super) fn issue(args: &CertsIssueArgs, layers: &Layers) -> Result<(), Failure> {
    let mut r = Resolver::new(layers);
    let dir = directory(&mut r, args.dir.as_ref());
    let name = match r.optional("name", args.name.as_ref(), process_name) {
        Ok(None) => Err(r.note("name", "is missing: which process is the certificate for?")),
        Ok(Some(name)) => Ok(name),
        Err(noted) => Err(noted),
    };
    let hosts = hosts(&mut r, &args.host);
    let days = r.value("days", args.days.as_ref(), defaults::CERT_DAYS, authority::days);
    let json = r.switch("json", args.json.as_ref());
    r.finish()?;
    let (dir, name, hosts, days, json) = (dir?, name?, hosts?, days?, json?);
    let (authority, now) = (read_authority(&dir)?, now());
    let (ends, asked) = (authority.expires_at(), authority::expiry(now, days));
    if asked > ends {
        let ends = timestamp(ends * 1000);
        return Err(Failure::input(format!(
            "--days: {days} days are too many: the CA's own certificate expires {ends}; replace the CA in time"
        )));
    }
    let made = authority.issue(&name, hosts, now, days).map_err(|e| cannot_make(&e))?;
    let files = Files::of(&dir, &name);
    private_file::replace(&files.key, &made.key).map_err(|e| cannot_write(&files.key, &e))?;
    private_file::replace_public(&files.certificate, &made.certificate)
        .map_err(|e| cannot_write(&files.certificate, &e))?;
    files.print(&made, json)
}

fn directory(r: &mut Resolver<'_>, given: Option<&String>) -> Result<String, Noted> {
    Ok(r.text("dir", given)?.unwrap_or_else(|| defaults::CERTS_DIR.to_owned()))
}

fn process_name(text: &str) -> Result<String, String> {
    if text.eq_ignore_ascii_case(CA) {
        return Err("is the name of the CA's own files".into());
    }
    parse::node_id(text)
}

fn hosts(r: &mut Resolver<'_>, given: &[String]) -> Result<Vec<SanType>, Noted> {
    let texts = r.list("host", given)?;
    if texts.is_empty() {
        return Err(
            r.note("host", "is missing: by which names or addresses do the others reach the process?")
        );
    }
    // Every wrong one is told.
    let read: Vec<_> = texts
        .iter()
        .map(|text| authority::host(text).map_err(|why| r.note("host", &format!("{text:?}: {why}"))))
        .collect();
    read.into_iter().collect()
}

fn read_authority(dir: &str) -> Result<Authority, Failure> {
    let files = Files::of(dir, CA);
    let cannot_read = |path: &Path, e: &io::Error| {
        let hint = if e.kind() == ErrorKind::NotFound { "; `realtime certs init` makes a CA" } else { "" };
        Failure::input(format!("--dir: cannot read {}: {e}{hint}", path.display()))
    };
    let certificates =
        text_file::read_bytes(&files.certificate).map_err(|e| cannot_read(&files.certificate, &e))?;
    let key = text_file::read(&files.key).map_err(|e| cannot_read(&files.key, &e))?;
    Authority::read(&certificates, &key).map_err(|bad| {
        let path = match bad {
            BadAuthority::Certificate(_) => &files.certificate,
            BadAuthority::Key(_) => &files.key,
        };
        Failure::input(format!("--dir: {} {bad}", path.display()))
    })
}

fn cannot_make(e: &rcgen::Error) -> Failure {
    Failure::new(format!("cannot make the certificate: {e}"))
}

fn cannot_write(path: &Path, e: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {e}", path.display()))
}
