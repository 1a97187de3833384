//! Which changes of an application's configuration need more than `realtime:admin:manage:application`
//! (docs/contract.md 4): a token that reads reports must not be able to take the application over.

use realtime_auth::{Action, App, Caller, authorize};
use realtime_proto::app::Forwarder;
use realtime_proto::{ApiError, AppConfig, ErrorCode, FieldErrors};

const OPERATOR: &str = "may be changed by an operator only";
const KEYS: &str = "may be changed with the permission realtime:admin:manage:keys only";
const AMBIENT: &str = "may be enabled without its own credentials by an operator only";

/// 403, naming every field that the caller may not change so.
pub(super) fn check(caller: &Caller, app: &App, old: &AppConfig, new: &AppConfig) -> Result<(), ApiError> {
    if authorize(caller, app, Action::Operate).is_allowed() {
        return Ok(());
    }
    let may_keys = authorize(caller, app, Action::ManageKeys).is_allowed();
    let mut errors = FieldErrors::default();
    for attribute in old.changed_attributes(new) {
        match attribute {
            "tier" => errors.push(attribute, OPERATOR),
            "adminKey" | "authKey" | "adminSourceAddress" | "amazonSnsForwarder" | "amazonSqsForwarder"
                if !may_keys =>
            {
                errors.push(attribute, KEYS);
            }
            "amazonSnsForwarder" => forwarder(
                attribute,
                old.amazon_sns_forwarder.as_ref(),
                new.amazon_sns_forwarder.as_ref(),
                &mut errors,
            ),
            "amazonSqsForwarder" => forwarder(
                attribute,
                old.amazon_sqs_forwarder.as_ref(),
                new.amazon_sqs_forwarder.as_ref(),
                &mut errors,
            ),
            _ => {}
        }
    }
    errors
        .into_result(())
        .map_err(|errors| ApiError { code: ErrorCode::PermissionDenied, ..ApiError::from(errors) })
}

/// A forwarder without its own credentials spends the operator's; another endpoint is a request to any address
/// from inside the operator's network.
fn forwarder(attribute: &str, old: Option<&Forwarder>, new: Option<&Forwarder>, errors: &mut FieldErrors) {
    let Some(new) = new else { return };
    let own_credentials = new.access_key_id.is_some() && new.secret_access_key.is_some();
    if new.enabled && !own_credentials {
        errors.push(attribute, AMBIENT);
    }
    if new.endpoint_url.is_some() && new.endpoint_url != old.and_then(|old| old.endpoint_url.clone()) {
        errors.push(format!("{attribute}.endpointUrl"), OPERATOR);
    }
}
