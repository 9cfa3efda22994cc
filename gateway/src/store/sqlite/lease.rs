//! Connections of a pool that come back only when their call ended well.

use std::ops::{Deref, DerefMut};

use sqlx::{Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};

/// The right to use a connection. Dropped without [`Lease::put_back`], it closes the connection.
///
/// After a failure nobody knows its state: SQLite ends a transaction by itself when the disk is full, and sqlx
/// goes on counting it, so that no other can begin. The same for a call that was given up.
pub(super) struct Lease(Option<PoolConnection<Sqlite>>);

impl Lease {
    pub(super) async fn of(pool: &SqlitePool) -> Result<Self, sqlx::Error> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    /// Keeps the connection for the next call: this one ended well, and outside of a transaction.
    pub(super) fn put_back(mut self) {
        self.0.take();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

const IN_USE: &str = "a lease has its connection until it is put back, which consumes it";

impl Deref for Lease {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.0.as_ref().expect(IN_USE)
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.0.as_mut().expect(IN_USE)
    }
}
