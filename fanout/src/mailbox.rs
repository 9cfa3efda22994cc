//! How a connection learns which of its streams have something for it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

/// Wakes one connection and tells it which of the streams it follows moved. It holds no events, only
/// the numbers of slots: what is due stands in the stream itself.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// Slots with something due: bounded by what the connection follows. Of a thousand topics all may
    /// move between two looks, so that a list would be searched again and again.
    /// A std mutex: it is held for a few instructions and never over an await.
    ready: Mutex<BTreeSet<u32>>,
    notify: Notify,
}

impl Mailbox {
    /// Says that the stream in `slot` moved.
    pub fn mark(&self, slot: u32) {
        if self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(slot) {
            self.notify.notify_one();
        }
    }

    /// Waits until something is marked. Cancel-safe: a mark is kept for the next call.
    pub async fn marked(&self) {
        self.notify.notified().await;
    }

    /// Takes the marked slots, in ascending order.
    pub fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.ready.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}
