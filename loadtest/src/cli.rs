//! The command line.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    report,
    run::{Stage, interrupt::Interrupt},
    scenario::{
        Scenario, chaos, churn, connections, drafts, feed,
        floor::{self, server},
        storm,
        users::{Burst, Load, Stability, Steady, Stress, Users},
        writers,
    },
    swarm::{self, orders::Wire},
};

/// Finds out whether a Draftwire cluster is ready: drives it as many devices would, checks what it
/// promises, and measures how fast and at what cost.
///
/// Exits with 0 when every promise and every threshold held, 1 when one was broken, 2 when the run could
/// not be made. Ctrl-C ends the load early and still verifies where there is something to verify; pressed
/// again, it gives up.
#[derive(Debug, Parser)]
#[command(name = "draftwire-loadtest", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Of `drafts`, which runs when no scenario is named.
    #[command(flatten)]
    drafts: Written<drafts::Options>,
}

/// A scenario, and where its outcome goes.
#[derive(Debug, Args)]
struct Written<Scenario: Args> {
    #[command(flatten)]
    scenario: Scenario,
    /// Also writes the outcome as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Users edit drafts on all their devices, at a fixed rate: nothing acknowledged is lost.
    Drafts(Written<drafts::Options>),
    /// Backends publish to many followers: how fast, and at what cost for each delivery.
    Feed(Written<feed::Options>),
    /// Many clients connect and stay: how fast, and how much memory each of them takes.
    Connections(Written<connections::Options>),
    /// The same clients come and go: whether memory comes back.
    Churn(Written<churn::Options>),
    /// All devices lose their node and come back with a gap: how soon, and what it asks of the database.
    Storm(Written<storm::Options>),
    /// Devices edit and publish while parts of the cluster are killed, frozen and restarted: what was
    /// acknowledged is kept, once and in order.
    Chaos(Written<chaos::Options>),
    /// As many users as a tier has come, work on several devices each, and leave.
    Load(Written<Users<Load>>),
    /// Too many users: all of a sudden, for long, or ever more of them.
    Stress(Written<Users<Stress>>),
    /// 100 connections and 10 messages a second, which every cluster has to bear.
    Baseline(Written<Users<Steady<false>>>),
    /// 1,000 connections, and 50 messages a second each way.
    High(Written<Users<Steady<true>>>),
    /// Everybody is idle, and then all users make a change at the same moment.
    Burst(Written<Users<Burst>>),
    /// A day in which users come and go: whether memory and latency stay as they are.
    Stability(Written<Users<Stability>>),
    /// Many writers change drafts, each waiting for its commit: how many commits there are in a second.
    Writers(Written<writers::Options>),
    /// What the machine alone costs, without a server.
    Floor(Written<floor::Options>),
    /// Runs a set of scenarios against clusters that it starts, and writes a report with what they found.
    Report(report::Options),
    /// Many clients in one process; told by its parent what to do.
    #[command(name = swarm::HELPER, hide = true)]
    SwarmHelper,
    /// The least that can serve; told by its parent what to do.
    #[command(name = server::SERVER, hide = true)]
    FloorServer {
        #[arg(long, value_enum)]
        wire: Wire,
        #[arg(long)]
        idle: bool,
    },
}

impl Cli {
    /// Does what a helper process of this program does, if this is one.
    pub(crate) async fn assist(&self) -> Option<Result<()>> {
        match self.command {
            Some(Command::SwarmHelper) => Some(swarm::helper::run()),
            Some(Command::FloorServer { wire, idle }) => Some(server::run(wire, idle).await),
            _ => None,
        }
    }

    /// Runs the scenario. Returns whether every promise and every threshold held.
    pub(crate) async fn run(self, interrupt: Interrupt) -> Result<bool> {
        match self.command.unwrap_or(Command::Drafts(self.drafts)) {
            Command::Drafts(options) => run(options, interrupt).await,
            Command::Feed(options) => run(options, interrupt).await,
            Command::Connections(options) => run(options, interrupt).await,
            Command::Churn(options) => run(options, interrupt).await,
            Command::Storm(options) => run(options, interrupt).await,
            Command::Chaos(options) => run(options, interrupt).await,
            Command::Load(options) => run(options, interrupt).await,
            Command::Stress(options) => run(options, interrupt).await,
            Command::Baseline(options) => run(options, interrupt).await,
            Command::High(options) => run(options, interrupt).await,
            Command::Burst(options) => run(options, interrupt).await,
            Command::Stability(options) => run(options, interrupt).await,
            Command::Writers(options) => run(options, interrupt).await,
            Command::Floor(options) => run(options, interrupt).await,
            Command::Report(options) => {
                let mut stage = Stage::new(interrupt);
                options.run(&mut stage).await
            }
            Command::SwarmHelper | Command::FloorServer { .. } => Ok(true),
        }
    }
}

async fn run(of: Written<impl Scenario + Args>, interrupt: Interrupt) -> Result<bool> {
    let mut stage = Stage::new(interrupt);
    let outcome = of.scenario.run(&mut stage).await;
    stage.progress.clear();
    let outcome = outcome?;
    outcome.publish(of.json.as_ref())?;
    Ok(outcome.held)
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
            let Command::Drafts(options) = cli.command.unwrap_or(Command::Drafts(cli.drafts)) else {
                panic!("another scenario");
            };
            assert_eq!(options.scenario.users, 7);
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
}
