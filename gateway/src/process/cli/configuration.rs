//! `draftwire config`: what a node would run with.

use clap::{ArgMatches, Command};

use super::flags::{argument, flag};
use crate::config::{self, Config, ConfigErrors, Fallback, Privacy};

/// What is asked about a configuration.
#[derive(Debug)]
pub enum ConfigRequest {
    /// Whether a node would start.
    Check(Box<Config>),
    /// Each setting, and where it comes from.
    Print(Box<Config>),
}

/// The command line.
pub(super) fn command() -> Command {
    let settings = || config::declared().map(|(title, setting)| argument(title, setting));
    Command::new("config")
        .about("Say what a node would run with, started with these flags and this environment")
        .subcommand_required(true)
        .subcommands([
            Command::new("check").about("Only whether it would start; ends with 0 if so, else with 2").args(settings()),
            Command::new("print")
                .about("Each setting, and where its value comes from; secrets are left out")
                .after_help(
                    "What was changed at run time is in the database, and wins: draftwire settings list shows it.",
                )
                .args(settings()),
        ])
}

/// Reads the configuration as `serve` would.
pub(super) fn read(
    matches: &ArgMatches,
    env: impl Fn(&str) -> Option<String>,
) -> Result<ConfigRequest, ConfigErrors> {
    let (name, matches) = matches.subcommand().expect("clap demands one");
    let lookup = |setting: &str| flag(matches, setting).or_else(|| env(setting));
    let config = Box::new(Config::from_sources(lookup, |setting| flag(matches, setting).is_some())?);
    Ok(if name == "check" { ConfigRequest::Check(config) } else { ConfigRequest::Print(config) })
}

impl ConfigRequest {
    /// Returns the lines to print.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Check(config) => {
                let warnings = config.warnings().into_iter().map(|warning| format!("warning: {warning}"));
                warnings.chain(["a node would start with this".to_owned()]).collect()
            }
            Self::Print(config) => config::declared().map(|(_, setting)| line(setting, config)).collect(),
        }
    }
}

fn line(setting: &dyn config::Declared, config: &Config) -> String {
    let (env, source) = (setting.env(), config.given.source(setting.env()));
    let value = match (config.given.text(env), source, setting.default()) {
        (Some(text), ..) => format!("={text}"),
        (None, config::Source::Default, Fallback::Value(text)) => format!("={text}"),
        (None, config::Source::Default, Fallback::Otherwise(words)) => format!("  ({words})"),
        (None, ..) if setting.privacy() == Privacy::Shown => String::new(),
        (None, ..) => "=(not shown)".to_owned(),
    };
    format!("{env}{value}  [{}]", source.as_str())
}
