//! The bus of nodes that live in one process: the embedded node alone, or several in a test.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use bytes::Bytes;

use super::{Bus, Channel, Inbox};

/// One node's handle to a bus in memory.
///
/// A copy is delivered by the publishing call itself, to one subscriber after the other, before the call
/// returns, and `subscribed` is called by the subscribing call. So nothing is ever queued or lost here,
/// and copies of one publisher keep their order. The bus holds no lock of its own meanwhile: an inbox may
/// call the bus again. The caller must not hold a lock that an inbox takes.
pub struct MemoryBus {
    network: Arc<MemoryNetwork>,
    port: Arc<Port>,
}

/// What several [`MemoryBus`] handles share.
#[derive(Default)]
pub struct MemoryNetwork {
    subscribers: Mutex<HashMap<Channel, Vec<Arc<Port>>>>,
}

/// Where one handle delivers. Empty until [`Bus::attach`].
#[derive(Default)]
struct Port {
    inbox: OnceLock<Weak<dyn Inbox>>,
}

impl MemoryBus {
    /// A bus for one node.
    pub fn new() -> Arc<Self> {
        MemoryBus::network().join()
    }

    /// A network that any number of nodes may join.
    pub fn network() -> Arc<MemoryNetwork> {
        Arc::default()
    }
}

impl MemoryNetwork {
    /// A handle for one more node.
    pub fn join(self: &Arc<Self>) -> Arc<MemoryBus> {
        Arc::new(MemoryBus { network: self.clone(), port: Arc::default() })
    }

    fn subscribers(&self) -> MutexGuard<'_, HashMap<Channel, Vec<Arc<Port>>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port {
    fn inbox(&self) -> Option<Arc<dyn Inbox>> {
        self.inbox.get().and_then(Weak::upgrade)
    }
}

impl Bus for MemoryBus {
    fn attach(&self, inbox: Weak<dyn Inbox>) {
        // The first one stays, as the trait says.
        let _ = self.port.inbox.set(inbox);
    }

    fn publish(&self, channel: Channel, copy: Bytes) {
        let ports = self.network.subscribers().get(&channel).cloned().unwrap_or_default();
        for inbox in ports.iter().filter_map(|port| port.inbox()) {
            inbox.message(&channel, copy.clone());
        }
    }

    fn subscribe(&self, channels: &[Channel]) {
        let mut subscribers = self.network.subscribers();
        for channel in channels {
            let ports = subscribers.entry(channel.clone()).or_default();
            if !ports.iter().any(|port| Arc::ptr_eq(port, &self.port)) {
                ports.push(self.port.clone());
            }
        }
        drop(subscribers);
        if let Some(inbox) = self.port.inbox() {
            channels.iter().for_each(|channel| inbox.subscribed(channel));
        }
    }

    fn unsubscribe(&self, channels: &[Channel]) {
        let mut subscribers = self.network.subscribers();
        for channel in channels {
            if let Some(ports) = subscribers.get_mut(channel) {
                ports.retain(|port| !Arc::ptr_eq(port, &self.port));
                if ports.is_empty() {
                    subscribers.remove(channel);
                }
            }
        }
    }

    /// Does nothing: a subscription in memory cannot go deaf.
    fn resubscribe_all(&self) {}

    fn is_connected(&self) -> bool {
        true
    }

    fn close(&self) {
        self.network.subscribers().retain(|_, ports| {
            ports.retain(|port| !Arc::ptr_eq(port, &self.port));
            !ports.is_empty()
        });
    }
}

impl Drop for MemoryBus {
    fn drop(&mut self) {
        self.close();
    }
}
