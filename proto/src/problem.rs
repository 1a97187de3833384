//! Problem details (RFC 9457): the one JSON form of an [`ApiError`] over HTTP, for the front door and gateways.
//!
//! Never here: the response's status line and headers, `Retry-After` included; they are the server's.

use serde::Serialize;

use crate::error::ApiError;
use crate::field::FieldError;

/// The media type of what [`problem_json`] renders.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    /// `about:blank`: the status and `code` say it all, so `title` is the status's phrase (RFC 9457, 4.2.1).
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_nodes: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<u64>,
}

/// Renders the body: `type`, `title`, `status`, `detail`, `code`, and where the error has them
/// `errors` (`field`, `message`), `missingNodes` and `sum`.
#[must_use]
pub fn problem_json(error: &ApiError) -> Vec<u8> {
    let status = error.code.http_status();
    let problem = Problem {
        r#type: "about:blank",
        title: reason_phrase(status),
        status,
        detail: &error.detail,
        code: error.code.name(),
        errors: &error.fields,
        missing_nodes: error.partial.as_ref().map(|(nodes, _)| nodes.as_slice()),
        sum: error.partial.as_ref().map(|&(_, sum)| sum),
    };
    // Texts and numbers only: there is no value that serde_json could refuse.
    serde_json::to_vec(&problem).unwrap_or_default()
}

/// The phrases of the statuses in the error table.
const fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::ErrorCode;

    fn rendered(error: &ApiError) -> Value {
        serde_json::from_slice(&problem_json(error)).unwrap()
    }

    #[test]
    fn a_plain_error_has_the_five_members_and_no_more() {
        assert_eq!(
            rendered(&ApiError::new(ErrorCode::AppNotFound, "no such \"application\"").retry_after(3)),
            json!({
                "type": "about:blank", "title": "Not Found", "status": 404,
                "detail": "no such \"application\"", "code": "app_not_found",
            })
        );
    }

    #[test]
    fn fields_missing_nodes_and_the_sum_are_told() {
        let mut error = ApiError::new(ErrorCode::Partial, "1 of 3 nodes did not answer");
        error.fields.push(FieldError { field: "authKey.key".into(), message: "is no PEM".into() });
        error.partial = Some((vec!["n1".into()], 7));
        let problem = rendered(&error);
        assert_eq!(problem["errors"], json!([{"field": "authKey.key", "message": "is no PEM"}]));
        assert_eq!(problem["missingNodes"], json!(["n1"]));
        assert_eq!(problem["sum"], json!(7));
    }

    #[test]
    fn every_status_of_the_table_has_its_phrase() {
        for code in ErrorCode::ALL {
            assert_ne!(reason_phrase(code.http_status()), "Error", "{}", code.name());
        }
    }
}
