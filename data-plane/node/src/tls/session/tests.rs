//! A session against the TLS library's own client, without sockets.

use std::io::{Read as _, Write as _};

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use proptest::prelude::*;
use realtime_testkit::Authority;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets};

use super::super::{Certificate, Tls};
use super::*;

/// What a session has opened.
#[derive(Debug, Default)]
struct Opened(Vec<u8>);

impl Opened {
    /// Hands bytes to the session as a caller with a buffer of its own does.
    fn receive(&mut self, session: &mut Session, bytes: &[u8]) -> Result<(), Error> {
        let mut buffer = [session.partial(), bytes].concat();
        session.receive(&mut buffer, |plain| self.0.extend_from_slice(plain))
    }
}

fn sealed(session: &mut Session, plain: &[u8]) -> Vec<u8> {
    assert!(session.unsent().is_empty(), "nothing may be sealed while something is unsent");
    let mut out = vec![0; SEALED_BYTES];
    let length = session.seal(plain, &mut out).expect("an open connection");
    out.truncate(length);
    out
}

/// What the client wants to send.
fn from_client(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// What the client reads of these bytes.
fn read_by(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets().unwrap();
        // Blocks once all is read, ends after a close.
        let _ = client.reader().read_to_end(&mut plain);
    }
    plain
}

fn take_unsent(session: &mut Session) -> Vec<u8> {
    let bytes = session.unsent().to_vec();
    session.taken(bytes.len());
    bytes
}

/// Client and session after their handshake, in reads of so many bytes.
pub(crate) fn shaken(read: usize, config: impl FnOnce(&mut ClientConfig)) -> (ClientConnection, Session) {
    let authority = Authority::new();
    let pair = authority.issue();
    let certificate = Certificate::from_pem(pair.chain.as_bytes(), pair.key.as_bytes()).unwrap();
    let tls = Tls::new(certificate).unwrap();
    let mut client_config = (*authority.client(&["http/1.1"])).clone();
    config(&mut client_config);
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(client_config), name).unwrap();
    let mut session = Session::new(tls.http().0).unwrap();
    let mut opened = Opened::default();
    while client.is_handshaking() || session.is_handshaking() {
        for part in from_client(&mut client).chunks(read) {
            opened.receive(&mut session, part).unwrap();
        }
        let answer = take_unsent(&mut session);
        read_by(&mut client, &answer);
    }
    for part in from_client(&mut client).chunks(read) {
        opened.receive(&mut session, part).unwrap();
    }
    let tickets = take_unsent(&mut session);
    read_by(&mut client, &tickets);
    assert!(opened.0.is_empty() && session.partial().is_empty());
    (client, session)
}

fn tls_12(config: &mut ClientConfig) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]);
    let roots = rustls::RootCertStore::empty();
    let mut older = versions.unwrap().with_root_certificates(roots).with_no_client_auth();
    // The trust is the one that the test has; only the version is another.
    older.alpn_protocols.clone_from(&config.alpn_protocols);
    older.dangerous().set_certificate_verifier(Arc::new(trust::Anyone));
    *config = older;
}

/// For the one test that cannot keep the authority's trust: what is asked there is no trust.
mod trust {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct Anyone;

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = default_provider().signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = default_provider().signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
}

#[test]
fn bytes_pass_in_both_directions_in_both_versions_however_reads_cut_them() {
    for (read, version) in [(1, None), (7, None), (4096, None), (1, Some(())), (4096, Some(()))] {
        let (mut client, mut session) = shaken(read, |config| version.iter().for_each(|()| tls_12(config)));
        assert_eq!(session.protocol(), Some(&b"http/1.1"[..]));
        let mut opened = Opened::default();
        client.writer().write_all(b"hello ").unwrap();
        client.writer().write_all(&[7; 20_000]).unwrap();
        for part in from_client(&mut client).chunks(read) {
            opened.receive(&mut session, part).unwrap();
        }
        assert_eq!(opened.0, [b"hello ".to_vec(), vec![7; 20_000]].concat());
        assert!(
            session.partial().is_empty() && session.partial.capacity() == 0,
            "an idle one holds no buffer"
        );
        for plain in [&b"x"[..], &[9; RECORD_BYTES]] {
            let answer = sealed(&mut session, plain);
            assert!(answer.len() - plain.len() < 64, "{} bytes for {}", answer.len(), plain.len());
            assert!(read_by(&mut client, &answer) == plain);
        }
    }
}

#[test]
fn records_of_one_read_are_all_opened_at_once() {
    let (mut client, mut session) = shaken(4096, |_| {});
    let mut bytes = Vec::new();
    for n in 0..100u8 {
        client.writer().write_all(&[n]).unwrap();
        bytes.extend(from_client(&mut client));
    }
    let mut opened = Opened::default();
    opened.receive(&mut session, &bytes).unwrap();
    assert_eq!(opened.0, (0..100).collect::<Vec<u8>>());
}

#[test]
fn each_side_may_end_in_good_order() {
    let (mut client, mut session) = shaken(4096, |_| {});
    let mut opened = Opened::default();
    client.writer().write_all(b"last words").unwrap();
    client.send_close_notify();
    let mut bytes = from_client(&mut client);
    bytes.extend_from_slice(b"and what nobody reads");
    opened.receive(&mut session, &bytes).unwrap();
    assert_eq!((&opened.0[..], session.client_is_done()), (&b"last words"[..], true));
    // We may still answer, and then end too.
    let mut answer = sealed(&mut session, b"answer");
    session.close();
    session.close();
    answer.extend(take_unsent(&mut session));
    let mut rest = answer.as_slice();
    client.read_tls(&mut rest).unwrap();
    assert!(client.process_new_packets().unwrap().peer_has_closed(), "the end is sealed once");
}

#[test]
fn a_broken_record_ends_the_connection_and_the_client_is_told() {
    let (mut client, mut session) = shaken(4096, |_| {});
    client.writer().write_all(b"hello").unwrap();
    let mut bytes = from_client(&mut client);
    *bytes.last_mut().unwrap() ^= 1;
    let mut opened = Opened::default();
    assert!(opened.receive(&mut session, &bytes).is_err());
    assert!(opened.0.is_empty());
    let alert = take_unsent(&mut session);
    client.read_tls(&mut alert.as_slice()).unwrap();
    let told = client.process_new_packets().unwrap_err();
    assert_eq!(told, Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    assert!(opened.receive(&mut session, b"more").is_err());
    assert!(session.seal(b"x", &mut [0; SEALED_BYTES]).is_none(), "nothing is sent after an error");
    session.close();
    assert!(session.unsent().is_empty());
}

/// However far a read has been opened when the error comes.
#[test]
fn what_came_before_a_broken_record_is_opened_and_the_client_is_told_all_the_same() {
    let (mut client, mut session) = shaken(4096, |_| {});
    let mut bytes = Vec::new();
    for plain in [b"first ", b"second", b"broken"] {
        client.writer().write_all(plain).unwrap();
        bytes.extend(from_client(&mut client));
    }
    *bytes.last_mut().unwrap() ^= 1;
    let mut opened = Opened::default();
    assert!(opened.receive(&mut session, &bytes).is_err());
    assert_eq!(opened.0, b"first second");
    assert!(session.partial().is_empty(), "nothing waits for more");
    let alert = take_unsent(&mut session);
    client.read_tls(&mut alert.as_slice()).unwrap();
    let told = client.process_new_packets().unwrap_err();
    assert_eq!(told, Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    assert!(session.seal(b"x", &mut [0; SEALED_BYTES]).is_none());
}

#[test]
fn a_client_may_change_its_keys_and_ask_for_ours_but_not_without_end() {
    let (mut client, mut session) = shaken(4096, |_| {});
    let mut opened = Opened::default();
    for round in 0..100u8 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(&[round]).unwrap();
        let bytes = from_client(&mut client);
        opened.receive(&mut session, &bytes).unwrap();
        let answer = [take_unsent(&mut session), sealed(&mut session, &[round])].concat();
        assert_eq!(read_by(&mut client, &answer), [round]);
    }
    assert_eq!(opened.0.len(), 100);
    // Without a byte of data in between it is a flood.
    let ended = (0..100).find(|_| {
        client.refresh_traffic_keys().unwrap();
        let bytes = from_client(&mut client);
        opened.receive(&mut session, &bytes).is_err()
    });
    assert!(ended.is_some_and(|updates| updates >= 8), "{ended:?}");
    assert!(session.unsent().len() < 1024, "{} bytes wait", session.unsent().len());
}

/// Seals records as the client would, with its keys: what no library sends.
struct Forger {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Forger {
    fn of(client: ClientConnection) -> Self {
        let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            other => panic!("another cipher: {}", std::any::type_name_of_val(other)),
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap());
        Self { key, iv: iv.as_ref().try_into().unwrap(), sequence }
    }

    fn record(&mut self, content_type: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        self.sequence += 1;
        let mut inner = [content, &[content_type]].concat();
        let length = u16::try_from(inner.len() + 16).unwrap().to_be_bytes();
        let head = [0x17, 3, 3, length[0], length[1]];
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(head), &mut inner)
            .unwrap();
        [&head[..], &inner].concat()
    }
}

const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

fn forged() -> (Forger, Session) {
    let (client, session) = shaken(4096, |config| config.enable_secret_extraction = true);
    (Forger::of(client), session)
}

/// The library then keeps places in the bytes, which must be there whenever it looks.
#[test]
fn a_handshake_message_in_two_records_survives_what_is_sealed_and_read_in_between() {
    let (mut forger, mut session) = forged();
    let mut opened = Opened::default();
    opened.receive(&mut session, &forger.record(HANDSHAKE, &KEY_UPDATE[..3])).unwrap();
    assert!(!session.partial().is_empty());
    sealed(&mut session, b"in between");
    let rest = forger.record(HANDSHAKE, &KEY_UPDATE[3..]);
    opened.receive(&mut session, &rest[..4]).unwrap();
    sealed(&mut session, b"in between");
    opened.receive(&mut session, &rest[4..]).unwrap();
    assert!(session.partial().is_empty() && opened.0.is_empty());
    sealed(&mut session, b"afterwards");
}

#[test]
fn an_error_within_a_handshake_message_in_two_records_is_an_error() {
    for content_type in [APPLICATION_DATA, 21, 99] {
        let (mut forger, mut session) = forged();
        let mut opened = Opened::default();
        opened.receive(&mut session, &forger.record(HANDSHAKE, &KEY_UPDATE[..3])).unwrap();
        let interrupting = [forger.record(content_type, b"no"), forger.record(HANDSHAKE, b"more")].concat();
        assert!(opened.receive(&mut session, &interrupting).is_err(), "{content_type}");
        assert!(opened.0.is_empty() && session.partial().is_empty());
        session.close();
    }
}

#[test]
fn what_never_becomes_whole_is_bounded() {
    let (mut forger, mut session) = forged();
    let mut opened = Opened::default();
    // A handshake message of 64 KiB, as records of a kilobyte.
    let mut first = vec![24, 0, 0xff, 0xff];
    first.resize(1024, 0);
    let mut held = 0;
    let mut content = first;
    let ended = (0..64).any(|_| {
        let failed = opened.receive(&mut session, &forger.record(HANDSHAKE, &content)).is_err();
        held = held.max(session.partial().len());
        content = vec![0; 1024];
        failed
    });
    assert!(ended, "it must not be held");
    assert!(held <= MAX_PARTIAL_BYTES, "{held} bytes");
}

#[test]
fn what_is_no_tls_is_an_error_that_ends_the_handshake() {
    let authority = Authority::new();
    let pair = authority.issue();
    let certificate = Certificate::from_pem(pair.chain.as_bytes(), pair.key.as_bytes()).unwrap();
    let tls = Tls::new(certificate).unwrap();
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff, 1], &[0x16, 3, 1, 0, 4, 9, 9, 9, 9]]
    {
        let mut session = Session::new(tls.http().0).unwrap();
        assert!(Opened::default().receive(&mut session, garbage).is_err(), "{garbage:?}");
        assert!(session.seal(b"x", &mut [0; SEALED_BYTES]).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, in whatever pieces: data, an error or nothing, and never a panic.
    #[test]
    fn any_records_hold(
        records in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..12),
        read in 1..64usize,
        noise in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (mut forger, mut session) = forged();
        let mut opened = Opened::default();
        let mut bytes = Vec::new();
        for (content_type, content, is_data) in &records {
            // Half of them data or handshake, so that the others meet a connection that is alive.
            let content_type = if *is_data { APPLICATION_DATA - content_type % 2 } else { *content_type };
            bytes.extend(forger.record(content_type, content));
        }
        if let Some(at) = noise {
            let at = at.index(bytes.len());
            bytes[at] ^= 0x55;
        }
        let mut has_failed = false;
        for part in bytes.chunks(read) {
            has_failed |= opened.receive(&mut session, part).is_err();
            let waits = take_unsent(&mut session);
            prop_assert!(waits.len() < 4096);
            prop_assert_eq!(session.seal(b"x", &mut [0; SEALED_BYTES]).is_none(), has_failed);
        }
        session.close();
    }
}
