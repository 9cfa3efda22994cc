//! Users at work on all their devices, and what must be true of it afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::json;
use testkit::{Cluster, Device, DeviceOptions, Refused, wait};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::DEADLINE;

/// The draft that all devices of a user edit.
const SHARED: &str = "shared";

/// Every this many edits a device makes a draft of its own, and deletes the one before.
const OWN_DRAFT_EVERY: u64 = 4;

/// One user with all devices connected.
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) devices: Vec<Arc<Device>>,
}

/// Users, of whom each has a draft that the devices share.
pub(crate) struct Fleet {
    pub(crate) users: Vec<User>,
}

impl Fleet {
    /// Connects `devices` devices of each of `users` users to the nodes in turn.
    pub(crate) async fn connect(cluster: &Cluster, users: usize, devices: usize) -> Self {
        Self::connect_with(users, devices, |user, name, number| cluster.device_options(user, name, number))
            .await
    }

    /// Connects devices as `options` says, given the user, the device's name, and a number that is
    /// another for each of a user's devices.
    pub(crate) async fn connect_with(
        users: usize,
        devices: usize,
        options: impl Fn(&str, &str, usize) -> DeviceOptions,
    ) -> Self {
        let options = &options;
        let connected = (0..users).map(|u| async move {
            let name = format!("user{u}");
            let devices = join_all((0..devices).map(|d| {
                let options = options(&name, &format!("device{d}"), u + d);
                async { Arc::new(Device::connect(options).await) }
            }))
            .await;
            devices[0].create(SHARED, json!({})).await.unwrap();
            User { name, devices }
        });
        Self { users: join_all(connected).await }
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = &Arc<Device>> {
        self.users.iter().flat_map(|user| &user.devices)
    }

    /// Waits until each device has reached what the furthest of its user has now.
    pub(crate) async fn everybody_catches_up(&self) {
        for user in &self.users {
            let furthest = user.devices.iter().map(|device| device.seq()).max().unwrap_or(0);
            for device in &user.devices {
                device.wait_until("catch up", DEADLINE, |replica| replica.seq() >= furthest).await;
            }
        }
    }

    /// The devices that a node serves now.
    pub(crate) fn on_node(&self, node: &str) -> Vec<Arc<Device>> {
        self.devices().filter(|device| device.node().as_deref() == Some(node)).cloned().collect()
    }
}

/// Edits by devices of a fleet, until stopped.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    /// Acknowledged commands by user.
    acked: BTreeMap<String, Arc<AtomicU64>>,
    writers: Vec<(String, String, JoinHandle<Written>)>,
}

/// What one device did.
#[derive(Default)]
struct Written {
    /// The events of its acknowledged commands.
    seqs: Vec<u64>,
    /// Its last acknowledged edit of the shared draft.
    last: u64,
    refused: Vec<Refused>,
}

impl Load {
    /// Every device pauses for `pace` between its commands.
    pub(crate) fn start(fleet: &Fleet, pace: Duration) -> Self {
        Self::start_by(usize::MAX, fleet, pace)
    }

    /// Only the first device of each user writes. The others' nodes learn of an event from other nodes
    /// alone, and not from the numbers of commits of their own.
    pub(crate) fn start_with_listeners(fleet: &Fleet, pace: Duration) -> Self {
        Self::start_by(1, fleet, pace)
    }

    fn start_by(writing: usize, fleet: &Fleet, pace: Duration) -> Self {
        let stop = watch::Sender::new(false);
        let mut acked = BTreeMap::new();
        let mut writers = Vec::new();
        for user in &fleet.users {
            let of_user: &Arc<AtomicU64> = acked.entry(user.name.clone()).or_default();
            for device in user.devices.iter().take(writing) {
                let writer = write(device.clone(), pace, stop.subscribe(), of_user.clone());
                writers.push((user.name.clone(), device.name().to_owned(), tokio::spawn(writer)));
            }
        }
        Self { stop, acked, writers }
    }

    /// Waits until `more` further commands are acknowledged, of each user.
    pub(crate) async fn progress(&self, more: u64) {
        let count = |acked: &Arc<AtomicU64>| acked.load(Ordering::Relaxed);
        let goals: Vec<_> =
            self.acked.iter().map(|(user, acked)| (user, acked, count(acked) + more)).collect();
        wait::until("every user's commands go on", DEADLINE, || async {
            let behind = goals.iter().find(|(_, acked, goal)| count(acked) < *goal);
            behind.map_or(Ok(()), |(user, acked, goal)| {
                Err(format!("{user} has {} acknowledged commands of {goal}", count(acked)))
            })
        })
        .await;
    }

    /// Lets every command under way end, and checks all that was promised.
    pub(crate) async fn finish(self, fleet: &Fleet, cluster: &Cluster) {
        self.stop.send_replace(true);
        let mut written: BTreeMap<String, BTreeMap<String, Written>> = BTreeMap::new();
        for (user, device, writer) in self.writers {
            written.entry(user).or_default().insert(device, writer.await.unwrap());
        }
        for user in &fleet.users {
            check(user, &written[&user.name], cluster).await;
        }
    }
}

async fn write(
    device: Arc<Device>,
    pace: Duration,
    mut stop: watch::Receiver<bool>,
    acked: Arc<AtomicU64>,
) -> Written {
    let mut written = Written::default();
    let mut own: Option<String> = None;
    let mut n = 0;
    // Not all at the same moment.
    let mut pause = pace.mul_f64(rand::random());
    while timeout(pause, stop.wait_for(|stop| *stop)).await.is_err() {
        pause = pace;
        n += 1;
        let mut answers = vec![device.edit(SHARED, json!({ (device.name()): n })).await];
        if answers[0].is_ok() {
            written.last = n;
        }
        if n % OWN_DRAFT_EVERY == 0 {
            let next = format!("{}-{n}", device.name());
            answers.push(device.create(&next, json!({ "n": n })).await);
            if let Some(before) = own.replace(next) {
                answers.push(device.delete(&before, Some(1)).await);
            }
        }
        for answer in answers {
            match answer {
                Ok(ack) => {
                    written.seqs.extend(ack.seq);
                    acked.fetch_add(1, Ordering::Relaxed);
                }
                Err(refused) => written.refused.push(refused),
            }
        }
    }
    written
}

async fn check(user: &User, written: &BTreeMap<String, Written>, cluster: &Cluster) {
    for (device, written) in written {
        assert_eq!(written.refused, [], "{} {device} was refused", user.name);
    }
    let devices: Vec<&Device> = user.devices.iter().map(Arc::as_ref).collect();
    cluster.assert_converged(&devices, DEADLINE).await;

    // Every event has one acknowledged command, and every command one event. The first made the draft.
    let acked: Vec<u64> = std::iter::once(1).chain(written.values().flat_map(|w| w.seqs.clone())).collect();
    let once: BTreeSet<u64> = acked.iter().copied().collect();
    assert_eq!(once.len(), acked.len(), "{}: two commands claim one event", user.name);
    for device in devices {
        let name = device.name();
        let seen: BTreeSet<u64> = device.seen().into_iter().collect();
        let lost: Vec<_> = once.difference(&seen).collect();
        let repeated: Vec<_> = seen.difference(&once).collect();
        assert!(lost.is_empty(), "{} {name}: acknowledged, but never arrived: {lost:?}", user.name);
        assert!(repeated.is_empty(), "{} {name}: nobody's events: {repeated:?}", user.name);
        assert_eq!(device.counters().snapshots, 0, "{} {name} was sent a snapshot", user.name);
        let shared = &device.drafts()[SHARED];
        for (writer, written) in written.iter().filter(|(_, written)| written.last > 0) {
            assert_eq!(shared.content[writer], written.last, "{} {name}: {writer}'s last edit", user.name);
        }
    }
}
