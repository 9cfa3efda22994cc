//! The limits of the nodes, as the functions of docs/sql.md read them.

use sqlx::PgConnection;

use super::schema::SchemaName;
use crate::store::{Limits, StoreError, rows::signed};

/// Locks and writes nothing where they are the same already, as with nearly every start of a node.
const RECORD: &str = "
    UPDATE {schema}.limits SET event_bytes_max = $1, draft_bytes_max = $2, drafts_per_user_max = $3
    WHERE (event_bytes_max, draft_bytes_max, drafts_per_user_max) IS DISTINCT FROM ($1, $2, $3)";

/// Records the limits of this node. Those of the node that has started last hold.
pub(super) async fn record(
    connection: &mut PgConnection,
    schema: &SchemaName,
    limits: &Limits,
) -> Result<(), StoreError> {
    sqlx::query(schema.sql(RECORD))
        .bind(signed(limits.event_bytes_max as u64))
        .bind(signed(limits.draft_bytes_max as u64))
        .bind(signed(limits.drafts_per_user_max))
        .execute(connection)
        .await?;
    Ok(())
}
