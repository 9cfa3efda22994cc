//! Which failures of a database pass, and which do not.

use std::{future::Future, time::Duration};

use sqlx::migrate::MigrateError;

use super::StoreError;

/// Ends a call at the store's time limit. The call is dropped then, and with it what it holds.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable(format!("no answer within {limit:?}"))))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        let text = error.to_string();
        match error {
            Error::Database(database) if database.code().is_some_and(|code| passes(&code, &text)) => {
                Self::Unavailable(text)
            }
            Error::Io(_)
            | Error::Tls(_)
            | Error::Protocol(_)
            | Error::PoolTimedOut
            | Error::PoolClosed
            | Error::WorkerCrashed
            | Error::BeginFailed => Self::Unavailable(text),
            _ => Self::Rejected(text),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::Rejected(format!("migration: {other}")),
        }
    }
}

/// Whether the same statement may succeed later: by SQLSTATE for Postgres (five characters), by the
/// result code for SQLite (a number without leading zeros, the kind of error in its low byte).
fn passes(code: &str, text: &str) -> bool {
    if code.len() == 5 {
        return match &code[..2] {
            // Connection lost; serialization failure or deadlock; out of connections, memory or disk;
            // shut down, starting up or cancelled by a time limit; I/O error.
            "08" | "40" | "53" | "57" | "58" => true,
            _ => match code {
                // Idle for too long inside a transaction: this node was stopped for a while.
                "25P03" => true,
                // A standby, asked for its position in the log or to write: a failover is under way.
                "25006" | "55000" => true,
                // A lock was not to be had within the time limit.
                "55P03" => true,
                // A migration of a newer node changed a table under a prepared statement. It is
                // prepared anew on the next connection.
                "0A000" => text.contains("cached plan"),
                _ => false,
            },
        };
    }
    // BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 10 | 13 | 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for code in ["08006", "40001", "40P01", "53300", "57014", "57P01", "25P03", "25006", "55P03"] {
            assert!(passes(code, ""), "{code}");
        }
        for code in ["5", "517", "261", "13", "10", "4874"] {
            assert!(passes(code, ""), "SQLite's {code}");
        }
        for code in ["23505", "23514", "42P01", "22P02", "0A000", "19", "1", "11", "1555", "787", ""] {
            assert!(!passes(code, ""), "{code}");
        }
        assert!(passes("0A000", "cached plan must not change result type"));
    }
}
