//! The bus: live copies of events between nodes.

pub mod memory;
pub mod metrics;
pub mod redis;

use std::sync::{Arc, Weak};

use bytes::Bytes;
use common::Stream;

pub use memory::MemoryBus;
pub use redis::{RedisBus, RedisOptions};

/// Carries copies between nodes, nothing more: it decides latency, never correctness.
///
/// A bus may lose, repeat, delay and reorder copies, and may be gone for any time. What it must do is
/// say so when it knows: after anything that may have lost copies of a subscribed channel it calls
/// [`Inbox::unsure`]. What it loses without knowing, the sweep over the heads finds.
///
/// No call blocks or waits for the network; each is safe from any task. A call may deliver to the inbox
/// before it returns, so make none while holding a lock that the inbox takes.
pub trait Bus: Send + Sync + 'static {
    /// Says where to deliver. Called once, before any other call; the inbox is known only after the bus
    /// exists, and owns it, hence the extra step and the [`Weak`]. A bus over a network begins to connect
    /// now, on the Tokio runtime that the call is made in. A second call is ignored.
    fn attach(&self, inbox: Weak<dyn Inbox>);

    /// Sends one copy to every node that subscribes to the channel, this one included. When the
    /// queue to the network is full the copy is dropped and counted.
    fn publish(&self, channel: Channel, copy: Bytes);

    /// Adds channels to those that this node hears. Once the bus has confirmed one,
    /// [`Inbox::subscribed`] is called for it; every copy published after that moment is heard, as
    /// long as nothing is lost. Asking again for a subscribed channel asks the network again.
    fn subscribe(&self, channels: &[Channel]);

    /// Ends hearing the channels. A few copies may still arrive.
    fn unsubscribe(&self, channels: &[Channel]);

    /// Builds every subscription anew, because the present ones seem to be deaf.
    fn resubscribe_all(&self);

    /// Whether the bus is connected and every subscription built, as far as it knows.
    fn is_connected(&self) -> bool;

    /// How many canary channels show that the whole bus hears: one, or several where channels live on
    /// different shards.
    fn canaries(&self) -> usize {
        1
    }

    /// Ends the bus for this node: nothing is delivered any more, and what is published is dropped.
    fn close(&self);
}

/// Where a bus delivers. Calls are short and never block.
pub trait Inbox: Send + Sync + 'static {
    /// A copy has arrived.
    fn copy(&self, channel: &Channel, copy: Bytes);

    /// The channel is subscribed from now on.
    fn subscribed(&self, channel: &Channel);

    /// Copies of any channel may have been lost.
    fn unsure(&self, why: Unsure);
}

/// What a copy is addressed to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The events of a stream.
    Stream(Stream),
    /// What a node sends to itself to learn whether the bus still hears. Several, because each may
    /// live on another shard.
    Canary(Arc<str>),
}

/// Why copies may have been lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unsure {
    /// The connection was lost.
    Disconnected,
    /// It was built up again, and with it every subscription.
    Reconnected,
    /// Copies arrived faster than they were taken.
    Lagged,
    /// A canary did not come back.
    Deaf,
}

impl Unsure {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Reconnected => "reconnected",
            Self::Lagged => "lagged",
            Self::Deaf => "deaf",
        }
    }
}
