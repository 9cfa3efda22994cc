//! The users and their devices, connected.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use testkit::{
    Device, DeviceOptions, Violation,
    device::{Replica, drafts_of},
    http,
};
use tokio::sync::Mutex;

use crate::{
    checks::{Fault, Stored},
    files::{self, OTHER_FILES},
    place::Place,
    tokens::Tokens,
    urls::Entrance,
};

/// Devices of one run: what the ports of one address and the memory of one machine carry.
const DEVICES_MAX: u32 = 25_000;

/// Devices that connect at one time. A storm of them is a scenario of its own.
const CONNECTING_MAX: usize = 64;

/// How long a device may take to connect and learn its drafts.
const CONNECT_WAIT: Duration = Duration::from_secs(30);

/// How long a command may take, reconnects included. Long enough for a node to be started again.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// All users.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) users: Vec<User>,
    entrances: Vec<Entrance>,
    /// Renews what the devices' tokens are taken from.
    _tokens: Tokens,
}

/// One user.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) devices: Vec<Arc<Member>>,
}

/// One device, at which one person makes one change after the other.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) device: Device,
    /// The number of the last change begun; held while it lasts.
    pub(crate) turn: Mutex<u64>,
}

impl Member {
    /// What the device noticed itself, but for the order of events of streams that are `judged` elsewhere.
    pub(crate) fn found(&self, judged: impl Fn(&str) -> bool) -> Vec<Fault> {
        let found = |what: String| Fault::Found { device: self.device.name().to_owned(), what };
        let violations = self.device.violations();
        let others = violations.iter().filter(|violation| match violation {
            Violation::Gap { stream, .. }
            | Violation::Repeat { stream, .. }
            | Violation::Reorder { stream, .. } => !judged(stream),
            _ => true,
        });
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
    /// Answers `unavailable` and `rate_limited`, after which devices try again.
    pub(crate) unavailable: u64,
}

impl Fleet {
    /// Connects all devices of users that nobody has used before, with tokens of this scope. `adjust` is given
    /// the user's name, the device's place, and how the device would behave otherwise.
    ///
    /// # Errors
    /// When there are no tokens, or a device does not get a connection.
    pub(crate) async fn connect(
        place: &Place,
        users: u32,
        devices: u32,
        scope: &str,
        mut adjust: impl FnMut(&str, usize, DeviceOptions) -> DeviceOptions,
    ) -> Result<Self> {
        let entrances = place.entrances.clone();
        let count = users.saturating_mul(devices);
        ensure!(count <= DEVICES_MAX, "{count} devices are too many for one run: at most {DEVICES_MAX}");
        files::allow(u64::from(count) + OTHER_FILES)?;
        // Another run's users have other drafts, and commands by the same ids that are remembered.
        let run: u32 = rand::random();
        let names: Vec<String> = (1..=users).map(|user| format!("load-{run:08x}-{user}")).collect();
        let tokens = Tokens::of(place.signer.clone(), &names, scope).await?;
        let mut all: Vec<User> = names.into_iter().map(|name| User { name, devices: Vec::new() }).collect();
        let pairs = (0..all.len()).flat_map(|user| (0..devices as usize).map(move |device| (user, device)));
        let options: Vec<(usize, DeviceOptions)> = pairs
            .map(|(user, device)| {
                let mut urls: Vec<String> = entrances.iter().map(|entrance| entrance.ws.clone()).collect();
                urls.rotate_left(device % entrances.len());
                let mut options = DeviceOptions::new(urls, "", &format!("d{}", device + 1));
                options.token = tokens.source(&all[user].name);
                options.answer_wait = ANSWER_WAIT;
                options.keep_messages = false;
                (user, adjust(&all[user].name, device, options))
            })
            .collect();
        let connected: Vec<(usize, Device)> = stream::iter(options)
            .map(|(user, options)| async move { anyhow::Ok((user, connect(options).await?)) })
            // In order: a user's devices stay numbered.
            .buffered(CONNECTING_MAX)
            .try_collect()
            .await?;
        for (user, device) in connected {
            all[user].devices.push(Arc::new(Member { device, turn: Mutex::new(0) }));
        }
        Ok(Self { users: all, entrances, _tokens: tokens })
    }

    /// A user's drafts and their position as the database has them, asked of any node that answers.
    ///
    /// # Errors
    /// When none does.
    pub(crate) async fn stored(&self, user: &User) -> Result<Stored> {
        let token = user.devices.first().context("a user without devices")?.device.token();
        let mut last = anyhow::anyhow!("nobody to ask");
        for entrance in &self.entrances {
            let url = format!("{}/v1/drafts", entrance.http);
            match http::get_as(&token, &url).await {
                Ok(answer) if answer.status == 200 => {
                    let seq = answer.json["seq"].as_u64().context("the list of drafts has no seq")?;
                    return Ok(Stored { seq, drafts: drafts_of(&answer.json["drafts"]) });
                }
                Ok(answer) => last = anyhow::anyhow!("{url} answers {}", answer.status),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// How the devices are connected now, and were so far.
    pub(crate) fn connections(&self) -> Connections {
        let mut all = Connections::default();
        for member in self.users.iter().flat_map(|user| &user.devices) {
            match member.device.node() {
                Some(node) => *all.by_node.entry(node).or_default() += 1,
                None => all.offline += 1,
            }
            let counters = member.device.counters();
            for (node, made) in counters.nodes {
                *all.made_by_node.entry(node).or_default() += made;
            }
            all.reconnects += counters.connections.saturating_sub(1);
            all.resumes += counters.resumes;
            all.snapshots += counters.snapshots;
            all.resent += counters.resent;
            all.unavailable += counters.unavailable;
        }
        all
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
