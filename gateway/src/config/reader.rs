//! Reads settings one by one and keeps every complaint, so that all of them are reported at once.

use std::{cell::RefCell, collections::BTreeMap, fmt, path::Path, time::Duration};

use super::{
    handed_over,
    table::{Fallback, Kind, SETTINGS, Setting},
    text,
};
use crate::auth::Secret;

/// What is wrong with the configuration: one sentence for each mistake, never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Settings by name, and what was wrong with them so far.
pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Each setting that was asked for: where it is from, and its text. A file is read once: it may be a pipe.
    found: RefCell<BTreeMap<&'static str, Option<Found>>>,
    complaints: RefCell<Vec<Complaint>>,
}

/// A setting that was given.
#[derive(Clone)]
struct Found {
    /// The setting itself, or the one that names a file which holds it.
    by: &'static Setting,
    text: String,
}

struct Complaint {
    /// The setting, if it concerns one alone.
    env: Option<&'static str>,
    sentence: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, found: RefCell::default(), complaints: RefCell::default() }
    }

    /// What was read, unless something was wrong.
    pub(super) fn finish<T>(self, read: T) -> Result<T, ConfigErrors> {
        let sentences: Vec<String> =
            self.complaints.into_inner().into_iter().map(|complaint| complaint.sentence).collect();
        if sentences.is_empty() { Ok(read) } else { Err(ConfigErrors(sentences)) }
    }

    /// Adds a complaint that concerns more than one setting.
    pub(super) fn complain(&self, sentence: impl Into<String>) {
        self.complaints.borrow_mut().push(Complaint { env: None, sentence: sentence.into() });
    }

    /// Adds a complaint about one setting, the first one only: what else is wrong with it may follow from that.
    fn complain_of(&self, env: &'static str, sentence: String) {
        let mut complaints = self.complaints.borrow_mut();
        if complaints.iter().all(|complaint| complaint.env != Some(env)) {
            complaints.push(Complaint { env: Some(env), sentence });
        }
    }

    /// Adds a complaint about one setting: `<name> is <value>: <mend>`. A secret's value stays out.
    pub(super) fn wrong(&self, env: &str, mend: impl fmt::Display) {
        let setting = setting(env);
        let found = self.found(setting);
        let by = found.as_ref().map_or(setting, |found| found.by);
        let name = format!("{} (--{})", by.env, by.flag);
        let sentence = match setting.kind {
            Kind::Secret | Kind::SecretUrl => format!("{name} is not valid: {mend}"),
            _ => {
                let value = self.text(env).unwrap_or_default();
                // A key pasted into the wrong setting would fill the screen.
                let shown: String = value.chars().take(80).collect();
                let cut = if shown.len() < value.len() { "…" } else { "" };
                format!("{name} is {shown:?}{cut}: {mend}")
            }
        };
        self.complain_of(setting.env, sentence);
    }

    /// The text that was given, if any. Empty text counts as none, as in `.env` files and compose.
    pub(super) fn given(&self, env: &str) -> Option<String> {
        self.found(setting(env)).map(|found| found.text)
    }

    fn found(&self, setting: &'static Setting) -> Option<Found> {
        if let Some(found) = self.found.borrow().get(setting.env) {
            return found.clone();
        }
        let found = self.find(setting);
        self.found.borrow_mut().insert(setting.env, found.clone());
        found
    }

    fn find(&self, setting: &'static Setting) -> Option<Found> {
        let own = (self.lookup)(setting.env).filter(|text| !text.is_empty());
        let path = setting.file().and_then(|by| Some((by, self.given(by.env)?)));
        let (by, text) = match (own, path) {
            (own, None) => (setting, own?),
            (Some(text), Some((by, _))) => {
                self.complain_of(
                    setting.env,
                    format!(
                        "{} (--{}) and {} (--{}) are set: keep one",
                        setting.env, setting.flag, by.env, by.flag
                    ),
                );
                (setting, text)
            }
            (None, Some((by, path))) => match handed_over::read_file(Path::new(&path)) {
                Ok(text) => (by, text),
                Err(error) => {
                    let sentence = format!("{} (--{}) is {path:?}, and {error}", by.env, by.flag);
                    self.complain_of(setting.env, sentence);
                    // Something was given, and so nothing else holds instead.
                    return Some(Found { by, text: String::new() });
                }
            },
        };
        match handed_over::taken(&text, setting.kind) {
            Ok("") => None,
            Ok(text) => Some(Found { by, text: text.to_owned() }),
            Err(accident) => {
                self.complain_of(setting.env, format!("{} (--{}) {accident}", by.env, by.flag));
                Some(Found { by, text })
            }
        }
    }

    /// The text that was given, or the default where that is a text.
    pub(super) fn text(&self, env: &str) -> Option<String> {
        self.given(env).or(match setting(env).default {
            Fallback::Value(text) => Some(text.to_owned()),
            Fallback::Otherwise(_) => None,
        })
    }

    pub(super) fn secret(&self, env: &str) -> Option<Secret> {
        self.given(env).map(Secret::new)
    }

    /// The text as `read` understands it; a complaint and `None` where it does not.
    pub(super) fn read<T>(&mut self, env: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(env)?;
        read(&text).map_err(|mend| self.wrong(env, mend)).ok()
    }

    pub(super) fn duration(&mut self, env: &str) -> Duration {
        let Kind::Duration(min, max) = setting(env).kind else { unreachable!("{env} is a duration") };
        self.read(env, |given| {
            let value = text::duration(given)
                .ok_or_else(|| format!("give a duration such as {}", setting(env).default.text()))?;
            within(value, min, max, text::show_duration)
        })
        .unwrap_or_default()
    }

    /// Bytes.
    pub(super) fn size(&mut self, env: &str) -> u64 {
        let Kind::Size(min, max) = setting(env).kind else { unreachable!("{env} is a size") };
        self.read(env, |given| {
            let value = text::size(given)
                .ok_or_else(|| format!("give a size such as {}", setting(env).default.text()))?;
            within(value, min, max, text::show_size)
        })
        .unwrap_or_default()
    }

    /// A number that fits the type that the caller wants; the table's bounds see to it.
    pub(super) fn count<T: TryFrom<u64> + Default>(&mut self, env: &str) -> T {
        let Kind::Count(min, max) = setting(env).kind else { unreachable!("{env} is a count") };
        self.read(env, |given| {
            let value = text::count(given)
                .ok_or_else(|| format!("give a whole number such as {}", setting(env).default.text()))?;
            let value = within(value, min, max, |n| n.to_string())?;
            T::try_from(value).map_err(|_| "give a smaller number".to_owned())
        })
        .unwrap_or_default()
    }

    /// One of the setting's words, if given or the default.
    pub(super) fn choice(&mut self, env: &str) -> Option<&'static str> {
        let Kind::Choice(words) = setting(env).kind else { unreachable!("{env} is a choice") };
        self.read(env, |given| {
            let word = words.iter().find(|word| **word == given);
            word.copied().ok_or_else(|| format!("give {}", words.join(" or ")))
        })
    }
}

fn within<T: PartialOrd + Copy>(value: T, min: T, max: T, show: impl Fn(T) -> String) -> Result<T, String> {
    if value < min || value > max {
        return Err(format!("give {} to {}", show(min), show(max)));
    }
    Ok(value)
}

/// Names are constants of this module's neighbours; a test reads all of them.
fn setting(env: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.env == env).expect("a setting that is read is in the table")
}
