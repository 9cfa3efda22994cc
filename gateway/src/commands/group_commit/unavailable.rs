//! Why a write was not carried out for the moment.

use metrics::counter;

use crate::store::{Done, Refusal};

/// The store is down or the queue is full. Nothing was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// More writes are waiting than the queue takes.
    #[error("too many changes are waiting; repeat it in a moment with the same id")]
    Full,
    /// Its turn did not come in time.
    #[error("the store is too slow just now; repeat it in a moment with the same id")]
    Late,
    /// Another transaction of the database held its stream, or its key, for as long as it may wait.
    #[error("what this changes is locked in the database; repeat it in a moment with the same id")]
    Locked,
    /// The database does not answer, or refuses.
    #[error("the store does not answer; repeat it with the same id")]
    Store,
    /// A change that was sent before it could not be carried out, so its turn has not come.
    #[error("a change before it was refused; repeat both in their order, with the same ids")]
    Behind,
}

/// The answer to a write.
pub type Answer = Result<Result<Done, Refusal>, Unavailable>;

impl Unavailable {
    /// Counts a write that is refused without having been tried.
    pub(super) fn count(self) {
        let why = match self {
            Self::Full => "full",
            Self::Late => "late",
            Self::Locked => "locked",
            Self::Store => "down",
            Self::Behind => "behind",
        };
        counter!("draftwire_writes_refused_total", "why" => why).increment(1);
    }
}
