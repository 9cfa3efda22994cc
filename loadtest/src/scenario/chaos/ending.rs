//! The end of a run: waiting, within bounds, until all followers have what the database has, and putting
//! the history together.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use testkit::device::stream_of;
use tokio::time::{Instant, sleep};

use super::{
    history::{Content, Follower, Links, Op, Stored, StreamHistory},
    recorder::Record,
    work::label,
};
use crate::{fleet::Fleet, place::Place, topic_log};

/// Streams that are read from the database at one time.
const READS_MAX: usize = 8;

/// The pause before a stream that does not agree yet is looked at again.
const PAUSE: Duration = Duration::from_millis(200);

/// Where the history is.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    pub(super) place: &'a Place,
    pub(super) fleet: &'a Fleet,
    /// By user and device.
    pub(super) records: &'a [Vec<Arc<Record>>],
    pub(super) topics: &'a [String],
    /// A token that may read the topics.
    pub(super) token: &'a str,
}

impl Ending<'_> {
    /// Waits until the followers of each stream have what the database has, at most for `wait`; what then
    /// is, is to be judged. `ops` are the changes of each stream, first of all users and then of all topics.
    ///
    /// # Errors
    /// When the database cannot be read to the last: then there is nothing to judge by.
    pub(super) async fn settle(&self, ops: Vec<Vec<Op>>, wait: Duration) -> Result<Vec<StreamHistory>> {
        let end = Instant::now() + wait;
        let one = async |(at, ops): (usize, Vec<Op>)| {
            let (followers, stored) = loop {
                let looked = self.look(at).await;
                let settled = looked.as_ref().is_ok_and(|(followers, stored)| agree(followers, stored));
                if settled || Instant::now() >= end {
                    break looked?;
                }
                sleep(PAUSE).await;
            };
            anyhow::Ok(StreamHistory { name: self.name(at), ops, followers, stored })
        };
        let all: Vec<Result<StreamHistory>> =
            stream::iter(ops.into_iter().enumerate()).map(one).buffered(READS_MAX).collect().await;
        all.into_iter().collect()
    }

    /// The connections of all devices.
    pub(super) fn links(&self) -> Vec<Links> {
        self.devices().map(|(label, record)| record.links(&label)).collect()
    }

    fn name(&self, at: usize) -> String {
        let topic = at.checked_sub(self.fleet.users.len()).and_then(|at| self.topics.get(at));
        topic.map_or_else(|| format!("the stream of {}", self.fleet.users[at].name), |topic| stream_of(topic))
    }

    /// The database first, then what was sent, then what devices made of it: nothing can be in the first
    /// that is not in the last, when they agree.
    async fn look(&self, at: usize) -> Result<(Vec<Follower>, Stored)> {
        let users = self.fleet.users.len();
        if let Some(topic) = at.checked_sub(users).and_then(|at| self.topics.get(at)) {
            let event =
                |event: &serde_json::Value| (event["seq"].as_u64().unwrap_or_default(), Content::of(event));
            let log = topic_log::read(self.place, self.token, topic, event).await?;
            let stored = Stored {
                epoch: log.epoch,
                head: log.head,
                floor: log.floor,
                log: Some(log.events),
                ..Stored::default()
            };
            let stream = stream_of(topic);
            let follower = |(device, record): (String, &Arc<Record>)| Follower {
                device,
                saw: record.saw(&stream),
                ..Follower::default()
            };
            return Ok((self.devices().map(follower).collect(), stored));
        }
        let user = self.fleet.users.get(at).context("a stream that is nobody's")?;
        let stored = self
            .fleet
            .roster
            .stored(user)
            .await
            .with_context(|| format!("read the drafts of {}", user.name))?;
        let followers = user.devices.iter().zip(&self.records[at]).map(|(member, record)| Follower {
            device: label(&user.name, member.device.name()),
            saw: record.saw("user"),
            drafts: member.device.drafts(),
        });
        Ok((followers.collect(), Stored { head: stored.seq, drafts: stored.drafts, ..Stored::default() }))
    }

    fn devices(&self) -> impl Iterator<Item = (String, &Arc<Record>)> {
        self.fleet.users.iter().zip(self.records).flat_map(|(user, records)| {
            let devices = user.devices.iter().zip(records);
            devices.map(move |(member, record)| (label(&user.name, member.device.name()), record))
        })
    }
}

/// Whether everybody stands at the head and holds what the database holds.
fn agree(followers: &[Follower], stored: &Stored) -> bool {
    let agrees = |follower: &Follower| {
        follower.position().is_some_and(|(_, seq)| seq == stored.head) && follower.drafts == stored.drafts
    };
    followers.iter().all(agrees)
}
