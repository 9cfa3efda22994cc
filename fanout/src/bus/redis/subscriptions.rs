//! The one registry of what this node wants to hear, and what Redis still has to be told of it.
//!
//! Pure: it decides which command is due next and what an answer means. Everything about subscriptions
//! is derived from here, so a lost connection is answered by one [`Subscriptions::restart`].

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use crate::bus::Channel;

/// A channel is `Wanted` from `subscribe` to `unsubscribe`; independently of that it is idle, queued (in
/// `queue` once) or in flight (a command for it awaits its answer). At most one command per channel is in
/// flight: with two, the answer to the first could be taken for the answer to the second.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    channels: HashMap<Channel, State>,
    queue: VecDeque<Channel>,
    wanted: usize,
    /// Channels not yet asked for once since the last `restart`.
    rebuilding: usize,
}

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    step: Step,
    /// Counted in `rebuilding` until its first answer.
    rebuilding: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Idle,
    Queued,
    InFlight {
        /// Something was asked meanwhile: queue it again when the answer is there.
        again: bool,
    },
    /// Refused: waits for [`Subscriptions::retry`].
    Failed,
}

/// What to ask Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Subscribe,
    Unsubscribe,
}

impl Subscriptions {
    /// The channel is to be heard.
    pub(super) fn want(&mut self, channel: &Channel) {
        let state = self.channels.entry(channel.clone()).or_default();
        if !state.wanted {
            state.wanted = true;
            self.wanted += 1;
        }
        Self::enqueue(state, channel, &mut self.queue);
    }

    /// The channel is not to be heard any more.
    pub(super) fn unwant(&mut self, channel: &Channel) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        if state.wanted {
            state.wanted = false;
            self.wanted -= 1;
            Self::enqueue(state, channel, &mut self.queue);
        }
    }

    /// How many channels are to be heard.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether every channel wanted at the last [`Subscriptions::restart`] has been asked for since.
    pub(super) fn is_rebuilt(&self) -> bool {
        self.rebuilding == 0
    }

    /// Up to `max` channels with the command that is due; each is in flight from now on.
    pub(super) fn take(&mut self, max: usize) -> Vec<(Channel, Verb)> {
        let mut taken = Vec::with_capacity(max.min(self.queue.len()));
        while taken.len() < max
            && let Some(channel) = self.queue.pop_front()
        {
            let Some(state) = self.channels.get_mut(&channel) else { continue };
            state.step = Step::InFlight { again: false };
            let verb = if state.wanted { Verb::Subscribe } else { Verb::Unsubscribe };
            taken.push((channel, verb));
        }
        taken
    }

    /// The command of a channel was answered. True when the channel is subscribed from now on, and
    /// nobody has asked for anything else since.
    pub(super) fn answered(&mut self, channel: &Channel, verb: Verb, ok: bool) -> bool {
        let Entry::Occupied(mut entry) = self.channels.entry(channel.clone()) else { return false };
        let state = entry.get_mut();
        if std::mem::take(&mut state.rebuilding) {
            self.rebuilding -= 1;
        }
        let again = matches!(state.step, Step::InFlight { again: true });
        state.step = Step::Idle;
        match verb {
            _ if again => Self::enqueue(state, channel, &mut self.queue),
            Verb::Unsubscribe => {
                // Should it have failed: what arrives for a channel that nobody follows is ignored.
                entry.remove();
            }
            Verb::Subscribe if ok => return true,
            Verb::Subscribe => state.step = Step::Failed,
        }
        false
    }

    /// Asks again for what was refused.
    pub(super) fn retry(&mut self) {
        for (channel, state) in &mut self.channels {
            if state.step == Step::Failed {
                Self::enqueue(state, channel, &mut self.queue);
            }
        }
    }

    /// Asks again for everything, on the connection that is there.
    pub(super) fn refresh(&mut self) {
        for (channel, state) in &mut self.channels {
            Self::enqueue(state, channel, &mut self.queue);
        }
    }

    /// A new connection, on which nothing is subscribed: no answer of the old one will come.
    pub(super) fn restart(&mut self) {
        self.channels.retain(|_, state| state.wanted);
        self.queue.clear();
        self.rebuilding = self.channels.len();
        for (channel, state) in &mut self.channels {
            state.step = Step::Queued;
            state.rebuilding = true;
            self.queue.push_back(channel.clone());
        }
    }

    fn enqueue(state: &mut State, channel: &Channel, queue: &mut VecDeque<Channel>) {
        match &mut state.step {
            Step::Queued => {}
            Step::InFlight { again } => *again = true,
            Step::Idle | Step::Failed => {
                state.step = Step::Queued;
                queue.push_back(channel.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn channel(n: u8) -> Channel {
        Channel::Canary(n.to_string().into())
    }

    #[test]
    fn a_channel_is_subscribed_when_redis_says_so() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(&channel(1));
        subscriptions.want(&channel(1));
        assert_eq!(subscriptions.take(9), [(channel(1), Verb::Subscribe)]);
        assert_eq!(subscriptions.take(9), []);
        assert!(subscriptions.answered(&channel(1), Verb::Subscribe, true));
    }

    #[test]
    fn an_answer_that_was_overtaken_confirms_nothing() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(&channel(1));
        subscriptions.take(9);
        subscriptions.unwant(&channel(1));
        subscriptions.want(&channel(1));
        assert_eq!(subscriptions.take(9), [], "one command per channel at a time");
        assert!(!subscriptions.answered(&channel(1), Verb::Subscribe, true));
        assert_eq!(subscriptions.take(9), [(channel(1), Verb::Subscribe)]);
        assert!(subscriptions.answered(&channel(1), Verb::Subscribe, true));
    }

    #[test]
    fn asking_again_asks_redis_again() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(&channel(1));
        subscriptions.take(9);
        subscriptions.answered(&channel(1), Verb::Subscribe, true);
        subscriptions.want(&channel(1));
        assert_eq!(subscriptions.take(9), [(channel(1), Verb::Subscribe)]);
    }

    #[test]
    fn what_is_refused_waits_for_the_retry() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(&channel(1));
        subscriptions.take(9);
        assert!(!subscriptions.answered(&channel(1), Verb::Subscribe, false));
        assert_eq!(subscriptions.take(9), []);
        subscriptions.retry();
        assert_eq!(subscriptions.take(9), [(channel(1), Verb::Subscribe)]);
    }

    #[test]
    fn a_new_connection_is_told_everything_and_says_when_it_was() {
        let mut subscriptions = Subscriptions::default();
        for n in 0..5 {
            subscriptions.want(&channel(n));
        }
        subscriptions.take(3);
        subscriptions.unwant(&channel(4));
        subscriptions.restart();
        assert!(!subscriptions.is_rebuilt());
        let taken = subscriptions.take(9);
        assert_eq!(taken.len(), 4);
        for (channel, verb) in taken {
            assert!(!subscriptions.is_rebuilt());
            assert!(subscriptions.answered(&channel, verb, true));
        }
        assert!(subscriptions.is_rebuilt());
    }

    #[test]
    fn nothing_is_remembered_of_a_channel_that_nobody_wants() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(&channel(1));
        subscriptions.take(9);
        subscriptions.answered(&channel(1), Verb::Subscribe, true);
        subscriptions.unwant(&channel(1));
        assert_eq!(subscriptions.take(9), [(channel(1), Verb::Unsubscribe)]);
        assert!(!subscriptions.answered(&channel(1), Verb::Unsubscribe, true));
        assert!(subscriptions.channels.is_empty() && subscriptions.wanted() == 0);
    }

    #[derive(Debug, Clone)]
    enum Input {
        Want(u8),
        Unwant(u8),
        Take(usize),
        Answer { at: usize, ok: bool },
        Restart,
        Retry,
        Refresh,
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            (0..4_u8).prop_map(Input::Want),
            (0..4_u8).prop_map(Input::Unwant),
            (1..4_usize).prop_map(Input::Take),
            (0..4_usize, any::<bool>()).prop_map(|(at, ok)| Input::Answer { at, ok }),
            Just(Input::Restart),
            Just(Input::Retry),
            Just(Input::Refresh),
        ]
    }

    proptest! {
        /// Against a model of Redis that executes a command when it answers it: whatever was asked for in
        /// whatever order, Redis ends up with what is wanted, and a confirmed channel is subscribed there.
        #[test]
        fn redis_ends_up_with_what_is_wanted(inputs in prop::collection::vec(input(), 0..60)) {
            let mut subscriptions = Subscriptions::default();
            let (mut wanted, mut redis) = (HashSet::new(), HashSet::new());
            let mut in_flight: Vec<(Channel, Verb)> = Vec::new();
            let answer = |subscriptions: &mut Subscriptions, redis: &mut HashSet<Channel>,
                              wanted: &HashSet<Channel>, (channel, verb): (Channel, Verb), ok: bool| {
                match verb {
                    Verb::Subscribe if ok => { redis.insert(channel.clone()); }
                    Verb::Subscribe => {}
                    Verb::Unsubscribe => { redis.remove(&channel); }
                }
                if subscriptions.answered(&channel, verb, ok) {
                    assert!(redis.contains(&channel) && wanted.contains(&channel));
                }
            };
            for input in inputs {
                match input {
                    Input::Want(n) => { subscriptions.want(&channel(n)); wanted.insert(channel(n)); }
                    Input::Unwant(n) => { subscriptions.unwant(&channel(n)); wanted.remove(&channel(n)); }
                    Input::Take(max) => in_flight.extend(subscriptions.take(max)),
                    Input::Answer { at, ok } if at < in_flight.len() => {
                        answer(&mut subscriptions, &mut redis, &wanted, in_flight.remove(at), ok);
                    }
                    Input::Answer { .. } => {}
                    Input::Restart => { subscriptions.restart(); redis.clear(); in_flight.clear(); }
                    Input::Retry => subscriptions.retry(),
                    Input::Refresh => subscriptions.refresh(),
                }
                let unique: HashSet<&Channel> = in_flight.iter().map(|(channel, _)| channel).collect();
                prop_assert_eq!(unique.len(), in_flight.len());
                prop_assert_eq!(subscriptions.wanted(), wanted.len());
            }
            // Left alone, it settles.
            for _ in 0..4 {
                for command in std::mem::take(&mut in_flight) {
                    answer(&mut subscriptions, &mut redis, &wanted, command, true);
                }
                subscriptions.retry();
                in_flight = subscriptions.take(usize::MAX);
            }
            prop_assert!(in_flight.is_empty() && subscriptions.is_rebuilt());
            prop_assert_eq!(redis, wanted);
        }
    }
}
