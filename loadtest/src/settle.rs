//! The end of a run: waiting, within bounds, until all devices have what the database has.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::{
    checks::{Record, Stored},
    fleet::{Fleet, Member, User},
};

/// Users whose drafts are read from the database at one time.
const READS_MAX: usize = 16;

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
    let one = async |user: &User| loop {
        let looked = look(fleet, user).await;
        let agrees = looked
            .as_ref()
            .is_ok_and(|settled| settled.records.iter().all(|record| record.agrees(&settled.stored)));
        if agrees || Instant::now() >= end {
            return looked.with_context(|| format!("read the drafts of {}", user.name));
        }
        sleep(PAUSE).await;
    };
    let all: Vec<Result<Settled>> = stream::iter(&fleet.users).map(one).buffered(READS_MAX).collect().await;
    all.into_iter().collect()
}

async fn look(fleet: &Fleet, user: &User) -> Result<Settled> {
    let stored = fleet.stored(user).await?;
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
