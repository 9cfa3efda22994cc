//! The bus: live copies of events between nodes.

mod channel;
pub mod envelope;
pub(crate) mod hop;
mod inbox;
pub mod memory;
pub mod metrics;
pub mod redis;

use std::sync::Weak;

use bytes::Bytes;

pub use channel::Channel;
pub use inbox::{Inbox, Unsure};
pub use memory::MemoryBus;
pub use redis::{RedisBus, RedisOptions};

/// Carries messages between nodes, nothing more: it decides latency, never correctness.
///
/// A bus may lose, repeat, delay and reorder messages, and may be gone for any time. What it must do is
/// report what it knows: after anything that may have lost messages of a subscribed channel it calls
/// [`Inbox::unsure`]. What it loses without knowing, the sweep over the heads finds.
///
/// No call blocks or waits for the network; each is safe from any task. A call may deliver to the inbox
/// before it returns, so make none while holding a lock that the inbox takes.
pub trait Bus: Send + Sync + 'static {
    /// Sets where to deliver. Called once, before any other call; the inbox is known only after the bus
    /// exists, and owns it, hence the extra step and the [`Weak`]. A bus over a network begins to connect
    /// now, on the Tokio runtime that the call is made in. A second call is ignored.
    fn attach(&self, inbox: Weak<dyn Inbox>);

    /// Sends one message to every node that subscribes to the channel, including this one. When the
    /// queue to the network is full the message is dropped and counted.
    fn publish(&self, channel: Channel, message: Bytes);

    /// Subscribes to the channels. Once the bus has confirmed one, [`Inbox::subscribed`] is called for it;
    /// every message published after that moment arrives, as long as nothing is lost. Subscribing again to
    /// a subscribed channel sends the command to the network again.
    fn subscribe(&self, channels: &[Channel]);

    /// Unsubscribes from the channels. A few messages may still arrive.
    fn unsubscribe(&self, channels: &[Channel]);

    /// Establishes every subscription again, because the present ones seem to be deaf.
    fn resubscribe_all(&self);

    /// Returns whether the bus is connected and every subscription established, as far as it knows.
    fn is_connected(&self) -> bool;

    /// Returns how many canary channels show that the whole bus delivers: one, or several where channels
    /// live on different shards.
    fn canaries(&self) -> usize {
        1
    }

    /// Closes the bus for this node: nothing is delivered any more, and what is published is dropped.
    fn close(&self);
}
