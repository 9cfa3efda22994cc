//! The users and their devices, connected.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use testkit::{
    Device, DeviceOptions,
    device::{Replica, drafts_of},
    http,
};
use tokio::sync::Mutex;

use super::{
    arrivals::{Arrival, Harvested},
    ledger::{Counts, Ledger},
    record::{Record, Room},
};
use crate::{
    check::{
        Fault,
        history::{Follower, Stored, StreamHistory},
    },
    cluster::{Place, tokens::Tokens, urls::Entrance},
    run::files::{self, OTHER_FILES},
};

/// Devices of one run: what the ports of one address and the memory of one machine carry.
const DEVICES_MAX: u32 = 25_000;

/// Devices that connect at one time. A storm of them is a scenario of its own.
const CONNECTING_MAX: usize = 64;

/// How long a device may take to connect and learn its drafts.
const CONNECT_WAIT: Duration = Duration::from_secs(30);

/// How long a command may take, reconnects included. Long enough for a node to be started again.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// The users of a run, whether they are connected or not; nobody has used them before.
#[derive(Debug)]
pub(crate) struct Roster {
    names: Vec<String>,
    entrances: Vec<Entrance>,
    /// Renews what the devices' tokens are taken from.
    tokens: Tokens,
    pub(crate) counts: Arc<Counts>,
    pub(crate) room: Arc<Room>,
}

/// All users, connected.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) users: Vec<Arc<User>>,
    pub(crate) roster: Roster,
}

/// One user.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) devices: Vec<Arc<Member>>,
    pub(crate) ledger: Ledger,
}

/// One device, at which one person makes one change after the other.
#[derive(Debug)]
pub(crate) struct Member {
    /// As histories name it.
    pub(crate) label: String,
    pub(crate) device: Device,
    pub(crate) record: Arc<Record>,
    /// Held while a change is made.
    pub(crate) turn: Mutex<()>,
    /// What of its events was looked at.
    harvested: std::sync::Mutex<Harvested>,
}

impl User {
    /// Takes what has arrived on the user's devices since it was last asked.
    pub(crate) fn harvest(&self, mut take: impl FnMut(Arrival)) {
        let ops = self.ledger.ops();
        for member in &self.devices {
            let mut harvested = member.harvested.lock().unwrap_or_else(PoisonError::into_inner);
            harvested.harvest(member.device.name(), &member.record, &ops, &mut take);
        }
    }
}

impl Member {
    /// What the device noticed itself, but for the order of events of streams that are `judged` elsewhere.
    pub(crate) fn found(&self, judged: impl Fn(&str) -> bool) -> Vec<Fault> {
        let found = |what: String| Fault::Found { device: self.label.clone(), what };
        let violations = self.device.violations();
        let others = violations.iter().filter(|violation| !violation.disordered().is_some_and(&judged));
        let closed = self
            .device
            .closed()
            .map(|code| found(format!("the server closed with {code} and the device does not come back")));
        others.map(|violation| found(format!("{violation:?}"))).chain(closed).collect()
    }
}

/// How the devices are connected, all together.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Connections {
    /// Devices by the node that serves them at the end.
    pub(crate) by_node: BTreeMap<String, u64>,
    /// Connections made in the whole run by node.
    pub(crate) made_by_node: BTreeMap<String, u64>,
    /// Devices without a connection at the end.
    pub(crate) offline: u64,
    /// Connections after a device's first.
    pub(crate) reconnects: u64,
    /// Connections that went on from a cursor and received all that was missed.
    pub(crate) resumes: u64,
    /// Snapshots sent instead of missed events.
    pub(crate) snapshots: u64,
    /// Commands repeated over another connection.
    pub(crate) resent: u64,
    /// Answers `unavailable`, after which devices try again.
    pub(crate) unavailable: u64,
}

impl Roster {
    /// Makes up as many users, with tokens of this scope. Their devices keep what they are sent, in this
    /// room.
    pub(crate) async fn of(
        place: &Place,
        users: usize,
        scope: &str,
        counts: Arc<Counts>,
        room: Arc<Room>,
    ) -> Result<Self> {
        // Another run's users have other drafts, and commands by the same ids that are remembered.
        let run: u32 = rand::random();
        let names: Vec<String> = (1..=users).map(|user| format!("load-{run:08x}-{user}")).collect();
        let tokens = Tokens::of(place.signer.clone(), &names, scope).await?;
        Ok(Self { names, entrances: place.entrances.clone(), tokens, counts, room })
    }

    /// A user with these devices.
    pub(crate) fn user(&self, number: usize, devices: Vec<(Device, Arc<Record>)>) -> User {
        let name = self.names[number].clone();
        let member = |(device, record): (Device, Arc<Record>)| {
            let label = format!("{name}/{}", device.name());
            Arc::new(Member { label, device, record, turn: Mutex::default(), harvested: Default::default() })
        };
        let devices = devices.into_iter().map(member).collect();
        User { name, devices, ledger: Ledger::new(&self.counts) }
    }

    /// How a user's device connects, and its record; a user's devices begin at the nodes in turn.
    pub(crate) fn device(&self, user: usize, device: usize) -> (DeviceOptions, Arc<Record>) {
        let mut urls: Vec<String> = self.entrances.iter().map(|entrance| entrance.ws.clone()).collect();
        urls.rotate_left(device % self.entrances.len());
        let mut options = DeviceOptions::new(urls, "", &format!("d{}", device + 1));
        options.token = self.tokens.source(&self.names[user]);
        options.answer_wait = ANSWER_WAIT;
        options.keep_messages = false;
        let record = Record::new(self.counts.clock, Arc::clone(&self.room));
        options.observer = Some(record.observer());
        (options, record)
    }

    /// The history of a user's stream so far, without its changes: the database first, then what was sent,
    /// then what devices made of it. Nothing can be in the first that is not in the last, when they agree.
    pub(crate) async fn look(&self, user: &User) -> Result<StreamHistory> {
        let stored = self.stored(user).await.with_context(|| format!("read the drafts of {}", user.name))?;
        let followers = user.devices.iter().map(|member| Follower {
            device: member.label.clone(),
            saw: member.record.saw("user"),
            drafts: member.device.drafts(),
        });
        let followers = followers.collect();
        Ok(StreamHistory { name: format!("the stream of {}", user.name), ops: Vec::new(), followers, stored })
    }

    /// A user's drafts and their position as the database has them, asked of any node that answers.
    async fn stored(&self, user: &User) -> Result<Stored> {
        let token = user.devices.first().context("a user without devices")?.device.token();
        let mut last = anyhow::anyhow!("nobody to ask");
        for entrance in &self.entrances {
            let url = format!("{}/v1/drafts", entrance.http);
            match http::get_as(&token, &url).await {
                Ok(answer) if answer.status == 200 => {
                    let seq = answer.json["seq"].as_u64().context("the list of drafts has no seq")?;
                    let drafts = drafts_of(&answer.json["drafts"]);
                    return Ok(Stored { head: seq, drafts, ..Stored::default() });
                }
                Ok(answer) => last = anyhow::anyhow!("{url} answers {}", answer.status),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Fleet {
    /// Connects all devices of the roster's users. `adjust` is given the device's place, and how it would
    /// behave otherwise.
    pub(crate) async fn connect(
        roster: Roster,
        devices: u32,
        adjust: impl Fn(usize, &mut DeviceOptions),
    ) -> Result<Self> {
        let (users, devices) = (roster.names.len(), devices as usize);
        allow(u32::try_from(users.saturating_mul(devices)).unwrap_or(u32::MAX))?;
        let all = (0..users).flat_map(|user| (0..devices).map(move |device| (user, device)));
        let connected = all.map(|(user, device)| {
            let (mut options, record) = roster.device(user, device);
            adjust(device, &mut options);
            async { anyhow::Ok((connect(options).await?, record)) }
        });
        let mut connected: Vec<(Device, Arc<Record>)> = stream::iter(connected.collect::<Vec<_>>())
            // In order: a user's devices stay numbered.
            .buffered(CONNECTING_MAX)
            .try_collect()
            .await?;
        let users = (0..users)
            .map(|number| Arc::new(roster.user(number, connected.drain(..devices).collect())))
            .collect();
        Ok(Self { users, roster })
    }

    /// How the devices are connected now, and were so far.
    pub(crate) fn connections(&self) -> Connections {
        let mut all = Connections::default();
        for user in &self.users {
            all.add(user);
        }
        all
    }
}

/// Allows this process as many devices.
pub(crate) fn allow(devices: u32) -> Result<()> {
    ensure!(devices <= DEVICES_MAX, "{devices} devices are too many for one run: at most {DEVICES_MAX}");
    files::allow(u64::from(devices) + OTHER_FILES)
}

impl Connections {
    /// How often devices came back, for people.
    pub(crate) fn came_back(&self) -> String {
        let Self { reconnects, resumes, snapshots, resent, unavailable, .. } = self;
        format!(
            "{reconnects} reconnects, {resumes} resumes, {snapshots} snapshots, {resent} commands resent, \
             {unavailable} answers to try later"
        )
    }

    /// Counts those of a user's devices.
    pub(crate) fn add(&mut self, user: &User) {
        for member in &user.devices {
            match member.device.node() {
                Some(node) => *self.by_node.entry(node).or_default() += 1,
                None => self.offline += 1,
            }
            let counters = member.device.counters();
            for (node, made) in counters.nodes {
                *self.made_by_node.entry(node).or_default() += made;
            }
            self.reconnects += counters.connections.saturating_sub(1);
            self.resumes += counters.resumes;
            self.snapshots += counters.snapshots;
            self.resent += counters.resent;
            self.unavailable += counters.unavailable;
        }
    }
}

async fn connect(options: DeviceOptions) -> Result<Device> {
    let urls = options.urls.join(" or ");
    let device = Device::start(options);
    if device.reach(CONNECT_WAIT, Replica::is_ready).await {
        return Ok(device);
    }
    match device.closed() {
        Some(4401) => bail!("{urls} refuses the tokens (4401): are they signed with the servers' secret?"),
        Some(code) => bail!("{urls} closed the connection with {code}"),
        None => bail!("no connection to {urls} within {CONNECT_WAIT:?}"),
    }
}
