//! The streams that somebody on this node follows, and the cursors of those who do.
//!
//! The [`Registry`] knows which streams these are. Each is a [`LocalStream`]: a [`sequencer`] puts its events in
//! order, a ring keeps the newest of them for all followers at once, and a [`StreamReader`] is one follower's
//! cursor. Nothing here reads the log or knows why a message was lost; see [`crate::repair`] for that.

mod budget;
mod followers;
mod local_stream;
mod mailbox;
mod reader;
mod registry;
mod ring;
mod sequencer;
mod signals;
mod source;

pub(crate) use local_stream::{HeadChange, LocalStream, Registration};
pub(crate) use mailbox::MailboxSlot;
pub use mailbox::{DirectDelivery, Mailbox};
pub use reader::{Pending, Step, StreamReader};
pub(crate) use registry::Registry;
pub use ring::{Block, Deliveries, Delivery};
pub use source::Source;
