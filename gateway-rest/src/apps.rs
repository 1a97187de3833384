//! The applications' configurations. The control plane validates and stores; here is who may ask, and HTTP's
//! side of versions (`ETag`, `If-Match`) and of creation (`Location`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use realtime_auth::{Action, App, Caller};
use realtime_proto::generated::admin;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::admin::{
    CreateAppRequest, DeleteAppRequest, GetAppRequest, ListAppsRequest, PatchAppRequest, ReplaceAppRequest,
};
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::{ApiError, ErrorCode};
use serde_json::value::RawValue;

use crate::call::{self, ask, bearer, with_credentials};
use crate::endpoint::Answer;
use crate::etag::Expected;
use crate::query::{self, Unknown};
use crate::{Shared, UnfinishedBodies, body, fields, in_force, respond};

/// `GET /api/apps?cursor=&limit=`
pub(crate) async fn list<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let caller = state.gate.admit_operator(bearer(&parts.headers))?;
    let [cursor, limit] = query::parse(parts.uri.query(), ["cursor", "limit"], Unknown::Ignored)?;
    let cursor = cursor.unwrap_or_default().into_owned();
    let list = ListAppsRequest { cursor, limit: query::limit(limit.as_deref())? };
    let page = ask(state.apps.list(with_credentials(caller, &parts, list))).await?;
    let documents = page.items.iter().map(|app| serde_json::from_slice::<&RawValue>(&app.document_json));
    let documents = documents.collect::<Result<Vec<_>, _>>();
    let documents = documents.map_err(|_| {
        ApiError::new(ErrorCode::Internal, "the control plane sent a document that is not JSON")
    })?;
    respond::page(&documents, &page.next)
}

/// `POST /api/apps`
pub(crate) async fn create<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let caller = state.gate.admit_operator(bearer(&parts.headers))?;
    let document_json =
        body::read(&parts.headers, body, body::JSON, body::CONFIGURATION_LIMIT, &state.bodies).await?;
    fields::check_json(&document_json)?;
    let create = with_credentials(caller, &parts, CreateAppRequest { document_json });
    let app = ask(state.apps.create(create)).await?;
    let location = HeaderValue::try_from(format!("/api/apps/{}", app.app_id))
        .map_err(|_| ApiError::new(ErrorCode::Internal, "the control plane sent a bad application id"))?;
    let mut response = written(&state, StatusCode::CREATED, app).await;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// `GET /api/apps/{app}`
pub(crate) async fn read<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let call = Call::open(&state, request).await?;
    call.check_app_header()?;
    call.permit(Action::ManageApplication)?;
    let get = GetAppRequest { app_id: call.app_id.clone() };
    let app = ask(state.apps.get(call.asks(get))).await?;
    Ok(respond::document(StatusCode::OK, app.version, app.document_json))
}

/// `PUT /api/apps/{app}`
pub(crate) async fn replace<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let mut call = Call::open(&state, request).await?;
    let (document_json, if_version) = call.change(body::JSON, &state.bodies).await?;
    let replace = ReplaceAppRequest { app_id: call.app_id.clone(), document_json, if_version };
    let app = ask(state.apps.replace(call.asks(replace))).await?;
    Ok(written(&state, StatusCode::OK, app).await)
}

/// `PATCH /api/apps/{app}`
pub(crate) async fn patch<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let mut call = Call::open(&state, request).await?;
    let (patch_json, if_version) = call.change(body::MERGE_PATCH, &state.bodies).await?;
    let patch = PatchAppRequest { app_id: call.app_id.clone(), patch_json, if_version };
    let app = ask(state.apps.patch(call.asks(patch))).await?;
    Ok(written(&state, StatusCode::OK, app).await)
}

/// `DELETE /api/apps/{app}`
pub(crate) async fn delete<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let call = Call::open(&state, request).await?;
    call.check_app_header()?;
    let expected = Expected::of(&call.parts.headers)?;
    call.permit(Action::Operate)?;
    let delete = DeleteAppRequest { app_id: call.app_id.clone(), if_version: expected.if_version()? };
    let deleted = ask(state.apps.delete(call.asks(delete))).await?;
    in_force::wait(&state, deleted.version).await;
    Ok(respond::no_content())
}

/// A call on one configuration. Unlike the calls on a running application it does not need the application
/// in this gateway's snapshot: operators reach what the control plane has, whatever the gateway's state.
struct Call {
    app_id: String,
    /// `None` only for operators.
    app: Option<Arc<App>>,
    caller: Caller,
    parts: Parts,
    body: Body,
}

impl Call {
    /// 404 app · 403 address · 401.
    async fn open<P: PubSub, A: Apps, S: Settings>(
        state: &Shared<P, A, S>,
        request: Request,
    ) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let app_id = call::app_id(&parts.uri).to_owned();
        match call::app(&state.snapshots, &app_id) {
            Ok(app) => {
                let caller = call::admit(&state.gate, &app, &parts).await?;
                Ok(Self { app_id, app: Some(app), caller, parts, body })
            }
            Err(unknown) => {
                let caller = state.gate.admit_operator(bearer(&parts.headers)).map_err(|_| unknown)?;
                // Keeps 404 before every other check.
                let get = GetAppRequest { app_id: app_id.clone() };
                ask(state.apps.get(with_credentials(caller.clone(), &parts, get))).await?;
                Ok(Self { app_id, app: None, caller, parts, body })
            }
        }
    }

    /// 415 · 413 · 400 · 403 permission · 412 where no version can match.
    async fn change(
        &mut self,
        media_types: &[&str],
        bodies: &UnfinishedBodies,
    ) -> Result<(Bytes, u64), ApiError> {
        let body = std::mem::take(&mut self.body);
        let document =
            body::read(&self.parts.headers, body, media_types, body::CONFIGURATION_LIMIT, bodies).await?;
        self.check_app_header()?;
        let expected = Expected::of(&self.parts.headers)?;
        fields::check_json(&document)?;
        self.permit(Action::ManageApplication)?;
        Ok((document, expected.if_version()?))
    }

    /// A message for the control plane.
    fn asks<T>(&self, message: T) -> tonic::Request<T> {
        with_credentials(self.caller.clone(), &self.parts, message)
    }

    fn check_app_header(&self) -> Result<(), ApiError> {
        call::check_app_header(&self.parts.headers, &self.app_id)
    }

    fn permit(&self, action: Action<'_>) -> Result<(), ApiError> {
        match &self.app {
            Some(app) => call::permit(&self.caller, app, action),
            None => Ok(()),
        }
    }
}

/// The answer to a write, once it is in force here.
async fn written<P: PubSub, A: Apps, S: Settings>(
    state: &Shared<P, A, S>,
    status: StatusCode,
    app: admin::App,
) -> Response {
    in_force::wait(state, app.version).await;
    respond::document(status, app.version, app.document_json)
}
