//! `realtime.admin.v1.Apps`.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use realtime_auth::{Action, App, Caller};
use realtime_proto::generated::admin as wire;
use realtime_proto::{ApiError, AppConfig, AppId, ErrorCode};
use tonic::{Request, Response, Status};
use wire::apps_server::Apps;

use super::caller::{audit, audit_read, of_app, operator, permit};
use super::change::{self, Written};
use super::{document, rules};
use crate::shared::Shared;

/// Items of a page where the caller names no number, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// A page ends early here: gRPC clients take 4 MiB, and one more document of 256 KiB fits below that.
const PAGE_BYTES: usize = 3 * 1024 * 1024;

/// Serves `realtime.admin.v1.Apps`.
#[derive(Debug, Clone)]
pub struct AppsService {
    shared: Shared,
}

impl AppsService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    fn page(&self, request: &wire::ListAppsRequest) -> Result<wire::ListAppsResponse, ApiError> {
        let start = match request.cursor.as_str() {
            "" => Bound::Unbounded,
            cursor => Bound::Excluded(AppId::parse(cursor).map_err(|_| {
                let errors = document::field_error("cursor", "must be `next` of the page before");
                ApiError { code: ErrorCode::InvalidRequest, ..errors.into() }
            })?),
        };
        let limit = match request.limit {
            0 => PAGE,
            limit => usize::try_from(limit).unwrap_or(MAX_PAGE).min(MAX_PAGE),
        };
        let state = self.shared.model.read();
        let mut apps = state.apps.range((start, Bound::Unbounded)).map(|(_, entry)| &entry.app).peekable();
        let mut page = wire::ListAppsResponse::default();
        let mut bytes = 0;
        while page.items.len() < limit && bytes < PAGE_BYTES {
            let Some(app) = apps.next() else { break };
            let item = public(&app.config, app.version);
            bytes += item.document_json.len();
            page.items.push(item);
        }
        if apps.peek().is_some() {
            page.next = page.items.last().map(|last| last.app_id.clone()).unwrap_or_default();
        }
        Ok(page)
    }

    /// The caller of a call on one application, and the application. One that this replica has never seen whole has
    /// nobody but operators who could mend or remove it; for all others it does not exist.
    async fn caller<T>(
        &self,
        request: &Request<T>,
        app_id: &str,
    ) -> Result<(Caller, Option<Arc<App>>), ApiError> {
        if self.shared.model.has_only_unusable(app_id) {
            let caller = operator(&self.shared, request).map_err(|_| ApiError::no_such_app())?;
            return Ok((caller, None));
        }
        of_app(&self.shared, request, app_id).await.map(|(caller, app)| (caller, Some(app)))
    }

    async fn change(
        &self,
        caller: &Caller,
        app_id: &str,
        if_version: u64,
        decide: impl Fn(&AppConfig) -> Result<AppConfig, ApiError>,
    ) -> Result<wire::App, ApiError> {
        // The rules look at the application only to tell whose the caller is.
        let app = self.shared.model.app(app_id);
        if app.is_none() && matches!(caller, Caller::App { .. }) {
            return Err(ApiError::no_such_app());
        }
        let written = change::update(&self.shared, app_id, if_version, |old| {
            let new = decide(old)?;
            if let Some(app) = &app {
                rules::check(caller, app, old, &new)?;
            }
            Ok(new)
        });
        Ok(answer(written.await?))
    }
}

/// 403 permission, where there is an application to have one for.
fn permit_of(caller: &Caller, app: Option<&Arc<App>>, action: Action<'_>) -> Result<(), ApiError> {
    app.map_or(Ok(()), |app| permit(caller, app, action))
}

#[tonic::async_trait]
impl Apps for AppsService {
    async fn list(
        &self,
        request: Request<wire::ListAppsRequest>,
    ) -> Result<Response<wire::ListAppsResponse>, Status> {
        let caller = operator(&self.shared, &request)?;
        audit_read(&caller, "Apps.List", "", self.page(request.get_ref())).map(Response::new)
    }

    async fn get(&self, request: Request<wire::GetAppRequest>) -> Result<Response<wire::App>, Status> {
        let app_id = &request.get_ref().app_id;
        let (caller, app) = self.caller(&request, app_id).await?;
        let result = match app {
            Some(app) => {
                permit(&caller, &app, Action::ManageApplication).map(|()| public(&app.config, app.version))
            }
            None => change::stored_app(&self.shared, app_id).await.map(answer),
        };
        audit_read(&caller, "Apps.Get", app_id, result).map(Response::new)
    }

    async fn create(&self, request: Request<wire::CreateAppRequest>) -> Result<Response<wire::App>, Status> {
        let caller = operator(&self.shared, &request)?;
        let result = create(&self.shared, &request.get_ref().document_json).await;
        let subject = result.as_ref().map_or_else(|_| String::new(), |app| app.app_id.clone());
        audit(&caller, "Apps.Create", &subject, result).map(Response::new)
    }

    async fn replace(
        &self,
        request: Request<wire::ReplaceAppRequest>,
    ) -> Result<Response<wire::App>, Status> {
        let (caller, app) = self.caller(&request, &request.get_ref().app_id).await?;
        let request = request.into_inner();
        let result = async {
            let document = document::parse(&request.document_json)?;
            permit_of(&caller, app.as_ref(), Action::ManageApplication)?;
            let decide = |old: &AppConfig| Ok(old.replace(&document, &document::now())?);
            self.change(&caller, &request.app_id, request.if_version, decide).await
        };
        audit(&caller, "Apps.Replace", &request.app_id, result.await).map(Response::new)
    }

    async fn patch(&self, request: Request<wire::PatchAppRequest>) -> Result<Response<wire::App>, Status> {
        let (caller, app) = self.caller(&request, &request.get_ref().app_id).await?;
        let request = request.into_inner();
        let result = async {
            let patch = document::parse(&request.patch_json)?;
            permit_of(&caller, app.as_ref(), Action::ManageApplication)?;
            let decide = |old: &AppConfig| Ok(old.patch(&patch, &document::now())?);
            self.change(&caller, &request.app_id, request.if_version, decide).await
        };
        audit(&caller, "Apps.Patch", &request.app_id, result.await).map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteAppRequest>,
    ) -> Result<Response<wire::DeleteAppResponse>, Status> {
        let app_id = &request.get_ref().app_id;
        let (caller, app) = self.caller(&request, app_id).await?;
        let request = request.into_inner();
        let result = async {
            if let Some(app) = &app {
                permit(&caller, app, Action::Operate)?;
            }
            change::delete(&self.shared, &request.app_id, request.if_version).await
        };
        let version = audit(&caller, "Apps.Delete", &request.app_id, result.await)?;
        Ok(Response::new(wire::DeleteAppResponse { version }))
    }
}

async fn create(shared: &Shared, document_json: &Bytes) -> Result<wire::App, ApiError> {
    let document = document::parse(document_json)?;
    let config = AppConfig::create(&document, &document::now())?;
    Ok(answer(change::create(shared, config).await?))
}

fn answer(written: Written) -> wire::App {
    public(&written.config, written.version)
}

fn public(config: &AppConfig, version: u64) -> wire::App {
    wire::App {
        app_id: config.app_id.to_string(),
        version,
        document_json: config.to_public(version).to_string().into(),
    }
}
