//! What can be run: a file per scenario.

use anyhow::Result;

use crate::{
    outcome::{Outcome, Output},
    stage::Stage,
};

pub(crate) mod burst;
pub(crate) mod chaos;
pub(crate) mod churn;
mod clients;
pub(crate) mod connections;
pub(crate) mod drafts;
pub(crate) mod feed;
pub(crate) mod floor;
pub(crate) mod load;
pub(crate) mod stability;
pub(crate) mod steady;
pub(crate) mod storm;
pub(crate) mod stress;
pub(crate) mod writers;

/// Something that can be run; the options of its command line implement it.
pub(crate) trait Scenario {
    /// Where the outcome goes besides standard output.
    fn output(&self) -> &Output;

    /// Runs it.
    ///
    /// # Errors
    /// When the run could not be made, so that there is nothing to judge.
    async fn run(self, stage: &mut Stage) -> Result<Outcome>;
}
