//! What a node was started with, and where each of it came from.

use std::collections::BTreeMap;

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nothing was given.
    Default,
    /// The environment variable.
    Environment,
    /// The flag.
    Flag,
    /// A file that another setting names.
    File,
    /// An operator, while the node runs.
    RunTime,
}

impl Source {
    /// Returns the word for it, as the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Environment => "environment",
            Self::Flag => "flag",
            Self::File => "file",
            Self::RunTime => "run time",
        }
    }
}

/// The text of a setting that was given.
#[derive(Debug, Clone)]
pub(super) struct GivenText {
    pub(super) source: Source,
    /// `None` where it may hold a secret.
    pub(super) text: Option<String>,
}

/// What a node was started with: no secrets.
#[derive(Debug, Clone, Default)]
pub struct Given(pub(super) BTreeMap<&'static str, GivenText>);

impl Given {
    /// Returns the text that was given for a setting, unless it may hold a secret.
    pub fn text(&self, env: &str) -> Option<&str> {
        self.0.get(env)?.text.as_deref()
    }

    /// Returns where the value of a setting comes from.
    pub fn source(&self, env: &str) -> Source {
        self.0.get(env).map_or(Source::Default, |given| given.source)
    }

    /// Takes another text for a setting from the file that holds it.
    pub(crate) fn reread(&mut self, other: &Self, env: &'static str) {
        match other.0.get(env) {
            Some(given) => drop(self.0.insert(env, given.clone())),
            None => drop(self.0.remove(env)),
        }
    }
}
