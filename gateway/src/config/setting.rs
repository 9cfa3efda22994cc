//! Declarations of settings. The flag, the help, the row in docs/config.md and the type of the value follow from
//! one declaration.

use std::time::Duration;

use super::text::{COUNT, DURATION, SIZE, Unit};
use crate::auth::Secret;

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;

/// One setting, whose value is a `T`. `Reader::value` reads it, or `Reader::optional` where it may be
/// left out.
pub(crate) struct Setting<T: 'static, D = Value> {
    /// The environment variable. The flag has the same name, `--in-this-form`.
    pub(super) env: &'static str,
    /// What its text has to be, and how it becomes a value.
    pub(super) takes: Takes<T>,
    /// What holds when it is not set.
    pub(super) default: D,
    /// What it means, in one or two sentences.
    pub(super) help: &'static str,
}

/// A setting that may be left out.
pub(crate) type Optional<T> = Setting<T, Otherwise>;

/// The text that is read when a setting is not set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value(pub(super) &'static str);

/// What happens when a setting is not set, in words: it depends on other settings or on the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Otherwise(pub(super) &'static str);

/// A file that holds another setting, as Docker and Kubernetes hand over secrets.
pub struct FileSetting {
    /// The environment variable.
    pub(super) env: &'static str,
    /// What it means.
    pub(super) help: &'static str,
}

/// What the text of a setting has to be, and how it becomes a value.
pub(super) struct Takes<T: 'static> {
    form: Form<T>,
    privacy: Privacy,
    file: Option<&'static FileSetting>,
    change: Change,
}

/// When a change of a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// When the node is started again.
    Restart,
    /// At once, for a node as a whole.
    Node,
    /// For the connections that begin afterwards.
    Connections,
}

impl Change {
    /// Returns the word for it in docs/config.md and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Node => "at once",
            Self::Connections => "new connections",
        }
    }
}

enum Form<T: 'static> {
    /// Whatever this function takes. Its error says what to give instead.
    Text(fn(&str) -> Result<T, String>),
    /// One of a few words.
    Choice(&'static [(&'static str, T)]),
    /// A number with its unit, between two bounds, both included.
    Number { unit: &'static Unit, min: u64, max: u64, convert: fn(u64) -> Option<T> },
}

/// Whether the text of a setting may be shown, in errors and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// It may be shown.
    Shown,
    /// It holds a password or a key.
    Hidden,
    /// It holds a secret of which every byte counts: nothing around it is cut off.
    Exact,
}

/// Takes a text that `parse` understands.
pub(super) const fn text<T>(parse: fn(&str) -> Result<T, String>) -> Takes<T> {
    Takes { form: Form::Text(parse), privacy: Privacy::Shown, file: None, change: Change::Restart }
}

/// Takes any text.
pub(super) const fn any_text() -> Takes<String> {
    text(|given| Ok(given.to_owned()))
}

/// Takes a URL that may hold a password or a key.
pub(super) const fn secret_url<T>(parse: fn(&str) -> Result<T, String>) -> Takes<T> {
    Takes { form: Form::Text(parse), privacy: Privacy::Hidden, file: None, change: Change::Restart }
}

/// Takes a secret, to the byte.
pub(super) const fn secret(parse: fn(&str) -> Result<Secret, String>) -> Takes<Secret> {
    Takes { form: Form::Text(parse), privacy: Privacy::Exact, file: None, change: Change::Restart }
}

/// Takes one of a few words, each with its value.
pub(super) const fn choice<T>(words: &'static [(&'static str, T)]) -> Takes<T> {
    Takes { form: Form::Choice(words), privacy: Privacy::Shown, file: None, change: Change::Restart }
}

/// Takes `true` or `false`.
pub(super) const fn yes_or_no() -> Takes<bool> {
    choice(&[("true", true), ("false", false)])
}

/// Takes a time with its unit, between two bounds, both included.
pub(super) const fn duration(min: Duration, max: Duration) -> Takes<Duration> {
    number(&DURATION, as_ms(min), as_ms(max), |ms| Some(Duration::from_millis(ms)))
}

/// Takes a number of bytes, between two bounds, both included.
pub(super) const fn size<T: TryFrom<u64>>(min: u64, max: u64) -> Takes<T> {
    number(&SIZE, min, max, |bytes| T::try_from(bytes).ok())
}

/// Takes a number of things, between two bounds, both included.
pub(super) const fn count<T: TryFrom<u64>>(min: u64, max: u64) -> Takes<T> {
    number(&COUNT, min, max, |count| T::try_from(count).ok())
}

/// Returns whole milliseconds. The bounds of settings are far below the largest number.
const fn as_ms(duration: Duration) -> u64 {
    duration.as_secs() * 1000 + duration.subsec_millis() as u64
}

const fn number<T>(unit: &'static Unit, min: u64, max: u64, convert: fn(u64) -> Option<T>) -> Takes<T> {
    Takes {
        form: Form::Number { unit, min, max, convert },
        privacy: Privacy::Shown,
        file: None,
        change: Change::Restart,
    }
}

impl<T> Takes<T> {
    /// Takes the same text from a file as well: for secrets, and for settings that a running node reads again.
    pub(super) const fn or_in(self, file: &'static FileSetting) -> Self {
        Self { form: self.form, privacy: self.privacy, file: Some(file), change: self.change }
    }

    /// Can change while a node runs, and then holds for the node as a whole.
    pub(super) const fn at_run_time(self) -> Self {
        Self { form: self.form, privacy: self.privacy, file: self.file, change: Change::Node }
    }

    /// Can change while a node runs, and then holds for the connections that begin afterwards.
    pub(super) const fn for_new_connections(self) -> Self {
        Self { form: self.form, privacy: self.privacy, file: self.file, change: Change::Connections }
    }
}

/// What holds when a setting is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This text, read as if it had been given.
    Value(&'static str),
    /// Something that depends on other settings or on the machine, described in words.
    Otherwise(&'static str),
}

impl Fallback {
    /// Returns what help and documentation show.
    pub fn text(self) -> &'static str {
        match self {
            Self::Value(text) | Self::Otherwise(text) => text,
        }
    }
}

impl From<Value> for Fallback {
    fn from(Value(text): Value) -> Self {
        Self::Value(text)
    }
}

impl From<Otherwise> for Fallback {
    fn from(Otherwise(text): Otherwise) -> Self {
        Self::Otherwise(text)
    }
}

/// A setting, whatever its value is: what help, documentation and complaints say of it.
pub trait Declared: Sync {
    /// The environment variable.
    fn env(&self) -> &'static str;

    /// What it means, in one or two sentences.
    fn help(&self) -> &'static str;

    /// What holds when it is not set.
    fn default(&self) -> Fallback;

    /// What its text has to be, for people; empty for free text.
    fn rule(&self) -> String;

    /// Whether its text may be shown.
    fn privacy(&self) -> Privacy {
        Privacy::Shown
    }

    /// The setting that names a file which holds this one, if there is such a setting.
    fn file(&self) -> Option<&'static FileSetting> {
        None
    }

    /// When a change of it takes effect.
    fn change(&self) -> Change {
        Change::Restart
    }

    /// Returns the flag that wins over the environment variable, without its dashes.
    fn flag(&self) -> String {
        self.env().to_ascii_lowercase().replace('_', "-")
    }

    /// Returns both names.
    fn name(&self) -> String {
        format!("{} (--{})", self.env(), self.flag())
    }
}

impl<T: Sync, D: Copy + Into<Fallback> + Sync> Declared for Setting<T, D> {
    fn env(&self) -> &'static str {
        self.env
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn default(&self) -> Fallback {
        self.default.into()
    }

    fn rule(&self) -> String {
        match &self.takes.form {
            Form::Text(_) => String::new(),
            Form::Choice(words) => words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or "),
            Form::Number { unit, min, max, .. } => format!("{} to {}", unit.show(*min), unit.show(*max)),
        }
    }

    fn privacy(&self) -> Privacy {
        self.takes.privacy
    }

    fn file(&self) -> Option<&'static FileSetting> {
        self.takes.file
    }

    fn change(&self) -> Change {
        self.takes.change
    }
}

impl<T: Clone + Sync, D: Copy + Into<Fallback> + Sync> Setting<T, D> {
    /// Reads a text that was given for this setting.
    ///
    /// # Errors
    /// What to give instead: "give …".
    pub(super) fn parse(&self, given: &str) -> Result<T, String> {
        match &self.takes.form {
            Form::Text(parse) => parse(given),
            Form::Choice(words) => {
                let chosen = words.iter().find(|(word, _)| *word == given);
                chosen.map(|(_, value)| value.clone()).ok_or_else(|| format!("give {}", self.rule()))
            }
            Form::Number { unit, min, max, convert } => {
                let number = unit.parse(given).ok_or_else(|| match self.default() {
                    Fallback::Value(text) => format!("give {} such as {text}", unit.name),
                    Fallback::Otherwise(_) => format!("give {}, {}", unit.name, self.rule()),
                })?;
                if number < *min || number > *max {
                    return Err(format!("give {}", self.rule()));
                }
                convert(number).ok_or_else(|| "give a smaller number".to_owned())
            }
        }
    }
}

impl Declared for FileSetting {
    fn env(&self) -> &'static str {
        self.env
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn default(&self) -> Fallback {
        Fallback::Otherwise("none")
    }

    fn rule(&self) -> String {
        "a path".to_owned()
    }
}

/// The settings of one concern, under their heading in help and documentation.
pub(super) struct Group {
    /// The heading.
    pub(super) title: &'static str,
    /// The settings, in the order in which they are shown.
    pub(super) settings: &'static [&'static dyn Declared],
}
