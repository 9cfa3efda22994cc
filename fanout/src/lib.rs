//! Carries an event that was committed on one node to the followers on every node: all events, once, in
//! order.
//!
//! The [`log`] is the truth; the [`bus`] carries copies that may get lost. The [`Hub`] is the face of the
//! crate. Behind it, `stream` puts copies in order and keeps the newest events for all followers,
//! `repair` finds what no copy announced and reads it from the log, and `presence` tells which devices
//! attend a stream. Rooms depend on each other in one direction: hub → presence → repair → stream → bus.

pub mod bus;
mod hub;
pub mod log;
mod presence;
mod repair;
mod settings;
mod stream;
pub mod supervise;
#[cfg(test)]
mod testing;
mod traces;

pub use hub::{Hub, NodeInbox};
pub use presence::{Attendance, PresenceList};
pub use repair::canary;
pub(crate) use settings::LiveSettings;
pub use settings::Settings;
pub use stream::{Block, Deliveries, Delivery, DirectDelivery, Mailbox, Pending, Source, Step, StreamReader};
