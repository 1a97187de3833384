//! Topic patterns with the semantics of the npm module `matcher` 6.1 (docs/contract.md 2.4).
//!
//! Patterns are folded and split on `*` once, when a token is compiled; a match then looks for the parts
//! from left to right, each at its first place. With `*` as the only wildcard this is exact and never goes
//! back, so that no pattern is slow. A regular expression or globset would do the same with more to build:
//! each distinct permission list is compiled once, and most are short.

use std::borrow::Cow;

use crate::{PermissionCase, Texts};

/// Texts up to this many bytes are folded on the stack. Topics have at most 255.
const STACK_BYTES: usize = 256;

/// A compiled list of patterns. Matching an ASCII text that may be a topic allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct PatternSet {
    case: PermissionCase,
    positive: Vec<Pattern>,
    negative: Vec<Pattern>,
}

/// One pattern without its `!`.
#[derive(Debug, Clone)]
enum Pattern {
    /// `*`
    Anything,
    /// No wildcard.
    Exactly(Box<str>),
    /// At least one wildcard: texts that begin and end so and have the middle parts in this order between.
    Parts { first: Box<str>, middle: Texts, last: Box<str> },
}

impl PatternSet {
    /// Compiles patterns; every text is a valid pattern.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>, case: PermissionCase) -> Self {
        let mut set = Self { case, ..Self::default() };
        for text in patterns {
            match text.strip_prefix('!') {
                Some(negated) => set.negative.push(Pattern::compile(negated, case)),
                None => set.positive.push(Pattern::compile(text, case)),
            }
        }
        // One `*` includes whatever the others would.
        if set.positive.iter().any(Pattern::is_anything) {
            set.positive = vec![Pattern::Anything];
        }
        set
    }

    /// Any negated match excludes, else any positive match includes; only negated patterns include
    /// the rest; no pattern includes nothing.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match (&self.positive[..], &self.negative[..]) {
            ([], []) => return false,
            ([Pattern::Anything], []) => return true,
            _ => {}
        }
        let mut buffer = [0; STACK_BYTES];
        match self.case {
            PermissionCase::Sensitive => self.matches_folded(text),
            PermissionCase::Insensitive => match fold_ascii(text, &mut buffer) {
                Some(folded) => self.matches_folded(folded),
                None => self.matches_folded(&fold(text)),
            },
        }
    }

    /// Memory behind the patterns.
    pub(crate) fn heap_bytes(&self) -> usize {
        let patterns = self.positive.iter().chain(&self.negative);
        patterns.map(|pattern| size_of::<Pattern>() + pattern.heap_bytes()).sum()
    }

    fn matches_folded(&self, text: &str) -> bool {
        !self.negative.iter().any(|p| p.matches(text))
            && (self.positive.is_empty() || self.positive.iter().any(|p| p.matches(text)))
    }
}

impl Pattern {
    /// Splits at the wildcards; a backslash makes the next character literal, the last one stands for itself.
    fn compile(text: &str, case: PermissionCase) -> Self {
        let folded = match case {
            PermissionCase::Sensitive => Cow::Borrowed(text),
            PermissionCase::Insensitive => Cow::Owned(fold(text)),
        };
        let mut done: Vec<String> = Vec::new();
        let mut part = String::new();
        let mut characters = folded.chars();
        while let Some(c) = characters.next() {
            match c {
                '*' => done.push(std::mem::take(&mut part)),
                '\\' => part.push(characters.next().unwrap_or('\\')),
                c => part.push(c),
            }
        }
        let last: Box<str> = part.into();
        let mut parts = done.into_iter();
        let Some(first) = parts.next() else { return Self::Exactly(last) };
        let middle: Texts = parts.filter(|p| !p.is_empty()).collect();
        if first.is_empty() && middle.is_empty() && last.is_empty() {
            return Self::Anything;
        }
        Self::Parts { first: first.into(), middle, last }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Anything => 0,
            Self::Exactly(name) => name.len(),
            Self::Parts { first, middle, last } => first.len() + middle.heap_bytes() + last.len(),
        }
    }

    const fn is_anything(&self) -> bool {
        matches!(self, Self::Anything)
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Exactly(name) => text == &**name,
            Self::Parts { first, middle, last } => {
                // What is longer than the text needs no search, however many parts it has.
                if first.len() + middle.joined_len() + last.len() > text.len() {
                    return false;
                }
                let Some(rest) = text.strip_prefix(&**first) else { return false };
                let Some(mut rest) = rest.strip_suffix(&**last) else { return false };
                for part in middle.iter() {
                    let Some(at) = rest.find(part) else { return false };
                    rest = &rest[at + part.len()..];
                }
                true
            }
        }
    }
}

/// Upper case of a short ASCII text, in `buffer`; `None` for any other text.
fn fold_ascii<'b>(text: &str, buffer: &'b mut [u8; STACK_BYTES]) -> Option<&'b str> {
    if !text.is_ascii() {
        return None;
    }
    let folded = buffer.get_mut(..text.len())?;
    folded.copy_from_slice(text.as_bytes());
    folded.make_ascii_uppercase();
    std::str::from_utf8(folded).ok()
}

fn fold(text: &str) -> String {
    text.chars().map(fold_character).collect()
}

/// Case as a JavaScript regular expression with the flag `i` ignores it, which `matcher` reproduces: the
/// upper case of a character where it is a single UTF-16 unit (`ß` and characters beyond the basic plane
/// stay), and never ASCII for a character that is not (`ı` and `ſ` stay, so that no lookalike matches).
fn fold_character(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(u), None) if c.len_utf16() == 1 && u.len_utf16() == 1 && !u.is_ascii() => u,
        _ => c,
    }
}
