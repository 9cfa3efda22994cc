//! Where a connection's messages go.

use common::{Epoch, Seq, Stream, message::Message};
use fanout::{Block, Delivery};

/// Takes messages in their order, in whatever form the connection needs them.
pub(crate) trait Outbox {
    /// Takes a message. `at` is where the client stands after it, in one of its streams.
    fn push(&mut self, message: &Message, at: Option<At<'_>>);

    /// Takes the events of a block, together where the connection can.
    fn push_block(&mut self, block: &Block, stream: &Stream, epoch: &Epoch) {
        self.push_each(block, stream, epoch);
    }

    /// Takes the events of a block one by one.
    fn push_each(&mut self, block: &Block, stream: &Stream, epoch: &Epoch) {
        for Delivery { event, .. } in block.deliveries() {
            self.push(event.message(), Some(At { stream, epoch, seq: event.seq }));
        }
    }

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
