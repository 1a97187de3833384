//! What etcd's answers mean: for the caller, or for whom to ask next.

use tonic::{Code, Status};

use crate::store::StoreError;

/// Why a store on etcd does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// An option cannot be right, or the file that it names.
    #[error("{option}: {problem}")]
    Option {
        /// The option's name, without dashes before it.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Etcd answers, and refuses; the text names the option.
    #[error("{0}")]
    Refused(String),
    /// No member answers as it should, yet.
    #[error("etcd does not answer: {0}")]
    Unreachable(String),
}

impl EtcdError {
    pub(super) fn option(option: &'static str, problem: impl Into<String>) -> Self {
        Self::Option { option, problem: problem.into() }
    }

    /// Whether waiting may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Option { .. } | Self::Refused(_) => false,
        }
    }
}

/// What an attempt at one member came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The answer, which other members would give as well.
    Answer(StoreError),
    /// Etcd knows the user, the password, or what the user may do, to be wrong.
    Refused(String),
    /// This member cannot do it at the moment. Whether it has been done is unknown.
    Elsewhere(String),
}

/// Etcd's own words for a database that is full.
const NO_SPACE: &str = "database space exceeded";

/// Judges an error of an attempt.
pub(super) fn judge(error: &etcd_client::Error) -> Verdict {
    match error {
        etcd_client::Error::GRpcStatus(status) => judge_status(status),
        // A keep-alive that is answered with no time left.
        etcd_client::Error::LeaseKeepAliveError(reason) if reason == "lease not found" => {
            Verdict::Answer(StoreError::LeaseNotFound)
        }
        etcd_client::Error::TransportError(error) => Verdict::Elsewhere(chain(error)),
        other => Verdict::Elsewhere(other.to_string()),
    }
}

fn judge_status(status: &Status) -> Verdict {
    let text = status.message();
    match status.code() {
        Code::NotFound if text.contains("lease not found") => Verdict::Answer(StoreError::LeaseNotFound),
        // Etcd does not say how far it has forgotten; its watches do.
        Code::OutOfRange if text.contains("compacted") => {
            Verdict::Answer(StoreError::Compacted { through: 0 })
        }
        Code::ResourceExhausted if text.contains(NO_SPACE) => Verdict::Answer(StoreError::Failed(format!(
            "etcd takes no more writes, its quota is used up: compact, defragment, then disarm its alarm ({text})"
        ))),
        Code::Unauthenticated => Verdict::Refused(format!("etcd-user: {text}")),
        Code::PermissionDenied => {
            Verdict::Refused(format!("etcd-user: may not read and write under etcd-prefix ({text})"))
        }
        Code::InvalidArgument if text.contains("authentication failed") => {
            Verdict::Refused(format!("etcd-user, etcd-password: etcd refuses them ({text})"))
        }
        Code::InvalidArgument if text.contains("user name is empty") => {
            Verdict::Refused(format!("etcd-user: etcd asks for one ({text})"))
        }
        Code::FailedPrecondition if text.contains("authentication is not enabled") => Verdict::Refused(
            "etcd-user: etcd's authentication is off, so that it would take any password; turn it on, or give no user"
                .to_owned(),
        ),
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => {
            Verdict::Answer(StoreError::Failed(format!("etcd: {text}")))
        }
        // No leader, a new leader, too many requests, a broken connection, a member that is stopping.
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Verdict::Elsewhere(chain(status)),
    }
}

/// The error with what is behind it: tonic's first words about a failed handshake are "transport error".
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<Status>() {
        // Its own display form repeats headers.
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if more != "transport error" && !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_members_in_trouble() {
        let lease = Status::not_found("etcdserver: requested lease not found");
        assert_eq!(judge_status(&lease), Verdict::Answer(StoreError::LeaseNotFound));
        for trouble in [
            Status::unavailable("etcdserver: no leader"),
            Status::unavailable("etcdserver: request timed out, possibly due to previous leader failure"),
            Status::resource_exhausted("etcdserver: too many requests"),
            Status::unknown("h2 protocol error"),
            Status::deadline_exceeded("context deadline exceeded"),
        ] {
            assert!(matches!(judge_status(&trouble), Verdict::Elsewhere(_)), "{trouble}");
        }
        let full = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        let Verdict::Answer(StoreError::Failed(text)) = judge_status(&full) else { panic!("{full}") };
        assert!(text.contains("quota"), "{text}");
    }
}
