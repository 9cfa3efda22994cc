//! `draftwire doctor`: what a node with these settings would meet, before it is started.

mod finding;
mod machine;
mod parts;

use clap::{ArgMatches, Command};

use self::finding::{Finding, State};
use crate::config::{Config, ConfigErrors};

/// What is to be looked at.
#[derive(Debug)]
pub struct DoctorRequest {
    settings: Result<Box<Config>, ConfigErrors>,
    json: bool,
}

/// The command, without its settings, which are those of a node.
pub(super) fn command() -> Command {
    let json = clap::Arg::new("json")
        .long("json")
        .action(clap::ArgAction::SetTrue)
        .help("Print a JSON array of {check, state, message}");
    Command::new("doctor")
        .about(
            "Check what a node with these settings would meet: Postgres, Redis, keys, clocks, limits, ports",
        )
        .next_line_help(true)
        .arg(json)
}

impl DoctorRequest {
    pub(super) fn read(matches: &ArgMatches, settings: Result<Config, ConfigErrors>) -> Self {
        Self { settings: settings.map(Box::new), json: matches.get_flag("json") }
    }

    /// Looks, prints what was found, and returns whether a node could start.
    pub async fn run(self) -> bool {
        let mut findings = Vec::new();
        match &self.settings {
            Ok(settings) => {
                findings.push(Finding::ok("settings", "the settings make sense"));
                findings.extend(
                    settings.warnings().into_iter().map(|sentence| Finding::warning("settings", sentence)),
                );
                parts::check(settings, &mut findings).await;
                machine::check(settings, &mut findings);
            }
            Err(ConfigErrors(sentences)) => {
                findings.extend(sentences.iter().map(|sentence| Finding::failed("settings", sentence)));
            }
        }
        if self.json {
            // Text and words of ours.
            println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
        } else {
            findings.iter().for_each(|Finding { state, message, .. }| println!("{state}: {message}"));
        }
        findings.iter().all(|finding| finding.state != State::Failed)
    }
}
