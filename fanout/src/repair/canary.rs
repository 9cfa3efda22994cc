//! Notices that the bus delivers nothing although its connection looks healthy.
//!
//! After a failover, or behind a proxy, a subscription can be deaf: it receives nothing and reports no error.
//! So each node sends itself a canary over the bus and expects it back. When one does not return in time, the
//! node subscribes to everything again, and does not trust the bus until one returns.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use common::ids::NodeId;
use tokio::time::Instant;

use crate::bus::{
    Bus, Channel, Inbox, Unsure,
    metrics::{CANARY_AGE, CANARY_TIMEOUTS},
};

/// How often canaries are sent. With [`TIMEOUT`] it bounds how long deafness goes unnoticed.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// How long a canary may stay away. Longer than any pause of a healthy Redis and of this node's own
/// scheduling, because a false alarm costs a resubscription of everything.
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// Unanswered canaries remembered per channel. Only the oldest decides, so forgetting newer ones is safe;
/// at one per interval, fewer than this fit into the timeout.
const PENDING_MAX: usize = 16;

/// When canaries are sent and what their silence means. Pure: time is an argument.
///
/// A number is sent on every channel at every tick. A channel is silent when a number sent at least
/// [`TIMEOUT`] ago has neither returned nor been followed by one that did. The bus is heard from the
/// moment when every channel has returned a number of the present count, until one falls silent or the
/// bus disconnects; then a new count begins.
#[derive(Debug)]
pub struct CanaryState {
    timeout: Duration,
    next: u64,
    channels: Vec<ChannelState>,
    heard: bool,
}

/// One channel.
#[derive(Debug, Clone)]
struct ChannelState {
    /// Numbers not yet returned, oldest first, with when they were sent.
    pending: VecDeque<(u64, Instant)>,
    returned: bool,
    proof: Instant,
}

/// What [`CanaryState`] wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Send this number on every channel.
    Send(u64),
    /// A canary did not come back in time. It is said again every timeout for as long as that is so.
    Deaf,
    /// Every channel hears, for the first time or again.
    Heard,
}

impl CanaryState {
    /// Nothing sent yet, on `channels` channels.
    pub fn new(channels: usize, timeout: Duration, now: Instant) -> Self {
        let channel = ChannelState { pending: VecDeque::new(), returned: false, proof: now };
        Self { timeout, next: 1, channels: vec![channel; channels], heard: false }
    }

    /// Time has passed; called once per interval. While the bus is disconnected nothing is sent and
    /// nothing expected: that the bus is away is known already.
    pub fn tick(&mut self, connected: bool, now: Instant) -> Vec<Output> {
        if !connected {
            self.start_over();
            return Vec::new();
        }
        let silent = |channel: &ChannelState| {
            channel
                .pending
                .front()
                .is_some_and(|(_, sent)| now.saturating_duration_since(*sent) >= self.timeout)
        };
        let mut outputs = Vec::new();
        if self.channels.iter().any(silent) {
            self.start_over();
            outputs.push(Output::Deaf);
        }
        let number = self.next;
        self.next += 1;
        for channel in &mut self.channels {
            if channel.pending.len() < PENDING_MAX {
                channel.pending.push_back((number, now));
            }
        }
        outputs.push(Output::Send(number));
        outputs
    }

    /// A number has come back on a channel. Repeats, strangers and numbers of an earlier count change
    /// nothing.
    pub fn returned(&mut self, channel: usize, number: u64, now: Instant) -> Option<Output> {
        let channel = self.channels.get_mut(channel)?;
        if !channel.pending.iter().any(|(sent, _)| *sent == number) {
            return None;
        }
        // Copies of one channel keep their order, or were lost: no earlier one is waited for.
        channel.pending.retain(|(sent, _)| *sent > number);
        channel.returned = true;
        channel.proof = now;
        if self.heard || !self.channels.iter().all(|channel| channel.returned) {
            return None;
        }
        self.heard = true;
        Some(Output::Heard)
    }

    /// Whether every channel has proved to hear and none has fallen silent since.
    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// The age of the last proof, of the channel that has the oldest; since the start when there was none.
    pub fn age(&self, now: Instant) -> Duration {
        let oldest = self.channels.iter().map(|channel| channel.proof).min();
        oldest.map_or(Duration::ZERO, |proof| now.saturating_duration_since(proof))
    }

    fn start_over(&mut self) {
        self.heard = false;
        for channel in &mut self.channels {
            channel.pending.clear();
            channel.returned = false;
        }
    }
}

/// The canaries of one node: [`CanaryState`] driven over a bus.
pub struct Canary {
    bus: Arc<dyn Bus>,
    channels: Vec<Channel>,
    /// Tells this process's canaries from those of its predecessor under the same name.
    incarnation: u64,
    state: Mutex<CanaryState>,
}

impl Canary {
    /// Canaries for this node, on channels `<node>:<n>`, as many as the bus wants.
    pub fn new(node: &NodeId, bus: Arc<dyn Bus>) -> Arc<Self> {
        let channels: Vec<Channel> =
            (0..bus.canaries().max(1)).map(|n| Channel::Canary(format!("{node}:{n}").into())).collect();
        let state = Mutex::new(CanaryState::new(channels.len(), TIMEOUT, Instant::now()));
        Arc::new(Self { bus, channels, incarnation: rand::random(), state })
    }

    /// Sends and expects canaries until dropped. Deafness is told to the inbox, and ends with a
    /// resubscription of everything; the task ends when the inbox is gone.
    pub async fn run(self: Arc<Self>, inbox: Weak<dyn Inbox>) {
        self.bus.subscribe(&self.channels);
        let mut ticks = tokio::time::interval(INTERVAL);
        // After a pause of the whole process one canary says as much as several.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(inbox) = inbox.upgrade() else { return };
            // The state is let go before the bus or the inbox is called: either may call back at once.
            let outputs = self.state().tick(self.bus.is_connected(), Instant::now());
            for output in outputs {
                match output {
                    Output::Send(number) => self.send(number),
                    Output::Deaf => {
                        tracing::warn!("no canary returned in time; subscribing to every channel again");
                        metrics::counter!(CANARY_TIMEOUTS).increment(1);
                        self.bus.resubscribe_all();
                        inbox.unsure(Unsure::Deaf);
                    }
                    Output::Heard => {}
                }
            }
            metrics::gauge!(CANARY_AGE).set(self.age().as_secs_f64());
        }
    }

    /// What has arrived on a canary channel.
    pub fn returned(&self, channel: &Channel, copy: &[u8]) {
        let Some(channel) = self.channels.iter().position(|own| own == channel) else { return };
        let Some((incarnation, number)) = copy.split_first_chunk() else { return };
        let Ok(number) = number.try_into() else { return };
        if u64::from_be_bytes(*incarnation) != self.incarnation {
            return;
        }
        let output = self.state().returned(channel, u64::from_be_bytes(number), Instant::now());
        if output == Some(Output::Heard) {
            tracing::info!("canaries return; the bus is trusted");
        }
    }

    /// Whether the bus is connected and has proved that it hears.
    pub fn is_heard(&self) -> bool {
        self.bus.is_connected() && self.state().is_heard()
    }

    /// How long ago the bus last proved that it hears.
    pub fn age(&self) -> Duration {
        self.state().age(Instant::now())
    }

    fn send(&self, number: u64) {
        let mut copy = BytesMut::with_capacity(16);
        copy.put_u64(self.incarnation);
        copy.put_u64(number);
        let copy: Bytes = copy.freeze();
        for channel in &self.channels {
            self.bus.publish(channel.clone(), copy.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, CanaryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Ticks at every second from `start` on.
    struct Clock(Instant);

    impl Clock {
        fn at(&self, second: u64) -> Instant {
            self.0 + Duration::from_secs(second)
        }
    }

    fn state(channels: usize) -> (CanaryState, Clock) {
        let clock = Clock(Instant::now());
        (CanaryState::new(channels, TIMEOUT, clock.0), clock)
    }

    #[test]
    fn a_bus_is_heard_when_every_channel_has_returned() {
        let (mut state, clock) = state(2);
        assert_eq!(state.tick(true, clock.at(0)), [Output::Send(1)]);
        assert_eq!(state.returned(0, 1, clock.at(0)), None);
        assert!(!state.is_heard());
        assert_eq!(state.returned(1, 1, clock.at(0)), Some(Output::Heard));
        assert!(state.is_heard());
        assert_eq!(state.tick(true, clock.at(1)), [Output::Send(2)]);
        assert_eq!(state.returned(0, 2, clock.at(1)), None, "said once");
    }

    #[test]
    fn silence_is_said_once_per_timeout() {
        let (mut state, clock) = state(1);
        let deaf: Vec<u64> =
            (0..=12).filter(|second| state.tick(true, clock.at(*second)).contains(&Output::Deaf)).collect();
        assert_eq!(deaf, [3, 6, 9, 12]);
        assert_eq!(state.age(clock.at(12)), Duration::from_secs(12));
    }

    #[test]
    fn one_silent_channel_is_enough() {
        let (mut state, clock) = state(2);
        let mut deaf = false;
        for second in 0..=3 {
            for output in state.tick(true, clock.at(second)) {
                match output {
                    Output::Send(number) => assert_eq!(state.returned(1, number, clock.at(second)), None),
                    Output::Deaf => deaf = true,
                    Output::Heard => unreachable!("a tick proves nothing"),
                }
            }
        }
        assert!(deaf && !state.is_heard());
        assert_eq!(state.age(clock.at(3)), Duration::from_secs(3), "the oldest proof counts");
    }

    #[test]
    fn a_lost_canary_is_forgiven_when_a_later_one_returns() {
        let (mut state, clock) = state(1);
        state.tick(true, clock.at(0));
        state.tick(true, clock.at(1));
        assert_eq!(state.returned(0, 2, clock.at(1)), Some(Output::Heard));
        assert_eq!(state.tick(true, clock.at(3)), [Output::Send(3)]);
        assert_eq!(state.age(clock.at(3)), Duration::from_secs(2));
    }

    #[test]
    fn a_canary_from_before_the_silence_proves_nothing() {
        let (mut state, clock) = state(1);
        state.tick(true, clock.at(0));
        assert_eq!(state.tick(true, clock.at(3)), [Output::Deaf, Output::Send(2)]);
        assert_eq!(state.returned(0, 1, clock.at(3)), None);
        assert_eq!(state.returned(0, 99, clock.at(3)), None, "never sent");
        assert_eq!(state.returned(7, 2, clock.at(3)), None, "no such channel");
        assert_eq!(state.returned(0, 2, clock.at(4)), Some(Output::Heard));
    }

    #[test]
    fn while_disconnected_nothing_is_sent_or_expected() {
        let (mut state, clock) = state(1);
        state.tick(true, clock.at(0));
        state.returned(0, 1, clock.at(0));
        state.tick(true, clock.at(1));
        for second in 2..20 {
            assert_eq!(state.tick(false, clock.at(second)), []);
        }
        assert!(!state.is_heard());
        assert_eq!(state.tick(true, clock.at(20)), [Output::Send(3)], "a fresh start is not silence");
        assert_eq!(state.returned(0, 3, clock.at(20)), Some(Output::Heard));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut state, clock) = state(1);
        for _ in 0..1000 {
            state.tick(true, clock.at(0));
        }
        assert!(state.channels[0].pending.len() <= PENDING_MAX);
    }
}
