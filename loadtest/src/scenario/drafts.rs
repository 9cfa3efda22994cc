//! `drafts`: users edit drafts on all their devices, at a rate that does not wait for answers.
//!
//! Each edit has its moment, fixed before the run. A cluster that falls behind does not slow the edits
//! down, and what they wait is part of their latency (an open loop).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use testkit::{Ack, Refused, Violation};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep_until, timeout, timeout_at},
};

use crate::{
    checks::{self, Change, Fault, Outcome},
    cli,
    effort::Mark,
    fleet::{Fleet, Member, User},
    interrupt::Interrupt,
    latency::Latency,
    outcome::{self, Output},
    place::{ClusterArgs, Place},
    progress::Progress,
    report::{Broken, Commands, Deliveries, Report, Spent, Verified},
    scenario::Scenario,
    settle::{Settled, settle},
    stage::Stage,
};

/// Edits of one run: their records are kept to the end, on every device that received them.
const EDITS_MAX: f64 = 2_000_000.0;

/// Edits under way at one time. When there are as many, the next waits, and its wait is measured.
const UNDER_WAY_MAX: usize = 10_000;

/// Drafts made at one time before the run.
const CREATING_MAX: usize = 32;

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
    #[arg(long, default_value = "20", value_parser = cli::rate)]
    rate: f64,
    /// How long users edit: 250ms, 60s, 5m, 1h.
    #[arg(long, default_value = "60s", value_parser = cli::duration)]
    duration: Duration,
    /// How many drafts each user has.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    drafts_per_user: u32,
    /// How long, at the end, answers may take that are still awaited, and then devices to catch up.
    #[arg(long, default_value = "15s", value_parser = cli::duration)]
    settle: Duration,
    #[command(flatten)]
    output: Output,
}

/// One edit, from its intended moment on.
#[derive(Debug)]
struct Edit {
    user: usize,
    change: Change,
    /// Whether it belongs to the load, or made the drafts before it.
    measured: bool,
    /// When it was to be sent.
    intended: Instant,
    /// When its answer came.
    answered: Option<Instant>,
}

/// Every edit that was begun.
#[derive(Debug, Default)]
struct Ledger {
    edits: Mutex<Vec<Edit>>,
    /// Of the load, for the progress display.
    sent: AtomicU64,
    acked: AtomicU64,
}

impl Ledger {
    fn edits(&self) -> MutexGuard<'_, Vec<Edit>> {
        self.edits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an edit that is about to be sent. Until it is answered, its outcome is unknown.
    fn begin(&self, edit: Edit) -> usize {
        self.sent.fetch_add(u64::from(edit.measured), Ordering::Relaxed);
        let mut edits = self.edits();
        edits.push(edit);
        edits.len() - 1
    }

    fn end(&self, index: usize, answer: &Result<Ack, Refused>) {
        let mut edits = self.edits();
        let edit = &mut edits[index];
        self.acked.fetch_add(u64::from(edit.measured && answer.is_ok()), Ordering::Relaxed);
        edit.answered = Some(Instant::now());
        edit.change.outcome = match answer {
            Ok(ack) => Outcome::Acked(ack.seq),
            // The device's own words for not knowing.
            Err(refused) if matches!(refused.code.as_str(), "timeout" | "closed") => Outcome::Unknown,
            Err(refused) => Outcome::Refused(refused.code.clone()),
        };
    }
}

impl Scenario for Options {
    fn output(&self) -> &Output {
        &self.output
    }

    /// # Errors
    /// When devices cannot connect, nothing was acknowledged, or the database cannot be read at the
    /// end.
    async fn run(self, stage: &mut Stage) -> Result<outcome::Outcome> {
        let planned = (self.rate * self.duration.as_secs_f64()).ceil();
        ensure!(planned <= EDITS_MAX, "{planned} edits are too many for one run: at most {EDITS_MAX}");
        let Stage { progress, interrupt, .. } = stage;

        let (users, devices) = (self.users, self.devices);
        let place = Place::of(&self.cluster, progress).await?;
        progress.part(&format!("connecting {users} users with {devices} devices each"));
        let ledger = Arc::new(Ledger::default());
        let prepared = async {
            let fleet = Fleet::connect(&place, users, devices).await?;
            create_drafts(&fleet, self.drafts_per_user, &ledger).await?;
            anyhow::Ok(fleet)
        };
        let fleet = tokio::select! {
            fleet = prepared => fleet?,
            () = interrupt.pressed() => bail!("interrupted before the run"),
        };

        progress.part(&format!("editing for {:?}, {} times a second", self.duration, self.rate));
        let before = Mark::now(&place.nodes, None).await?;
        let begun = Instant::now();
        let mut under_way = edit_all(&fleet, &self, &ledger, progress, interrupt).await;
        let edited = begun.elapsed();

        progress.part("waiting for answers, and for all devices to have what the database has");
        let answers = async { while under_way.join_next().await.is_some() {} };
        // What has no answer by then stays unknown.
        let _ = timeout(self.settle, answers).await;
        under_way.shutdown().await;
        let effort = Mark::now(&place.nodes, None).await?.since(&before);
        let settled = settle(&fleet, self.settle).await?;

        let mut report = report(&fleet, &settled, &ledger.edits(), planned as u64, edited);
        ensure!(
            report.commands.acked > 0,
            "nothing was acknowledged, so nothing can be judged: {:?}",
            report.commands
        );
        let events = report.commands.acked * u64::from(devices);
        report.spent = Some(Spent::of(effort, events, report.deliveries.from_intended.count));
        outcome::Outcome::of(report.held(), &report)
    }
}

fn draft_id(number: u32) -> String {
    format!("draft-{number}")
}

/// Makes each user's drafts, on its devices in turn.
async fn create_drafts(fleet: &Fleet, per_user: u32, ledger: &Ledger) -> Result<()> {
    let drafts = (0..fleet.users.len()).flat_map(|user| (0..per_user).map(move |number| (user, number)));
    stream::iter(drafts)
        .map(|(user, number)| async move {
            let devices = &fleet.users[user].devices;
            let device = &devices[number as usize % devices.len()].device;
            let draft = draft_id(number);
            let index = ledger.begin(Edit {
                user,
                change: change(device.name(), &draft, 0),
                measured: false,
                intended: Instant::now(),
                answered: None,
            });
            let answer = device.create(&draft, json!({})).await;
            ledger.end(index, &answer);
            answer.map(|_| ()).context("make the first drafts")
        })
        .buffer_unordered(CREATING_MAX)
        .try_collect()
        .await
}

fn change(device: &str, draft: &str, value: u64) -> Change {
    Change { device: device.to_owned(), draft: draft.to_owned(), value, outcome: Outcome::Unknown }
}

/// Begins every edit at its moment, until the time is over or Ctrl-C. Answers those under way.
async fn edit_all(
    fleet: &Fleet,
    options: &Options,
    ledger: &Arc<Ledger>,
    progress: &mut Progress,
    interrupt: &mut Interrupt,
) -> JoinSet<()> {
    let slots = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut under_way = JoinSet::new();
    let begun = tokio::time::Instant::now();
    let end = begun + options.duration;
    let mut shown = tokio::time::interval(progress.every());
    for n in 0.. {
        let intended = begun + Duration::from_secs_f64(f64::from(n) / options.rate);
        if intended >= end {
            break;
        }
        let slot = async {
            sleep_until(intended).await;
            Arc::clone(&slots).acquire_owned().await
        };
        tokio::pin!(slot);
        let slot = loop {
            tokio::select! {
                slot = timeout_at(end, &mut slot) => break slot,
                () = interrupt.pressed() => return under_way,
                _ = shown.tick() => progress.show(|| standing(fleet, ledger, begun.elapsed(), under_way.len())),
            }
        };
        let Ok(Ok(slot)) = slot else { break };
        while under_way.try_join_next().is_some() {}
        let user = rand::random_range(0..fleet.users.len());
        let devices = &fleet.users[user].devices;
        let member = Arc::clone(&devices[rand::random_range(0..devices.len())]);
        let draft = draft_id(rand::random_range(0..options.drafts_per_user));
        let ledger = Arc::clone(ledger);
        under_way.spawn(async move {
            edit(&member, user, &draft, intended.into_std(), &ledger).await;
            drop(slot);
        });
    }
    under_way
}

/// Sets the device's own field of the draft to the number of the change.
async fn edit(member: &Member, user: usize, draft: &str, intended: Instant, ledger: &Ledger) {
    let mut number = member.turn.lock().await;
    *number += 1;
    let device = &member.device;
    let change = change(device.name(), draft, *number);
    let index = ledger.begin(Edit { user, change, measured: true, intended, answered: None });
    let answer = device.edit(draft, json!({ (device.name()): *number })).await;
    ledger.end(index, &answer);
}

/// The line of the progress display.
fn standing(fleet: &Fleet, ledger: &Ledger, elapsed: Duration, under_way: usize) -> String {
    let (sent, acked) = (ledger.sent.load(Ordering::Relaxed), ledger.acked.load(Ordering::Relaxed));
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

fn report(fleet: &Fleet, settled: &[Settled], edits: &[Edit], planned: u64, edited: Duration) -> Report {
    let mut commands = Commands { planned, ..Commands::default() };
    let mut answered = Latency::new();
    let mut by_user: Vec<Vec<&Edit>> = vec![Vec::new(); fleet.users.len()];
    for edit in edits {
        by_user[edit.user].push(edit);
        if !edit.measured {
            continue;
        }
        commands.sent += 1;
        match &edit.change.outcome {
            Outcome::Acked(_) => {
                commands.acked += 1;
                answered.record(waited(edit.intended, edit.answered));
            }
            Outcome::Refused(code) if code == "conflict" => commands.conflicts += 1,
            Outcome::Refused(code) => *commands.errors.entry(code.clone()).or_default() += 1,
            Outcome::Unknown => commands.unanswered += 1,
        }
    }
    let mut verified = Verified::default();
    let mut broken = Broken::default();
    let mut arrivals = Arrivals::default();
    for ((user, settled), edits) in fleet.users.iter().zip(settled).zip(&by_user) {
        verified.users += 1;
        verified.devices += user.devices.len() as u64;
        verified.drafts += settled.stored.drafts.len() as u64;
        verified.events += settled.records.iter().map(|record| record.received.len() as u64).sum::<u64>();
        verified.acked +=
            edits.iter().filter(|edit| matches!(edit.change.outcome, Outcome::Acked(_))).count() as u64;
        verified.epoch_changes += u64::from(checks::epoch_changed(&settled.records));
        let changes: Vec<Change> = edits.iter().map(|edit| edit.change.clone()).collect();
        let faults = checks::judge(&settled.records, &changes, &settled.stored);
        for fault in faults.into_iter().chain(found_by_devices(user)) {
            broken.add(&user.name, &fault);
        }
        arrivals.of(user, edits);
    }
    Report {
        scenario: "drafts",
        edited_seconds: edited.as_secs_f64(),
        commands,
        answered: answered.percentiles(),
        deliveries: arrivals.report(),
        connections: fleet.connections(),
        spent: None,
        verified,
        broken,
    }
}

/// What the devices noticed themselves and the records do not show again.
fn found_by_devices(user: &User) -> Vec<Fault> {
    let mut faults = Vec::new();
    for member in &user.devices {
        let mut found = |what: String| {
            faults.push(Fault::Found { device: member.device.name().to_owned(), what });
        };
        for violation in member.device.violations() {
            match violation {
                Violation::Gap { stream, .. }
                | Violation::Repeat { stream, .. }
                | Violation::Reorder { stream, .. }
                    if stream == "user" => {}
                other => found(format!("{other:?}")),
            }
        }
        if let Some(code) = member.device.closed() {
            found(format!("the server closed with {code} and the device does not come back"));
        }
    }
    faults
}

/// When changes arrived on the devices that did not make them.
#[derive(Debug)]
struct Arrivals {
    expected: u64,
    from_intended: Latency,
    from_ack: Latency,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { expected: 0, from_intended: Latency::new(), from_ack: Latency::new() }
    }
}

impl Arrivals {
    fn of(&mut self, user: &User, edits: &[&Edit]) {
        let acked: HashMap<u64, &Edit> = edits
            .iter()
            .filter_map(|edit| match edit.change.outcome {
                Outcome::Acked(Some(seq)) if edit.measured => Some((seq, *edit)),
                _ => None,
            })
            .collect();
        self.expected += acked.len() as u64 * (user.devices.len() as u64 - 1);
        for member in &user.devices {
            let seen = member.device.seen();
            // Of repeats, the first is when it arrived.
            let first: BTreeMap<u64, Instant> = seen.iter().rev().map(|seen| (seen.seq, seen.at)).collect();
            for (seq, at) in first {
                let Some(edit) = acked.get(&seq).filter(|edit| edit.change.device != member.device.name())
                else {
                    continue;
                };
                self.from_intended.record(waited(edit.intended, Some(at)));
                // Others may well have it before its author has the answer.
                self.from_ack.record(edit.answered.map_or(Duration::ZERO, |acked| waited(acked, Some(at))));
            }
        }
    }

    fn report(&self) -> Deliveries {
        Deliveries {
            expected: self.expected,
            from_intended: self.from_intended.percentiles(),
            from_ack: self.from_ack.percentiles(),
        }
    }
}

fn waited(from: Instant, to: Option<Instant>) -> Duration {
    to.map_or(Duration::ZERO, |to| to.saturating_duration_since(from))
}
