//! A certificate chain with its private key, checked to fit each other.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use self::validity::not_after;

mod validity;

/// What a listener shows. Its key is never printed.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    not_after: u64,
}

/// What is wrong with a pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// With the chain.
    #[error("{0}")]
    Chain(String),
    /// With the key, or that it is another certificate's.
    #[error("{0}")]
    Key(String),
}

impl Certificate {
    /// Reads a chain, the server's own certificate first, and its private key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// Which of the two cannot be used, and why.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, BadCertificate> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| BadCertificate::Chain(format!("not PEM: {e}")))?;
        let first = chain.first().ok_or_else(|| BadCertificate::Chain("holds no certificate".into()))?;
        let not_after =
            not_after(first).ok_or_else(|| BadCertificate::Chain("is no X.509 certificate".into()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| match e {
            rustls::pki_types::pem::Error::NoItemsFound => {
                BadCertificate::Key("holds no private key; an encrypted one cannot be read".into())
            }
            e => BadCertificate::Key(format!("not PEM: {e}")),
        })?;
        let key =
            CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|e| match e {
                rustls::Error::InconsistentKeys(_) => {
                    BadCertificate::Key("does not fit the certificate".into())
                }
                rustls::Error::InvalidCertificate(e) => {
                    BadCertificate::Chain(format!("cannot be used: {e:?}"))
                }
                e => BadCertificate::Key(format!("cannot be used: {e}")),
            })?;
        Ok(Self { key: Arc::new(key), not_after })
    }

    /// When it expires, in seconds since the Unix epoch.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}
