//! The one error table: every refusal that crosses a process border, its gRPC status and HTTP status.

use crate::field::{FieldError, FieldErrors};
use crate::generated::error as wire;
use prost::Message as _;

macro_rules! error_table {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $http:literal, $grpc:ident;)*) => {
        /// Why something was refused. The name is what clients see in `priv/errors` frames, in
        /// problem details (`code`) and in `ErrorDetail.code`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code, in the table's order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
            }

            /// The gRPC status.
            #[must_use]
            pub const fn grpc_code(self) -> tonic::Code {
                match self { $(Self::$variant => tonic::Code::$grpc,)* }
            }
        }
    };
}

error_table! {
    /// The body is not JSON, or a value of the request is malformed.
    InvalidRequest = "invalid_request", 400, InvalidArgument;
    /// No token, or one that does not verify.
    Unauthenticated = "unauthenticated", 401, Unauthenticated;
    /// The token lacks the permission.
    PermissionDenied = "permission_denied", 403, PermissionDenied;
    /// The topic takes no subscriptions or publishes from clients.
    TopicForbidden = "topic_forbidden", 403, PermissionDenied;
    /// The source address is not allowed.
    AddressForbidden = "address_forbidden", 403, PermissionDenied;
    /// The origin is not in `allowedOrigins`.
    OriginForbidden = "origin_forbidden", 403, PermissionDenied;
    /// The application is disabled.
    AppDisabled = "app_disabled", 403, FailedPrecondition;
    /// No such application.
    AppNotFound = "app_not_found", 404, NotFound;
    /// No such connection, node or path.
    NotFound = "not_found", 404, NotFound;
    /// The path exists, not with this method.
    MethodNotAllowed = "method_not_allowed", 405, Unimplemented;
    /// The name is taken.
    NameTaken = "name_taken", 409, AlreadyExists;
    /// The application id is taken.
    AppIdTaken = "app_id_taken", 409, AlreadyExists;
    /// A tier cannot go while applications use it.
    TierInUse = "tier_in_use", 409, FailedPrecondition;
    /// `If-Match` names another version.
    StaleVersion = "stale_version", 412, Aborted;
    /// The body is over the limit.
    PayloadTooLarge = "payload_too_large", 413, OutOfRange;
    /// The body is not `application/json`.
    UnsupportedMediaType = "unsupported_media_type", 415, InvalidArgument;
    /// JSON that does not fit; the fields are named.
    Unprocessable = "unprocessable", 422, InvalidArgument;
    /// A WebSocket endpoint was asked for something else.
    UpgradeRequired = "upgrade_required", 426, FailedPrecondition;
    /// The connection limit of the application or the node.
    ConnectionLimit = "connection_limit", 429, ResourceExhausted;
    /// Subscriptions per connection.
    SubscriptionLimit = "subscription_limit", 429, ResourceExhausted;
    /// Distinct topics of the application.
    TopicLimit = "topic_limit", 429, ResourceExhausted;
    /// The month's API usage or inbound messages.
    QuotaExceeded = "quota_exceeded", 429, ResourceExhausted;
    /// Messages per second of a connection.
    RateLimited = "rate_limited", 429, ResourceExhausted;
    /// Request line and headers over 16 KiB.
    HeadersTooLarge = "headers_too_large", 431, InvalidArgument;
    /// A bug of ours.
    Internal = "internal", 500, Internal;
    /// The feature is not configured.
    NotConfigured = "not_configured", 501, Unimplemented;
    /// No inbound target is enabled.
    InboundDisabled = "inbound_disabled", 403, FailedPrecondition;
    /// An inbound target did not take the message.
    ForwardFailed = "forward_failed", 503, Unavailable;
    /// A dependency is missing, or a queue is full.
    Unavailable = "unavailable", 503, Unavailable;
    /// The node is draining.
    Draining = "draining", 503, Unavailable;
    /// Some members did not answer.
    Partial = "partial", 503, Unavailable;
}

impl ErrorCode {
    /// The code of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.name() == name)
    }

    /// The nearest code for a status that carries no [`wire::ErrorDetail`].
    fn from_grpc(code: tonic::Code) -> Self {
        match code {
            tonic::Code::InvalidArgument => Self::InvalidRequest,
            tonic::Code::Unauthenticated => Self::Unauthenticated,
            tonic::Code::PermissionDenied => Self::PermissionDenied,
            tonic::Code::NotFound => Self::NotFound,
            tonic::Code::Aborted => Self::StaleVersion,
            tonic::Code::ResourceExhausted => Self::RateLimited,
            // What the transport says of a message over its own limit.
            tonic::Code::OutOfRange => Self::PayloadTooLarge,
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => {
                Self::Unavailable
            }
            _ => Self::Internal,
        }
    }
}

/// A refusal on its way to a caller: one type for gRPC and HTTP. `detail` is for people and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ApiError {
    /// Which refusal.
    pub code: ErrorCode,
    /// A sentence that says what is wrong and, where it can, what to do.
    pub detail: String,
    /// The fields at fault.
    pub fields: Vec<FieldError>,
    /// Seconds after which a retry makes sense.
    pub retry_after: Option<u32>,
    /// Members that did not answer, and the sum over those that did.
    pub partial: Option<(Vec<String>, u64)>,
}

impl ApiError {
    /// An error with no more than a sentence.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), fields: Vec::new(), retry_after: None, partial: None }
    }

    /// What every API says where an application's id names none.
    #[must_use]
    pub fn no_such_app() -> Self {
        Self::new(ErrorCode::AppNotFound, "no such application")
    }

    /// The same with a time to wait, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<FieldErrors> for ApiError {
    fn from(errors: FieldErrors) -> Self {
        Self { fields: errors.0.clone(), ..Self::new(ErrorCode::Unprocessable, errors.to_string()) }
    }
}

/// What the sentence of a refusal takes in gRPC trailers, percent-encoded. Together with the fields it stays below
/// the 8 KiB of metadata from which on widespread clients (gRPC's C core) refuse to read an answer at all.
const MAX_STATUS_MESSAGE: usize = 2 * 1024;
/// What the fields take before their base64, which adds a third.
const MAX_STATUS_FIELDS: usize = 3 * 1024 + 512;
/// What the encoding of one field adds to its texts.
const FIELD_OVERHEAD: usize = 8;

impl From<ApiError> for tonic::Status {
    /// Bounded: what does not fit into trailers that every client reads is left out, and that is said.
    fn from(e: ApiError) -> Self {
        let (missing_nodes, partial_sum) = e.partial.unwrap_or_default();
        let detail = wire::ErrorDetail {
            code: e.code.name().into(),
            fields: fitting_fields(e.fields),
            retry_after_seconds: e.retry_after.unwrap_or(0),
            missing_nodes,
            partial_sum,
        };
        Self::with_details(e.code.grpc_code(), fitting(e.detail), detail.encode_to_vec().into())
    }
}

/// The sentence, cut where it would be too long as gRPC encodes it: three bytes for each that is not printable ASCII.
fn fitting(sentence: String) -> String {
    let mut size = 0;
    for (at, c) in sentence.char_indices() {
        let plain = c == ' ' || (c.is_ascii_graphic() && c != '%');
        size += if plain { 1 } else { 3 * c.len_utf8() };
        if size > MAX_STATUS_MESSAGE {
            return format!("{}…", &sentence[..at]);
        }
    }
    sentence
}

fn fitting_fields(fields: Vec<FieldError>) -> Vec<wire::FieldError> {
    let mut room = MAX_STATUS_FIELDS;
    let mut kept = Vec::with_capacity(fields.len());
    for FieldError { field, message } in fields {
        let Some(rest) = room.checked_sub(field.len() + message.len() + FIELD_OVERHEAD) else {
            kept.push(wire::FieldError { field: String::new(), message: "and more problems".into() });
            break;
        };
        room = rest;
        kept.push(wire::FieldError { field, message });
    }
    kept
}

impl From<&tonic::Status> for ApiError {
    fn from(status: &tonic::Status) -> Self {
        let detail = wire::ErrorDetail::decode(status.details()).unwrap_or_default();
        let code = ErrorCode::from_name(&detail.code).unwrap_or_else(|| ErrorCode::from_grpc(status.code()));
        Self {
            code,
            detail: status.message().to_owned(),
            fields: detail
                .fields
                .into_iter()
                .map(|f| FieldError { field: f.field, message: f.message })
                .collect(),
            retry_after: (detail.retry_after_seconds > 0).then_some(detail.retry_after_seconds),
            partial: (code == ErrorCode::Partial).then_some((detail.missing_nodes, detail.partial_sum)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_the_way_through_a_grpc_status() {
        for &code in ErrorCode::ALL {
            let mut error = ApiError::new(code, "why").retry_after(3);
            error.fields.push(FieldError { field: "a.b".into(), message: "no".into() });
            if code == ErrorCode::Partial {
                error.partial = Some((vec!["n1".into()], 7));
            }
            let status = tonic::Status::from(error.clone());
            assert_eq!(status.code(), code.grpc_code());
            assert_eq!(ApiError::from(&status), error);
        }
    }

    #[test]
    fn a_status_fits_the_trailers_that_every_client_reads() {
        for name in ["x".repeat(60), "ü%\n".repeat(20), "\u{1f642}".repeat(64)] {
            let mut errors = FieldErrors::default();
            (0..200).for_each(|i| errors.push(format!("{name}{i}"), "must be something else than it is"));
            let status = tonic::Status::from(ApiError::from(errors.capped()));
            let trailers = status.clone().into_http::<()>();
            // HPACK's measure, which the limits of clients count in.
            let size: usize = trailers.headers().iter().map(|(n, v)| n.as_str().len() + v.len() + 32).sum();
            assert!(size < 8 * 1024 - 256, "{size}");
            let back = ApiError::from(&status);
            assert_eq!(back.code, ErrorCode::Unprocessable);
            assert!(back.fields.len() > 5 && back.detail.ends_with('…'));
            assert_eq!(back.fields.last().unwrap().message, "and more problems");
        }
    }

    #[test]
    fn a_status_of_the_transport_keeps_its_meaning() {
        for (code, expected) in [
            (tonic::Code::OutOfRange, ErrorCode::PayloadTooLarge),
            (tonic::Code::DeadlineExceeded, ErrorCode::Unavailable),
            (tonic::Code::Unknown, ErrorCode::Internal),
        ] {
            assert_eq!(ApiError::from(&tonic::Status::new(code, "why")).code, expected);
        }
    }

    #[test]
    fn names_are_unique() {
        for (i, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(ErrorCode::ALL.iter().position(|c| c.name() == code.name()), Some(i));
        }
    }
}
