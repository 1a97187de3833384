//! TLS records that no client seals. Each ends its own connection and nothing else.

use realtime_testkit::route::secure;
use realtime_testkit::{Authority, RawSocket, Server, eventually_equal};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::crowd::read_to_end;
use crate::measure::{Baseline, Neighbour};

/// Application data that nobody has sealed.
const BROKEN: &[u8] = b"\x17\x03\x03\x00\x20 no key has ever sealed these ... ";

/// Beginnings of what comes after the handshake. More than one: an error must not be answered twice.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a broken record", BROKEN.to_vec()),
        ("two broken records", BROKEN.repeat(2)),
        ("a broken record and the beginning of one", [BROKEN, &BROKEN[..20]].concat()),
        ("a record of an unknown type", b"\x2a\x03\x03\x00\x01x\x2a\x03\x03\x00\x01x".to_vec()),
        ("a record that is too long", [&b"\x17\x03\x03\xff\xff"[..], &[0; 30_000]].concat()),
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
    ]
}

#[tokio::test]
async fn broken_records_end_their_connection_alone_before_the_upgrade_and_after_it() {
    let authority = Authority::new();
    let server = Server::builder().tls(&authority).start().await;
    let app = server.app().create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let client = authority.client(&["http/1.1"]);
    let baseline = Baseline::take(&server).await;
    for (what, bytes) in nonsense() {
        for upgraded in [false, true] {
            let socket = TcpStream::connect(server.listen()).await.unwrap();
            let mut stream = secure(socket, &client).await.unwrap();
            if upgraded {
                let path = app.path(&app.token("abuser", &[]));
                let mut session = RawSocket::upgrade(stream, &path, &[]).await.unwrap();
                // The welcome: the session is its shard's now.
                session.expect_frame().await;
                stream = session.stream;
            }
            let socket = stream.get_mut().0;
            // The rest may find the connection closed.
            let _ = socket.write_all(&bytes).await;
            read_to_end(socket).await;
            neighbour.is_served().await;
            baseline.returns(&server).await;
            assert!(!server.log().contains("panicked"), "{what}, upgraded: {upgraded}");
        }
    }
    neighbour.may_come().await;
}

/// A hello of TLS 1.2 that names its server by an address, as many a client does and RFC 6066 forbids.
fn hello() -> Vec<u8> {
    let name = b"127.0.0.1";
    let entry = [&[0, 0, 9][..], name].concat();
    let names = [&[0, 12][..], &entry].concat();
    let extensions = [&[0, 18, 0, 0, 0, 14][..], &names].concat();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0], &extensions].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[tokio::test]
async fn what_a_client_does_wrong_in_its_handshake_is_no_warning() {
    let server = Server::builder().tls(&Authority::new()).start().await;
    let warnings = || server.log().matches("WARN").count();
    let at_the_start = warnings();
    let failures = || server.metric("realtime_tls_handshake_failures_total");
    let mut socket = TcpStream::connect(server.listen()).await.unwrap();
    socket.write_all(&hello()).await.unwrap();
    read_to_end(&mut socket).await;
    eventually_equal("the failed handshake", 1, failures).await;
    assert_eq!(warnings(), at_the_start, "{}", server.log());
}
