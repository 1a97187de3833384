//! The operator's settings.

use axum::extract::Request;
use http::StatusCode;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::admin::{GetSettingsRequest, ReplaceSettingsRequest};
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;

use crate::call::{ask, bearer, with_credentials};
use crate::endpoint::Answer;
use crate::etag::Expected;
use crate::{Shared, body, fields, in_force, respond};

/// `GET /api/settings`
pub(crate) async fn read<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let caller = state.gate.admit_operator(bearer(&parts.headers))?;
    let get = with_credentials(caller, &parts, GetSettingsRequest {});
    let settings = ask(state.settings.get(get)).await?;
    Ok(respond::document(StatusCode::OK, settings.version, settings.document_json))
}

/// `PUT /api/settings`
pub(crate) async fn replace<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let caller = state.gate.admit_operator(bearer(&parts.headers))?;
    let document_json =
        body::read(&parts.headers, body, body::JSON, body::CONFIGURATION_LIMIT, &state.bodies).await?;
    let expected = Expected::of(&parts.headers)?;
    fields::check_json(&document_json)?;
    let replace = ReplaceSettingsRequest { document_json, if_version: expected.if_version()? };
    let settings = ask(state.settings.replace(with_credentials(caller, &parts, replace))).await?;
    in_force::wait(&state, settings.version).await;
    Ok(respond::document(StatusCode::OK, settings.version, settings.document_json))
}
