//! What the tests of buses share: nodes that record what they hear, and what they say to Redis.

use std::{
    collections::HashSet,
    io::Write,
    process::{Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use fanout::bus::{Bus, Channel, Inbox, Unsure};
use testkit::Redis;

/// How long anything may take before a test gives up. Nothing waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn topic(name: &str) -> Channel {
    Channel::Stream(format!("topic:{name}").parse().unwrap())
}

/// An inbox that remembers, and that can be held shut.
#[derive(Default)]
pub(crate) struct Recorder {
    heard: Mutex<Heard>,
    shut: Mutex<bool>,
    opened: Condvar,
}

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) copies: Vec<(Channel, Bytes)>,
    pub(crate) subscribed: Vec<Channel>,
    pub(crate) unsure: Vec<Unsure>,
}

impl Recorder {
    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    /// From now on delivering blocks.
    pub(crate) fn shut(&self) {
        *lock(&self.shut) = true;
    }

    pub(crate) fn open(&self) {
        *lock(&self.shut) = false;
        self.opened.notify_all();
    }
}

impl Inbox for Recorder {
    fn message(&self, channel: &Channel, message: Bytes) {
        if *lock(&self.shut) {
            // The runtime must go on meanwhile, or nothing would come that could be too much.
            tokio::task::block_in_place(|| drop(self.opened.wait_while(lock(&self.shut), |shut| *shut)));
        }
        assert!(message != "panic", "as the test asked");
        self.heard().copies.push((channel.clone(), message));
    }

    fn subscribed(&self, channel: &Channel) {
        self.heard().subscribed.push(channel.clone());
    }

    fn unsure(&self, why: Unsure) {
        self.heard().unsure.push(why);
    }
}

/// A bus with somebody who listens.
pub(crate) struct Node {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) inbox: Arc<Recorder>,
}

impl Node {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        let inbox = Arc::new(Recorder::default());
        let weak: Weak<Recorder> = Arc::downgrade(&inbox);
        bus.attach(weak);
        Self { bus, inbox }
    }

    /// A node whose bus is up.
    pub(crate) async fn connected(bus: Arc<dyn Bus>) -> Self {
        let node = Self::new(bus);
        until("the bus is connected", || node.bus.is_connected()).await;
        node
    }

    /// Subscribes and waits for the confirmation.
    pub(crate) async fn subscribe(&self, channels: &[Channel]) {
        let before = self.inbox.heard().subscribed.len();
        self.bus.subscribe(channels);
        until("all channels are subscribed", || {
            let heard = self.inbox.heard();
            let since: HashSet<&Channel> = heard.subscribed[before..].iter().collect();
            channels.iter().all(|channel| since.contains(channel))
        })
        .await;
    }

    pub(crate) fn publish(&self, channel: &Channel, copy: &str) {
        self.bus.publish(channel.clone(), Bytes::copy_from_slice(copy.as_bytes()));
    }

    /// What has arrived on a channel.
    pub(crate) fn copies(&self, channel: &Channel) -> Vec<String> {
        let heard = self.inbox.heard();
        let of_channel = heard.copies.iter().filter(|(at, _)| at == channel);
        of_channel.map(|(_, copy)| String::from_utf8_lossy(copy).into_owned()).collect()
    }

    pub(crate) fn has_heard(&self, channel: &Channel, copy: &str) -> bool {
        self.inbox.heard().copies.iter().any(|(at, bytes)| at == channel && bytes == copy.as_bytes())
    }

    pub(crate) fn was_unsure(&self, why: Unsure) -> bool {
        self.inbox.heard().unsure.contains(&why)
    }

    /// Forgets what was heard so far.
    pub(crate) fn forget(&self) {
        *self.inbox.heard() = Heard::default();
    }
}

/// Waits until what one node publishes reaches the other. It publishes again and again: a bus that was
/// disturbed may lose copies until it is back.
pub(crate) async fn until_live(from: &Node, to: &Node, channel: &Channel) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let prefix = format!("live {} ", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut sent = 0_u32;
    until("copies arrive again", || {
        from.publish(channel, &format!("{prefix}{sent}"));
        sent += 1;
        to.copies(channel).iter().any(|copy| copy.starts_with(&prefix))
    })
    .await;
}

/// Sends a command, and returns what Redis says to it.
pub(crate) fn cli(redis: &Redis, command: &[&str]) -> String {
    let output = redis_cli(redis).args(command).output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(!answer.contains("ERR"), "{command:?}: {answer}");
    answer
}

/// Publishes so many copies on a channel, in one go.
pub(crate) fn flood(redis: &Redis, channel: &str, copies: usize) {
    let mut pipe = redis_cli(redis)
        .arg("--pipe")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let commands = format!("SPUBLISH {channel} flood\r\n").repeat(copies);
    pipe.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(pipe.wait().unwrap().success());
}

fn redis_cli(redis: &Redis) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &redis.port().to_string()]);
    command
}
