//! What an acknowledgement means: settings of the database that would make it mean less.

use sqlx::{Connection, PgConnection};

use super::{PostgresStore, SchemaName};
use crate::store::{StoreError, failure::within};

/// Settings and tables that no session can mend. Notices are unlogged on purpose: with them goes nothing but time.
const RISKS: &str = "
    SELECT current_setting('fsync') = 'off', current_setting('full_page_writes') = 'off',
        ARRAY(
            SELECT c.relname::text
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relpersistence <> 'p'
                AND c.relname <> 'notices'
            ORDER BY 1
        )";

impl PostgresStore {
    /// Returns what could take away acknowledged changes when the database's machine crashes, a sentence each.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn durability_warnings(&self) -> Result<Vec<String>, StoreError> {
        within(self.timeout, async {
            let mut session = self.plain.open().await?;
            let warnings = warnings(&mut session, &self.schema).await?;
            session.close().await?;
            Ok(warnings)
        })
        .await
    }
}

async fn warnings(session: &mut PgConnection, schema: &SchemaName) -> Result<Vec<String>, sqlx::Error> {
    let (no_fsync, torn_pages, unlogged): (bool, bool, Vec<String>) =
        sqlx::query_as(RISKS).bind(schema.to_string()).fetch_one(session).await?;
    let mut warnings = Vec::new();
    let mut off = |setting: &str, what: &str| {
        warnings.push(format!("Postgres runs with {setting} = off: when its machine crashes, {what}"));
    };
    if no_fsync {
        off("fsync", "acknowledged changes and whole tables may be lost");
    }
    if torn_pages {
        off("full_page_writes", "pages that were being written may be damaged");
    }
    for table in unlogged {
        warnings.push(format!(
            "{schema}.{table} is unlogged: Postgres empties it after a crash (ALTER TABLE {schema}.{table} SET \
             LOGGED)"
        ));
    }
    Ok(warnings)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use testkit::Postgres;

    use super::*;
    use crate::store::{
        Limits,
        postgres::{HistorySource, PostgresOptions},
    };

    #[tokio::test]
    async fn commits_wait_for_the_disk_at_least() {
        let server = Postgres::start_quick().await.unwrap();
        let limits = Limits { drafts_per_user_max: 1, draft_bytes_max: 1, event_bytes_max: 1 };
        for (set, expected) in [
            ("off", "on"),
            ("local", "on"),
            ("remote_write", "on"),
            ("on", "on"),
            ("remote_apply", "remote_apply"),
        ] {
            let url = server.create_database().await.unwrap();
            let name = url.rsplit('/').next().unwrap();
            server
                .query("postgres", &format!("ALTER DATABASE {name} SET synchronous_commit = {set}"))
                .await
                .unwrap();
            let (timeout, schema) = (Duration::from_secs(20), SchemaName::default());
            let history = HistorySource::default();
            let options = PostgresOptions {
                url,
                schema,
                history,
                connections_max: 1,
                timeout,
                limits,
                state_cache_bytes_max: 0,
            };
            let store = PostgresStore::new(&options).unwrap();
            let mut connection = store.pool.get().await.unwrap();
            let shown = sqlx::query_scalar::<_, String>("SHOW synchronous_commit");
            assert_eq!(shown.fetch_one(&mut *connection).await.unwrap(), expected, "{set}");
        }
    }
}
