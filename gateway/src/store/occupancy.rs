//! Which topics somebody attends, as the store keeps it for webhooks: what nodes write, and what webhooks were told.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use common::Epoch;

use super::{StoreError, name_range::NameRange};

/// Topics that one call adds or removes; what is more is left to the next one.
pub(crate) const OCCUPANCY_CHANGES_MAX: usize = 5000;

/// Changes that one look returns.
pub(crate) const OCCUPANCY_LOOK_MAX: u32 = 500;

/// Keeps which topics are attended. A node writes under a name, and what it has written counts for as long as the name's
/// lease runs, by the store's clock. Whoever does not know any more what stands under its name takes a new one.
#[async_trait]
pub trait OccupancyStore: Send + Sync {
    /// What webhooks ask for: what nodes have to write follows from it. Paused webhooks ask as well, because nobody is
    /// to seem gone when they go on.
    async fn asked(&self) -> Result<Asked, StoreError>;

    /// Prolongs a lease, with the topics that are attended through the node since the last call and those that are not
    /// any more. Returns whether the lease was running: otherwise others may have removed it with all its topics.
    async fn attend(
        &self,
        lease: &OccupancyLease<'_>,
        came: &[String],
        left: &[String],
    ) -> Result<bool, StoreError>;

    /// Removes names with their topics.
    async fn leave(&self, names: &[String]) -> Result<(), StoreError>;

    /// Compares what is attended in these ranges of topics with what a webhook was told. At most
    /// `OCCUPANCY_LOOK_MAX` differences, by the names of their topics. A topic counts as empty only while the lease of
    /// `name`, the asking node's, runs, and while every running lease is complete for what webhooks ask now.
    async fn differences(&self, webhook: &str, ranges: &[NameRange], name: &str)
    -> Result<Noted, StoreError>;
}

/// What webhooks ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The history. In another one, what was written may be gone.
    pub epoch: Epoch,
    /// The filters of all webhooks, as JSON.
    pub filters: Vec<String>,
    /// A digest of them.
    pub digest: String,
}

/// The lease under which a node writes.
#[derive(Debug, Clone, Copy)]
pub struct OccupancyLease<'a> {
    /// The name that it is written under.
    pub name: &'a str,
    /// How long it runs.
    pub lasts: Duration,
    /// What webhooks ask for, if everything that follows from it is written with this call.
    pub complete_for: Option<&'a str>,
}

/// Whether somebody attends a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupancy {
    /// The topic.
    pub topic: String,
    /// Whether somebody attends it.
    pub occupied: bool,
}

/// Changes of who attends that a webhook is to be told, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The history in which the numbers count.
    pub epoch: Epoch,
    /// The changes.
    pub changes: Vec<Occupancy>,
}
