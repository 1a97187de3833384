//! One publish, wherever it came from: alone, in a batch or in a stream.

use realtime_auth::Action;
use realtime_proto::generated::pubsub as wire;
use realtime_proto::ids::{hex, random};
use realtime_proto::topic::SERVER_MESSAGE_TYPES;
use realtime_proto::{ApiError, ErrorCode};
use wire::publish_result::Result as WireResult;

use super::caller::Credentials;
use super::{PubSubService, audit, charge, enabled, permit, validate};
use crate::Publication;

impl PubSubService {
    pub(super) async fn publish_one(
        &self,
        credentials: &Credentials,
        request: wire::PublishRequest,
    ) -> Result<wire::PublishResponse, ApiError> {
        let (app, caller) = self.admit(credentials, &request.app_id).await?;
        validate::publish(&request, app.max_message_bytes())?;
        permit(&caller, &app, Action::Publish { topic: &request.topic })?;
        if SERVER_MESSAGE_TYPES.contains(&request.message_type.as_str()) {
            let detail = format!("only the server sends messages of the type {}", request.message_type);
            return Err(ApiError::new(ErrorCode::PermissionDenied, detail));
        }
        enabled(&app)?;
        let bytes = request.message_json.len() as u64;
        charge(&caller, &app, bytes)?;
        audit(&caller, &app, "Publish");
        let id = if request.id.is_empty() { hex(&random::<16>()) } else { request.id };
        let publication = Publication {
            app: app.app.config.app_id.clone(),
            topic: request.topic,
            message: request.message_json,
            compress: request.compress,
            message_type: request.message_type,
        };
        let published = self.hand_over(publication, request.receipt).await;
        if published.is_err() && caller.is_metered() {
            app.refund_call(bytes);
        }
        Ok(wire::PublishResponse { id, bytes, receipt: published? })
    }

    async fn hand_over(
        &self,
        publication: Publication,
        wants_receipt: bool,
    ) -> Result<Option<wire::Receipt>, ApiError> {
        if !wants_receipt {
            return self.cluster.publish(publication).map(|()| None);
        }
        let receipt = self.cluster.publish_with_receipt(publication).await?;
        let crate::Receipt { matched, queued, dropped } = receipt.sum;
        Ok(Some(wire::Receipt { nodes: receipt.nodes, matched, queued, dropped }))
    }
}

/// An entry of a batch's or stream's answer.
pub(super) fn result(published: Result<wire::PublishResponse, ApiError>) -> wire::PublishResult {
    let result = match published {
        Ok(response) => WireResult::Published(response),
        Err(error) => {
            WireResult::Failure(wire::Failure { code: error.code.name().into(), message: error.detail })
        }
    };
    wire::PublishResult { result: Some(result) }
}
