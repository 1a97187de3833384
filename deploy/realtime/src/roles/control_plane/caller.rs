//! Who calls the control plane's services. Processes of the cluster are known by their certificates, or on plain links
//! by reaching the port at all; only they get discovery, which carries secrets. Others bring tokens.
//!
//! A gateway passes on the address of its own caller, by which the control plane applies `adminSourceAddress`.

use std::net::{IpAddr, SocketAddr};

use realtime_auth::{ClientAddress, ProvisionalConnection, Standing};
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Status};

use crate::roles::cluster_tls::LinkCaller;

/// Lets the cluster's own processes through.
pub(super) fn member(request: Request<()>) -> Result<Request<()>, Status> {
    if is_member(&request) {
        // Where links are plain, only this tells the port that it is no stranger.
        if let Some(connection) = request.extensions().get::<ProvisionalConnection>() {
            connection.keep(Standing::Operator);
        }
        Ok(request)
    } else {
        Err(Status::unauthenticated("this is for processes with a certificate of the cluster"))
    }
}

/// Lets everybody through, with the address that the call comes from.
pub(super) fn anybody(mut request: Request<()>) -> Result<Request<()>, Status> {
    let tcp = request.extensions().get::<LinkCaller>().map(|caller| caller.tcp.clone());
    let mut tcp = tcp.ok_or_else(|| Status::internal("the caller's address is not known"))?;
    if let Some(address) = passed_on(&request)? {
        // Its port is nobody's business.
        let remote_addr = Some(SocketAddr::new(address, 0));
        tcp = TcpConnectInfo { remote_addr, ..tcp };
    }
    request.extensions_mut().insert(tcp);
    Ok(request)
}

/// The address that a gateway names.
fn passed_on(request: &Request<()>) -> Result<Option<IpAddr>, Status> {
    let Some(named) = request.metadata().get(ClientAddress::METADATA) else { return Ok(None) };
    if !is_member(request) {
        let what = format!("{}: only a gateway of the cluster may say so", ClientAddress::METADATA);
        return Err(Status::unauthenticated(what));
    }
    let address: Option<IpAddr> = named.to_str().ok().and_then(|text| text.parse().ok());
    let bad = || Status::invalid_argument(format!("{}: must be an address", ClientAddress::METADATA));
    Ok(Some(address.ok_or_else(bad)?.to_canonical()))
}

fn is_member(request: &Request<()>) -> bool {
    request.extensions().get::<LinkCaller>().is_some_and(|caller| caller.is_member)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn request(is_member: bool, address: Option<&str>) -> Request<()> {
        let mut request = Request::new(());
        let tcp = TcpConnectInfo { local_addr: None, remote_addr: Some("192.0.2.1:5".parse().unwrap()) };
        request.extensions_mut().insert(LinkCaller { tcp, is_member });
        if let Some(address) = address {
            request.metadata_mut().insert(ClientAddress::METADATA, address.parse().unwrap());
        }
        request
    }

    fn seen(request: Request<()>) -> Result<String, Code> {
        let passed = anybody(request).map_err(|status| status.code())?;
        Ok(passed.remote_addr().unwrap().ip().to_string())
    }

    #[test]
    fn discovery_is_for_members() {
        assert!(member(request(true, None)).is_ok());
        assert_eq!(member(request(false, None)).unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(member(Request::new(())).unwrap_err().code(), Code::Unauthenticated);
    }

    #[test]
    fn only_members_are_believed_about_addresses() {
        assert_eq!(seen(request(false, None)).unwrap(), "192.0.2.1");
        assert_eq!(seen(request(true, Some("::ffff:198.51.100.7"))).unwrap(), "198.51.100.7");
        assert_eq!(seen(request(false, Some("198.51.100.7"))), Err(Code::Unauthenticated));
        assert_eq!(seen(request(true, Some("nowhere"))), Err(Code::InvalidArgument));
    }
}
