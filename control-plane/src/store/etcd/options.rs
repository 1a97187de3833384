//! How to reach an etcd cluster, checked before anything is sent. Errors name the option, never a secret.
//!
//! Files are named, not read here: they are read whenever a connection is made, so that new certificates and
//! passwords count without a restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use tonic::transport::Uri;

use super::error::EtcdError;

/// Under which all keys are, unless told otherwise.
const PREFIX: &str = "/realtime";
/// A call's time over all its attempts. Etcd elects a new leader within about two seconds of losing one, so that
/// calls outlive that; callers of the admin services get their 503 well before a client's usual 10 s are over.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// A connection on a local network is made within milliseconds; a host that is down answers nothing at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// A file with a password, with room for whatever an editor adds.
const MAX_PASSWORD_BYTES: usize = 4096;

/// An etcd cluster and what it asks for.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// `http://host:port` or `https://host:port`, one or more members, all with one scheme.
    pub endpoints: Vec<String>,
    /// Needed with `https`.
    pub tls: Option<EtcdTls>,
    /// Needed where etcd's authentication is on, unless the client certificate names the user.
    pub user: Option<EtcdUser>,
    /// Begins every key.
    pub prefix: String,
    /// A call's time over all its attempts.
    pub call_limit: Duration,
}

/// Certificates, as paths of PEM files.
#[derive(Debug, Clone)]
pub struct EtcdTls {
    /// Who signs the members' certificates.
    pub ca: PathBuf,
    /// The client's certificate chain and its private key, where etcd asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A user of etcd.
#[derive(Debug, Clone)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: EtcdPassword,
}

/// Where the password is.
#[derive(Clone)]
pub enum EtcdPassword {
    /// Here.
    Text(String),
    /// In a file; a line break at its end is not part of it.
    File(PathBuf),
}

impl fmt::Debug for EtcdPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl EtcdOptions {
    /// The defaults for some members.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            user: None,
            prefix: PREFIX.to_owned(),
            call_limit: CALL_LIMIT,
        }
    }

    /// Checks what can be checked without a connection.
    ///
    /// # Errors
    /// [`EtcdError::Option`], with the first option that cannot be right.
    pub fn check(&self) -> Result<(), EtcdError> {
        if self.endpoints.is_empty() {
            return Err(EtcdError::option("etcd", "needs at least one URL"));
        }
        for endpoint in &self.endpoints {
            self.check_endpoint(endpoint)?;
        }
        if self.root() == "/" || self.prefix.chars().any(char::is_control) {
            return Err(EtcdError::option("etcd-prefix", "must not be empty or have control characters"));
        }
        match &self.user {
            Some(user) if user.name.is_empty() => Err(EtcdError::option("etcd-user", "must not be empty")),
            Some(_) | None => Ok(()),
        }
    }

    fn check_endpoint(&self, endpoint: &str) -> Result<(), EtcdError> {
        let bad = |problem: &str| Err(EtcdError::option("etcd", format!("{endpoint:?} {problem}")));
        // First, so that a password is not repeated in what is said about it.
        if endpoint.contains('@') {
            return Err(EtcdError::option("etcd", "a URL names no user: that is what etcd-user is for"));
        }
        let Ok(uri) = endpoint.parse::<Uri>() else { return bad("is not a URL") };
        if uri.host().is_none_or(str::is_empty) || uri.path().len() > 1 || uri.query().is_some() {
            return bad("is not of the form http://host:port or https://host:port");
        }
        match (uri.scheme_str(), &self.tls) {
            (Some("http"), None) | (Some("https"), Some(_)) => Ok(()),
            (Some("http"), Some(_)) => bad("is plain http, but etcd-ca asks for https"),
            (Some("https"), None) => bad("is https, which needs etcd-ca"),
            (_, _) => bad("begins with neither http:// nor https://"),
        }
    }

    /// What every key begins with.
    pub(super) fn root(&self) -> String {
        format!("{}/", self.base())
    }

    /// The key of the store's id: just before all others.
    pub(super) fn base(&self) -> &str {
        self.prefix.trim_end_matches('/')
    }

    /// Reads the files.
    pub(super) async fn to_connect(&self) -> Result<ConnectOptions, EtcdError> {
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(CONNECT_LIMIT)
            // A member that has lost its cluster says so instead of serving what it remembers.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(tls) = &self.tls {
            let ca = Certificate::from_pem(read_pem("etcd-ca", &tls.ca, "CERTIFICATE").await?);
            let mut options = TlsOptions::new().ca_certificate(ca);
            if let Some((cert, key)) = &tls.identity {
                let cert = read_pem("etcd-cert", cert, "CERTIFICATE").await?;
                options = options
                    .identity(Identity::from_pem(cert, read_pem("etcd-key", key, "PRIVATE KEY").await?));
            }
            connect = connect.with_tls(options);
        }
        if let Some(user) = &self.user {
            connect = connect.with_user(&user.name, user.password.read().await?);
        }
        Ok(connect)
    }
}

impl EtcdPassword {
    async fn read(&self) -> Result<String, EtcdError> {
        let path = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        let problem = |problem| EtcdError::option("etcd-password-file", problem);
        let text = String::from_utf8(read("etcd-password-file", path).await?);
        let text = text.map_err(|_| problem("is not UTF-8"))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(problem("is empty")),
            text if text.len() > MAX_PASSWORD_BYTES => Err(problem("is too long for a password")),
            text => Ok(text.to_owned()),
        }
    }
}

/// A PEM file with at least one block of a kind, which is the end of its label. Without the check, a file without
/// certificates would only make every connection fail.
async fn read_pem(option: &'static str, path: &Path, kind: &str) -> Result<Vec<u8>, EtcdError> {
    let text = read(option, path).await?;
    let blocks = pem::parse_many(&text).unwrap_or_default();
    if !blocks.iter().any(|block| block.tag().ends_with(kind)) {
        return Err(EtcdError::option(option, format!("{} has no {kind} in PEM form", path.display())));
    }
    Ok(text)
}

async fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, EtcdError> {
    let unreadable = |e| EtcdError::option(option, format!("{} cannot be read: {e}", path.display()));
    tokio::fs::read(path).await.map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(options: &EtcdOptions) -> String {
        options.check().unwrap_err().to_string()
    }

    #[test]
    fn problems_name_the_option() {
        assert_eq!(problem(&EtcdOptions::new([""; 0])), "etcd: needs at least one URL");
        for url in ["127.0.0.1:2379", "ftp://host:1", "http://", "http://host:1/path", "http://host:1?a=b"] {
            assert!(problem(&EtcdOptions::new([url])).starts_with("etcd: "), "{url}");
        }
        for prefix in ["", "/", "//", "a\nb"] {
            let options = EtcdOptions { prefix: prefix.into(), ..EtcdOptions::new(["http://host:1"]) };
            assert!(problem(&options).starts_with("etcd-prefix: "), "{prefix:?}");
        }
        let tls = Some(EtcdTls { ca: "ca.pem".into(), identity: None });
        assert!(problem(&EtcdOptions::new(["https://host:1"])).contains("etcd-ca"));
        assert!(problem(&EtcdOptions { tls, ..EtcdOptions::new(["http://host:1"]) }).contains("etcd-ca"));
        assert!(EtcdOptions::new(["http://host:1", "http://[::1]:2379/"]).check().is_ok());
    }

    #[test]
    fn no_problem_and_no_debugging_output_repeats_a_password() {
        assert!(!problem(&EtcdOptions::new(["http://root:secret@host:1"])).contains("secret"));
        let user = EtcdUser { name: "root".into(), password: EtcdPassword::Text("secret".into()) };
        let options = EtcdOptions { user: Some(user), ..EtcdOptions::new(["http://host:1"]) };
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[tokio::test]
    async fn files_that_cannot_be_read_are_named_with_their_option() {
        let directory = tempfile::TempDir::new().unwrap();
        let password = |path: &str| EtcdUser {
            name: "root".into(),
            password: EtcdPassword::File(directory.path().join(path)),
        };
        std::fs::write(directory.path().join("empty"), "\n").unwrap();
        std::fs::write(directory.path().join("good"), "secret\r\n").unwrap();
        for path in ["none", "empty"] {
            let error = password(path).password.read().await.unwrap_err().to_string();
            assert!(error.starts_with("etcd-password-file: "), "{error}");
        }
        assert_eq!(password("good").password.read().await.unwrap(), "secret");
        let tls = Some(EtcdTls { ca: directory.path().join("ca.pem"), identity: None });
        let options = EtcdOptions { tls, ..EtcdOptions::new(["https://host:1"]) };
        let error = options.to_connect().await.map(drop).unwrap_err().to_string();
        assert!(error.starts_with("etcd-ca: ") && error.contains("ca.pem"), "{error}");
        std::fs::write(directory.path().join("ca.pem"), "secret").unwrap();
        let error = options.to_connect().await.map(drop).unwrap_err().to_string();
        assert!(error.starts_with("etcd-ca: ") && !error.contains("secret"), "{error}");
    }
}
