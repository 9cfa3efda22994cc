//! Which histories messages may come from. Pure.
//!
//! Clusters that share a Redis, each with a database number of its own, share its channels: pub/sub knows no
//! database numbers. Events of another cluster would be found out by their history; signals and presence count
//! in none, so every message names the one that its sender last saw.
//!
//! # Around a change of epoch
//!
//! Nodes learn of a new epoch one after the other. A message of a history that a node does not know makes it ask
//! the log. Until the answer is there, signals and announcements of that history are rejected: a signal is
//! delivered at most once anyway, and an announcement is repeated long before its lease ends. Those of the
//! history before the present one are taken, because they come from nodes that have not asked yet.

use common::Epoch;

/// Foreign histories that are remembered. Of more clusters than these on one prefix, each costs a question to
/// the log now and then.
const FOREIGN_MAX: usize = 16;

/// The histories that this node knows.
#[derive(Debug, Default)]
pub(super) struct Histories {
    current: Option<Epoch>,
    previous: Option<Epoch>,
    /// Heard of on the bus, oldest first.
    foreign: Vec<Foreign>,
}

#[derive(Debug)]
struct Foreign {
    epoch: Epoch,
    /// The log was asked since, and is not in it. Before that, it may be one that this node has yet to see.
    confirmed: bool,
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A node of this cluster.
    Own,
    /// It is not known: this node may be behind.
    Unknown,
    /// Another cluster.
    Stranger,
}

impl Histories {
    /// The history that the log was last seen in.
    pub(super) fn current(&self) -> Option<&Epoch> {
        self.current.as_ref()
    }

    /// Notes the history that the log was just seen in. Returns the one before, if that was another.
    pub(super) fn observe(&mut self, epoch: &Epoch) -> Option<Epoch> {
        if self.current.as_ref() == Some(epoch) {
            return None;
        }
        self.foreign.retain(|foreign| foreign.epoch != *epoch);
        self.previous = self.current.replace(epoch.clone());
        self.previous.clone()
    }

    /// Judges a message by its history. Returns also whether the log is to be asked.
    pub(super) fn judge(&mut self, epoch: &Epoch) -> (Origin, bool) {
        let Some(current) = &self.current else { return (Origin::Unknown, false) };
        if current == epoch || self.previous.as_ref() == Some(epoch) {
            return (Origin::Own, false);
        }
        match self.foreign.iter().find(|foreign| foreign.epoch == *epoch) {
            Some(Foreign { confirmed: true, .. }) => (Origin::Stranger, false),
            Some(_) => (Origin::Unknown, false),
            None => {
                if self.foreign.len() == FOREIGN_MAX {
                    self.foreign.remove(0);
                }
                self.foreign.push(Foreign { epoch: epoch.clone(), confirmed: false });
                (Origin::Unknown, true)
            }
        }
    }

    /// Takes note that the log has answered, or not, since [`Histories::judge`] wanted it to be asked. Returns
    /// whether the history is a stranger's.
    pub(super) fn settle(&mut self, epoch: &Epoch, answered: bool) -> bool {
        let Some(at) = self.foreign.iter().position(|foreign| foreign.epoch == *epoch) else { return false };
        if answered {
            self.foreign[at].confirmed = true;
        } else {
            // The next message of it has the log asked again.
            self.foreign.remove(at);
        }
        answered
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn epoch(name: &str) -> Epoch {
        name.parse().unwrap()
    }

    #[test]
    fn a_foreign_history_is_a_stranger_once_the_log_has_answered() {
        let mut histories = Histories::default();
        assert_eq!(histories.judge(&epoch("theirs")), (Origin::Unknown, false), "nothing is known yet");
        assert_eq!(histories.observe(&epoch("ours")), None);
        assert_eq!(histories.judge(&epoch("ours")), (Origin::Own, false));
        assert_eq!(histories.judge(&epoch("theirs")), (Origin::Unknown, true));
        assert_eq!(histories.judge(&epoch("theirs")), (Origin::Unknown, false), "it is being asked");
        assert!(!histories.settle(&epoch("theirs"), false));
        assert_eq!(histories.judge(&epoch("theirs")), (Origin::Unknown, true), "asked again");
        assert!(histories.settle(&epoch("theirs"), true));
        assert_eq!(histories.judge(&epoch("theirs")), (Origin::Stranger, false));
    }

    #[test]
    fn a_new_epoch_is_own_as_soon_as_it_is_seen_and_the_one_before_stays_so() {
        let mut histories = Histories::default();
        histories.observe(&epoch("one"));
        assert_eq!(histories.judge(&epoch("two")), (Origin::Unknown, true));
        assert!(histories.settle(&epoch("two"), true), "the standby that answered is behind");
        assert_eq!(histories.observe(&epoch("two")), Some(epoch("one")));
        assert!(!histories.settle(&epoch("two"), true));
        for own in ["one", "two"] {
            assert_eq!(histories.judge(&epoch(own)), (Origin::Own, false));
        }
        histories.observe(&epoch("three"));
        assert_eq!(histories.judge(&epoch("one")).0, Origin::Unknown);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut histories = Histories::default();
        histories.observe(&epoch("ours"));
        for n in 0..100 {
            assert_eq!(histories.judge(&epoch(&format!("e{n}"))), (Origin::Unknown, true));
        }
        assert_eq!(histories.foreign.len(), FOREIGN_MAX);
    }
}
