//! Where the keys come from by which applications' secrets are encrypted in the store, and the embedded store that is
//! opened with them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use realtime_auth::Gate;
use realtime_control_plane::store::EmbeddedStore;
use realtime_control_plane::{ControlPlane, MEMBER_TTL, SecretKeys, encrypted_app};
use realtime_proto::ids::random;

use crate::cli::SECRETS_KEY_TEXT;
use crate::config::{Noted, Resolver, variable};
use crate::failure::Failure;
use crate::{private_file, text_file};

/// The file's name in the data directory.
const KEY_FILE: &str = "secrets.key";
const FLAG: &str = "secrets-key";

/// The keys of `--secrets-key`, or of the variable that holds them itself; `None`: neither is given.
pub(super) fn resolve(r: &mut Resolver<'_>, file: Option<&String>) -> Result<Option<SecretKeys>, Noted> {
    let text = r.secret(SECRETS_KEY_TEXT, None);
    let file = r.text(FLAG, file);
    let variable = variable(SECRETS_KEY_TEXT);
    let (origin, read) = match (text?, file?) {
        (Some(_), Some(_)) => {
            return Err(r.note(FLAG, &format!("{variable} is given too; give one of the two")));
        }
        (Some(text), None) => (variable, Ok(text)),
        (None, Some(path)) => (path.clone(), text_file::read(Path::new(&path))),
        (None, None) => return Ok(None),
    };
    let keys = read.map_err(|e| format!("cannot be read: {e}")).and_then(|text| SecretKeys::parse(&text));
    keys.map(Some).map_err(|why| r.note(FLAG, &format!("{origin}: {why}")))
}

/// The keys of a store in a data directory.
#[derive(Debug)]
pub(super) enum DataDirKeys {
    /// Given by the operator.
    Given(SecretKeys),
    /// Those in this file of the directory, which is made at the first start.
    File(PathBuf),
}

impl DataDirKeys {
    /// What an earlier start has left in the directory has to be keys.
    pub(super) fn resolve(
        r: &mut Resolver<'_>,
        given: Option<SecretKeys>,
        data_dir: &Path,
    ) -> Result<Self, Noted> {
        let path = data_dir.join(KEY_FILE);
        match given
            .map_or_else(|| kept(&path).map(|_| Self::File(path.clone())), |keys| Ok(Self::Given(keys)))
        {
            Ok(keys) => Ok(keys),
            Err(error) => Err(r.note("data-dir", &format!("{}: {error}", path.display()))),
        }
    }

    /// Opens the control plane of the directory. The store comes first: it tells whether the directory is ours alone,
    /// and whether there are secrets already that need another key than a new one.
    pub(super) async fn open(self, data_dir: &Path, gate: &Arc<Gate>) -> Result<ControlPlane, Failure> {
        let failed = |what: &dyn std::fmt::Display| Failure::new(format!("--data-dir: {what}"));
        let store = EmbeddedStore::open(data_dir).await.map_err(|e| failed(&e))?;
        let keys = match self {
            Self::Given(keys) => keys,
            Self::File(path) => match kept(&path).map_err(|e| failed(&format!("{}: {e}", path.display())))? {
                Some(keys) => keys,
                None => {
                    if let Some(app) = encrypted_app(&store).await.map_err(|e| failed(&e))? {
                        return Err(failed(&missing(&path, &app)));
                    }
                    made(&path).map_err(|e| failed(&format!("{}: {e}", path.display())))?
                }
            },
        };
        let opened = ControlPlane::on_embedded(store, MEMBER_TTL, keys, Arc::clone(gate)).await;
        opened.map_err(|e| failed(&e))
    }
}

fn missing(path: &Path, app: &str) -> String {
    let path = path.display();
    format!(
        "the secrets of the application {app} are encrypted, and there is no {path}: put it back, or name the file \
         that has their key with --{FLAG}"
    )
}

/// The keys that an earlier start has made.
fn kept(path: &Path) -> io::Result<Option<SecretKeys>> {
    let keys = private_file::read(path)?.map(|text| SecretKeys::parse(&text)).transpose();
    keys.map_err(io::Error::other)
}

fn made(path: &Path) -> io::Result<SecretKeys> {
    let key = STANDARD.encode(random::<32>());
    private_file::create(path, &format!("{key}\n"))?;
    tracing::info!(?path, "a key for secrets has been made; whoever restores the store needs it");
    SecretKeys::parse(&key).map_err(io::Error::other)
}
