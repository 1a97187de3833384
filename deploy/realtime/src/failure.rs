//! How a command fails: what is said, and the exit status.

use std::io;
use std::process::ExitCode;

use realtime_client::{ApiError, SendError};

use crate::config::Problem;

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line, the environment or the configuration file is wrong: every problem, exit status 2.
    #[error("{} problem(s) in the configuration", .0.len())]
    Usage(Vec<Problem>),
    /// The command line cannot be read at all, or help was asked for: clap says it.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// What was asked for did not work: one line, exit status 1.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// A failure with one sentence.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::Failed(what.into())
    }

    /// Says it on standard error; the exit status.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::CommandLine(error) => {
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Self::Usage(problems) => {
                for problem in problems {
                    eprintln!("realtime: {problem}");
                }
                ExitCode::from(2)
            }
            Self::Failed(what) => {
                eprintln!("realtime: {what}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Failed(error.detail)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
