//! How deep a text may nest.

/// How many arrays and objects may stand within each other in what is taken from a client. Parsers
/// give up at 128 by habit, so this leaves room for the messages that carry it on.
pub const DEPTH_MAX: usize = 100;

/// How deep the node's own texts may nest: whatever was once taken, and the message around it. Far within
/// what a stack bears.
pub(super) const OWN_DEPTH_MAX: usize = 256;
