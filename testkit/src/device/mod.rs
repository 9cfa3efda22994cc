//! A well-behaved device that checks what it is sent.
//!
//! What the protocol asks of clients is done by the session of the crate `draftwire-client`: it resumes from its
//! cursors, repeats unanswered commands under the same id, applies events to its drafts, subscribes to its topics
//! anew, and compares every number, version and position with what it must be. The device gives it a connection
//! that comes back, in any encoding, with faults on demand; it shows every message to who observes; and it keeps
//! what was wrong, also what a client would overlook.
//!
//! One that follows topics alone ([`DeviceOptions::follower`]) is a task and some small numbers.

mod answer;
mod link;
mod options;
mod presence;
mod replica;
mod shared;
mod topic;
mod track;
mod violation;
mod wire;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use self::{
    answer::local,
    shared::{Control, Shared, State},
};
use crate::contract;
pub use answer::{Ack, Refused};
pub use options::{DeviceOptions, Observed, Observer, TokenSource};
pub use presence::{Change, Member, Presence};
pub use replica::{DraftState, Replica, drafts_of};
pub use shared::Counters;
pub use topic::{Topic, stream_of};
pub use track::{Missed, Standing, Track, digest};
pub use violation::Violation;
pub use wire::{Encoding, message_pack};

/// A device. Dropping it ends its connection without a word.
#[derive(Debug)]
pub struct Device {
    options: DeviceOptions,
    shared: Arc<Shared>,
    control: watch::Sender<Control>,
    task: JoinHandle<()>,
}

impl Device {
    /// Starts a device, which begins to connect. Needs a runtime.
    pub fn start(options: DeviceOptions) -> Self {
        let mut replica = Replica::new(&options.device, options.drafts, options.keep_messages);
        for topic in &options.topics {
            replica.want(topic.clone());
        }
        let shared = Arc::new(Shared::new(State::new(replica)));
        let control = watch::Sender::new(Control { online: true, reading: true, dropped: 0 });
        let link = link::Link::new(options.clone(), Arc::clone(&shared), control.subscribe());
        let task = tokio::spawn(link.run());
        Self { options, shared, control, task }
    }

    /// Starts a device and waits until it is connected, knows its drafts, and its topics are answered.
    ///
    /// # Panics
    /// When that takes longer than half a minute.
    pub async fn connect(options: DeviceOptions) -> Self {
        let device = Self::start(options);
        device.wait_until("connect and know where it is", Duration::from_secs(30), Replica::is_ready).await;
        device
    }

    /// The device's id.
    pub fn name(&self) -> &str {
        &self.options.device
    }

    /// A token as the device uses it.
    pub fn token(&self) -> String {
        (self.options.token)()
    }

    /// Makes a draft.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn create(&self, draft_id: &str, content: Value) -> Result<Ack, Refused> {
        self.change("DRAFT_CREATE", draft_id, json!({ "draftId": draft_id, "content": content })).await
    }

    /// Changes a draft by a merge patch made on `base_version`.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn update(&self, draft_id: &str, base_version: u64, patch: Value) -> Result<Ack, Refused> {
        let payload = json!({ "draftId": draft_id, "baseVersion": base_version, "patch": patch });
        self.change("DRAFT_UPDATE", draft_id, payload).await
    }

    /// Changes a draft as it stands on this device. Its own earlier changes are waited for, as an
    /// application that shows them would have them.
    ///
    /// # Errors
    /// [`Refused`]; `timeout` also when the earlier changes do not come.
    pub async fn edit(&self, draft_id: &str, patch: Value) -> Result<Ack, Refused> {
        let acked = self.shared.state().acked.get(draft_id).copied().unwrap_or(0);
        let has_own = self.shared.watch(|state| state.replica.version(draft_id) >= acked.max(1));
        if timeout(self.options.answer_wait, has_own).await.is_err() {
            return Err(local("timeout", "the draft, or an acknowledged change of it, has not arrived"));
        }
        let base = self.shared.state().replica.version(draft_id);
        self.update(draft_id, base, patch).await
    }

    /// Deletes a draft; with a version only while nothing has changed since.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn delete(&self, draft_id: &str, base_version: Option<u64>) -> Result<Ack, Refused> {
        let mut payload = json!({ "draftId": draft_id });
        if let Some(version) = base_version {
            payload["baseVersion"] = json!(version);
        }
        self.change("DRAFT_DELETE", draft_id, payload).await
    }

    /// Publishes an event to a topic.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn publish(&self, topic: &str, event: &str, data: Value) -> Result<Ack, Refused> {
        self.command("PUBLISH", json!({ "topic": topic, "event": event, "data": data })).await
    }

    /// Says something to those who follow a topic now.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn signal(&self, topic: &str, event: &str, data: Value) -> Result<Ack, Refused> {
        let payload = json!({ "topic": topic, "event": event, "data": data, "signal": true });
        self.command("PUBLISH", payload).await
    }

    /// Follows a topic from now on, on this connection and those after it, and waits until the server
    /// has answered. One that was followed before goes on from where it stood.
    ///
    /// # Errors
    /// [`Refused`]; `timeout` when no answer comes, in which case it is asked for again and again.
    pub async fn subscribe(&self, topic: Topic) -> Result<(), Refused> {
        let stream = topic.stream();
        self.shared.change(|state| state.replica.want(topic));
        self.shared.wake.notify_one();
        let refusal = |state: &State| match state.replica.stream(&stream).map(Track::standing) {
            Some(Standing::Followed) => Some(Ok(())),
            Some(Standing::Refused(refusal)) => Some(Err(local(refusal.code.as_str(), &refusal.message))),
            _ => state.closed.map(|_| Err(local("closed", "the device does not connect again"))),
        };
        let _ = timeout(self.options.answer_wait, self.shared.watch(|state| refusal(state).is_some())).await;
        refusal(&self.shared.state()).unwrap_or_else(|| Err(local("timeout", "no answer in time")))
    }

    /// Follows a topic no longer, and waits until the server has said so. Returns whether it has in
    /// time.
    pub async fn unsubscribe(&self, name: &str) -> bool {
        let left = |state: &State| {
            let track = state.replica.topic(name);
            track.is_none_or(|track| matches!(track.standing(), Standing::Left | Standing::Refused(_)))
        };
        self.shared.change(|state| state.replica.unwant(name));
        self.shared.wake.notify_one();
        let _ = timeout(self.options.answer_wait, self.shared.watch(left)).await;
        left(&self.shared.state())
    }

    /// Sends a command and waits for its answer, over as many connections as it takes.
    async fn command(&self, kind: &str, payload: Value) -> Result<Ack, Refused> {
        match timeout(self.options.answer_wait, self.shared.command(kind, &payload)).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(local("closed", "the device does not connect again")),
            Err(_) => Err(local("timeout", "no answer in time")),
        }
    }

    /// Sends a message that no client would send, on this connection or the next, once. Another one takes its place
    /// until then.
    pub fn misuse(&self, message: Value) {
        self.shared.state().misuse = Some(message);
        self.shared.wake.notify_one();
    }

    async fn change(&self, kind: &str, draft_id: &str, payload: Value) -> Result<Ack, Refused> {
        let ack = self.command(kind, payload).await?;
        let mut state = self.shared.state();
        let acked = state.acked.entry(draft_id.to_owned()).or_default();
        *acked = (*acked).max(ack.version());
        drop(state);
        Ok(ack)
    }

    /// The drafts by id.
    pub fn drafts(&self) -> BTreeMap<String, DraftState> {
        self.shared.state().replica.drafts()
    }

    /// Where it stands (`<epoch>:<seq>`); `None` before the first connection.
    pub fn cursor(&self) -> Option<String> {
        self.shared.state().replica.cursor()
    }

    /// The last event seen.
    pub fn seq(&self) -> u64 {
        self.shared.state().replica.seq()
    }

    /// The events of the user's stream, by their numbers in the order in which they came.
    pub fn seen(&self) -> Vec<u64> {
        self.shared.state().replica.seen().to_vec()
    }

    /// Looks at all that it knows at one moment. `look` must be quick, as the device stands still for
    /// it, and ask the device itself for nothing else.
    pub fn look<T>(&self, look: impl FnOnce(&Replica) -> T) -> T {
        look(&self.shared.state().replica)
    }

    /// What was wrong so far, the first of it. Empty is what every test ends with.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.state().replica.violations().to_vec()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let state = self.shared.state();
        Counters {
            snapshots: state.replica.snapshots,
            resumes: state.replica.resumes,
            ..state.counters.clone()
        }
    }

    /// The node that it is connected to, by the name in `WELCOME`; `None` while it is not connected.
    pub fn node(&self) -> Option<String> {
        self.shared.state().connected.as_ref().map(|connected| connected.node.clone())
    }

    /// Its connection by the name in `WELCOME`; `None` while it is not connected.
    pub fn connection_id(&self) -> Option<String> {
        self.shared.state().connected.as_ref().map(|connected| connected.connection_id.clone())
    }

    /// The close code after which it does not come back; `None` while it does.
    pub fn closed(&self) -> Option<u16> {
        self.shared.state().closed
    }

    /// Waits until the device knows what `condition` asks for. Returns whether it did before the
    /// deadline; at once when the device will not connect again.
    pub async fn reach(&self, deadline: Duration, condition: impl Fn(&Replica) -> bool) -> bool {
        let over = |state: &State| state.closed.is_some() || condition(&state.replica);
        let _ = timeout(deadline, self.shared.watch(over)).await;
        condition(&self.shared.state().replica)
    }

    /// Waits until the device knows what `condition` asks for.
    ///
    /// # Panics
    /// When the deadline has passed: with what was waited for, and how the device stands.
    pub async fn wait_until(&self, what: &str, deadline: Duration, condition: impl Fn(&Replica) -> bool) {
        if timeout(deadline, self.shared.watch(|state| condition(&state.replica))).await.is_err() {
            self.panic_waiting(what, deadline);
        }
    }

    /// Waits until it is connected to a node that `accepts` takes, by its name.
    ///
    /// # Panics
    /// When the deadline has passed.
    pub async fn wait_connected(&self, deadline: Duration, accepts: impl Fn(&str) -> bool) {
        let connected =
            self.shared.watch(|state| state.connected.as_ref().is_some_and(|to| accepts(&to.node)));
        if timeout(deadline, connected).await.is_err() {
            self.panic_waiting("be connected elsewhere", deadline);
        }
    }

    /// Ends the connection without a word; the device comes back by itself.
    pub fn drop_connection(&self) {
        self.control.send_modify(|control| control.dropped += 1);
    }

    /// Ends the connection without a word, and stays away until [`Device::go_online`]. Commands wait.
    pub fn go_offline(&self) {
        self.control.send_modify(|control| control.online = false);
    }

    /// Connects again after [`Device::go_offline`].
    pub fn go_online(&self) {
        self.control.send_modify(|control| control.online = true);
    }

    /// Reads nothing more from the connection, which stays: pings go unanswered too.
    pub fn stop_reading(&self) {
        self.control.send_modify(|control| control.reading = false);
    }

    /// Reads again after [`Device::stop_reading`].
    pub fn read_on(&self) {
        self.control.send_modify(|control| control.reading = true);
    }

    fn panic_waiting(&self, what: &str, deadline: Duration) -> ! {
        let state = self.shared.state();
        panic!(
            "device {} waited {deadline:?} to: {what}. It is at {:?} with {} drafts, topics: {:?}, connected: {:?}, \
             closed: {:?}, {:?}, violations: {:?}",
            self.options.device,
            state.replica.cursor(),
            state.replica.drafts().len(),
            state
                .replica
                .streams()
                .map(|(stream, track)| (stream, track.cursor(), track.standing(), track.is_synced()))
                .collect::<Vec<_>>(),
            state.connected,
            state.closed,
            state.counters,
            state.replica.violations(),
        );
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            // Every test ends with it, whatever else it looks at.
            contract::check(Violation::undocumented(&self.violations()));
        }
    }
}
