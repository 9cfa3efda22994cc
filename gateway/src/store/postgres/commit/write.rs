//! Writes what was decided: one statement, for one change or for hundreds.

use std::{collections::HashMap, sync::Arc};

use common::{DraftId, Epoch, Event, Seq, Stream, UserId};
use sqlx::{PgConnection, Row};

use super::{
    statements::{LockWait, Statements, unless_locked},
    steps::Attempt,
};
use crate::{
    operations::Statement,
    store::{
        Done, StoreError,
        plan::{DraftRow, NewCommand, Plan},
        rows::{self, column, signed},
        timing::timed,
    },
};

/// What a decision was made on, and has to be unchanged for it to be written.
pub(super) struct Basis {
    /// The history; `None` where it may be any.
    pub(super) epoch: Option<Epoch>,
    /// The heads of the streams; one that is not named may stand anywhere.
    pub(super) heads: HashMap<Stream, Seq>,
}

/// What was written.
pub(super) struct Written {
    pub(super) epoch: Epoch,
    /// Where the streams stood that the basis does not name.
    pub(super) before: HashMap<Stream, Seq>,
}

/// The rows of a plan.
struct Rows<'a> {
    streams: Vec<Moved>,
    drafts: &'a [(UserId, DraftId, Arc<DraftRow>)],
    commands: &'a [NewCommand],
    events: Vec<NewEvent<'a>>,
}

/// A stream with new events.
struct Moved {
    key: String,
    /// Where it has to stand.
    expected: Option<Seq>,
    events: u64,
}

/// An event, with its place behind the head that is found.
struct NewEvent<'a> {
    event: &'a Event,
    nth: u64,
}

impl<'a> Rows<'a> {
    fn new(plan: &'a Plan, basis: &Basis) -> Self {
        let before = |stream| basis.heads.get(stream).copied();
        let streams = plan.heads.iter().map(|(stream, head)| {
            let expected = before(stream);
            Moved { key: stream.key(), expected, events: head.0 - expected.unwrap_or_default().0 }
        });
        let events = plan
            .events
            .iter()
            .map(|event| NewEvent { event, nth: event.seq.0 - before(&event.stream).unwrap_or_default().0 });
        Self {
            streams: streams.collect(),
            drafts: &plan.drafts,
            commands: &plan.commands,
            events: events.collect(),
        }
    }

    fn is_one(&self) -> bool {
        self.streams.len() == 1
            && self.events.len() == 1
            && self.drafts.len() <= 1
            && self.commands.len() <= 1
    }
}

/// Binds the columns of the rows, or with `first` the fields of the only one.
macro_rules! bind_rows {
    ($query:expr, $rows:expr, $basis:expr, $column:ident) => {{
        let Rows { streams, drafts, commands, events } = $rows;
        // What a command answers with numbers that are not known yet.
        let numbers = |command: &NewCommand| match command.remembered.answer {
            Done::Appended { first, seq } if !$basis.heads.contains_key(&command.stream) => {
                Some((first, seq))
            }
            _ => None,
        };
        $query
            .bind($column(streams, |stream| stream.key.as_str()))
            .bind($column(streams, |stream| stream.expected.map(|head| signed(head.0))))
            .bind($column(streams, |stream| signed(stream.events)))
            .bind($column(drafts, |(user, ..)| user.as_str()))
            .bind($column(drafts, |(_, id, _)| id.as_str()))
            .bind($column(drafts, |(.., row)| signed(row.version.0)))
            .bind($column(drafts, |(.., row)| row.kind.as_str()))
            .bind($column(drafts, |(.., row)| row.content.as_ref().map(|content| content.json())))
            .bind($column(drafts, |(.., row)| json(&row.fields)))
            .bind($column(drafts, |(.., row)| signed(row.created_at)))
            .bind($column(drafts, |(.., row)| signed(row.updated_at)))
            .bind($column(commands, |command| command.key.0.as_str()))
            .bind($column(commands, |command| command.key.1.as_str()))
            .bind($column(commands, |command| command.key.2.as_str()))
            .bind($column(commands, |command| command.remembered.fingerprint))
            .bind($column(commands, |command| json(&command.remembered.answer)))
            .bind($column(commands, |command| numbers(command).map(|_| command.stream.key())))
            .bind($column(commands, |command| numbers(command).map(|(first, _)| signed(first.0))))
            .bind($column(commands, |command| numbers(command).map(|(_, last)| signed(last.0))))
            .bind($column(events, |new| new.event.stream.key()))
            .bind($column(events, |new| signed(new.nth)))
            .bind($column(events, |new| new.event.kind.as_str()))
            .bind($column(events, |new| new.event.origin.as_str()))
            .bind($column(events, |new| i16::from(new.event.priority.number())))
            .bind($column(events, |new| new.event.payload.get()))
    }};
}

/// Writes a plan that was made on `basis` at `now`, in Unix milliseconds. Otherwise it writes nothing and returns
/// what is in the way. A key that is taken also ends the transaction, if there is one.
pub(super) async fn write(
    connection: &mut PgConnection,
    sql: &Statements,
    plan: &Plan,
    basis: &Basis,
    now: u64,
    lock_wait: LockWait,
) -> Result<Result<Written, Attempt>, StoreError> {
    let rows = Rows::new(plan, basis);
    let (statement, text) = if rows.is_one() {
        (Statement::WriteOne, &sql.write_one)
    } else {
        (Statement::WriteMany, &sql.write_many)
    };
    let query = sqlx::query(text.clone())
        .bind(lock_wait.setting())
        .bind(basis.epoch.as_ref().map(Epoch::to_string))
        .bind(signed(now));
    let query = if rows.is_one() {
        bind_rows!(query, &rows, basis, first)
    } else {
        bind_rows!(query, &rows, basis, column)
    };
    let found = match timed(statement, query.fetch_all(connection)).await {
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("commands_pkey") => {
            return Ok(Err(Attempt::KeyTaken));
        }
        other => match unless_locked(other)? {
            None => return Ok(Err(Attempt::Locked)),
            Some(found) => found,
        },
    };
    let Some(row) = found.first() else {
        return Err(StoreError::Failed("a write was not answered, not even with the history".to_owned()));
    };
    if !row.try_get::<bool, _>("unchanged")? {
        let exist: i64 = row.try_get("exist")?;
        let all_exist = usize::try_from(exist) == Ok(rows.streams.len());
        return Ok(Err(if all_exist { Attempt::NeedsLocks } else { Attempt::NewStreams }));
    }
    let epoch = rows::epoch(row.try_get("epoch")?)?;
    let mut before = HashMap::new();
    for row in &found {
        let Some(name) = row.try_get::<Option<&str>, _>("name")? else { continue };
        let (stream, head) = rows::position(name, row.try_get("before")?)?;
        if !basis.heads.contains_key(&stream) {
            before.insert(stream, head);
        }
    }
    Ok(Ok(Written { epoch, before }))
}

/// The field of the only row, if there is one: what [`column`] is for many.
fn first<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Option<T> {
    rows.first().map(value)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value)
        .expect("it consists of strings and numbers, and maps with keys that are strings")
}
