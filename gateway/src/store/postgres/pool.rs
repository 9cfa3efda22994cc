//! Connections to Postgres, kept for the next call.
//!
//! sqlx has a pool, but three of its ways do not fit a store that must answer in time: it takes back
//! connections of calls that were cut off, and waits for a hung server to clean them up; it tries a
//! server that is down until the time limit, where callers can be told at once; and it spends a round
//! trip on every return. Here a connection comes back only when its call ended well. Anything else
//! closes it, which rolls back what it was doing.

use std::{
    mem,
    ops::{Deref, DerefMut},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use common::operations::{Operation, Outcome};
use metrics::{Gauge, gauge};
use sqlx::{Connection, PgConnection, SqlStr};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{history, session::Sessions};
use crate::store::{PoolState, StoreError, timing};

/// A connection that was idle for longer is tried before it is used: a failover or a firewall may have
/// ended it.
const UNPROVEN_AFTER: Duration = Duration::from_secs(1);

/// How long the server may take to show that a connection works: a part of a call's time limit, so that
/// enough is left to open another.
const PROOF_MAX: Duration = Duration::from_millis(200);

/// A connection that nobody needed for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The oldest that a connection gets: the server's side collects memory, and what a load balancer
/// decided when it was opened grows stale.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// At most `connections_max` connections at a time; whoever asks while all are in use waits in turn.
/// How many wait, and for how long, is the caller's to bound.
pub(super) struct Pool {
    sessions: Sessions,
    /// What a connection runs that is new, or suspect.
    adopt: OnceLock<SqlStr>,
    permits: Semaphore,
    /// The most recently used last. Never more than there are permits.
    idle: Mutex<Vec<Idle>>,
    /// Calls that wait for a permit.
    waiting: AtomicUsize,
    connections_max: usize,
}

/// Something that is there, for a gauge, until it is dropped.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A call that waits for a connection, until it has one or gives up.
struct Waiting<'a> {
    pool: &'a Pool,
    began: Instant,
    outcome: Outcome,
    _one: Counted,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.waiting.fetch_sub(1, Ordering::Relaxed);
        let waited = self.began.elapsed();
        Operation::Pool.meter().record(self.outcome, waited);
        timing::waited_for_pool(waited);
    }
}

struct Idle {
    connection: PgConnection,
    _open: Counted,
    opened: Instant,
    used: Instant,
    /// Whether another connection has broken since.
    suspect: bool,
}

impl Idle {
    fn proven(&self) -> bool {
        !self.suspect && self.used.elapsed() <= UNPROVEN_AFTER
    }
}

impl Pool {
    /// Opens nothing yet.
    pub(super) fn new(sessions: Sessions, connections_max: usize) -> Self {
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_store_pool_max").set(connections_max as f64);
        Self {
            sessions,
            adopt: OnceLock::new(),
            permits: Semaphore::new(connections_max),
            idle: Mutex::default(),
            waiting: AtomicUsize::new(0),
            connections_max,
        }
    }

    /// Has each new connection see to it that the history has a name on its server. A connection that is open
    /// does not change its server, unless a pooler is between: then a statement finds out and fails, which makes
    /// the other connections suspect.
    pub(super) fn adopt_with(&self, sql: SqlStr) {
        self.adopt.get_or_init(|| sql);
    }

    /// A connection that works, or worked a moment ago. Cancel-safe.
    pub(super) async fn get(&self) -> Result<Lease<'_>, StoreError> {
        let permit = self.permit().await?;
        while let Some(mut idle) = self.pop() {
            if idle.opened.elapsed() > AGE_MAX {
                continue;
            }
            if idle.proven() {
                return Ok(self.lease(idle, permit));
            }
            match timeout(PROOF_MAX, self.prove(&mut idle.connection)).await {
                Ok(Ok(())) => return Ok(self.lease(idle, permit)),
                Ok(Err(_)) => {}
                // A server that is gone without a word: the others, used before this one, lead to it as well.
                Err(_) => self.lock().clear(),
            }
        }
        // Whatever keeps us from connecting, a wrong password included, may be mended while we run.
        let unavailable = |error: sqlx::Error| StoreError::Unavailable(format!("cannot connect: {error}"));
        let mut connection = self.sessions.open().await.map_err(unavailable)?;
        if let Some(adopt) = self.adopt.get() {
            history::adopt(&mut connection, adopt).await?;
        }
        let now = Instant::now();
        let open = Counted::new(gauge!("draftwire_store_pool_open"));
        let idle = Idle { connection, _open: open, opened: now, used: now, suspect: false };
        Ok(self.lease(idle, permit))
    }

    /// Shows whether a connection works, and that the history has a name where it leads to.
    async fn prove(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        match self.adopt.get() {
            Some(adopt) => history::adopt(connection, adopt).await,
            None => Ok(connection.ping().await?),
        }
    }

    /// The right to have a connection; waits for it in turn.
    async fn permit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        let one = Counted::new(gauge!("draftwire_store_pool_waiting"));
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut waiting = Waiting { pool: self, began: Instant::now(), outcome: Outcome::Error, _one: one };
        let permit = self.permits.acquire().await.map_err(|_| closed());
        waiting.outcome = Outcome::of(&permit);
        permit
    }

    fn lease<'a>(&'a self, idle: Idle, permit: SemaphorePermit<'a>) -> Lease<'a> {
        let busy = Counted::new(gauge!("draftwire_store_pool_busy"));
        Lease { pool: self, idle: Some(idle), _busy: busy, _permit: permit }
    }

    /// Refuses further calls and ends the idle connections; those in use end with their calls.
    pub(super) async fn close(&self) {
        self.permits.close();
        let idle = mem::take(&mut *self.lock());
        for Idle { connection, .. } in idle {
            // It tells the server; if that fails, the server finds out by itself.
            let _ = connection.close().await;
        }
    }

    /// Fails once the pool was closed, for calls that take no connection of it.
    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        if self.permits.is_closed() { Err(closed()) } else { Ok(()) }
    }

    /// How it stands. One that is being opened, or ends, may be counted as open or not.
    pub(super) fn state(&self) -> PoolState {
        let busy = self.connections_max.saturating_sub(self.permits.available_permits());
        let open = self.lock().len() + busy;
        PoolState { open, busy, waiting: self.waiting.load(Ordering::Relaxed), max: self.connections_max }
    }

    fn pop(&self) -> Option<Idle> {
        self.lock().pop()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // The list is whole at any moment: nothing that holds the lock can panic halfway.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store was closed".to_owned())
}

/// The right to use a connection. Dropped without [`Lease::put_back`], it closes the connection.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    idle: Option<Idle>,
    _busy: Counted,
    // Declared last: the connection is closed or back before somebody else may have one.
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// Keeps the connection for the next call: this one ended well, and outside of a transaction.
    pub(super) fn put_back(mut self) {
        if let Some(mut idle) = self.idle.take()
            && !self.pool.permits.is_closed()
        {
            (idle.used, idle.suspect) = (Instant::now(), false);
            let mut all = self.pool.lock();
            all.retain(|other| other.used.elapsed() <= IDLE_MAX);
            all.push(idle);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.idle.take().is_some() {
            // What broke or delayed one has often broken them all.
            self.pool.lock().iter_mut().for_each(|idle| idle.suspect = true);
        }
    }
}

const IN_USE: &str = "a lease has its connection until it is put back, which consumes it";

impl Deref for Lease<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.idle.as_ref().expect(IN_USE).connection
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.idle.as_mut().expect(IN_USE).connection
    }
}
