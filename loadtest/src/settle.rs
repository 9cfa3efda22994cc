//! The end of a run: waiting, within bounds, until all devices have what the database has.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::{
    checks::{Record, Stored},
    fleet::{Fleet, Member, Roster, User},
};

/// Users whose drafts are read from the database at one time.
pub(crate) const READS_MAX: usize = 16;

/// The pause before users that do not agree yet are looked at again.
const PAUSE: Duration = Duration::from_millis(200);

/// One user at the end: the database and the devices, looked at together.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) stored: Stored,
    pub(crate) records: Vec<Record>,
}

/// Waits until each user's devices have what the database has, at most for `wait`; what then is, is to
/// be judged. In the order of the fleet's users.
///
/// # Errors
/// When the database cannot be read to the last: then there is nothing to judge by.
pub(crate) async fn settle(fleet: &Fleet, wait: Duration) -> Result<Vec<Settled>> {
    let end = Instant::now() + wait;
    let one = |user| settle_one(&fleet.roster, user, end);
    let all: Vec<Result<Settled>> =
        stream::iter(&fleet.users).map(|user| one(user)).buffered(READS_MAX).collect().await;
    all.into_iter().collect()
}

/// As [`settle`], for one user, until a moment.
///
/// # Errors
/// As there.
pub(crate) async fn settle_one(roster: &Roster, user: &User, end: Instant) -> Result<Settled> {
    loop {
        let looked = look(roster, user).await;
        let agrees = looked
            .as_ref()
            .is_ok_and(|settled| settled.records.iter().all(|record| record.agrees(&settled.stored)));
        if agrees || Instant::now() >= end {
            return looked.with_context(|| format!("read the drafts of {}", user.name));
        }
        sleep(PAUSE).await;
    }
}

async fn look(roster: &Roster, user: &User) -> Result<Settled> {
    let stored = roster.stored(user).await?;
    Ok(Settled { stored, records: user.devices.iter().map(|member| record(member)).collect() })
}

/// Taken at one moment: events may come meanwhile.
fn record(member: &Member) -> Record {
    member.device.look(|replica| Record {
        device: member.device.name().to_owned(),
        starts: replica.starts().to_vec(),
        received: replica.seen().iter().map(|seen| seen.seq).collect(),
        seq: replica.seq(),
        drafts: replica.drafts().clone(),
    })
}
