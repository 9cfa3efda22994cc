//! Rows as both databases return and take them, and what they mean. A row that means nothing is a defect in the
//! database: it is reported with its place, and fails the call.

use std::{fmt::Display, str::FromStr, sync::Arc};

use common::{Epoch, Event, Seq, Stream, UserId, Version, event::Priority, protocol::Draft};
use fanout::log::{Head, Heads, LogError, Page, Read};
use serde_json::value::RawValue;

use super::{
    DraftList, History, StoreError,
    plan::{Batch, Content, DraftRow, Remembered, State},
    retention::Position,
};

/// What a store answers in the place of an epoch begins with this, which no epoch does, when it cannot be used
/// just now; the reason follows.
pub(super) const NO_EPOCH: char = '?';

/// What was found for one [`super::plan::Lookup`].
#[derive(sqlx::FromRow)]
pub(super) struct LookupRow {
    /// Which write of the batch it is for, counted from zero.
    pub(super) ord: i64,
    pub(super) fingerprint: Option<i64>,
    pub(super) answer: Option<String>,
    pub(super) version: Option<i64>,
    pub(super) kind: Option<String>,
    pub(super) content: Option<String>,
    pub(super) fields: Option<String>,
    pub(super) created_at: Option<i64>,
    pub(super) updated_at: Option<i64>,
    pub(super) live: Option<i64>,
}

/// Adds what was looked up to the state that a batch is decided on.
pub(super) fn fill_state(
    rows: impl IntoIterator<Item = LookupRow>,
    batch: &Batch<'_>,
    state: &mut State,
) -> Result<(), StoreError> {
    for row in rows {
        let index = usize::try_from(row.ord).unwrap_or(usize::MAX);
        let write = batch.write(index).ok_or_else(|| corrupt("a lookup", row.ord, "nobody asked for it"))?;
        if let (Some(fingerprint), Some(answer), Some(id)) = (row.fingerprint, &row.answer, &write.id) {
            let place = format!("command {id} of {} on {}", write.user, write.device);
            let answer = serde_json::from_str(answer).map_err(|error| corrupt("the answer", place, error))?;
            let key = (write.user.clone(), write.device.clone(), id.clone());
            state.commands.insert(key, Remembered { fingerprint, answer });
        }
        if let Some(live) = row.live {
            state.live.insert(write.user.clone(), unsigned("drafts", &write.user, live)?);
        }
        if let (Some(version), Some(kind), Some(fields)) = (row.version, &row.kind, &row.fields) {
            let draft_id =
                write.op.draft_id().ok_or_else(|| corrupt("a lookup", row.ord, "it is of no draft"))?;
            let place = format!("draft {draft_id} of {}", write.user);
            let content = row.content.map(Content::parse).transpose();
            let draft = DraftRow {
                version: Version(unsigned("the version", &place, version)?),
                kind: parse("the kind", &place, kind)?,
                content: content.map_err(|error| corrupt("the content", &place, error))?,
                fields: serde_json::from_str(fields).map_err(|error| corrupt("the fields", &place, error))?,
                created_at: unsigned("the time", &place, row.created_at.unwrap_or(0))?,
                updated_at: unsigned("the time", &place, row.updated_at.unwrap_or(0))?,
            };
            state.drafts.insert((write.user.clone(), draft_id.clone()), Arc::new(draft));
        }
    }
    Ok(())
}

/// One draft that is not deleted.
#[derive(sqlx::FromRow)]
pub(super) struct DraftColumns {
    draft_id: String,
    version: i64,
    kind: String,
    content: String,
    updated_at: i64,
}

impl DraftColumns {
    pub(super) fn read(self, user: &UserId) -> Result<Draft, StoreError> {
        let place = format!("draft {} of {user}", self.draft_id);
        Ok(Draft {
            draft_id: parse("the id", &place, &self.draft_id)?,
            version: Version(unsigned("the version", &place, self.version)?),
            kind: parse("the kind", &place, &self.kind)?,
            content: raw("the content", &place, self.content)?,
            updated_at: unsigned("the time", &place, self.updated_at)?,
        })
    }
}

/// One draft of a list; a single row without one when the list is empty.
#[derive(sqlx::FromRow)]
pub(super) struct ListRow {
    epoch: String,
    head: i64,
    draft_id: Option<String>,
    version: Option<i64>,
    kind: Option<String>,
    content: Option<String>,
    updated_at: Option<i64>,
}

pub(super) fn list(rows: Vec<ListRow>, user: &UserId) -> Result<DraftList, StoreError> {
    let first = rows.first().ok_or_else(|| corrupt("the list of drafts", user, "it has no position"))?;
    let epoch = epoch(&first.epoch)?;
    let seq = Seq(unsigned("the head", user, first.head)?);
    let drafts = rows.into_iter().filter_map(|row| {
        Some(DraftColumns {
            draft_id: row.draft_id?,
            version: row.version?,
            kind: row.kind?,
            content: row.content?,
            updated_at: row.updated_at?,
        })
    });
    Ok(DraftList { epoch, seq, drafts: drafts.map(|draft| draft.read(user)).collect::<Result<_, _>>()? })
}

/// The position of one stream; a single row without one when none was asked for.
#[derive(sqlx::FromRow)]
pub(super) struct HeadRow {
    epoch: String,
    head: Option<i64>,
    floor: Option<i64>,
}

pub(super) fn heads(rows: Vec<HeadRow>) -> Result<Heads, StoreError> {
    let first = rows.first().ok_or_else(|| corrupt("the heads", "all streams", "they have no epoch"))?;
    let epoch = epoch(&first.epoch)?;
    let heads = rows.into_iter().filter_map(|row| Some((row.head?, row.floor?))).map(|(head, floor)| {
        Ok(Head {
            head: Seq(unsigned("the head", "a stream", head)?),
            floor: Seq(unsigned("the floor", "a stream", floor)?),
        })
    });
    Ok(Heads { epoch, heads: heads.collect::<Result<_, StoreError>>()? })
}

/// Where a stream stands that is to be cut.
#[derive(sqlx::FromRow)]
pub(super) struct PositionRow {
    name: String,
    head: i64,
    floor: i64,
    fresh: Option<i64>,
}

pub(super) fn positions(rows: Vec<PositionRow>) -> Result<Vec<Position>, StoreError> {
    let position = |PositionRow { name, head, floor, fresh }| {
        Ok(Position {
            head: unsigned("the head", &name, head)?,
            floor: unsigned("the floor", &name, floor)?,
            fresh: fresh.map(|seq| unsigned("the seq", &name, seq)).transpose()?,
            name,
        })
    };
    rows.into_iter().map(position).collect()
}

/// One event of a read; a single row without one when there is none.
#[derive(sqlx::FromRow)]
pub(super) struct EventRow {
    epoch: String,
    /// Which read, counted from zero.
    ord: i64,
    head: i64,
    floor: i64,
    seq: Option<i64>,
    kind: Option<String>,
    origin: Option<String>,
    ts: Option<i64>,
    priority: Option<i64>,
    payload: Option<String>,
}

pub(super) fn pages(rows: Vec<EventRow>, reads: &[Read]) -> Result<Vec<Page>, StoreError> {
    Ok(histories(rows, reads)?.into_iter().map(|history| history.page).collect())
}

pub(super) fn history(rows: Vec<EventRow>, read: &Read) -> Result<History, StoreError> {
    let history = histories(rows, std::slice::from_ref(read))?.pop();
    history.ok_or_else(|| corrupt("a page", &read.stream, "it is missing"))
}

fn histories(mut rows: Vec<EventRow>, reads: &[Read]) -> Result<Vec<History>, StoreError> {
    // Sorted here: a database would carry whole payloads through its sort.
    rows.sort_unstable_by_key(|row| (row.ord, row.seq));
    let Some(first) = rows.first() else {
        return if reads.is_empty() {
            Ok(Vec::new())
        } else {
            Err(corrupt("a page", "all reads", "it is missing"))
        };
    };
    let epoch = epoch(&first.epoch)?;
    let history =
        || History { page: Page { epoch: epoch.clone(), events: Vec::new(), floor: Seq(0) }, head: Seq(0) };
    let mut histories: Vec<History> = reads.iter().map(|_| history()).collect();
    for row in rows {
        let index = usize::try_from(row.ord).unwrap_or(usize::MAX);
        let (Some(read), Some(history)) = (reads.get(index), histories.get_mut(index)) else {
            return Err(corrupt("a page", row.ord, "nobody asked for it"));
        };
        history.page.floor = Seq(unsigned("the floor", &read.stream, row.floor)?);
        history.head = Seq(unsigned("the head", &read.stream, row.head)?);
        if let Some(event) = event(row, read)? {
            history.page.events.push(event);
        }
    }
    for (History { page, head }, read) in histories.iter_mut().zip(reads) {
        keep_consecutive(page, read, *head);
    }
    Ok(histories)
}

fn event(row: EventRow, read: &Read) -> Result<Option<Arc<Event>>, StoreError> {
    let (Some(seq), Some(kind), Some(origin), Some(ts), Some(payload)) =
        (row.seq, row.kind, row.origin, row.ts, row.payload)
    else {
        return Ok(None);
    };
    let place = format!("event {seq} of {}", read.stream);
    let event = Event::new(
        read.stream.clone(),
        Seq(unsigned("the seq", &place, seq)?),
        parse("the type", &place, &kind)?,
        parse("the origin", &place, &origin)?,
        unsigned("the time", &place, ts)?,
        raw("the payload", &place, payload)?,
    );
    // A number too large for its type is of a version to come, and as urgent as the highest known.
    let priority = u8::try_from(row.priority.unwrap_or(0)).unwrap_or(u8::MAX);
    Ok(Some(Arc::new(event.with_priority(Priority::from_number(priority)))))
}

/// Cuts a page where a number is missing. If the very first is, the page is empty and says with its
/// floor how far the log is of no use to this reader.
fn keep_consecutive(page: &mut Page, read: &Read, head: Seq) {
    let consecutive = page
        .events
        .iter()
        .zip(read.after.0.saturating_add(1)..)
        .take_while(|(event, seq)| event.seq.0 == *seq);
    let kept = consecutive.count();
    let missing = kept == 0 && read.limit > 0 && head > read.after;
    if missing && page.floor <= read.after {
        // Not the work of retention, which moves the floor: somebody deleted events by hand. Readers
        // are told that they are gone, because waiting for them would never end.
        let gone = page.events.first().map_or(head.0, |next| next.seq.0 - 1);
        tracing::error!(stream = %read.stream, after = %read.after, up_to = gone, "events are missing from the log");
        page.floor = Seq(gone);
    }
    page.events.truncate(kept);
}

/// Where a stream stands, as a batch needs it.
pub(super) fn position(name: &str, head: i64) -> Result<(Stream, Seq), StoreError> {
    Ok((parse("the name", name, name)?, Seq(unsigned("the head", name, head)?)))
}

pub(super) fn epoch(text: &str) -> Result<Epoch, StoreError> {
    if let Some(reason) = text.strip_prefix(NO_EPOCH) {
        return Err(StoreError::Unavailable(reason.to_owned()));
    }
    parse("the epoch", "the store", text)
}

pub(super) fn unsigned(what: &str, place: impl Display, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| corrupt(what, place, format_args!("{number} is negative")))
}

fn parse<T: FromStr<Err: Display>>(what: &str, place: impl Display, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error| corrupt(what, place, error))
}

fn raw(what: &str, place: impl Display, json: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(json).map_err(|error| corrupt(what, place, error))
}

pub(super) fn corrupt(what: &str, place: impl Display, why: impl Display) -> StoreError {
    StoreError::Failed(format!("{what} of {place} is corrupt: {why}"))
}

/// One column of a set of rows, as `unnest` of Postgres takes it.
pub(super) fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// A set of rows, as `json_each` of SQLite takes it.
pub(super) fn array(rows: impl Iterator<Item = serde_json::Value>) -> String {
    serde_json::Value::Array(rows.collect()).to_string()
}

/// A number as the databases hold it. What is beyond them is beyond anything stored, so their largest
/// stands for it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}
