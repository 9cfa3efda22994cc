//! What a message on the bus is addressed to.

use std::sync::Arc;

use common::Stream;

/// What a message on the bus is addressed to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The events, signals and presence of a stream.
    Stream(Stream),
    /// The canaries of a node, which it sends to itself. A node has several channels of this kind where each
    /// may live on another shard.
    Canary(Arc<str>),
}
