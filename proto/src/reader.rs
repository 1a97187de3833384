//! Reads JSON objects member by member, notes every problem with its path and finally the members that
//! nobody asked for. What is wrong reads as absent, so that one pass finds every problem.
//!
//! `null` counts as absent.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::field::FieldErrors;

/// Characters of an unknown member's name that go into its path; the rest of a longer one is noise.
const MAX_UNKNOWN_NAME: usize = 64;

/// What to do about members that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// A mistake of the document's author.
    Refused,
    /// Written by a newer release: adjacent releases read each other's documents.
    Ignored,
}

/// The document of a call that takes none: an object without members.
///
/// # Errors
/// Names each.
pub fn check_empty(document: &Value) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::default();
    if let Some(reader) = Reader::root(document, Unknown::Refused, &mut errors) {
        reader.finish();
    }
    errors.into_result(())
}

/// One object of a document.
pub(crate) struct Reader<'d, 'e> {
    object: &'d Map<String, Value>,
    path: String,
    known: Vec<&'d str>,
    unknown: Unknown,
    errors: &'e mut FieldErrors,
}

impl<'d, 'e> Reader<'d, 'e> {
    /// Starts at the document itself; `None`, noted, when it is no object.
    pub(crate) fn root(document: &'d Value, unknown: Unknown, errors: &'e mut FieldErrors) -> Option<Self> {
        let Value::Object(object) = document else {
            errors.push("", "must be a JSON object");
            return None;
        };
        Some(Self { object, path: String::new(), known: Vec::new(), unknown, errors })
    }

    /// The names of all members, for objects that are maps.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'d str> + use<'d> {
        self.object.keys().map(String::as_str)
    }

    /// The member's value as it stands.
    pub(crate) fn value(&mut self, name: &'d str) -> Option<&'d Value> {
        self.known.push(name);
        self.object.get(name).filter(|v| !v.is_null())
    }

    /// Whether the member is there and `null`.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(Value::is_null)
    }

    /// Accepts members and their values unread.
    pub(crate) fn ignore(&mut self, names: &[&'d str]) {
        self.known.extend(names);
    }

    /// Notes a problem with a member.
    pub(crate) fn error(&mut self, name: &str, message: impl Into<String>) {
        let path = self.path_of(name);
        self.errors.push(path, message);
    }

    /// Adds problems that were found elsewhere, with whole paths.
    pub(crate) fn extend(&mut self, errors: FieldErrors) {
        self.errors.0.extend(errors.0);
    }

    /// Notes a problem with a name that the document's author chose.
    pub(crate) fn bad_name(&mut self, name: &str, message: impl Into<String>) {
        let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_UNKNOWN_NAME).collect();
        self.error(&name, message);
    }

    /// The path of a member; of the object itself for an empty name.
    pub(crate) fn path_of(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            ("", name) => name.to_owned(),
            (path, "") => path.to_owned(),
            (path, name) => format!("{path}.{name}"),
        }
    }

    /// A nested object.
    pub(crate) fn object(&mut self, name: &'d str) -> Option<Reader<'d, '_>> {
        let value = self.value(name)?;
        let path = self.path_of(name);
        let Value::Object(object) = value else {
            self.errors.push(path, "must be an object");
            return None;
        };
        Some(Reader { object, path, known: Vec::new(), unknown: self.unknown, errors: self.errors })
    }

    /// `true` or `false`; `default` when absent.
    pub(crate) fn boolean(&mut self, name: &'d str, default: bool) -> bool {
        match self.value(name) {
            None => default,
            Some(Value::Bool(b)) => *b,
            Some(_) => {
                self.error(name, "must be true or false");
                default
            }
        }
    }

    /// A string that `check` accepts; what it answers is the problem.
    pub(crate) fn text(
        &mut self,
        name: &'d str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<&'d str> {
        let value = self.value(name)?;
        let problem = match value {
            Value::String(text) => match check(text) {
                Ok(()) => return Some(text),
                Err(problem) => problem,
            },
            _ => "must be a string".to_owned(),
        };
        self.error(name, problem);
        None
    }

    /// A whole number from `min` to `max`; `default` when absent.
    pub(crate) fn integer<T>(&mut self, name: &'d str, min: u64, max: u64, default: T) -> T
    where
        T: TryFrom<u64>,
    {
        let Some(value) = self.value(name) else { return default };
        let number = value.as_u64().filter(|n| (min..=max).contains(n)).and_then(|n| T::try_from(n).ok());
        number.unwrap_or_else(|| {
            self.error(name, format!("must be a whole number from {min} to {max}"));
            default
        })
    }

    /// One of the names that `T` is written with, listed in `names` for the error; the default when absent.
    pub(crate) fn choice<T: Deserialize<'d> + Default>(&mut self, name: &'d str, names: [&str; 2]) -> T {
        let Some(value) = self.value(name) else { return T::default() };
        T::deserialize(value).unwrap_or_else(|_| {
            self.error(name, format!("must be \"{}\" or \"{}\"", names[0], names[1]));
            T::default()
        })
    }

    /// A list of at most `max` strings, each of which `check` accepts; empty when absent.
    pub(crate) fn strings(
        &mut self,
        name: &'d str,
        max: usize,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Vec<String> {
        let Some(value) = self.value(name) else { return Vec::new() };
        let Value::Array(items) = value else {
            self.error(name, "must be a list of strings");
            return Vec::new();
        };
        if items.len() > max {
            self.error(name, format!("must have at most {max} entries"));
            return Vec::new();
        }
        let mut texts = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let problem = match item {
                Value::String(text) => match check(text) {
                    Ok(()) => {
                        texts.push(text.clone());
                        continue;
                    }
                    Err(problem) => problem,
                },
                _ => "must be a string".to_owned(),
            };
            self.error(&format!("{name}[{i}]"), problem);
        }
        texts
    }

    /// Notes the members that nobody asked for.
    pub(crate) fn finish(mut self) {
        if self.unknown == Unknown::Ignored {
            return;
        }
        let known = std::mem::take(&mut self.known);
        for name in self.object.keys().filter(|n| !known.contains(&n.as_str())) {
            self.bad_name(name, "unknown attribute");
        }
    }
}

/// Checks a text of `min` to `max` characters without control characters.
pub(crate) fn line(text: &str, min: usize, max: usize) -> Result<(), String> {
    if (min..=max).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!("must be {min} to {max} characters without control characters"))
}

/// Checks the name of a tier: 1 to 64 of `a-z 0-9 - _`, as for application ids.
pub(crate) fn tier_name(text: &str) -> Result<(), String> {
    crate::AppId::parse(text).map(drop).map_err(|e| e.to_string())
}
