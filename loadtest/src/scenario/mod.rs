//! What can be run: a file per scenario.

use anyhow::Result;

use crate::{measure::summary::Outcome, run::Stage};

pub(crate) mod chaos;
pub(crate) mod churn;
mod clients;
pub(crate) mod connections;
pub(crate) mod drafts;
pub(crate) mod feed;
pub(crate) mod floor;
pub(crate) mod storm;
pub(crate) mod users;
pub(crate) mod writers;

/// Something that can be run; the options of its command line implement it.
pub(crate) trait Scenario {
    /// Runs it.
    ///
    /// # Errors
    /// When the run could not be made, so that there is nothing to judge.
    async fn run(self, stage: &mut Stage) -> Result<Outcome>;
}
