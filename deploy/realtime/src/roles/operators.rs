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

/// Who is an operator, and how that is known.
pub(super) enum Operators {
    /// Whoever has the token of `REALTIME_OPERATOR_TOKEN`.
    Given(OperatorTokens),
    /// Who stands in the file of `--operator-tokens`, which has been read.
    File { path: PathBuf, watched: Watched, tokens: OperatorTokens },
    /// Whoever has the token in this file of the data directory, made at the first start.
    DataDir(PathBuf),
    /// Nobody, here.
    Nobody,
}

impl Operators {
    /// What was given, if anything.
    pub(super) fn resolve(r: &mut Resolver<'_>, file: Option<&String>) -> Result<Option<Self>, Noted> {
        let token = r.token("operator-token", None);
        let file = r.text("operator-tokens", file);
        if let (Ok(Some(_)), Ok(Some(_))) = (&token, &file) {
            return Err(r.note("operator-tokens", "an operator token is given too; give one of the two"));
        }
        match (token?, file?) {
            (_, Some(path)) => {
                let path = PathBuf::from(path);
                let watched = Watched::new(vec![path.clone()]);
                let tokens = read(&path).map_err(|why| r.note("operator-tokens", &why))?;
                Ok(Some(Self::File { path, watched, tokens }))
            }
            (Some(token), None) => Ok(Some(Self::Given(OperatorTokens::single(&token)))),
            (None, None) => Ok(None),
        }
    }

    /// The data directory's own token. What an earlier start has left there has to be one.
    pub(super) fn in_data_dir(r: &mut Resolver<'_>, data_dir: &Path) -> Result<Self, Noted> {
        let path = data_dir.join(TOKEN_FILE);
        match kept(&path) {
            Ok(_) => Ok(Self::DataDir(path)),
            Err(error) => Err(r.note("data-dir", &format!("{}: {error}", path.display()))),
        }
    }

    /// Tells the gate who is an operator, from now on; the file with the token itself where this process keeps one.
    pub(super) fn start(self, gate: &Arc<Gate>, tasks: &mut Tasks) -> Result<Option<PathBuf>, Failure> {
        match self {
            Self::Given(tokens) => gate.set_operators(tokens),
            Self::File { path, watched, tokens } => {
                gate.set_operators(tokens);
                let gate = Arc::clone(gate);
                tasks.spawn_until_stop("operator tokens", watched.follow(move || read_again(&path, &gate)));
            }
            Self::DataDir(path) => {
                let token = made(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
                gate.set_operators(OperatorTokens::single(&token));
                return Ok(Some(path));
            }
            Self::Nobody => {}
        }
        Ok(None)
    }
}

impl std::fmt::Debug for Operators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File { path, .. } => write!(f, "File({path:?})"),
            Self::DataDir(path) => write!(f, "DataDir({path:?})"),
            Self::Nobody => f.write_str("Nobody"),
        }
    }
}

/// The token that an earlier start has made.
fn kept(path: &Path) -> std::io::Result<Option<String>> {
    let token = private_file::read(path)?.map(parse::token).transpose();
    token.map_err(|why| std::io::Error::other(format!("the token {why}")))
}

fn made(path: &Path) -> std::io::Result<String> {
    if let Some(token) = kept(path)? {
        return Ok(token);
    }
    let token = hex(&random::<32>());
    private_file::create(path, &format!("{token}\n"))?;
    Ok(token)
}

fn read(path: &Path) -> Result<OperatorTokens, String> {
    let text = text_file::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let tokens = OperatorTokens::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    // More likely the wrong file, or half of a change, than an installation that nobody may operate.
    if tokens.is_empty() {
        return Err(format!("{}: there is no token in it", path.display()));
    }
    Ok(tokens)
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
    use realtime_auth::GateConfig;

    use super::super::watch::LOOK_EVERY;
    use super::*;
    use crate::config::Layers;

    /// SHA-256 of `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_counts_without_a_restart_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, format!("bob {}\n", "0".repeat(64))).unwrap();
        let layers = Layers::default();
        let given = path.to_str().unwrap().to_owned();
        let operators = Operators::resolve(&mut Resolver::new(&layers), Some(&given)).unwrap().unwrap();
        let config = GateConfig { verifier_threads: 1, verifier_queue: 1, token_cache: 0 };
        let gate = Arc::new(Gate::new(config, OperatorTokens::default()));
        let mut tasks = Tasks::new();
        operators.start(&gate, &mut tasks).unwrap();
        assert!(gate.admit_operator(Some("abc")).is_err());

        std::fs::write(&path, format!("ann {ABC}\n")).unwrap();
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert!(gate.admit_operator(Some("abc")).is_ok());

        for broken in ["half a li", "", "# nobody\n"] {
            std::fs::write(&path, broken).unwrap();
            tokio::time::sleep(LOOK_EVERY * 2).await;
            assert!(gate.admit_operator(Some("abc")).is_ok(), "{broken:?}");
        }
        tasks.stop().await;
    }
}
