//! `drafts`: users edit drafts on all their devices, at a rate that does not wait for answers.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use serde_json::json;
use tokio::time::timeout;

use super::Scenario;
use crate::{
    cluster::{ClusterArgs, Place},
    measure::{
        effort::{Helping, Mark},
        summary::{Check, Outcome, Summary},
    },
    run::{Stage, arguments, open_loop::OpenLoop},
    users::{
        edits::{create_all_drafts, edit_by_any},
        fleet::{Fleet, Roster},
        ledger::{Clock, Counts},
        record::Room,
        settle::settle_all,
        tally::Tally,
    },
};

/// Edits of one run: their records are kept to the end, on every device that received them.
const EDITS_MAX: f64 = 2_000_000.0;

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How many users.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) users: u32,
    /// How many devices each of them has; they begin at the nodes in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    devices: u32,
    /// Edits a second, by all users together.
    #[arg(long, default_value = "20", value_parser = arguments::rate)]
    rate: f64,
    /// How long users edit: 250ms, 60s, 5m, 1h.
    #[arg(long, default_value = "60s", value_parser = arguments::duration)]
    duration: Duration,
    /// How many drafts each user has.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    drafts_per_user: u32,
    /// How long, at the end, answers may take that are still awaited, and then devices to catch up.
    #[arg(long, default_value = "15s", value_parser = arguments::duration)]
    settle: Duration,
    /// The part of the planned edits that has to be answered with success or a conflict, percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 99, value_parser = clap::value_parser!(u8).range(0..=100))]
    success_min: u8,
}

impl Scenario for Options {
    /// # Errors
    /// When devices cannot connect, nothing was acknowledged, or the database cannot be read at the
    /// end.
    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let pace = OpenLoop { rate: self.rate, duration: self.duration };
        let planned = pace.planned();
        ensure!(planned <= EDITS_MAX, "{planned} edits are too many for one run: at most {EDITS_MAX}");

        let (users, devices) = (self.users, self.devices);
        let place = Place::of(&self.cluster, &mut stage.progress).await?;
        stage.progress.part(&format!("connecting {users} users with {devices} devices each"));
        let prepared = async {
            let (counts, room) = (Counts::new(Clock::start()), Room::new(u64::MAX));
            let roster = Roster::of(&place, users as usize, "", counts, room).await?;
            let fleet = Fleet::connect(roster, devices, |_, _| {}).await?;
            create_all_drafts(&fleet, self.drafts_per_user).await?;
            anyhow::Ok(fleet)
        };
        let fleet = tokio::select! {
            fleet = prepared => fleet?,
            () = stage.interrupt.pressed() => bail!("interrupted before the run"),
        };

        stage.progress.part(&format!("editing for {:?}, {} times a second", self.duration, self.rate));
        let before = Mark::now(&place.nodes, Helping::default()).await?;
        let begun = Instant::now();
        let standing = |elapsed, under_way| standing(&fleet, elapsed, under_way);
        let edit = |intended: tokio::time::Instant| {
            Some(edit_by_any(&fleet.users, self.drafts_per_user, intended.into_std()))
        };
        let mut under_way = pace.run(stage, standing, edit).await;
        let edited = begun.elapsed();

        stage.progress.part("waiting for answers, and for all devices to have what the database has");
        let answers = async { while under_way.join_next().await.is_some() {} };
        // What has no answer by then stays unknown.
        let _ = timeout(self.settle, answers).await;
        under_way.shutdown().await;
        let effort = Mark::now(&place.nodes, Helping::default()).await?.since(&before);
        let histories = settle_all(&fleet, self.settle).await?;

        let mut tally = Tally::default();
        tally.commands.planned = planned as u64;
        for (user, history) in fleet.users.iter().zip(&histories) {
            user.harvest(|arrival| tally.arrived(&arrival));
            tally.judge(user, history);
        }
        let commands = &tally.commands;
        ensure!(commands.acked > 0, "nothing was acknowledged, so nothing can be judged: {commands:?}");
        let mut summary = Summary::new("drafts", format!("{:.0} s", edited.as_secs_f64()));
        // After Ctrl-C the rest was not to be sent.
        let wanted = if stage.interrupt.was_pressed() { commands.sent } else { planned as u64 };
        let answered = commands.acked + commands.conflicts;
        let least = f64::from(self.success_min);
        summary.check(Check::part("edits acknowledged, or in conflict", answered, wanted, least));
        // For each event that a device received, its author's included; and for each on another device.
        let each_delivery = effort.costs(commands.acked * u64::from(devices));
        let each_other = effort.costs(tally.arrivals().count);
        summary.row("processor, each delivery", each_delivery.text());
        effort.tell(&mut summary);
        summary.put("edited_seconds", edited.as_secs_f64());
        summary.put(
            "spent",
            json!({"effort": effort, "each_delivery": each_delivery, "each_other": each_other}),
        );
        tally.tell(&mut summary);
        Ok(summary.outcome())
    }
}

/// The line of the progress display.
fn standing(fleet: &Fleet, elapsed: Duration, under_way: usize) -> String {
    let (sent, acked) = (fleet.roster.counts.asked(), fleet.roster.counts.acked());
    let connections = fleet.connections();
    let nodes: Vec<String> =
        connections.by_node.iter().map(|(node, count)| format!("{node} {count}")).collect();
    format!(
        "{:>4.0}s  sent {sent}  acked {acked}  under way {under_way}  {}  offline {}  reconnects {}",
        elapsed.as_secs_f64(),
        nodes.join("  "),
        connections.offline,
        connections.reconnects,
    )
}
