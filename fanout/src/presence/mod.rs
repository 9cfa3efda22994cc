//! Presence: which devices attend a stream at present, through any node.
//!
//! It is soft state over the channel that carries the stream's events, to which every node with a watcher
//! subscribes already. Each node *announces* its members: when they change, when it is asked, and as a
//! heartbeat. Other nodes keep its last announcement for a *lease*; so the members of a node that was killed
//! leave when its lease ends, and a node that stops announces nobody. A device is present while it attends
//! through any node.
//!
//! While the bus is not trusted no lease ends, and once it is trusted again each node gets a full lease:
//! Redis going away makes nobody come or go. The same holds after this process itself stood still. When no
//! other node is heard for two thirds of a lease, perhaps only this subscription is deaf: the node subscribes
//! again, and asks all others to announce. A node that alone is cut off from a healthy bus cannot be told from
//! one that is gone.
//!
//! Only a limited number of members is listed. A node with more announces how many they are, and watchers of
//! a stream with more are sent two numbers; then a user with devices on two such nodes counts twice.
//!
//! Whoever only looks is no member, but keeps the room for a moment: the node asks the others, and answers once they
//! have had the time to announce.
//!
//! `membership` counts devices and keeps the leases of other nodes, `announce_timer` decides when to announce,
//! `updates` has the messages for watchers. `room_state` combines these without I/O; a `room` is that state
//! with its watchers, and `rooms` runs all rooms over the bus.

mod announce_timer;
mod announcement;
mod attendance;
mod membership;
mod room;
mod room_state;
mod rooms;
mod updates;

pub use attendance::Attendance;
pub use rooms::PresenceList;
pub(crate) use rooms::Rooms;
