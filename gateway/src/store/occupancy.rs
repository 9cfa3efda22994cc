//! Which topics somebody attends, as the store keeps it for webhooks: what nodes write, and what webhooks were told.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{StoreError, name_range::NameRange};

/// Topics that one call adds or removes; what is more is left to the next one.
pub(crate) const OCCUPANCY_CHANGES_MAX: usize = 5000;

/// Changes that one look returns.
pub(crate) const OCCUPANCY_LOOK_MAX: u32 = 500;

/// Keeps which topics are attended. A node is known by a name that is new with each start, and its topics count for as
/// long as its lease does.
#[async_trait]
pub trait OccupancyStore: Send + Sync {
    /// The filters of all webhooks, as JSON: what nodes have to write follows from them.
    async fn filters(&self) -> Result<Vec<String>, StoreError>;

    /// Prolongs a node's lease, with the topics that are attended through it since the last call and those that are not
    /// any more. Returns whether the lease was there: otherwise others have removed it with all topics of the node.
    async fn attend(
        &self,
        node: &str,
        lease: Duration,
        came: &[String],
        left: &[String],
    ) -> Result<bool, StoreError>;

    /// Removes a node that has stopped, with its topics.
    async fn leave(&self, node: &str) -> Result<(), StoreError>;

    /// Compares what is attended in these ranges of topics with what a webhook was told. At most
    /// `OCCUPANCY_LOOK_MAX` differences, by the names of their topics.
    async fn differences(&self, webhook: &str, ranges: &[NameRange]) -> Result<Vec<Occupancy>, StoreError>;
}

/// Whether somebody attends a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupancy {
    /// The topic.
    pub topic: String,
    /// Whether somebody attends it.
    pub occupied: bool,
}
