//! Where a stored document may hold secrets, and how it says that one of them is encrypted. Encrypting and decrypting
//! is the control plane's: nobody else has the keys.

use serde_json::Value;

use crate::field::FieldErrors;

/// The one attribute of the object that stands in the place of a secret's text where it is encrypted.
const ENCRYPTED: &str = "encrypted";

/// A place in a stored document that may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretField {
    object: &'static str,
    attribute: &'static str,
}

impl SecretField {
    /// `authKey.key`: a secret with HS* algorithms only.
    pub const AUTH_KEY: Self = Self { object: "authKey", attribute: "key" };
    /// `adminKey.key`: the same.
    pub const ADMIN_KEY: Self = Self { object: "adminKey", attribute: "key" };
    /// `amazonSnsForwarder.secretAccessKey`.
    pub const SNS: Self = Self { object: "amazonSnsForwarder", attribute: "secretAccessKey" };
    /// `amazonSqsForwarder.secretAccessKey`.
    pub const SQS: Self = Self { object: "amazonSqsForwarder", attribute: "secretAccessKey" };
    /// Every place.
    pub const ALL: [Self; 4] = [Self::AUTH_KEY, Self::ADMIN_KEY, Self::SNS, Self::SQS];

    /// Its path, as problems name it.
    #[must_use]
    pub fn path(self) -> String {
        format!("{}.{}", self.object, self.attribute)
    }

    /// What stands there in the clear.
    #[must_use]
    pub fn text(self, document: &Value) -> Option<&str> {
        document.get(self.object)?.get(self.attribute)?.as_str()
    }

    /// What stands there encrypted.
    #[must_use]
    pub fn envelope(self, document: &Value) -> Option<&str> {
        document.get(self.object)?.get(self.attribute)?.get(ENCRYPTED)?.as_str()
    }

    /// Puts a text in the clear there, if something is there.
    pub fn set_text(self, document: &mut Value, text: String) {
        self.set(document, text.into());
    }

    /// Puts an encrypted text there, if something is there.
    pub fn set_envelope(self, document: &mut Value, envelope: String) {
        self.set(document, serde_json::json!({ENCRYPTED: envelope}));
    }

    fn set(self, document: &mut Value, value: Value) {
        if let Some(place) = document.get_mut(self.object).and_then(|object| object.get_mut(self.attribute)) {
            *place = value;
        }
    }
}

/// Refuses what is still encrypted, naming it: the reader gets what the control plane could not decrypt.
pub(super) fn refuse_encrypted(document: &Value) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::default();
    for field in SecretField::ALL.into_iter().filter(|field| field.envelope(document).is_some()) {
        errors.push(field.path(), "is encrypted, and the control plane has no key for it (--secrets-key)");
    }
    errors.into_result(())
}
