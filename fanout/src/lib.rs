//! What makes an event that was committed on one node reach the followers of every node: all, once,
//! in order.

pub mod bus;
pub mod log;
