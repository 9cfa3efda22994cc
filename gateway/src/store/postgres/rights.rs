//! The rights that a node needs, checked when it starts: what is missing is said then, and not by the first
//! user whose change it stops.

use sqlx::PgConnection;

use super::schema::SchemaName;
use crate::store::StoreError;

/// What the statements of a node do with each table. Locking rows takes the right to change them.
const TABLES: &[(&str, &[&str])] = &[
    ("streams", &["SELECT", "INSERT", "UPDATE"]),
    ("events", &["SELECT", "INSERT", "DELETE"]),
    ("drafts", &["SELECT", "INSERT", "UPDATE"]),
    ("commands", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("trims", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("history", &["SELECT", "UPDATE"]),
    ("limits", &["SELECT", "UPDATE"]),
    ("notices", &["SELECT", "UPDATE", "DELETE"]),
    ("settings_changes", &["SELECT", "INSERT", "DELETE"]),
    ("webhooks", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("webhook_cursors", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("webhook_occupancy", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("occupancy", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("occupancy_leases", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
];

/// Functions that everybody may call unless somebody has taken that away. Those that name the timeline are not
/// among them: they are tried.
const FUNCTIONS: &[&str] = &[
    "set_config(text,text,boolean)",
    "pg_is_in_recovery()",
    "pg_postmaster_start_time()",
    "pg_try_advisory_lock(bigint)",
];

const MISSING_ON_SCHEMA: &str = "
    SELECT 'GRANT USAGE ON SCHEMA {schema} TO ' || quote_ident(current_user)
    WHERE NOT has_schema_privilege($1, 'USAGE')";

const MISSING: &str = "
    SELECT 'GRANT ' || string_agg(w.privilege, ', ') || ' ON {schema}.' || w.name
        || ' TO ' || quote_ident(current_user)
    FROM unnest($1::text[], $2::text[]) AS w (name, privilege)
    WHERE NOT has_table_privilege('{schema}.' || w.name, w.privilege)
    GROUP BY w.name
    UNION ALL
    SELECT 'GRANT EXECUTE ON FUNCTION ' || f.signature || ' TO ' || quote_ident(current_user)
    FROM unnest($3::text[]) AS f (signature)
    WHERE NOT has_function_privilege('pg_catalog.' || f.signature, 'EXECUTE')";

/// Checks that this role may do all that a node does.
///
/// # Errors
/// [`StoreError::Failed`] with the statements that an administrator has to run.
pub(super) async fn check(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), StoreError> {
    let mut missing: Vec<String> = sqlx::query_scalar(schema.sql(MISSING_ON_SCHEMA))
        .bind(schema.to_string())
        .fetch_all(&mut *connection)
        .await?;
    if missing.is_empty() {
        let each =
            || TABLES.iter().flat_map(|(table, rights)| rights.iter().map(move |right| (*table, *right)));
        missing = sqlx::query_scalar(schema.sql(MISSING))
            .bind(each().map(|(table, _)| table).collect::<Vec<_>>())
            .bind(each().map(|(_, right)| right).collect::<Vec<_>>())
            .bind(FUNCTIONS)
            .fetch_all(connection)
            .await?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(StoreError::Failed(format!(
        "the role of this node lacks rights; an administrator has to run: {};",
        missing.join("; ")
    )))
}
