//! What is said of a setting that cannot be used.
//! Must never: name the section; whoever holds the section knows.

/// One setting that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key within its section.
    pub key: &'static str,
    /// The refused value.
    pub value: String,
    /// What is allowed, as in "must be ...".
    pub allowed: String,
}
