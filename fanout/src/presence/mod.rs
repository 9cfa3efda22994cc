//! Presence: which devices attend a stream just now, through any node.
//!
//! It is soft state over the channel that carries the stream's events, which every node with somebody to
//! tell hears already. Each node *announces* who attends through it: when that changes, when it is asked,
//! and as a heartbeat. Others remember its last announcement for a *lease*; so the members of a node
//! that was killed leave when its lease ends, and a graceful end is an announcement of nobody. Present is
//! whoever attends through any node.
//!
//! While the bus is not trusted nobody's lease ends, and once it is trusted again each has a full one to
//! renew it: Redis going away makes nobody come or go. So it is when this process
//! itself stood still. When nobody else is heard for two thirds of a lease, perhaps only this subscription
//! is deaf: it is built anew, and everybody is asked. A node that alone is cut off from a bus that is well
//! for the others cannot be told from one that is gone.
//!
//! Lists are for small gatherings. A node with more members than the limit announces how many they are,
//! and a stream with more is told its watchers as two numbers; then a user with devices on two such nodes
//! counts twice.
//!
//! `members` counts, `census` remembers the other nodes, `herald` says when to announce, `news`
//! what watchers are told; `room` puts these together without I/O, and `rooms` runs them over the bus.

mod announcement;
mod attendance;
mod census;
mod herald;
mod members;
mod news;
mod room;
mod rooms;

pub use attendance::Attendance;
pub(crate) use room::Trust;
pub(crate) use rooms::Rooms;
