//! The command line.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::scenario::{self, drafts};

/// Drives a Draftwire cluster as the devices of many users would, and checks what it promises.
///
/// Exits with 0 when every promise held, 1 when one was broken, 2 when the run could not be made.
/// Ctrl-C ends the load early and still verifies; pressed again, it gives up.
#[derive(Debug, Parser)]
#[command(name = "draftwire-loadtest", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    /// Of `drafts`, which runs when no scenario is named.
    #[command(flatten)]
    drafts: drafts::Options,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Users edit drafts on all their devices, at a fixed rate.
    Drafts(drafts::Options),
}

impl Cli {
    /// Runs the scenario. Answers whether every promise held.
    ///
    /// # Errors
    /// When the run could not be made.
    pub(crate) async fn run(self) -> Result<bool> {
        match self.scenario.unwrap_or(Scenario::Drafts(self.drafts)) {
            Scenario::Drafts(options) => scenario::drafts::run(options).await,
        }
    }
}

/// Where the cluster is, and who connects.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Where devices connect; repeat it to spread a user's devices over nodes: the first device
    /// begins at the first, the second at the second, and each goes on to the others when it fails.
    #[arg(long = "url", value_name = "WS_URL", default_value = "ws://127.0.0.1:8080")]
    pub(crate) urls: Vec<String>,
    /// How many users.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) users: u32,
    /// How many devices each of them has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) devices: u32,
    #[command(flatten)]
    pub(crate) tokens: TokenArgs,
}

/// Where tokens come from. Without any of these: from the environment's JWT_SECRET.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct TokenArgs {
    /// Signs tokens with the servers' JWT_SECRET. Prefer the environment: arguments show in `ps`.
    #[arg(long)]
    pub(crate) secret: Option<String>,
    /// Runs this in a shell for each user, whose name is in $DRAFTWIRE_USER, and reads the token from
    /// its output.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) token_command: Option<String>,
    /// Takes tokens from the demo page's /demo/token.
    #[arg(long)]
    pub(crate) demo: bool,
}

/// What is written at the end, besides the report for people.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Also writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Reads `250ms`, `60s`, `5m` or `1h`; up to a day.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a number with a unit is needed: 250ms, 60s, 5m or 1h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    let duration = Duration::from_millis(number.saturating_mul(milliseconds));
    if duration > LONGEST { Err("at most 24h".to_owned()) } else { Ok(duration) }
}

/// Reads commands a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.01 to 100000 is needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn drafts_is_what_runs_when_nothing_is_named() {
        for arguments in [vec!["x", "--users", "7"], vec!["x", "drafts", "--users", "7"]] {
            let cli = Cli::try_parse_from(arguments).expect("it is right");
            let Scenario::Drafts(options) = cli.scenario.unwrap_or(Scenario::Drafts(cli.drafts));
            assert_eq!(options.target.users, 7);
        }
        for wrong in [
            vec!["x", "--users", "0"],
            vec!["x", "--demo", "--secret", "s"],
            vec!["x", "nope"],
            vec!["x", "--duration", "5"],
        ] {
            assert!(Cli::try_parse_from(&wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn durations_have_units_and_a_bound() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "5", "s", "-1s", "1.5s", "25h", "99999999999999999999s", "1 s"] {
            assert!(duration(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
