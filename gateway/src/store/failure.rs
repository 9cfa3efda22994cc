//! What failures of a database mean: which pass, which last, and which the content of a write causes.

use std::{future::Future, time::Duration};

use sqlx::{error::DatabaseError, migrate::MigrateError};

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
            Error::Database(database) => match cause(&*database) {
                Cause::Content => Self::Rejected(text),
                Cause::Passing => Self::Unavailable(text),
                Cause::Lasting => Self::Failed(text),
            },
            Error::Io(_)
            | Error::Tls(_)
            | Error::Protocol(_)
            | Error::PoolTimedOut
            | Error::PoolClosed
            | Error::WorkerCrashed
            | Error::BeginFailed => Self::Unavailable(text),
            _ => Self::Failed(text),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::Failed(format!("migration: {other}")),
        }
    }
}

/// What makes a statement fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// What is to be kept: it fails whenever it is tried, and nothing else does.
    Content,
    /// The same statement may succeed in a moment.
    Passing,
    /// The database, the rights of the role, or our own code. Somebody has to mend it.
    Lasting,
}

fn cause(error: &dyn DatabaseError) -> Cause {
    let code = error.code().unwrap_or_default();
    // SQLite's codes are numbers without leading zeros, and shorter.
    if code.len() == 5 {
        by_sqlstate(&code, error.constraint(), error.message())
    } else {
        by_result_code(&code)
    }
}

/// The constraints of the migrations. No content violates them; damage does, or a defect of ours.
const OUR_CONSTRAINTS: [&str; 8] = [
    "streams_pkey",
    "streams_check",
    "events_pkey",
    "drafts_pkey",
    "commands_pkey",
    "trims_pkey",
    "trims_check",
    "settings_changes_pkey",
];

/// By the classes of Postgres (appendix A of its manual). What is not listed is never blamed on a client.
fn by_sqlstate(code: &str, constraint: Option<&str>, message: &str) -> Cause {
    match (&code[..2], code) {
        // Data that a type does not take, such as a character that the database's encoding lacks; a limit of
        // the server that a value exceeds, such as the size of an index's row.
        ("22" | "54", _) => Cause::Content,
        // A rule that somebody has added to the tables.
        ("23", _) => match constraint {
            Some(name) if !OUR_CONSTRAINTS.contains(&name) => Cause::Content,
            _ => Cause::Lasting,
        },
        // Connection lost; a transaction or prepared statement that is not there, which a new connection
        // mends (a standby refuses to write with 25006); serialization failure or deadlock; out of
        // connections, memory or disk; not in the right state, or locked (55P03); cancelled by a time limit,
        // shut down or starting up; I/O error.
        ("08" | "25" | "26" | "40" | "53" | "55" | "57" | "58", _) => Cause::Passing,
        // A prepared statement that another client has left behind.
        (_, "42P05") => Cause::Passing,
        // A migration of a newer node changed a table under a prepared statement. It is prepared anew on the
        // next connection.
        (_, "0A000") if message.contains("cached plan") => Cause::Passing,
        // Among them a missing table or right (42), a wrong password (28), no such database (3D), what a
        // trigger raises (P0), and damage (XX).
        _ => Cause::Lasting,
    }
}

/// By SQLite's result codes; the kind of an extended one is in its low byte.
fn by_result_code(code: &str) -> Cause {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // TOOBIG
        Ok(18) => Cause::Content,
        // ABORT, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL, SCHEMA.
        Ok(4..=10 | 13..=15 | 17) => Cause::Passing,
        // Among them ERROR, CONSTRAINT (all of them are ours), CORRUPT and NOTADB.
        _ => Cause::Lasting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_postgres_decide() {
        let table = [
            (Cause::Content, vec!["22021", "22P02", "22003", "54000", "54001"]),
            (
                Cause::Passing,
                vec![
                    "08006", "08P01", "25P02", "25P03", "25006", "26000", "40001", "40P01", "42P05", "53100",
                    "53300", "55000", "55P03", "57014", "57P01", "57P03", "58030",
                ],
            ),
            (
                Cause::Lasting,
                vec![
                    "0A000", "21000", "23502", "28P01", "3D000", "3F000", "42501", "42601", "42703", "42P01",
                    "42804", "P0001", "XX000", "XX001", "ZZ999",
                ],
            ),
        ];
        for (cause, codes) in table {
            for code in codes {
                assert_eq!(by_sqlstate(code, None, ""), cause, "{code}");
            }
        }
        let plan = "cached plan must not change result type";
        assert_eq!(by_sqlstate("0A000", None, plan), Cause::Passing);
    }

    #[test]
    fn only_rules_of_others_blame_the_content() {
        for code in ["23503", "23505", "23514"] {
            for name in OUR_CONSTRAINTS {
                assert_eq!(by_sqlstate(code, Some(name), ""), Cause::Lasting, "{code} {name}");
            }
            assert_eq!(by_sqlstate(code, Some("no_swearing"), ""), Cause::Content, "{code}");
        }
    }

    #[test]
    fn result_codes_of_sqlite_decide() {
        for code in ["4", "5", "517", "261", "6", "7", "8", "776", "9", "10", "4874", "13", "14", "15", "17"]
        {
            assert_eq!(by_result_code(code), Cause::Passing, "{code}");
        }
        for code in ["", "1", "11", "19", "1555", "787", "26", "21"] {
            assert_eq!(by_result_code(code), Cause::Lasting, "{code}");
        }
        assert_eq!(by_result_code("18"), Cause::Content);
    }
}
