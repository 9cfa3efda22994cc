//! Events that many followers write together.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use common::message::Form;

use crate::recent::{Budget, Delivery};

/// Events in a block: few enough that a follower which is not far behind finds whole ones.
pub(crate) const BLOCK_EVENTS: usize = 16;

/// Consecutive events whose frames stand one behind the other in memory, once for all followers that have
/// to catch up on all of them. So what each of them costs a follower is a part of one copy by the kernel.
#[derive(Debug)]
pub struct Block {
    deliveries: Vec<Delivery>,
    /// For each form, the bytes; nothing where the events do not go together in it.
    forms: [OnceLock<Option<Bytes>>; Form::COUNT],
    budget: Arc<Budget>,
}

/// What is due to a follower: events, in order.
#[derive(Debug, Clone)]
pub enum Due {
    /// One.
    One(Delivery),
    /// Several that others are due as well.
    Block(Arc<Block>),
}

impl Block {
    pub(crate) fn new(deliveries: Vec<Delivery>, budget: Arc<Budget>) -> Self {
        Self { deliveries, forms: Default::default(), budget }
    }

    /// The events, in order.
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// All of them as they go over the wire to a connection that takes this form; `together` makes that when
    /// it is asked for first, or says that they have to go one by one. Every caller must make it alike.
    pub fn bytes(&self, form: Form, together: impl FnOnce(&[Delivery]) -> Option<Bytes>) -> Option<&Bytes> {
        let bytes = self.forms[form.index()].get_or_init(|| {
            let bytes = together(&self.deliveries);
            self.budget.take(bytes.as_ref().map_or(0, Bytes::len));
            bytes
        });
        bytes.as_ref()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = self.forms.iter().filter_map(|form| form.get()?.as_ref()).map(Bytes::len).sum();
        self.budget.give_back(bytes);
    }
}

impl Due {
    /// The events, in order; at least one.
    pub fn deliveries(&self) -> &[Delivery] {
        match self {
            Self::One(delivery) => std::slice::from_ref(delivery),
            Self::Block(block) => block.deliveries(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Source, testing::event};

    #[test]
    fn bytes_are_made_once_for_each_form_and_counted_while_they_are_there() {
        let budget = Budget::new(usize::MAX);
        let deliveries = (1..=3).map(|seq| Delivery { event: event(seq), source: Source::Bus }).collect();
        let block = Block::new(deliveries, budget.clone());
        let deflated = Form { deflate: true, ..Form::default() };
        let made = block.bytes(Form::default(), |events| Some(vec![0; events.len()].into())).unwrap();
        assert_eq!(made.len(), 3);
        assert_eq!(block.bytes(Form::default(), |_| None).unwrap().as_ptr(), made.as_ptr());
        assert_eq!(block.bytes(deflated, |_| None), None);
        assert_eq!(budget.used(), 3);
        drop(block);
        assert_eq!(budget.used(), 0);
    }
}
