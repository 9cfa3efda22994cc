//! How sessions with Postgres are opened, and which poolers lead to one.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqlSafeStr, SqlStr, postgres::PgConnectOptions};

use crate::store::{StoreError, failure::within};

/// Has a session wait for its commits to be on disk where the database, or the role, has it otherwise. What is
/// stronger stays.
const WAIT_FOR_THE_DISK: &str = "SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')";

/// Opens sessions that have settings of their own.
///
/// The settings are made when a session has begun and not as a part of its beginning, where PgBouncer refuses
/// them, or is told to drop them without a word.
#[derive(Clone)]
pub(super) struct Sessions {
    options: PgConnectOptions,
    settings: Vec<(&'static str, String)>,
    durable: bool,
}

impl Sessions {
    /// Sessions with what the server has set.
    pub(super) fn new(options: PgConnectOptions) -> Self {
        // sqlx would have floating-point numbers written in full, by a parameter that PgBouncer refuses. There
        // are none.
        Self { options: options.extra_float_digits(None), settings: Vec::new(), durable: false }
    }

    /// Adds settings.
    pub(super) fn with(&self, settings: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let mut more = self.clone();
        more.settings.extend(settings);
        more
    }

    /// Sessions whose commits are on disk when they are acknowledged.
    pub(super) fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Where they lead to.
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    pub(super) async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        let mut session = PgConnection::connect_with(&self.options).await?;
        sqlx::raw_sql(self.setup()).execute(&mut session).await?;
        Ok(session)
    }

    /// All in one message.
    fn setup(&self) -> SqlStr {
        // A pooler may hand out a session that another client has used, and was told not to clean.
        let mut setup = "DEALLOCATE ALL".to_owned();
        for (name, value) in &self.settings {
            setup += &format!("; SET {name} = '{value}'");
        }
        if self.durable {
            setup += "; ";
            setup += WAIT_FOR_THE_DISK;
        }
        // Names and values are constants and numbers of ours.
        AssertSqlSafe(setup).into_sql_str()
    }
}

/// How often each of the sessions is looked at. A pooler that deals out the server's processes by turns, or is
/// busy with other clients, may give one the same process twice by chance.
const LOOKS: usize = 3;

/// Sessions that are open at once while they are looked at. One of several poolers gets two of them.
const SESSIONS_MAX: usize = 4;

/// Makes sure that sessions which are open at the same time are with processes of their own, and stay there.
/// Behind a pooler that changes that with every transaction, prepared statements, time limits and advisory
/// locks are those of somebody else.
///
/// # Errors
/// [`StoreError::Failed`] when there is such a pooler.
pub(super) async fn check_pooling(
    sessions: &Sessions,
    connections_max: usize,
    timeout: Duration,
) -> Result<(), StoreError> {
    within(timeout, async {
        let mut open = Vec::new();
        for _ in 0..connections_max.clamp(2, SESSIONS_MAX) {
            let mut session = PgConnection::connect_with(sessions.options()).await?;
            let process = process_of(&mut session).await?;
            open.push((session, process));
        }
        let mut processes: Vec<i32> = open.iter().map(|(_, process)| *process).collect();
        processes.sort_unstable();
        processes.dedup();
        let mut stable = processes.len() == open.len();
        for _ in 1..LOOKS {
            // The last one first: it is asked twice in a row.
            for (session, process) in open.iter_mut().rev() {
                stable = stable && process_of(session).await? == *process;
            }
        }
        for (session, _) in open {
            session.close().await?;
        }
        if stable { Ok(()) } else { Err(StoreError::Failed(POOLED.to_owned())) }
    })
    .await
}

const POOLED: &str = "DATABASE_URL leads to a pooler that gives a session's connection to others after each \
    transaction; let it pool by session (PgBouncer: pool_mode = session for this database), or connect to \
    Postgres itself";

async fn process_of(session: &mut PgConnection) -> Result<i32, sqlx::Error> {
    // A single message without a prepared statement, so that no pooler of any kind comes in between.
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(session).await?.try_get(0)
}
