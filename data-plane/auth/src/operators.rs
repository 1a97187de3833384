//! Operator tokens: names and SHA-256 digests.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;

use crate::verifier::Sha256;

/// Longest name, in bytes: it stands in every audit record.
const MAX_NAME_BYTES: usize = 64;

/// The accepted operator tokens. Holds digests only.
#[derive(Default)]
pub struct OperatorTokens {
    entries: Vec<(Arc<str>, Sha256)>,
}

impl OperatorTokens {
    /// One token given in the clear, named `operator`. An empty token is accepted from nobody.
    #[must_use]
    pub fn single(token: &str) -> Self {
        let entries = if token.is_empty() { Vec::new() } else { vec![("operator".into(), sha256(token))] };
        Self { entries }
    }

    /// Lines of a name and a SHA-256 in hex; `#` starts a comment.
    ///
    /// # Errors
    /// The first bad line, by number.
    pub fn parse(file: &str) -> Result<Self, String> {
        let mut tokens = Self::default();
        for (number, line) in (1..).zip(file.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let entry = parse_line(line).map_err(|why| format!("line {number}: {why}"))?;
                if tokens.entries.iter().any(|(name, _)| *name == entry.0) {
                    return Err(format!("line {number}: the name {} stands there twice", entry.0));
                }
                tokens.entries.push(entry);
            }
        }
        Ok(tokens)
    }

    /// The name of the token's holder. Compares in constant time.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<Arc<str>> {
        self.verify_digest(&sha256(token))
    }

    /// The same for a token's SHA-256. Looks at every entry, whichever matches.
    pub(crate) fn verify_digest(&self, token: &Sha256) -> Option<Arc<str>> {
        let mut found = None;
        for (name, digest) in &self.entries {
            if verify_slices_are_equal(digest, token).is_ok() {
                found = Some(name);
            }
        }
        found.cloned()
    }

    /// Whether there is no operator token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Shows the names: a weak token could be guessed from its digest.
impl fmt::Debug for OperatorTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(name, _)| name)).finish()
    }
}

pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> Sha256 {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes.as_ref()).as_ref());
    hash
}

fn parse_line(line: &str) -> Result<(Arc<str>, Sha256), String> {
    let mut words = line.split_ascii_whitespace();
    let (Some(name), Some(hex), None) = (words.next(), words.next(), words.next()) else {
        return Err("must be a name and a SHA-256 in hex".into());
    };
    if name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
        return Err(format!("the name must have at most {MAX_NAME_BYTES} bytes"));
    }
    let digest = unhex(hex).ok_or("the SHA-256 must be 64 hex digits")?;
    Ok((name.into(), digest))
}

fn unhex(text: &str) -> Option<Sha256> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_single_token_is_the_operators() {
        let tokens = OperatorTokens::single("s3cret");
        assert_eq!(tokens.verify("s3cret").as_deref(), Some("operator"));
        assert_eq!(tokens.verify("s3cre"), None);
        assert_eq!(tokens.verify(""), None);
        assert!(!format!("{tokens:?}").contains("s3cret"));
    }

    #[test]
    fn an_empty_token_is_never_accepted() {
        assert_eq!(OperatorTokens::single("").verify(""), None);
        assert!(OperatorTokens::single("").is_empty());
        assert_eq!(OperatorTokens::default().verify(""), None);
    }

    #[test]
    fn a_file_names_its_holders() {
        let file =
            format!("# people\n\nann {ABC} # first\r\n  bob\t{}\n", ABC.to_uppercase().replace('B', "0"));
        let tokens = OperatorTokens::parse(&file).unwrap();
        assert_eq!(tokens.verify("abc").as_deref(), Some("ann"));
        assert_eq!(format!("{tokens:?}"), r#"["ann", "bob"]"#);
        assert!(OperatorTokens::parse("").unwrap().is_empty());
    }

    #[test]
    fn a_bad_line_is_reported_by_its_number() {
        for (bad, why) in [
            ("ann".to_owned(), "must be a name"),
            (format!("ann {ABC} more"), "must be a name"),
            (format!("ann {}", &ABC[1..]), "64 hex digits"),
            (format!("ann {}g", &ABC[1..]), "64 hex digits"),
            (format!("ann {}", "é".repeat(32)), "64 hex digits"),
            (format!("{} {ABC}", "n".repeat(65)), "at most 64"),
            (format!("first {ABC}"), "twice"),
        ] {
            let error = OperatorTokens::parse(&format!("first {ABC}\n{bad}\n")).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(why), "{error}");
            assert!(!error.contains(&ABC[1..]));
        }
    }
}
