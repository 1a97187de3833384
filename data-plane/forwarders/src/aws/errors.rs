//! What AWS's errors mean, and what of them may be repeated.

use std::error::Error;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use realtime_proto::app::{Forwarder, Secret};

use super::endpoint::NotPublic;
use crate::failure::{Class, Failure};

/// What never stands in an error's text.
pub(super) struct Secrets {
    access_key_id: Option<String>,
    secret: Option<Secret>,
}

impl Secrets {
    pub(super) fn of(forwarder: &Forwarder) -> Self {
        let (access_key_id, secret) = (forwarder.access_key_id.clone(), forwarder.secret_access_key.clone());
        Self { access_key_id, secret }
    }

    fn masked(&self, text: &str) -> String {
        let all = [self.secret.as_ref().map(Secret::expose), self.access_key_id.as_deref()];
        let all = all.into_iter().flatten().filter(|secret| !secret.is_empty());
        all.fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }

    /// A refusal of AWS's. Its own sentence helps with permissions and names; where it is about signatures, it
    /// repeats the signed request, and is left out.
    pub(super) fn failure(&self, code: &str, status: Option<u16>, message: Option<&str>) -> Failure {
        let class = classify(code, status);
        let tells = matches!(class, Class::Denied | Class::Missing | Class::Rejected | Class::TooLarge);
        let detail = match (code, message.filter(|message| tells && !message.is_empty())) {
            ("", None) => status.map(|status| format!("HTTP status {status}")).unwrap_or_default(),
            ("", Some(message)) => message.to_owned(),
            (code, None) => code.to_owned(),
            (code, Some(message)) => format!("{code}: {message}"),
        };
        Failure::because(class, &self.masked(&detail))
    }

    /// A call that failed as a whole.
    pub(super) fn call_failure<E>(&self, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::TimeoutError(_) => Failure::new(Class::Timeout),
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(error) if caused_by::<NotPublic>(error) => {
                    Failure::because(Class::Endpoint, &NotPublic.to_string())
                }
                Some(error) if error.is_timeout() => Failure::new(Class::Timeout),
                Some(error) => Failure::because(Class::Network, &self.masked(&root(error))),
                None => Failure::new(Class::Network),
            },
            SdkError::ServiceError(error) => {
                let status = error.raw().status().as_u16();
                let metadata = error.err();
                self.failure(metadata.code().unwrap_or_default(), Some(status), metadata.message())
            }
            SdkError::ResponseError(error) => {
                let status = error.raw().status().as_u16();
                let unread = format!("an answer that is none of AWS's, HTTP status {status}");
                Failure::because(classify("", Some(status)), &unread)
            }
            // Nothing was sent: credentials could not be had, or the endpoint cannot be one.
            error => match error.source() {
                Some(source) if is_about_credentials(source) => {
                    Failure::because(Class::Credentials, "none can be had")
                }
                _ => Failure::because(Class::Rejected, "the request cannot be made"),
            },
        }
    }
}

/// The class of a code of AWS's, or of an HTTP status where the code says nothing.
fn classify(code: &str, status: Option<u16>) -> Class {
    // `AWS.SimpleQueueService.NonExistentQueue`, `com.amazonaws.sqs#QueueDoesNotExist`, `ThrottlingException`.
    let name = code.rsplit(['.', '#']).next().unwrap_or_default();
    let name = name.strip_suffix("Exception").unwrap_or(name);
    match name {
        "Throttling"
        | "Throttled"
        | "RequestThrottled"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "BandwidthLimitExceeded"
        | "KMSThrottling"
        | "KmsThrottled" => Class::Throttled,
        "InvalidClientTokenId"
        | "UnrecognizedClient"
        | "SignatureDoesNotMatch"
        | "InvalidSignature"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "ExpiredToken"
        | "InvalidAccessKeyId"
        | "RequestExpired"
        | "AuthFailure"
        | "OptInRequired" => Class::Credentials,
        "AccessDenied"
        | "AuthorizationError"
        | "KMSAccessDenied"
        | "KmsAccessDenied"
        // The target's key for encryption: nothing is accepted until somebody mends it.
        | "KMSDisabled"
        | "KmsDisabled"
        | "KMSInvalidState"
        | "KmsInvalidState"
        | "KMSNotFound"
        | "KmsNotFound"
        | "KMSOptInRequired"
        | "KmsOptInRequired"
        | "KmsInvalidKeyUsage"
        | "UnauthorizedOperation"
        | "InvalidSecurity"
        | "NotAuthorized" => Class::Denied,
        "NonExistentQueue"
        | "QueueDoesNotExist"
        | "QueueDeletedRecently"
        | "NotFound"
        | "ResourceNotFound"
        | "InvalidAddress" => Class::Missing,
        "BatchRequestTooLong" | "RequestEntityTooLarge" => Class::TooLarge,
        "RequestTimeout" => Class::Timeout,
        "InternalError" | "InternalFailure" | "InternalServerError" | "ServiceUnavailable" => {
            Class::Unavailable
        }
        _ => match status {
            Some(429) => Class::Throttled,
            Some(401) => Class::Credentials,
            Some(403) => Class::Denied,
            Some(404) => Class::Missing,
            Some(408) => Class::Timeout,
            Some(413) => Class::TooLarge,
            // An answer of success that cannot be read says nothing about the messages.
            Some(200..300 | 500..) => Class::Unavailable,
            _ => Class::Rejected,
        },
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn caused_by<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| error.is::<T>())
}

/// The innermost text: that of the operating system or of TLS.
fn root(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| error.to_string().to_ascii_lowercase().contains("credentials"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_however_they_are_written() {
        for (code, status, class) in [
            ("KMS.ThrottlingException", 400, Class::Throttled),
            ("KmsDisabled", 400, Class::Denied),
            ("com.amazonaws.sqs#KmsInvalidState", 400, Class::Denied),
            ("KMSOptInRequired", 403, Class::Denied),
            ("AWS.SimpleQueueService.NonExistentQueue", 400, Class::Missing),
            ("InvalidMessageContents", 400, Class::Rejected),
            ("", 200, Class::Unavailable),
            ("", 503, Class::Unavailable),
        ] {
            assert_eq!(classify(code, Some(status)), class, "{code} {status}");
        }
    }
}
