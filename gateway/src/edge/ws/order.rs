//! The order of a connection's changes where some of them are refused for the moment. Pure but for the
//! [`Pipeline`].

use std::collections::BTreeMap;

use common::CommandId;

use crate::commands::pipeline::Pipeline;

/// Refused commands that are remembered for a connection. Those beyond it are refused as well, and are taken
/// when all that are remembered have been: a client that repeats in order notices no difference.
const REFUSED_MAX: usize = 256;

/// Decides which changes are taken. Behind one that was refused for the moment everything is refused as well,
/// and what was refused is taken again in the order in which it was first sent.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The number of the next new change.
    next: u64,
    /// Changes that were refused for the moment and have not come again, by number.
    refused: BTreeMap<u64, CommandId>,
    /// Changes that were taken and have no outcome yet.
    in_flight: usize,
    /// The way that those go. A broken one is replaced when the last of them has its outcome: before that it
    /// is not known which of them have to come again first.
    pipeline: Pipeline,
}

/// A change that was taken, until its outcome is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    number: u64,
}

/// Why a change is not taken: this one has to come again first. `None` while that is still being decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Behind(pub(super) Option<CommandId>);

impl Order {
    /// Takes a change that has come, or remembers that it was refused.
    pub(super) fn take(&mut self, id: &CommandId) -> Result<Taken, Behind> {
        self.mend();
        let first = self.refused.first_key_value();
        let number = match first {
            _ if self.pipeline.is_broken() => None,
            None => Some(self.number()),
            Some((number, first)) if first == id => Some(*number),
            Some(_) => None,
        };
        if let Some(number) = number {
            self.refused.remove(&number);
            self.in_flight += 1;
            return Ok(Taken { number });
        }
        if !self.refused.values().any(|refused| refused == id) {
            let number = self.number();
            self.remember(number, id.clone());
        }
        let first = self.refused.first_key_value().map(|(_, first)| first.clone());
        Err(Behind(first.filter(|first| !self.pipeline.is_broken() && first != id)))
    }

    /// Takes note of a change's outcome: decided, or refused for the moment.
    pub(super) fn settle(&mut self, taken: Taken, id: &CommandId, decided: bool) {
        self.in_flight -= 1;
        if !decided {
            self.remember(taken.number, id.clone());
        }
        self.mend();
    }

    /// Opens a new way once everything on a broken one has its outcome.
    fn mend(&mut self) {
        if self.in_flight == 0 && self.pipeline.is_broken() {
            self.pipeline = Pipeline::default();
        }
    }

    /// The client wants a refused change no longer.
    pub(super) fn give_up(&mut self, id: &CommandId) {
        self.refused.retain(|_, refused| refused != id);
    }

    /// The way for a change that was taken.
    pub(super) fn pipeline(&self) -> Pipeline {
        self.pipeline.clone()
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.refused.is_empty()
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The earliest are kept: they have to come first.
    fn remember(&mut self, number: u64, id: CommandId) {
        self.refused.insert(number, id);
        if self.refused.len() > REFUSED_MAX {
            self.refused.pop_last();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::commands::pipeline::Pass;

    fn id(n: usize) -> CommandId {
        format!("c{n}").parse().unwrap()
    }

    #[test]
    fn what_was_refused_is_taken_again_in_its_order() {
        let mut order = Order::default();
        let first = order.take(&id(1)).unwrap();
        let second = order.take(&id(2)).unwrap();
        order.settle(second, &id(2), false);
        order.settle(first, &id(1), false);
        assert_eq!(order.take(&id(3)), Err(Behind(Some(id(1)))));
        assert_eq!(order.take(&id(2)), Err(Behind(Some(id(1)))));
        let first = order.take(&id(1)).unwrap();
        assert_eq!(order.take(&id(3)), Err(Behind(Some(id(2)))));
        order.give_up(&id(2));
        let third = order.take(&id(3)).unwrap();
        order.settle(first, &id(1), true);
        order.settle(third, &id(3), true);
        assert!(order.is_idle());
    }

    #[test]
    fn nothing_is_taken_until_it_is_known_what_was_refused() {
        let mut order = Order::default();
        let (first, second) = (order.take(&id(1)).unwrap(), order.take(&id(2)).unwrap());
        drop(order.pipeline().enter());
        order.settle(second, &id(2), false);
        assert_eq!(order.take(&id(2)), Err(Behind(None)), "the first may have to come before it");
        order.settle(first, &id(1), false);
        assert_eq!(order.take(&id(2)), Err(Behind(Some(id(1)))));
        assert!(order.take(&id(1)).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_earliest_come_first() {
        let mut order = Order::default();
        let taken = order.take(&id(0)).unwrap();
        order.settle(taken, &id(0), false);
        for n in 1..2 * REFUSED_MAX {
            assert!(order.take(&id(n)).is_err());
        }
        assert_eq!(order.refused.len(), REFUSED_MAX);
        for n in 0..2 * REFUSED_MAX {
            let taken = order.take(&id(n)).unwrap();
            order.settle(taken, &id(n), true);
        }
        assert!(order.is_idle());
    }

    /// What may happen next in the test below.
    #[derive(Debug, Clone)]
    enum Step {
        /// The client sends its next command.
        Send,
        /// It repeats one of those that it knows to be refused, whichever.
        Repeat(prop::sample::Index),
        /// The committer carries out what is first in its queue, or loses it.
        Commit { lost: bool },
        /// The session hears of one of the outcomes, whichever.
        Hear(prop::sample::Index),
        /// The client comes back, and sends again what has no answer.
        Reconnect,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Send),
            4 => any::<prop::sample::Index>().prop_map(Step::Repeat),
            4 => prop::bool::weighted(0.3).prop_map(|lost| Step::Commit { lost }),
            4 => any::<prop::sample::Index>().prop_map(Step::Hear),
            1 => Just(Step::Reconnect),
        ]
    }

    /// A client, its connection's order, and a queue of which nothing is taken back when it reconnects.
    #[derive(Default)]
    struct World {
        order: Order,
        connection: usize,
        sent: usize,
        answered: BTreeSet<usize>,
        refused: BTreeSet<usize>,
        queue: VecDeque<(usize, usize, Taken, Pass)>,
        outcomes: Vec<(usize, usize, Taken, bool)>,
        done: Vec<usize>,
    }

    impl World {
        fn send(&mut self, n: usize) {
            self.refused.remove(&n);
            match self.order.take(&id(n)) {
                Ok(taken) => {
                    let pass = self.order.pipeline().enter();
                    self.queue.push_back((self.connection, n, taken, pass));
                }
                Err(_) => {
                    self.refused.insert(n);
                }
            }
        }

        fn commit(&mut self, lost: bool) {
            let Some((connection, n, taken, pass)) = self.queue.pop_front() else { return };
            let decided = !lost && !pass.is_void();
            if decided {
                if !self.done.contains(&n) {
                    self.done.push(n);
                }
                pass.decided();
            } else {
                drop(pass);
            }
            self.outcomes.push((connection, n, taken, decided));
        }

        fn hear(&mut self, at: usize) {
            let (connection, n, taken, decided) = self.outcomes.remove(at);
            if connection != self.connection {
                return;
            }
            self.order.settle(taken, &id(n), decided);
            if decided {
                self.answered.insert(n);
            } else {
                self.refused.insert(n);
            }
        }

        fn run(&mut self, step: &Step) {
            match step {
                Step::Send => {
                    self.sent += 1;
                    self.send(self.sent);
                }
                Step::Repeat(index) if !self.refused.is_empty() => {
                    let refused: Vec<usize> = self.refused.iter().copied().collect();
                    self.send(*index.get(&refused));
                }
                Step::Commit { lost } => self.commit(*lost),
                Step::Hear(index) if !self.outcomes.is_empty() => {
                    self.hear(index.index(self.outcomes.len()));
                }
                Step::Reconnect => {
                    self.connection += 1;
                    self.order = Order::default();
                    self.refused.clear();
                    for n in 1..=self.sent {
                        if !self.answered.contains(&n) {
                            self.send(n);
                        }
                    }
                }
                Step::Repeat(_) | Step::Hear(_) => {}
            }
        }
    }

    proptest! {
        #[test]
        fn everything_is_carried_out_once_and_in_order(steps in prop::collection::vec(step(), 0..200)) {
            let mut world = World::default();
            for step in &steps {
                world.run(step);
            }
            // From now on nothing is lost, and the client repeats what is refused.
            while world.answered.len() < world.sent {
                while !world.queue.is_empty() {
                    world.commit(false);
                }
                while !world.outcomes.is_empty() {
                    world.hear(0);
                }
                for n in world.refused.clone() {
                    world.send(n);
                }
            }
            let expected: Vec<usize> = (1..=world.sent).collect();
            prop_assert_eq!(world.done, expected);
            prop_assert!(world.order.is_idle());
        }
    }
}
