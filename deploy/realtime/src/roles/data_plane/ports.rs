//! A node's gRPC ports: one for peers and gateways, who are believed, and one for services, who bring tokens.

use realtime_auth::{Behalf, Caller};
use realtime_data_plane::PubSubService;
use realtime_data_plane::peers::PeerService;
use realtime_proto::generated::pubsub::pub_sub_server::PubSubServer;
use realtime_proto::{ApiError, ErrorCode};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Status};

use crate::roles::{grpc, links};

/// The services for peers and gateways.
pub(super) fn for_peers(
    peers: PeerService,
    pubsub: PubSubService,
    serving: watch::Receiver<bool>,
    draining: watch::Receiver<bool>,
) -> (Server, Routes) {
    let pubsub = PubSubServer::with_interceptor(pubsub, move |request| {
        of_gateway(request, *serving.borrow() && !*draining.borrow())
    });
    (links::peer_server(), Routes::new(peers.into_server()).add_service(pubsub))
}

/// The service for callers with tokens.
pub(super) fn for_services(pubsub: PubSubService) -> (Server, Routes) {
    (grpc::public_server(), Routes::new(PubSubServer::new(pubsub)))
}

/// A gateway's call: whoever reaches this port has checked its caller. A node that drains takes none, so that none is
/// cut off when it ends, and one that starts takes none until it has its links, so that none misses other nodes'
/// subscribers; the gateway goes to another node.
fn of_gateway(mut request: Request<()>, serving: bool) -> Result<Request<()>, Status> {
    if !serving {
        return Err(ApiError::new(ErrorCode::Draining, "the node is starting or draining").into());
    }
    let named = request.metadata().get(Behalf::METADATA).and_then(|value| value.to_str().ok());
    let behalf = named
        .and_then(Behalf::from_name)
        .ok_or_else(|| Status::unauthenticated("this port is for the cluster's own processes"))?;
    request.extensions_mut().insert(Caller::Cluster { behalf });
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &'static str) -> Request<()> {
        let mut request = Request::new(());
        request.metadata_mut().insert(Behalf::METADATA, name.parse().unwrap());
        request
    }

    #[test]
    fn a_gateway_says_on_whose_behalf_it_asks() {
        let request = of_gateway(asked("operator"), true).unwrap();
        let caller = request.extensions().get::<Caller>().unwrap();
        assert!(matches!(caller, Caller::Cluster { behalf: Behalf::Operator }));
        for bad in [asked("anybody"), Request::new(())] {
            assert_eq!(of_gateway(bad, true).unwrap_err().code(), tonic::Code::Unauthenticated);
        }
    }

    #[test]
    fn a_node_that_does_not_serve_sends_gateways_on() {
        let refusal = of_gateway(asked("app"), false).unwrap_err();
        assert_eq!(ApiError::from(&refusal).code, ErrorCode::Draining);
    }
}
