//! The end of a run: waiting, within bounds, until all followers have what the database has.

use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::fleet::{Fleet, Roster, User};
use crate::check::history::StreamHistory;

/// Users whose drafts are read from the database at one time.
pub(crate) const READS_MAX: usize = 16;

/// The pause before a stream that does not agree yet is looked at again.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks at a stream until its followers have what the database has, at most until a moment; what then is,
/// is to be judged.
///
/// # Errors
/// When the database cannot be read to the last: then there is nothing to judge by.
pub(crate) async fn settle<F>(look: impl Fn() -> F, end: Instant) -> Result<StreamHistory>
where
    F: Future<Output = Result<StreamHistory>>,
{
    loop {
        let looked = look().await;
        if looked.as_ref().is_ok_and(StreamHistory::is_settled) || Instant::now() >= end {
            return looked;
        }
        sleep(PAUSE).await;
    }
}

/// As [`settle`], for a user's stream, with its changes.
pub(crate) async fn settle_user(roster: &Roster, user: &User, end: Instant) -> Result<StreamHistory> {
    let mut history = settle(|| roster.look(user), end).await?;
    history.ops = user.ledger.ops().clone();
    Ok(history)
}

/// As [`settle_user`], for all of them, in their order, at most for `wait`.
pub(crate) async fn settle_all(fleet: &Fleet, wait: Duration) -> Result<Vec<StreamHistory>> {
    let end = Instant::now() + wait;
    let all: Vec<Result<StreamHistory>> = stream::iter(&fleet.users)
        .map(|user| settle_user(&fleet.roster, user, end))
        .buffered(READS_MAX)
        .collect()
        .await;
    all.into_iter().collect()
}
