//! The cluster's own certificate authority: what its certificates say, and how they are made. Time is an argument;
//! files, flags and messages to people are elsewhere.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName};
use x509_parser::parse_x509_certificate;

const DAY: u64 = 24 * 3600;
/// Certificates are valid from this long before they were made: the clocks of machines differ.
const BACKDATED: Duration = Duration::from_secs(3600);
/// A hundred years: further than anybody plans, and before the year in which dates end.
const MAX_DAYS: u64 = 36_500;

/// A certificate and its private key, both PEM.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// Seconds since the Unix epoch.
    pub(crate) expires_at: u64,
}

/// A CA with its key.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    expires_at: u64,
}

/// Why certificates cannot be made with these files.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadAuthority {
    /// The file with the certificates.
    #[error("{0}")]
    Certificate(&'static str),
    /// The file with the key.
    #[error("{0}")]
    Key(&'static str),
}

/// Makes a CA with a new key.
pub(crate) fn create(name: &str, now: u64, days: u64) -> Result<Made, rcgen::Error> {
    let mut params = params(name, now, days);
    // It certifies processes, not further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = new_key()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok(Made { certificate, key: key.serialize_pem(), expires_at: expiry(now, days) })
}

impl Authority {
    /// Reads a CA. Its file may hold others besides, as while a CA is replaced; the one that the key belongs to counts.
    pub(crate) fn read(certificates: &[u8], key: &str) -> Result<Self, BadAuthority> {
        let key = KeyPair::from_pem(key)
            .map_err(|_| BadAuthority::Key("holds no private key that can be read (PEM, PKCS#8)"))?;
        let public_key = key.subject_public_key_info();
        let mut other = false;
        for certificate in CertificateDer::pem_slice_iter(certificates) {
            let unreadable = BadAuthority::Certificate("holds something that is no certificate");
            let Ok(certificate) = certificate else { return Err(unreadable) };
            let Ok((_, parsed)) = parse_x509_certificate(&certificate) else { return Err(unreadable) };
            if parsed.public_key().raw != public_key {
                other = true;
                continue;
            }
            if !parsed.is_ca() {
                return Err(BadAuthority::Certificate("is not the certificate of a CA"));
            }
            let expires_at = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
            let issuer = Issuer::from_ca_cert_der(&certificate, key)
                .map_err(|_| BadAuthority::Certificate("has something in its name that cannot be read"))?;
            return Ok(Self { issuer, expires_at });
        }
        Err(if other {
            BadAuthority::Key("is not the key of the CA's certificate")
        } else {
            BadAuthority::Certificate("holds no certificate")
        })
    }

    /// When its own certificate expires, in seconds since the Unix epoch. What it has certified is void then.
    pub(crate) fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Certifies a process that the others reach by these hosts, with a new key. The process shows the certificate
    /// as a server and as a client.
    pub(crate) fn issue(
        &self,
        name: &str,
        hosts: Vec<SanType>,
        now: u64,
        days: u64,
    ) -> Result<Made, rcgen::Error> {
        let mut params = params(name, now, days);
        params.is_ca = IsCa::ExplicitNoCa;
        params.subject_alt_names = hosts;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        // Tells two authorities of one name apart.
        params.use_authority_key_identifier_extension = true;
        let key = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Made { certificate, key: key.serialize_pem(), expires_at: expiry(now, days) })
    }
}

/// When a certificate that is made now expires.
pub(crate) fn expiry(now: u64, days: u64) -> u64 {
    now + days * DAY
}

/// The serial number is the library's: a hash of the public key, which is new, so as random as the key.
fn params(name: &str, now: u64, days: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let time = |seconds| (UNIX_EPOCH + Duration::from_secs(seconds)).into();
    params.not_before = time(now.saturating_sub(BACKDATED.as_secs()));
    params.not_after = time(expiry(now, days));
    params
}

fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

/// How many days a certificate is valid.
pub(crate) fn days(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(days @ 1..=MAX_DAYS) => Ok(days),
        _ => Err(format!("must be a whole number of days from 1 to {MAX_DAYS}")),
    }
}

/// A CA's name.
pub(crate) fn common_name(text: &str) -> Result<String, String> {
    let ok = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if ok {
        Ok(text.to_owned())
    } else {
        Err("must have 1 to 64 characters, and no control characters".into())
    }
}

/// A host that a process is reached by: what TLS clients compare with the host that they connect to.
pub(crate) fn host(text: &str) -> Result<SanType, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    // A wildcard stands for one label, in front of a domain: `*.nodes.internal`.
    let domain = text.strip_prefix("*.").filter(|domain| domain.contains('.')).unwrap_or(text);
    let is_name = !domain.ends_with('.') && DnsName::try_from(domain).is_ok();
    let name = is_name.then(|| text.try_into().ok()).flatten();
    name.map(SanType::DnsName).ok_or_else(|| {
        "must be an IP address, or a host name such as node-1.internal or *.nodes.internal, without a port".into()
    })
}
