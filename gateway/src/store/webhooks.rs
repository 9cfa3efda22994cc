//! Webhooks as the store keeps them: endpoints, their cursors, and the lease by which one node at a time delivers.

use std::{collections::HashMap, fmt, time::Duration};

use async_trait::async_trait;
use common::{DraftId, Epoch, Seq, Stream, UserId, ids::DraftKind};
use serde::{Deserialize, Serialize};

pub use super::name_range::NameRange;
use super::{
    StoreError,
    occupancy::{Noted, Occupancy},
};

/// Webhooks in a cluster.
pub(crate) const WEBHOOKS_MAX: u32 = 100;

/// Streams that one look compares with the cursors.
pub(crate) const LOOK_STREAMS_MAX: u32 = 2000;

/// Streams that a lag is counted over; where there are more, the lag is a part of the whole.
pub(crate) const LAG_STREAMS_MAX: u32 = 20_000;

/// Keeps webhooks. All times are Unix milliseconds by the store's clock, which the nodes share.
///
/// Every call is one transaction, and ends within the store's time limit, or within a minute where it places
/// cursors on many streams. A call that is dropped has happened as a whole or not at all.
#[async_trait]
pub trait WebhookStore: Send + Sync {
    /// Adds a webhook, and places its cursors on every stream of `ranges` that has events. `None` where there are
    /// `WEBHOOKS_MAX` already.
    async fn create(
        &self,
        new: &NewWebhook,
        ranges: &[NameRange],
        at: Place,
    ) -> Result<Option<Webhook>, StoreError>;

    /// All webhooks, by their ids.
    async fn list(&self) -> Result<Vec<Webhook>, StoreError>;

    /// One webhook.
    async fn get(&self, id: &str) -> Result<Option<Webhook>, StoreError>;

    /// Changes a webhook that is at this version. What it was delivering is begun anew where `changes` say so.
    async fn change(&self, id: &str, version: u64, changes: &Changes) -> Result<Changed, StoreError>;

    /// Removes a webhook that is at this version, or at any, with its cursors.
    async fn remove(&self, id: &str, version: Option<u64>) -> Result<Changed<()>, StoreError>;

    /// Moves cursors, of one stream or of all in some ranges, and gives up the batch under way.
    async fn replay(&self, id: &str, replay: &Replay) -> Result<Replayed, StoreError>;

    /// How far the cursors are behind in these ranges.
    async fn lag(&self, id: &str, ranges: &[NameRange]) -> Result<Lag, StoreError>;

    /// Takes up to `webhooks_max` webhooks that are not paused and that nobody holds. A lease that ends later than
    /// anybody can have set it by the clock of now is nobody's: that clock was put back. A row that cannot be read is
    /// left out, and does not keep the others back.
    async fn claim(
        &self,
        holder: &Holder,
        lease: Duration,
        webhooks_max: u32,
    ) -> Result<Vec<Webhook>, StoreError>;

    /// Prolongs the lease, and returns the webhook as it stands; `None` where it is lost, paused or removed.
    async fn renew(&self, id: &str, holder: &Holder, lease: Duration) -> Result<Option<Webhook>, StoreError>;

    /// Ends the lease, so that another node need not wait for its end.
    async fn release(&self, id: &str, holder: &Holder) -> Result<(), StoreError>;

    /// Compares the heads of up to `LOOK_STREAMS_MAX` streams of a range with the cursors of a webhook.
    async fn look(&self, id: &str, range: &NameRange) -> Result<Look, StoreError>;

    /// Notes the batch that is about to be delivered, and the changes of who attends of which it tells the first.
    /// `false` where the generation is another one by now, as for the next two calls.
    async fn begin(&self, held: &Held<'_>, batch: &Batch, noted: &[Occupancy]) -> Result<bool, StoreError>;

    /// Moves the cursors behind a batch that was delivered, or that holds nothing to deliver.
    async fn delivered(&self, held: &Held<'_>, done: &Delivered<'_>) -> Result<bool, StoreError>;

    /// Notes an attempt that failed.
    async fn failed(&self, held: &Held<'_>, failure: &Failed) -> Result<bool, StoreError>;

    /// The kinds of drafts, also of deleted ones. What is missing was removed by hand.
    async fn draft_kinds(
        &self,
        drafts: &[(UserId, DraftId)],
    ) -> Result<HashMap<(UserId, DraftId), DraftKind>, StoreError>;
}

/// Where cursors are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind the last event.
    Head,
    /// Before the first event that is kept.
    Floor,
}

/// What signs deliveries. It is not shown where it is printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningSecret {
    /// `whsec_` and the key in base64.
    pub secret: String,
    /// When it ends, Unix milliseconds; the newest one does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningSecret").field("until", &self.until).finish_non_exhaustive()
    }
}

/// A webhook that is to be added.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Its name, which nobody else has.
    pub id: String,
    /// Where deliveries go.
    pub url: String,
    /// What is delivered, as JSON.
    pub filter: String,
    /// What signs them.
    pub secret: SigningSecret,
    /// Whether nothing is delivered yet.
    pub paused: bool,
}

/// Why a webhook is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// An operator has paused it.
    Operator,
    /// The receiver has answered that it is gone.
    Gone,
    /// Deliveries have failed for too long.
    GaveUp,
}

impl Pause {
    /// Reads what the store has. What a newer version has written is a pause all the same.
    pub(super) fn from_text(text: &str) -> Self {
        match text {
            "gone" => Self::Gone,
            "gave_up" => Self::GaveUp,
            _ => Self::Operator,
        }
    }
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its name.
    pub id: String,
    /// How often operators have changed it.
    pub version: u64,
    /// Under which it was read.
    pub generation: u64,
    /// Where deliveries go.
    pub url: String,
    /// What is delivered, as JSON.
    pub filter: String,
    /// What signs them, the newest first.
    pub secrets: Vec<SigningSecret>,
    /// Why nothing is delivered; `None` where something is.
    pub paused: Option<Pause>,
    /// When it was added.
    pub created_at: u64,
    /// When an operator has changed it last.
    pub updated_at: u64,
    /// The node that delivers just now.
    pub holder_node: Option<String>,
    /// The batch that is being delivered.
    pub batch: Option<Batch>,
    /// Attempts at it that have failed.
    pub attempts: u32,
    /// Since when all attempts have failed.
    pub failing_since: Option<u64>,
    /// When it is tried again.
    pub next_attempt_at: Option<u64>,
    /// What was wrong last, and when.
    pub last_error: Option<(String, u64)>,
    /// When a batch was taken last.
    pub last_delivery_at: Option<u64>,
    /// The number of the last change of who attends that it was told, and the history in which it counts; `None`
    /// for any.
    pub occupancy_number: (Option<Epoch>, u64),
    /// Changes of who attends that have numbers, the ones behind that, and are not known to be taken.
    pub noted: Option<Noted>,
    /// The largest body, in bytes, since the receiver has refused a larger one.
    pub body_bytes_max: Option<u64>,
    /// What in the row cannot be read, and why. Nothing is delivered then.
    pub damage: Option<String>,
    /// When this was read.
    pub now: u64,
}

impl Webhook {
    /// Returns the number of the last change of who attends that it was told in this history.
    pub(crate) fn last_number(&self, epoch: &Epoch) -> u64 {
        let (of, number) = &self.occupancy_number;
        if of.as_ref().is_none_or(|of| of == epoch) { *number } else { 0 }
    }

    /// Returns how long the next attempt has to wait; `None` where it may be made now. A failure that is still to come
    /// says that the store's clock was put back, and then nothing is waited for.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let at = self.next_attempt_at?;
        let failed_at = self.last_error.as_ref().map_or(0, |(_, at)| *at);
        (failed_at <= self.now && self.now < at).then(|| Duration::from_millis(at - self.now))
    }
}

/// A change by an operator. What is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Where deliveries go.
    pub url: Option<String>,
    /// What is delivered, as JSON, and the ranges of names that it adds and gives up: cursors are placed behind
    /// the last event of each stream in the former, and removed from the latter.
    pub filter: Option<(String, Vec<NameRange>, Vec<NameRange>)>,
    /// All secrets.
    pub secrets: Option<Vec<SigningSecret>>,
    /// Pauses it, or has it go on at once.
    pub paused: Option<bool>,
}

/// What became of a change, or of a removal, which leaves nothing to tell.
#[derive(Debug)]
pub enum Changed<T = Box<Webhook>> {
    /// It was made.
    Done(T),
    /// The webhook is at another version.
    Version(u64),
    /// There is no such webhook.
    NotFound,
}

/// Which cursors are moved, and where to.
#[derive(Debug, Clone)]
pub enum Replay {
    /// The cursor of one stream, behind this event of the history of this name.
    Stream(Stream, Epoch, Seq),
    /// The cursors of all streams in these ranges, before the first event that is kept.
    All(Vec<NameRange>),
}

/// What became of a replay.
#[derive(Debug)]
pub enum Replayed {
    /// The cursors are moved.
    Done(Box<Webhook>),
    /// There is no such position: where the stream stands.
    Position(Epoch, Seq, Seq),
    /// There is no such webhook.
    NotFound,
}

/// How far a webhook is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Events that are not delivered yet, those that the filter leaves out included.
    pub events: u64,
    /// Streams that have such events.
    pub streams: u64,
    /// Whether that is all. It is a part where the filter names more than `LAG_STREAMS_MAX` streams.
    pub complete: bool,
}

/// Who holds webhooks: a node, under a name that is new with each claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// What leases are compared by.
    pub token: String,
    /// The node's name, for people.
    pub node: String,
}

/// Under what a node writes: it has to hold the webhook still, in the generation that it has read.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// The webhook.
    pub id: &'a str,
    /// The node.
    pub holder: &'a Holder,
    /// The generation.
    pub generation: u64,
}

/// The position up to which a stream was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamCursor {
    /// The history that it counts in.
    pub epoch: Epoch,
    /// The last event that was delivered, or passed over.
    pub seq: Seq,
    /// Where the history has another name by now: whether the event there is still the same. `None` where it is
    /// not known, because retention has removed it.
    pub same: Option<bool>,
}

/// A stream with something due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueStream {
    /// Which one.
    pub stream: Stream,
    /// Its last event.
    pub head: Seq,
    /// The last event that retention has removed.
    pub floor: Seq,
    /// Where the webhook stands; `None` where it has delivered nothing of it.
    pub cursor: Option<StreamCursor>,
}

/// What a look has found.
#[derive(Debug, Clone)]
pub struct Look {
    /// The history that the heads count in.
    pub epoch: Epoch,
    /// Streams whose cursor is not at the head, or is of a history of another name.
    pub due: Vec<DueStream>,
    /// The name with which to look on; `None` at the end of the range.
    pub next: Option<String>,
}

/// A batch: which part of which streams. Its events are read again for each attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// The `webhook-id` of all its attempts.
    pub id: String,
    /// The history that the numbers count in.
    pub epoch: Epoch,
    /// The parts, in the order in which they are delivered.
    pub streams: Vec<BatchStream>,
    /// How many of the changes of who attends that are noted it tells: the first ones.
    #[serde(default)]
    pub changes: usize,
}

/// A batch that was delivered, or that holds nothing to deliver.
#[derive(Debug, Clone, Copy)]
pub struct Delivered<'a> {
    /// Which parts of which streams.
    pub batch: &'a Batch,
    /// All changes of who attends that are noted. The batch has told the first of them.
    pub noted: &'a [Occupancy],
    /// The number of the last change that it has told, if it has told any.
    pub number: u64,
    /// Whether anything was sent.
    pub sent: bool,
}

/// A part of a stream in a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchStream {
    /// The stream, by its key.
    pub stream: String,
    /// Its events begin behind this one.
    pub after: Seq,
    /// The last one.
    pub seq: Seq,
    /// Retention has removed events that were not delivered: all before this number are delivered or gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_before: Option<Seq>,
    /// The log was restored to an earlier state, and is delivered again from the first event that is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
}

/// An attempt that failed.
#[derive(Debug, Clone)]
pub struct Failed {
    /// What was wrong, for operators.
    pub error: String,
    /// When it is tried again.
    pub retry_after: Duration,
    /// The receiver says that it is gone for good.
    pub gone: bool,
    /// The batch is given up for smaller ones: with bodies of at most this many bytes.
    pub smaller: Option<u64>,
    /// After how long of failures, and how many of them, the webhook is paused.
    pub give_up_after: (Duration, u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        let secret = SigningSecret { secret: "whsec_c2VjcmV0".to_owned(), until: Some(7) };
        assert_eq!(format!("{secret:?}"), "SigningSecret { until: Some(7), .. }");
        let changes = Changes { secrets: Some(vec![secret]), ..Changes::default() };
        assert!(!format!("{changes:?}").contains("whsec_"));
    }
}
