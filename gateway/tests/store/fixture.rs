//! What the tests of both stores share: a database under test, and short words for writes.

use std::{sync::Arc, time::Duration};

use common::{DraftId, Event, Seq, Stream, UserId, Version, merge::Object, protocol::Draft};
use fanout::log::Read;
use gateway::store::{Base, Committed, Done, DraftLimits, DraftOp, Refusal, Store, Write};
use serde_json::Value;

/// Not what is being tested, unless a test says so.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

pub(crate) const LIMITS: DraftLimits = DraftLimits { drafts_per_user_max: 100, draft_bytes_max: 100_000 };

/// A database that stores are opened on. Each test has one of its own.
#[async_trait::async_trait]
pub(crate) trait Database: Send + Sync {
    /// A new handle, as after a restart.
    async fn open(&self, limits: DraftLimits) -> Arc<dyn Store>;

    /// A handle of another node that runs at the same time.
    async fn node(&self) -> Arc<dyn Store>;

    /// Does what only an operator or retention would.
    async fn execute(&self, sql: &'static str);
}

pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

pub(crate) fn draft_id(name: &str) -> DraftId {
    name.parse().unwrap()
}

pub(crate) fn stream(name: &str) -> Stream {
    Stream::User(user(name))
}

pub(crate) fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn write(name: &str, op: DraftOp) -> Write {
    Write { user: user(name), device: "phone".parse().unwrap(), id: None, op }
}

pub(crate) fn create(name: &str, draft: &str, content: Value) -> Write {
    let (draft_id, kind) = (draft_id(draft), "note".parse().unwrap());
    write(name, DraftOp::Create { draft_id, kind, content: object(content) })
}

pub(crate) fn update(name: &str, draft: &str, base: u64, patch: Value) -> Write {
    let base = Base::Merge(Version(base));
    write(name, DraftOp::Update { draft_id: draft_id(draft), base, patch: object(patch) })
}

pub(crate) fn delete(name: &str, draft: &str, base: Option<u64>) -> Write {
    let base = base.map(|version| Base::Merge(Version(version)));
    write(name, DraftOp::Delete { draft_id: draft_id(draft), base })
}

/// The same write on exactly its base.
pub(crate) fn exactly(mut write: Write) -> Write {
    if let DraftOp::Update { base, .. } | DraftOp::Delete { base: Some(base), .. } = &mut write.op
        && let Base::Merge(version) = *base
    {
        *base = Base::Exact(version);
    }
    write
}

/// The same write under an idempotency key.
pub(crate) fn with_id(id: &str, mut write: Write) -> Write {
    write.id = Some(id.parse().unwrap());
    write
}

/// Commits one write.
pub(crate) async fn one(store: &Arc<dyn Store>, write: Write) -> Result<Done, Refusal> {
    answer(store.commit(&[write]).await.unwrap())
}

fn answer(committed: Committed) -> Result<Done, Refusal> {
    let [answer] = <[_; 1]>::try_from(committed.answers).unwrap();
    answer
}

/// The answer as (version, seq).
pub(crate) fn numbers(done: &Done) -> (u64, Option<u64>) {
    (done.ack.version.0, done.seq.map(|seq| seq.0))
}

pub(crate) async fn events(store: &Arc<dyn Store>, name: &str, after: u64, limit: u32) -> Vec<Arc<Event>> {
    let read = Read { stream: stream(name), after: Seq(after), limit };
    store.read(&[read]).await.unwrap().remove(0).events
}

/// A user's whole log, checked to have no gaps: one line of text per event.
pub(crate) async fn log(store: &Arc<dyn Store>, name: &str) -> Vec<String> {
    let events = events(store, name, 0, 100_000).await;
    for (event, seq) in events.iter().zip(1..) {
        assert_eq!(event.seq, Seq(seq));
    }
    let head = store.heads(&[stream(name)]).await.unwrap().heads[0].head;
    assert_eq!(head, Seq(events.len() as u64), "the head is the last event");
    events.iter().map(|event| format!("{} {}", event.kind.as_str(), event.payload)).collect()
}

pub(crate) fn content(draft: &Draft) -> Value {
    serde_json::from_str(draft.content.get()).unwrap()
}
