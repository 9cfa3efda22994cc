//! Users with several devices each, who edit their drafts: connected, recorded, and judged.

pub(crate) mod arrivals;
pub(crate) mod edits;
pub(crate) mod endurance;
pub(crate) mod findings;
pub(crate) mod fleet;
mod journal;
pub(crate) mod ledger;
pub(crate) mod limits;
pub(crate) mod options;
pub(crate) mod plan;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod series;
pub(crate) mod settle;
pub(crate) mod tally;
mod visit;
