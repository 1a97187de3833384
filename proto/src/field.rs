//! What is wrong with a document, by field.

use std::fmt;

use serde::Serialize;

/// One problem of a document. Neither part ever holds a value from the document that may be secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Path of the field, such as `authKey.algorithms[0]`; empty for the document itself.
    pub field: String,
    /// What it must be.
    pub message: String,
}

/// Every problem found in one document; never empty inside an `Err`.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct FieldErrors(pub Vec<FieldError>);

/// Problems that are reported of one document: more help nobody. (Over gRPC, trailers bound them further.)
pub const MAX_REPORTED: usize = 50;

impl FieldErrors {
    /// Notes a problem.
    pub fn push(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), message: message.into() });
    }

    /// `value` when nothing was noted.
    ///
    /// # Errors
    /// What was noted.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self.capped()) }
    }

    /// The first [`MAX_REPORTED`] problems, and how many more there are.
    #[must_use]
    pub fn capped(mut self) -> Self {
        if let Some(more) = self.0.len().checked_sub(MAX_REPORTED).filter(|&n| n > 0) {
            self.0.truncate(MAX_REPORTED);
            self.push("", format!("and {more} more problems"));
        }
        self
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, e) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            let colon = if e.field.is_empty() { "" } else { ": " };
            write!(f, "{separator}{}{colon}{}", e.field, e.message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_the_fields_and_says_of_the_document_itself_what_is_wrong() {
        let mut errors = FieldErrors::default();
        errors.push("", "must be a JSON object");
        errors.push("name", "is required");
        assert_eq!(errors.to_string(), "must be a JSON object; name: is required");
    }
}
