//! How a command fails: what is said, and the exit status. One line on standard error, or one per problem; with
//! `--json` one JSON object.

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;

use realtime_client::{ApiError, SendError};
use serde_json::{Value, json};

use crate::config::Problem;

/// Failed: exit status 1.
const FAILED: u8 = 1;
/// What was given is wrong: exit status 2.
const USAGE: u8 = 2;
/// Something would change: exit status 3.
const PENDING: u8 = 3;

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line, the environment or the configuration file is wrong: every problem.
    #[error("{} problem(s) in the configuration", .0.len())]
    Usage(Vec<Problem>),
    /// Help or the version was asked for: clap has it.
    #[error("help was asked for")]
    Shown(Option<clap::Error>),
    /// A group of commands without a command: the group's help.
    #[error("a command is missing")]
    Incomplete(String),
    /// A file, token or key that was given is wrong or missing; nothing was attempted.
    #[error("{0}")]
    Input(String),
    /// What was asked for did not work.
    #[error("{message}")]
    Failed {
        /// For programs: a name of the error table, or `failed`.
        code: Cow<'static, str>,
        /// For people.
        message: String,
    },
    /// `--dry-run`: something would change. It has been shown.
    #[error("something would change")]
    Pending,
}

impl Failure {
    /// A failure with one sentence.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::coded("failed", what)
    }

    /// A failure with a code for programs.
    pub(crate) fn coded(code: impl Into<Cow<'static, str>>, what: impl Into<String>) -> Self {
        Self::Failed { code: code.into(), message: what.into() }
    }

    /// Standard output takes nothing more: a full disk, say.
    pub(crate) fn unwritten(error: &io::Error) -> Self {
        Self::new(format!("cannot write to standard output: {error}"))
    }

    /// Something that was given is wrong or missing.
    pub(crate) fn input(what: impl Into<String>) -> Self {
        Self::Input(what.into())
    }

    /// The same with another sentence, where there is one.
    pub(crate) fn reworded(self, reword: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Failed { code, message } => Self::Failed { code, message: reword(&message) },
            other => other,
        }
    }

    /// Says it; the exit status.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        let (status, code, lines) = match self {
            Self::Shown(shown) => {
                let printed = shown.map_or(Ok(()), |shown| shown.print()).and_then(|()| io::stdout().flush());
                return match printed {
                    Ok(()) => ExitCode::SUCCESS,
                    // A reader that has gone away wants no more.
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
                    Err(e) => Self::unwritten(&e).report(json),
                };
            }
            Self::Pending => return ExitCode::from(PENDING),
            Self::Incomplete(help) => {
                let _ = write!(io::stderr(), "{help}");
                return ExitCode::from(USAGE);
            }
            Self::Usage(problems) => {
                (USAGE, "usage".into(), problems.into_iter().map(|p| p.0).collect::<Vec<_>>())
            }
            Self::Input(message) => (USAGE, "usage".into(), vec![message]),
            Self::Failed { code, message } => (FAILED, code, vec![message]),
        };
        if json {
            say(&error_document(&code, &lines).to_string());
        } else {
            lines.iter().for_each(|line| say(&format!("realtime: {}", one_line(line))));
        }
        ExitCode::from(status)
    }
}

/// A line on standard error. That it may be closed is no reason to fail in another way.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn error_document(code: &str, lines: &[String]) -> Value {
    json!({"error": {"code": code, "message": lines.join("; ")}})
}

/// What comes from elsewhere may have line ends.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::coded(error.code.name(), error.detail)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Refused(refusal) => {
                let message = format!("refused: {} ({})", refusal.message, refusal.code);
                Self::coded(refusal.code, message)
            }
            other => Self::new(other.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_reads_the_code_and_a_person_one_line() {
        let document = error_document("usage", &["a".into(), "b".into()]);
        assert_eq!(document.to_string(), r#"{"error":{"code":"usage","message":"a; b"}}"#);
        assert_eq!(one_line("one\n  two\n"), "one two");
    }
}
