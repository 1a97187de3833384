//! `realtime certs`: the files, and who accepts the certificates: rustls, gRPC with mutual TLS, OpenSSL.
#![allow(unreachable_pub, clippy::unwrap_used, dead_code)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use realtime_proto::generated::admin as wire;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use serde_json::Value;
use support::{fail, home, realtime, succeed};
use tempfile::TempDir;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Code, Status};
use wire::nodes_client::NodesClient;

const DAY: u64 = 24 * 3600;

/// A directory with a CA, made by the command.
struct Certs(TempDir);

impl Certs {
    fn new() -> Self {
        let certs = Self(home());
        succeed(&mut certs.command(&["init"]));
        certs
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = realtime();
        command.arg("certs").args(args).args(["--dir", "c"]).current_dir(self.0.path());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("c").join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Certifies a process for the name `localhost`, loopback and a wildcard.
    fn issue(&self, name: &str) -> Process {
        let hosts = ["--host", "localhost", "127.0.0.1", "::1", "--host", "*.nodes.internal"];
        succeed(self.command(&["issue", "--name", name]).args(hosts));
        self.process(name)
    }

    fn process(&self, name: &str) -> Process {
        Process {
            certificate: self.read(&format!("{name}.pem")),
            key: self.read(&format!("{name}.key")),
            authorities: self.read("ca.pem"),
        }
    }
}

/// What a process has: its certificate and key, and the CAs that it trusts.
#[derive(Clone)]
struct Process {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
}

/// A clock that goes ahead by some seconds.
#[derive(Debug)]
struct Ahead(u64);

impl TimeProvider for Ahead {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + self.0)))
    }
}

impl Process {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(&self.certificate).map(Result::unwrap).collect()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(&self.key).unwrap()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&self.authorities) {
            roots.add(authority.unwrap()).unwrap();
        }
        Arc::new(roots)
    }

    fn server(&self, ahead: u64) -> ServerConnection {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider)).build().unwrap();
        let builder = ServerConfig::builder_with_details(provider, Arc::new(Ahead(ahead)));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain(), self.private_key())
            .unwrap();
        ServerConnection::new(Arc::new(config)).unwrap()
    }

    fn client(&self, host: &str, ahead: u64) -> ClientConnection {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Ahead(ahead)));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder
            .with_root_certificates(self.roots())
            .with_client_auth_cert(self.chain(), self.private_key())
            .unwrap();
        ClientConnection::new(Arc::new(config), host.to_owned().try_into().unwrap()).unwrap()
    }

    /// Talks to another process as its client; the clock of whoever refuses tells why.
    fn greets(&self, other: &Self, host: &str) -> Result<(), rustls::Error> {
        handshake(self.client(host, 0), other.server(0))
    }
}

/// A handshake and a word each way.
fn handshake(mut client: ClientConnection, mut server: ServerConnection) -> Result<(), rustls::Error> {
    client.writer().write_all(b"to you").unwrap();
    server.writer().write_all(b"and you").unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        receive(&wire, |wire| server.read_tls(wire));
        server.process_new_packets()?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        receive(&wire, |wire| client.read_tls(wire));
        client.process_new_packets()?;
    }
    let (mut said, mut answered) = ([0; 6], [0; 7]);
    server.reader().read_exact(&mut said).unwrap();
    client.reader().read_exact(&mut answered).unwrap();
    assert_eq!((&said, &answered), (b"to you", b"and you"));
    Ok(())
}

fn receive(mut wire: &[u8], mut read: impl FnMut(&mut &[u8]) -> std::io::Result<usize>) {
    while !wire.is_empty() {
        read(&mut wire).unwrap();
    }
}

fn reason(result: Result<(), rustls::Error>) -> String {
    format!("{:?}", result.unwrap_err())
}

#[test]
fn a_ca_is_made_once_and_its_key_is_for_the_owner_alone() {
    let home = home();
    let init = || {
        let mut command = realtime();
        command.args(["certs", "init"]).current_dir(home.path());
        command
    };
    let said = succeed(&mut init());
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["./cluster-certs/ca.pem", "./cluster-certs/ca.key"]);
    assert!(lines[2].starts_with("expires 20") && lines[2].ends_with('Z'), "{said}");
    let mode = |name: &str| {
        fs::metadata(home.path().join("cluster-certs").join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("ca.key"), mode(".")), (0o600, 0o700));
    assert_ne!(mode("ca.pem") & 0o400, 0);

    let (pem, key) = ("cluster-certs/ca.pem", "cluster-certs/ca.key");
    let before = fs::read(home.path().join(key)).unwrap();
    assert!(fail(&mut init(), 1).contains("ca.pem exists, and a CA is never overwritten"));
    fs::remove_file(home.path().join(pem)).unwrap();
    assert!(fail(&mut init(), 1).contains("ca.key exists"));
    assert_eq!(fs::read(home.path().join(key)).unwrap(), before);
    assert!(!home.path().join(pem).exists());
}

#[test]
fn a_process_gets_a_pair_and_a_new_one_when_it_is_renewed() {
    let certs = Certs::new();
    let issue = ["issue", "--name", "node-1", "--host", "localhost", "--days", "30", "--json"];
    let document: Value = serde_json::from_str(&succeed(&mut certs.command(&issue))).unwrap();
    assert_eq!(document["cert"], "c/node-1.pem");
    assert_eq!(document["key"], "c/node-1.key");
    assert!(document["expiresAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(fs::metadata(certs.path("node-1.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let old = certs.process("node-1");
    assert_eq!(old.chain().len(), 1);

    succeed(&mut certs.command(&issue));
    let new = certs.process("node-1");
    assert!(old.certificate != new.certificate && old.key != new.key);
    assert_eq!(fs::metadata(certs.path("node-1.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(new.greets(&old, "localhost"), Ok(()));
    // The CA's two files and the process's: nothing else is left behind.
    assert_eq!(fs::read_dir(certs.path(".")).unwrap().count(), 4);
}

#[test]
fn what_is_wrong_is_told_by_its_flag_and_writes_nothing() {
    let certs = Certs::new();
    let bad = ["issue", "--name", "a/b", "--days", "0", "--host", "node:7071", "10.0.0.256", "ok.internal"];
    let said = fail(&mut certs.command(&bad), 2);
    for part in [
        "--name (REALTIME_NAME, key name): \"a/b\" on the command line: must be 1 to 64 letters",
        "--days (REALTIME_DAYS, key days): \"0\" on the command line: must be a whole number of days from 1 to 36500",
        "--host (REALTIME_HOST, key host): \"node:7071\": must be an IP address, or a host name",
        "--host (REALTIME_HOST, key host): \"10.0.0.256\": must be",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!said.contains("ok.internal\":"), "{said}");
    for host in
        ["", "a b", "[::1]", "node.", "-a", "*", "*.internal", "a.*.internal", "h\u{f6}st", "https://a"]
    {
        let said = fail(&mut certs.command(&["issue", "--name", "n", &format!("--host={host}")]), 2);
        assert!(said.contains("--host"), "{host:?}: {said}");
    }
    let missing = fail(&mut certs.command(&["issue"]), 2);
    assert!(missing.contains("--name") && missing.contains("--host"), "{missing}");
    for ca in ["ca", "CA"] {
        let said = fail(&mut certs.command(&["issue", "--name", ca, "--host", "localhost"]), 2);
        assert!(said.contains("--name") && said.contains("the CA's own"), "{said}");
    }
    let long = "n".repeat(65);
    for args in [["init", "--name", &*long], ["init", "--name", "a\nb"], ["init", "--days", "36501"]] {
        let said = fail(realtime().arg("certs").args(args).current_dir(certs.path(".")), 2);
        assert!(said.contains(args[1]), "{said}");
    }
    assert_eq!(fs::read_dir(certs.path(".")).unwrap().count(), 2);
}

#[test]
fn a_ca_that_cannot_be_used_is_told_by_its_file() {
    let certs = Certs::new();
    let issue = ["issue", "--name", "n", "--host", "localhost"];
    let elsewhere = fail(realtime().arg("certs").args(issue).args(["--dir", "nowhere"]), 2);
    assert!(elsewhere.contains("nowhere/ca.pem") && elsewhere.contains("realtime certs init"), "{elsewhere}");
    let too_long = fail(certs.command(&issue).args(["--days", "3651"]), 2);
    assert!(
        too_long.contains("--days") && too_long.contains("the CA's own certificate expires"),
        "{too_long}"
    );
    succeed(certs.command(&issue).args(["--days", "3649"]));

    let (pem, key) = (certs.read("ca.pem"), certs.read("ca.key"));
    fs::write(certs.path("ca.key"), Certs::new().read("ca.key")).unwrap();
    assert!(fail(&mut certs.command(&issue), 2).contains("c/ca.key is not the key of the CA's certificate"));
    fs::write(certs.path("ca.key"), &pem).unwrap();
    assert!(fail(&mut certs.command(&issue), 2).contains("c/ca.key holds no private key"));
    // A process is no CA.
    fs::write(certs.path("ca.pem"), certs.read("n.pem")).unwrap();
    fs::write(certs.path("ca.key"), certs.read("n.key")).unwrap();
    assert!(fail(&mut certs.command(&issue), 2).contains("c/ca.pem is not the certificate of a CA"));
    fs::write(certs.path("ca.pem"), "").unwrap();
    fs::write(certs.path("ca.key"), &key).unwrap();
    assert!(fail(&mut certs.command(&issue), 2).contains("c/ca.pem holds no certificate"));
}

#[test]
fn processes_accept_each_other_as_servers_and_as_clients() {
    let certs = Certs::new();
    let (node, gateway) = (certs.issue("node-1"), certs.issue("gateway-1"));
    for host in ["localhost", "127.0.0.1", "::1", "node-7.nodes.internal"] {
        assert_eq!(node.greets(&gateway, host), Ok(()), "{host}");
        assert_eq!(gateway.greets(&node, host), Ok(()), "{host}");
    }
    for host in ["node-1", "127.0.0.2", "nodes.internal", "a.b.nodes.internal"] {
        assert!(reason(node.greets(&gateway, host)).contains("NotValidForName"), "{host}");
    }
}

#[test]
fn a_certificate_of_another_ca_is_refused_in_both_directions() {
    // Both CAs have the same name.
    let (ours, theirs) = (Certs::new().issue("node-1"), Certs::new().issue("node-1"));
    assert!(reason(ours.greets(&theirs, "localhost")).contains("InvalidCertificate"));
    let trusting = Process { authorities: theirs.authorities.clone(), ..ours };
    assert!(reason(trusting.greets(&theirs, "localhost")).contains("InvalidCertificate"));
    let stranger = Process { authorities: theirs.authorities, ..trusting.clone() };
    assert!(reason(stranger.greets(&trusting, "localhost")).contains("InvalidCertificate"));
}

#[test]
fn an_expired_certificate_is_refused_in_both_directions() {
    let certs = Certs::new();
    let (node, gateway) = (certs.issue("node-1"), certs.issue("gateway-1"));
    let (alive, dead) = (365 * DAY - 600, 365 * DAY + 600);
    assert_eq!(handshake(node.client("localhost", alive), gateway.server(alive)), Ok(()));
    let by_client = handshake(node.client("localhost", dead), gateway.server(0));
    let by_server = handshake(node.client("localhost", 0), gateway.server(dead));
    for refused in [by_client, by_server] {
        assert!(reason(refused).contains("Expired"));
    }
}

#[test]
fn a_ca_is_replaced_without_a_process_that_nobody_accepts() {
    let (old, new) = (Certs::new(), Certs::new());
    let both = [old.read("ca.pem"), new.read("ca.pem")].concat();
    let with_old = Process { authorities: both.clone(), ..old.issue("node-1") };
    // Certificates can be made where the file has both.
    fs::write(new.path("ca.pem"), &both).unwrap();
    let with_new = new.issue("node-2");
    assert_eq!(with_old.greets(&with_new, "localhost"), Ok(()));
    assert_eq!(with_new.greets(&with_old, "localhost"), Ok(()));
    let only_new = Process { authorities: both[old.read("ca.pem").len()..].to_vec(), ..with_new };
    assert!(reason(only_new.greets(&with_old, "localhost")).contains("InvalidCertificate"));
}

/// Calls a gRPC server that demands certificates; what it answers to a service that it does not have.
async fn call(client: ClientTlsConfig, server: &Process) -> Result<(), Status> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(&server.certificate, &server.key))
        .client_ca_root(Certificate::from_pem(&server.authorities));
    let router = Server::builder().tls_config(tls).unwrap().add_routes(tonic::service::Routes::default());
    let serving = tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(client).unwrap();
    let answered = NodesClient::new(endpoint.connect_lazy()).list(wire::ListNodesRequest {}).await;
    serving.abort();
    answered.map(|_| ())
}

#[tokio::test]
async fn grpc_with_mutual_tls_accepts_them_in_both_directions_and_nobody_else() {
    let certs = Certs::new();
    let (node, plane) = (certs.issue("node-1"), certs.issue("control-plane-1"));
    let trusting =
        |who: &Process| ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&who.authorities));
    let client = |who: &Process| trusting(who).identity(Identity::from_pem(&who.certificate, &who.key));
    for (from, to) in [(&node, &plane), (&plane, &node)] {
        // The call has arrived: there just is no such service.
        assert_eq!(call(client(from), to).await.unwrap_err().code(), Code::Unimplemented);
    }
    let stranger = Certs::new().issue("node-1");
    let impostor = Process { authorities: node.authorities.clone(), ..stranger.clone() };
    for (refused, to) in [(trusting(&node), &plane), (client(&impostor), &plane), (client(&node), &stranger)]
    {
        assert_ne!(call(refused, to).await.unwrap_err().code(), Code::Unimplemented);
    }
}

fn openssl(args: &[&str], files: &[&Path]) -> Output {
    Command::new("openssl").args(args).args(files).output().unwrap()
}

#[test]
fn openssl_accepts_them_for_both_purposes_and_refuses_others() {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "openssl is missing");
        return;
    }
    let (certs, others) = (Certs::new(), Certs::new());
    certs.issue("node-1");
    others.issue("node-1");
    let (ca, leaf) = (certs.path("ca.pem"), certs.path("node-1.pem"));
    let ca = ca.to_str().unwrap();
    let verify = |more: &[&str], leaf: &Path| {
        let args = [&["verify", "-x509_strict", "-CAfile", ca], more].concat();
        openssl(&args, &[leaf]).status.success()
    };
    for more in [
        ["-purpose", "sslserver"],
        ["-purpose", "sslclient"],
        ["-verify_hostname", "localhost"],
        ["-verify_hostname", "node-7.nodes.internal"],
        ["-verify_ip", "127.0.0.1"],
        ["-verify_ip", "::1"],
    ] {
        assert!(verify(&more, &leaf), "{more:?}");
    }
    assert!(!verify(&["-verify_hostname", "node-1"], &leaf));
    assert!(!verify(&["-purpose", "sslserver"], &others.path("node-1.pem")));
    let later = (UnixTime::now().as_secs() + 366 * DAY).to_string();
    assert!(!verify(&["-attime", &later], &leaf));

    let text = |path: &Path| {
        let output = openssl(&["x509", "-noout", "-text", "-in"], &[path]);
        String::from_utf8(output.stdout).unwrap()
    };
    let (leaf, ca) = (text(&leaf), text(Path::new(ca)));
    for part in ["NIST CURVE: P-256", "Subject: CN = node-1", "Issuer: CN = Realtime cluster CA", "CA:FALSE"]
    {
        assert!(leaf.contains(part), "{part}\n{leaf}");
    }
    for part in ["NIST CURVE: P-256", "CA:TRUE, pathlen:0", "Certificate Sign"] {
        assert!(ca.contains(part), "{part}\n{ca}");
    }
}
