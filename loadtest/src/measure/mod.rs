//! Times, costs, and what a run says of them.

pub(crate) mod clock;
pub(crate) mod effort;
pub(crate) mod latency;
pub(crate) mod stats;
pub(crate) mod summary;
