//! Operator tokens of the process: read at the start, and again when their file changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use realtime_auth::{Gate, OperatorTokens};
use realtime_proto::ids::{hex, random};

use super::tasks::Tasks;
use super::watch::Watched;
use crate::config::{Noted, Resolver, parse};
use crate::failure::Failure;
use crate::private_file;
use crate::text_file;

/// The file's name in the data directory.
const TOKEN_FILE: &str = "operator.token";

/// Where operator tokens come from.
pub(super) enum OperatorSource {
    /// `REALTIME_OPERATOR_TOKEN`.
    Given(String),
    /// `--operator-tokens`.
    File(PathBuf),
    /// `operator.token` in this directory, made at the first start.
    DataDir(PathBuf),
    /// Nobody is an operator here.
    Nobody,
}

impl OperatorSource {
    /// What was given, if anything.
    pub(super) fn resolve(r: &mut Resolver<'_>, file: Option<&String>) -> Result<Option<Self>, Noted> {
        let token = r.token("operator-token", None);
        let file = r.text("operator-tokens", file);
        if let (Ok(Some(_)), Ok(Some(_))) = (&token, &file) {
            r.note("operator-tokens", "an operator token is given too; give one of the two");
        }
        if let Ok(Some(token)) = &token
            && (token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()))
        {
            // Nothing else can stand behind "Bearer " in a header, so it would never match.
            r.note("operator-token", "must be printable ASCII without spaces");
        }
        Ok(match (token?, file?) {
            (_, Some(file)) => Some(Self::File(file.into())),
            (Some(token), None) => Some(Self::Given(token)),
            (None, None) => None,
        })
    }
}

impl std::fmt::Debug for OperatorSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(path) => write!(f, "File({path:?})"),
            Self::DataDir(path) => write!(f, "DataDir({path:?})"),
            Self::Nobody => f.write_str("Nobody"),
        }
    }
}

/// The accepted tokens, and the file with the token itself where this process keeps one.
#[derive(Debug)]
pub(super) struct Operators {
    tokens: OperatorTokens,
    token_file: Option<PathBuf>,
    watched: Option<(PathBuf, Watched)>,
}

impl Operators {
    /// Reads, or at the first start makes, the tokens.
    pub(super) fn load(source: &OperatorSource) -> Result<Self, Failure> {
        match source {
            OperatorSource::Given(token) => {
                Ok(Self { tokens: OperatorTokens::single(token), token_file: None, watched: None })
            }
            OperatorSource::File(path) => {
                let watched = Watched::new(vec![path.clone()]);
                let tokens = read(path).map_err(|e| Failure::new(format!("--operator-tokens: {e}")))?;
                Ok(Self { tokens, token_file: None, watched: Some((path.clone(), watched)) })
            }
            OperatorSource::DataDir(data_dir) => {
                let path = data_dir.join(TOKEN_FILE);
                let token = made(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
                Ok(Self { tokens: OperatorTokens::single(&token), token_file: Some(path), watched: None })
            }
            OperatorSource::Nobody => {
                Ok(Self { tokens: OperatorTokens::default(), token_file: None, watched: None })
            }
        }
    }

    /// Tells the gate who is an operator, from now on; the file with the token itself where this process keeps one.
    pub(super) fn start(self, gate: &Arc<Gate>, tasks: &mut Tasks) -> Option<PathBuf> {
        let Self { tokens, token_file, watched } = self;
        gate.set_operators(tokens);
        if let Some((path, watched)) = watched {
            let gate = Arc::clone(gate);
            tasks.spawn_until_stop("operator tokens", watched.follow(move || read_again(&path, &gate)));
        }
        token_file
    }
}

fn made(path: &Path) -> std::io::Result<String> {
    if let Some(token) = private_file::read(path)? {
        return parse::token(token).map_err(|why| std::io::Error::other(format!("the token {why}")));
    }
    let token = hex(&random::<32>());
    private_file::create(path, &format!("{token}\n"))?;
    Ok(token)
}

fn read(path: &Path) -> Result<OperatorTokens, String> {
    let text = text_file::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    OperatorTokens::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn read_again(path: &Path, gate: &Gate) {
    match read(path) {
        Ok(tokens) => {
            tracing::info!(names = ?tokens, "operator tokens read again");
            gate.set_operators(tokens);
        }
        // A half-written or vanished file must not lock everybody out, nor let anybody in.
        Err(error) => tracing::error!(error, "operator tokens stay as they were"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use realtime_auth::GateConfig;

    use super::super::watch::LOOK_EVERY;
    use super::*;

    /// SHA-256 of `abc` and of the empty text.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_first_start_makes_a_token_and_later_ones_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Operators::load(&OperatorSource::DataDir(dir.path().to_owned())).unwrap();
        let path = first.token_file.unwrap();
        let token = private_file::read(&path).unwrap().unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = Operators::load(&OperatorSource::DataDir(dir.path().to_owned())).unwrap();
        assert!(first.tokens.verify(&token).is_some() && second.tokens.verify(&token).is_some());
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "ann nonsense\n").unwrap();
        let error = Operators::load(&OperatorSource::File(path.clone())).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(Operators::load(&OperatorSource::File(path)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_counts_without_a_restart_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "# nobody yet\n").unwrap();
        let source = OperatorSource::File(path.clone());
        let operators = Operators::load(&source).unwrap();
        let config = GateConfig { verifier_threads: 1, verifier_queue: 1, token_cache: 0 };
        let gate = Arc::new(Gate::new(config, OperatorTokens::default()));
        let mut tasks = Tasks::new();
        operators.start(&gate, &mut tasks);
        assert!(gate.admit_operator(Some("abc")).is_err());

        std::fs::write(&path, format!("ann {ABC}\n")).unwrap();
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert!(gate.admit_operator(Some("abc")).is_ok());

        std::fs::write(&path, "half a li").unwrap();
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert!(gate.admit_operator(Some("abc")).is_ok());
        tasks.stop().await;
    }
}
