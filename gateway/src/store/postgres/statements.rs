//! Every statement of the store, over the tables of one schema.

use sqlx::SqlStr;

use super::{
    commit,
    history::{self, Naming, Template},
    notices, retention,
    schema::SchemaName,
    settings::statements as setting_statements,
    webhooks::statements as webhook_statements,
};

/// Every statement, over the tables of one schema.
pub(super) struct Statements {
    /// Names the history where it has no name on this server; see [`history`].
    pub(super) adopt: Option<SqlStr>,
    /// Gives the history another name.
    pub(super) rename: Option<SqlStr>,
    pub(super) heads: SqlStr,
    pub(super) read: SqlStr,
    pub(super) drafts: SqlStr,
    pub(super) draft: SqlStr,
    pub(super) commit: commit::Statements,
    pub(super) retention: retention::Statements,
    pub(super) notices: notices::Statements,
    pub(super) webhooks: webhook_statements::Statements,
    pub(super) settings: setting_statements::Statements,
}

impl Statements {
    pub(super) fn new(schema: &SchemaName, naming: Naming) -> Self {
        let template = Template { schema, naming };
        Self {
            adopt: naming.may_be_a_row().then(|| template.sql(history::ADOPT)),
            rename: naming.may_be_a_row().then(|| template.sql(history::RENAME)),
            heads: template.sql(HEADS),
            read: template.sql(READ),
            drafts: template.sql(DRAFTS),
            draft: template.sql(DRAFT),
            commit: commit::Statements::new(&template),
            retention: retention::Statements::new(schema),
            notices: notices::Statements::new(schema, &template),
            webhooks: webhook_statements::Statements::new(&template),
            settings: setting_statements::Statements::new(&template),
        }
    }
}

const HEADS: &str = "WITH epoch AS MATERIALIZED (SELECT {epoch} AS epoch)
    SELECT epoch.epoch,
        CASE WHEN w.ord IS NOT NULL THEN coalesce(s.head, 0) END AS head,
        CASE WHEN w.ord IS NOT NULL THEN coalesce(s.floor, 0) END AS floor
    FROM epoch
    LEFT JOIN unnest($1::text[]) WITH ORDINALITY AS w (name, ord) ON true
    LEFT JOIN {schema}.streams s ON s.name = w.name
    ORDER BY w.ord";

// Below the floor there is nothing, deleted yet or not: a reader must not wade through what is.
//
// The size of a payload is known once it has been fetched and unpacked. The size that it is stored in is
// known without, and is not larger but for a header: by it most of what does not fit is left out first.
const READ: &str = "WITH epoch AS MATERIALIZED (SELECT {epoch} AS epoch)
    SELECT epoch.epoch, w.ord - 1 AS ord, coalesce(s.head, 0) AS head, coalesce(s.floor, 0) AS floor,
        e.seq, e.kind, e.origin, e.ts, e.priority::bigint AS priority, e.payload::text
    FROM epoch
    CROSS JOIN unnest($1::text[], $2::bigint[], $3::bigint[])
        WITH ORDINALITY AS w (stream, after, events_max, ord)
    LEFT JOIN {schema}.streams s ON s.name = w.stream
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT *, sum(octet_length(payload::text)) OVER before AS bytes
            FROM (
                SELECT *, sum(pg_column_size(payload)) OVER before AS stored
                FROM (
                    SELECT * FROM {schema}.events WHERE stream = w.stream AND seq > greatest(w.after, s.floor)
                    ORDER BY seq LIMIT w.events_max
                ) page
                WINDOW before AS (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            ) page
            WHERE coalesce(stored, 0) < $4
            WINDOW before AS (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        ) page WHERE coalesce(bytes, 0) < $4
    ) e ON true";

const DRAFTS: &str = "WITH epoch AS MATERIALIZED (SELECT {epoch} AS epoch)
    SELECT epoch.epoch, coalesce(s.head, 0) AS head,
        d.draft_id, d.version, d.kind, d.content::text, d.updated_at
    FROM epoch
    LEFT JOIN {schema}.streams s ON s.name = $1
    LEFT JOIN {schema}.drafts d ON d.user_id = $2 AND d.live AND d.content IS NOT NULL
    ORDER BY d.draft_id";

/// It carries no epoch, so it says itself whether it is from a standby, which lags.
const DRAFT: &str = "
    SELECT server.is_standby, d.draft_id, d.version, d.kind, d.content::text, d.updated_at
    FROM (SELECT pg_is_in_recovery() AS is_standby) server
    LEFT JOIN {schema}.drafts d ON d.user_id = $1 AND d.draft_id = $2 AND d.content IS NOT NULL";
