//! Topic patterns with the semantics of the npm module `matcher` 6.1 (protocol.md 2.4).

/// A compiled list of patterns. Matching allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct PatternSet {
    case: crate::PermissionCase,
    patterns: Vec<Box<str>>,
}

impl PatternSet {
    /// Compiles patterns; every text is a valid pattern.
    pub fn new<'a>(_patterns: impl IntoIterator<Item = &'a str>, _case: crate::PermissionCase) -> Self {
        todo!()
    }

    /// Any negated match excludes, else any positive match includes; only negated patterns include
    /// the rest; no pattern includes nothing.
    #[must_use]
    pub fn matches(&self, _text: &str) -> bool {
        let _ = (&self.case, &self.patterns);
        todo!()
    }
}
