//! Reads settings one by one and keeps every complaint, so that all of them are reported at once.

use std::{cell::RefCell, collections::BTreeMap, fmt, path::Path};

use super::{
    given::{Given, GivenText, Source},
    input,
    setting::{Declared, Fallback, Optional, Privacy, Setting},
};

/// The longest value that a complaint repeats, in characters: a key pasted into the wrong setting would fill the
/// screen.
const SHOWN_CHARS_MAX: usize = 80;

/// What is wrong with the configuration: one sentence for each mistake, never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads the values of settings, and collects what is wrong with them.
///
/// A value that cannot be read is complained about, and something else stands in for it, so that the other
/// settings are still checked. [`Self::finish`] sees to it that nobody uses such a configuration.
pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a setting is given by its flag.
    is_flag: &'a dyn Fn(&str) -> bool,
    /// The text of each setting that was asked for, by its environment variable. A file is read once: it may be
    /// a pipe.
    found: RefCell<BTreeMap<&'static str, Option<Found>>>,
    complaints: RefCell<Vec<Complaint>>,
}

/// A setting that was given.
#[derive(Clone)]
struct Found {
    /// The names of the setting itself, or of the one that names a file which holds it.
    by: String,
    text: String,
    source: Source,
}

struct Complaint {
    /// The environment variable, if the complaint concerns one setting alone.
    env: Option<&'static str>,
    sentence: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self::with_flags(lookup, &|_| false)
    }

    /// The same, where it is known which settings are given by their flags.
    pub(super) fn with_flags(
        lookup: &'a dyn Fn(&str) -> Option<String>,
        is_flag: &'a dyn Fn(&str) -> bool,
    ) -> Self {
        Self { lookup, is_flag, found: RefCell::default(), complaints: RefCell::default() }
    }

    /// Returns what was given, of the settings that were read.
    pub(super) fn given(
        &self,
        declared: impl Iterator<Item = (&'static str, &'static dyn Declared)>,
    ) -> Given {
        let found = self.found.borrow();
        let given = declared.filter_map(|(_, setting)| {
            let Found { text, source, .. } = found.get(setting.env())?.clone()?;
            let text = (setting.privacy() == Privacy::Shown).then_some(text);
            Some((setting.env(), GivenText { source, text }))
        });
        Given(given.collect())
    }

    /// Returns what was read, unless something was wrong.
    pub(super) fn finish<T>(self, read: T) -> Result<T, ConfigErrors> {
        let sentences: Vec<String> =
            self.complaints.into_inner().into_iter().map(|complaint| complaint.sentence).collect();
        if sentences.is_empty() { Ok(read) } else { Err(ConfigErrors(sentences)) }
    }

    /// Returns the value that was given, or else the default. The default also stands in for a value that was
    /// complained about.
    pub(super) fn value<T: Clone + Sync>(&self, setting: &Setting<T>) -> T {
        let given = self.found(setting).and_then(|found| self.parse(setting, &found.text));
        given.unwrap_or_else(|| match setting.parse(setting.default.0) {
            Ok(value) => value,
            // A test reads every default.
            Err(mend) => unreachable!("the default of {} does not hold: {mend}", setting.env),
        })
    }

    /// Returns the value that was given. `None` also stands in for a value that was complained about.
    pub(super) fn optional<T: Clone + Sync>(&self, setting: &Optional<T>) -> Option<T> {
        let found = self.found(setting)?;
        self.parse(setting, &found.text)
    }

    fn parse<T: Clone + Sync, D: Copy + Into<Fallback> + Sync>(
        &self,
        setting: &Setting<T, D>,
        text: &str,
    ) -> Option<T> {
        setting.parse(text).map_err(|mend| self.wrong(setting, mend)).ok()
    }

    /// Returns whether the setting was given. Empty text counts as none, as in `.env` files and compose.
    pub(super) fn is_given(&self, setting: &dyn Declared) -> bool {
        self.found(setting).is_some()
    }

    /// Returns whether there is a complaint about the setting, so that something stands in for its value.
    pub(super) fn is_wrong(&self, setting: &dyn Declared) -> bool {
        self.complaints.borrow().iter().any(|complaint| complaint.env == Some(setting.env()))
    }

    /// Adds a complaint about one setting: `<name> is <value>: <mend>`. A secret's value stays out.
    pub(super) fn wrong(&self, setting: &dyn Declared, mend: impl fmt::Display) {
        let (name, value) = match (self.found(setting), setting.default()) {
            (Some(found), _) => (found.by, found.text),
            (None, Fallback::Value(text)) => (setting.name(), text.to_owned()),
            (None, Fallback::Otherwise(_)) => (setting.name(), String::new()),
        };
        let sentence = if setting.privacy() == Privacy::Shown {
            let shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
            let cut = if shown.len() < value.len() { "…" } else { "" };
            format!("{name} is {shown:?}{cut}: {mend}")
        } else {
            format!("{name} is not valid: {mend}")
        };
        self.complain_of(setting, sentence);
    }

    /// Adds a complaint that concerns more than one setting.
    pub(super) fn complain(&self, sentence: impl Into<String>) {
        self.complaints.borrow_mut().push(Complaint { env: None, sentence: sentence.into() });
    }

    /// Adds a complaint about one setting, unless there is one: what else is wrong with it may follow from that.
    fn complain_of(&self, setting: &dyn Declared, sentence: String) {
        if !self.is_wrong(setting) {
            self.complaints.borrow_mut().push(Complaint { env: Some(setting.env()), sentence });
        }
    }

    fn found(&self, setting: &dyn Declared) -> Option<Found> {
        if let Some(found) = self.found.borrow().get(setting.env()) {
            return found.clone();
        }
        let found = self.find(setting);
        self.found.borrow_mut().insert(setting.env(), found.clone());
        found
    }

    /// Looks the setting up, and then the file that may hold it.
    fn find(&self, setting: &dyn Declared) -> Option<Found> {
        let own = (self.lookup)(setting.env()).filter(|text| !text.is_empty());
        let in_file = setting.file().and_then(|file| Some((file.name(), self.found(file)?.text)));
        let own_source = if (self.is_flag)(setting.env()) { Source::Flag } else { Source::Environment };
        let (by, text, source) = match (own, in_file) {
            (own, None) => (setting.name(), own?, own_source),
            (Some(text), Some((by, _))) => {
                self.complain_of(setting, format!("{} and {by} are set: keep one", setting.name()));
                (setting.name(), text, own_source)
            }
            (None, Some((by, path))) => match input::read_file(Path::new(&path)) {
                Ok(text) => (by, text, Source::File),
                Err(error) => {
                    self.complain_of(setting, format!("{by} is {path:?}, and {error}"));
                    // Something was given, and so nothing else holds instead.
                    return Some(Found { by, text: String::new(), source: Source::File });
                }
            },
        };
        match input::without_accidents(&text, setting.privacy()) {
            Ok("") => None,
            Ok(text) => Some(Found { by, text: text.to_owned(), source }),
            Err(accident) => {
                self.complain_of(setting, format!("{by} {accident}"));
                Some(Found { by, text, source })
            }
        }
    }
}
