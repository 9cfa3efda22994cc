//! The statements on settings that were changed at run time.

use sqlx::SqlStr;

use crate::store::postgres::history::Template;

/// The statements, over the tables of one schema.
pub(crate) struct Statements {
    pub(super) create_stream: SqlStr,
    pub(super) lock: SqlStr,
    pub(super) last: SqlStr,
    pub(super) history: SqlStr,
    pub(super) move_head: SqlStr,
    pub(super) add_event: SqlStr,
    pub(super) add_change: SqlStr,
    pub(super) forget: SqlStr,
}

impl Statements {
    pub(crate) fn new(template: &Template<'_>) -> Self {
        Self {
            create_stream: template.sql(CREATE_STREAM),
            lock: template.sql(LOCK),
            last: template.sql(LAST),
            history: template.sql(HISTORY),
            move_head: template.sql(MOVE_HEAD),
            add_event: template.sql(ADD_EVENT),
            add_change: template.sql(ADD_CHANGE),
            forget: template.sql(FORGET),
        }
    }
}

const CREATE_STREAM: &str = "INSERT INTO {schema}.streams (name) VALUES ($1) ON CONFLICT DO NOTHING";

const LOCK: &str =
    "SELECT s.head, {epoch} AS epoch FROM {schema}.streams s WHERE s.name = $1 FOR UPDATE OF s";

const LAST: &str = "
    SELECT * FROM (
        SELECT DISTINCT ON (name) version, name, value, otherwise, percent, unit, reason, changed_by, changed_at
        FROM {schema}.settings_changes ORDER BY name, version DESC
    ) last ORDER BY version";

const HISTORY: &str = "
    SELECT version, name, value, otherwise, percent, unit, reason, changed_by, changed_at
    FROM {schema}.settings_changes
    WHERE version < $1 AND ($2::text IS NULL OR name = $2) ORDER BY version DESC LIMIT $3";

const MOVE_HEAD: &str = "UPDATE {schema}.streams SET head = $2 WHERE name = $1";

const ADD_EVENT: &str = "
    INSERT INTO {schema}.events (stream, seq, kind, origin, ts, priority, payload)
    VALUES ($1, $2, $3, $4, $5, $6, $7::json)";

const ADD_CHANGE: &str = "
    INSERT INTO {schema}.settings_changes
        (version, name, value, otherwise, percent, unit, reason, changed_by, changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const FORGET: &str = "
    DELETE FROM {schema}.settings_changes old
    WHERE version <= $1 AND EXISTS (
        SELECT FROM {schema}.settings_changes later WHERE later.name = old.name AND later.version > old.version
    )";
