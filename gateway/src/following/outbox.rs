//! Where a connection's messages go.

use common::{Epoch, Seq, Stream, message::Message};

/// Takes messages in their order, in whatever form the connection needs them.
pub(crate) trait Outbox {
    /// Takes a message. `at` is where the client stands after it, in one of its streams.
    fn push(&mut self, message: &Message, at: Option<At<'_>>);

    /// Whether what was taken should be sent before more is.
    fn is_full(&self) -> bool;
}

/// A position of the client in a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) epoch: &'a Epoch,
    pub(crate) seq: Seq,
}
