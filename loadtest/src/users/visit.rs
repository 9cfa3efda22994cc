//! One user, from coming to leaving.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use testkit::{Device, device::Replica};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    edits::{create_drafts, edit_by_any},
    fleet::User,
    journal::Shared,
    plan::Visit,
    record::Record,
    settle::settle_user,
};
use crate::run::open_loop::begin_at;

/// How long a device may take to connect and learn its drafts; then it counts as not connected.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Connects a user's devices, edits at the moments of its changes until it leaves or the run is stopped, and
/// judges what its devices have by then.
///
/// # Errors
/// When its drafts cannot be read in the end.
pub(super) async fn visit(
    shared: Arc<Shared>,
    number: usize,
    visit: Visit,
    changes: impl Iterator<Item = Duration> + Send,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let begun = shared.begun.into_std();
    let others = u64::from(shared.devices.saturating_sub(1));
    let mut moments = changes.map(|after| begun + after);
    let due = |at| shared.journal().series.change(shared.since_begun(at), others);
    let mut under_way = JoinSet::new();
    let connecting = AtomicU32::new(shared.devices);
    let here = async {
        match connect(&shared, number, visit.from, &connecting).await {
            Some(user) => {
                shared.journal().present.insert(number, Arc::clone(&user));
                let users = [user];
                let drafts = shared.args.drafts_per_user;
                let edit = |at: Instant| {
                    due(at.into_std());
                    Some(edit_by_any(&users, drafts, at.into_std()))
                };
                begin_at((&mut moments).map(Into::into), &shared.slots, &mut under_way, edit).await;
            }
            // What it would have changed was to be changed, and was not.
            None => {
                for at in &mut moments {
                    sleep_until(at.into()).await;
                    due(at);
                }
            }
        }
        sleep_until(shared.begun + visit.to).await;
    };
    tokio::select! {
        // One that is behind leaves with its time, too.
        _ = timeout_at(shared.begun + visit.to, here) => {
            for _ in 0..connecting.load(Ordering::Relaxed) {
                shared.journal().unconnected(visit.from, "not before the user left".to_owned());
            }
            moments.for_each(due);
        }
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    let user = shared.journal().present.get(&number).cloned();
    if let Some(user) = user {
        let answers = async { while under_way.join_next().await.is_some() {} };
        // What has no answer by then stays unknown.
        let _ = timeout(shared.args.settle, answers).await;
        under_way.shutdown().await;
        let judged = leave(&shared, &user).await;
        shared.journal().present.remove(&number);
        judged?;
    }
    Ok(())
}

/// Connects all devices of a user at once, and makes its drafts. `None` when one of them does not connect,
/// or a draft cannot be made. `connecting` counts down those of which that is known.
async fn connect(shared: &Shared, number: usize, due: Duration, connecting: &AtomicU32) -> Option<Arc<User>> {
    let intended = shared.begun + due;
    let devices = join_all((0..shared.devices).map(async |device| {
        let (options, record) = shared.roster.device(number, device as usize);
        let device = Device::start(options);
        let connected = device.reach(CONNECT_WAIT, Replica::is_complete).await;
        connecting.fetch_sub(1, Ordering::Relaxed);
        let mut journal = shared.journal();
        if connected {
            journal.connected(due, intended.elapsed());
            return Some((device, record));
        }
        journal.unconnected(
            due,
            match device.closed() {
                Some(4401) => {
                    "the tokens are refused (4401): are they signed with the servers' secret?".to_owned()
                }
                Some(code) => format!("closed with {code}"),
                None => format!("no connection within {CONNECT_WAIT:?}"),
            },
        );
        None
    }))
    .await;
    let devices: Option<Vec<(Device, Arc<Record>)>> = devices.into_iter().collect();
    let user = Arc::new(shared.roster.user(number, devices?));
    match create_drafts(&user, shared.args.drafts_per_user).await {
        Ok(()) => Some(user),
        Err(error) => {
            *shared.journal().failures.entry(format!("{error:#}")).or_default() += 1;
            None
        }
    }
}

/// Waits until the user's devices have what the database has, and judges.
async fn leave(shared: &Shared, user: &User) -> Result<()> {
    let end = Instant::now() + shared.args.settle;
    let history = {
        let _turn = shared.reads.acquire().await.context("the run is over")?;
        settle_user(&shared.roster, user, end).await?
    };
    let mut journal = shared.journal();
    shared.harvest(&mut journal, user);
    journal.tally.judge(user, &history);
    Ok(())
}
