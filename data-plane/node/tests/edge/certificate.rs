//! Certificates and keys as files hold them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use realtime_data_plane::tls::{BadCertificate, Certificate};
use realtime_testkit::Authority;

fn read(chain: &str, key: &str) -> Result<Certificate, BadCertificate> {
    Certificate::from_pem(chain.as_bytes(), key.as_bytes())
}

#[test]
fn keys_come_in_every_usual_form() {
    let pkcs8 = Authority::new().issue();
    for (chain, key) in [
        (pkcs8.chain.as_str(), pkcs8.key.as_str()),
        (include_str!("certificates/sec1.pem"), include_str!("certificates/sec1.key")),
        (include_str!("certificates/pkcs1.pem"), include_str!("certificates/pkcs1.key")),
    ] {
        let kind = key.lines().next().unwrap();
        read(chain, key).unwrap_or_else(|e| panic!("{kind}: {e}"));
        // Comments, Windows' line ends and the other half in the same file are no harm.
        let both = format!("Bag Attributes\r\n{chain}{key}").replace('\n', "\r\n");
        read(&both, &both).unwrap_or_else(|e| panic!("{kind}, both in one file: {e}"));
    }
}

#[test]
fn a_pair_that_cannot_be_used_says_which_half_and_why() {
    let (pair, other) = (Authority::new().issue(), Authority::new().issue());
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for (chain, key, half, why) in [
        ("", &pair.key[..], "chain", "holds no certificate"),
        (&pair.key[..], &pair.key[..], "chain", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n", &pair.key[..], "chain", "not PEM"),
        (empty, &pair.key[..], "chain", "no X.509 certificate"),
        (&pair.chain[..], "", "key", "holds no private key"),
        (&pair.chain[..], &pair.chain[..], "key", "holds no private key"),
        (&pair.chain[..], encrypted, "key", "encrypted"),
        (&pair.chain[..], &other.key[..], "key", "does not fit the certificate"),
    ] {
        let (found, said) = match read(chain, key).unwrap_err() {
            BadCertificate::Chain(said) => ("chain", said),
            BadCertificate::Key(said) => ("key", said),
        };
        assert!(found == half && said.contains(why), "{half}, {why}: {found}, {said}");
        assert!(!said.contains("MII") && !said.contains("MIG"), "{said}");
    }
}

#[test]
fn its_end_is_known() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for days in [0, 1, 90, 40 * 365] {
        let lifetime = Duration::from_secs(days * 86_400);
        let pair = Authority::new().issue_for(lifetime);
        let left = read(&pair.chain, &pair.key).unwrap().not_after() - now;
        assert!(left.abs_diff(lifetime.as_secs()) <= 5, "{days} days: {left} s");
    }
    let openssl = include_str!("certificates/sec1.pem");
    assert_eq!(read(openssl, include_str!("certificates/sec1.key")).unwrap().not_after(), 4_949_083_738);
}

#[test]
fn a_key_is_never_printed() {
    let pair = Authority::new().issue();
    let printed = format!("{:?}", read(&pair.chain, &pair.key).unwrap());
    assert!(printed.len() < 80, "{printed}");
}
