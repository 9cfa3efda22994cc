//! Where a bus delivers.

use bytes::Bytes;

use super::Channel;

/// Where a bus delivers. Calls are short and never block.
pub trait Inbox: Send + Sync + 'static {
    /// A message has arrived on the channel.
    fn message(&self, channel: &Channel, message: Bytes);

    /// The channel is subscribed from now on.
    fn subscribed(&self, channel: &Channel);

    /// Messages of any channel may have been lost.
    fn unsure(&self, why: Unsure);
}

/// Why messages may have been lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unsure {
    /// The connection was lost.
    Disconnected,
    /// It was established again, and with it every subscription.
    Reconnected,
    /// Messages arrived faster than the node processed them.
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
