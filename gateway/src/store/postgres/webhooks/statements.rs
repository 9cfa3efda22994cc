//! The statements for webhooks.

use std::time::Duration;

use sqlx::SqlStr;

use crate::store::postgres::{history::Template, session::Sessions};

/// The longest that a statement takes that places cursors on many streams, and how long it waits for a row.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// Unix milliseconds by the server's clock, the same for all of a statement.
const NOW: &str = "(extract(epoch FROM statement_timestamp()) * 1000)::bigint";

/// What tells an event from another one of the same number; `e` is the event.
const DIGEST: &str = "substr(sha256(convert_to(
    e.kind || chr(31) || e.origin || chr(31) || e.ts || chr(31) || e.payload::text, 'UTF8')), 1, 16)";

/// A webhook, `w`, as it is read.
const COLUMNS: &str = "w.id, w.version, w.generation, w.url, w.filter::text AS filter, w.secrets::text AS secrets,
    w.paused, w.created_at, w.updated_at, CASE WHEN w.lease_until > {now} THEN w.holder_node END AS holder_node,
    w.batch::text AS batch, w.attempts, w.failing_since, w.next_attempt_at, w.last_error, w.last_error_at,
    w.last_delivery_at, w.occupancy_number, w.occupancy_epoch, w.noted::text AS noted, w.body_bytes_max,
    {now} AS now";

/// What all webhooks ask for, paused ones included.
const DIGEST_OF_FILTERS: &str = "(SELECT encode(sha256(convert_to(
    coalesce(string_agg(filter::text, chr(31) ORDER BY id), ''), 'UTF8')), 'hex') FROM {schema}.webhooks)";

/// Creations take turns, so that together they stay within the bound.
const TURN: &str = "SELECT pg_advisory_xact_lock(hashtextextended('draftwire webhooks ' || '{schema}', 0))";

const INSERT: &str = "
    INSERT INTO {schema}.webhooks AS w (id, url, filter, secrets, paused, created_at, updated_at)
    SELECT $1, $2, $3::json, $4::json, $5, {now}, {now}
    WHERE (SELECT count(*) FROM {schema}.webhooks) < $6
    RETURNING {columns}";

const EPOCH: &str = "SELECT {epoch}";

/// Places the cursors of a page of streams, whatever stood there.
const PLACE: &str = "
    WITH page AS MATERIALIZED (
        SELECT name, CASE WHEN $5 THEN floor ELSE head END AS seq
        FROM {schema}.streams WHERE name >= $2 AND name < $3 ORDER BY name LIMIT $4
    ), placed AS (
        INSERT INTO {schema}.webhook_cursors AS c (webhook, stream, epoch, seq, digest)
        SELECT $1, p.name, $6, p.seq,
            (SELECT {digest} FROM {schema}.events e WHERE e.stream = p.name AND e.seq = p.seq)
        FROM page p
        ON CONFLICT (webhook, stream)
            DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, digest = excluded.digest
    )
    SELECT max(name) AS last, count(*) AS streams FROM page";

const UNPLACE: &str = "
    DELETE FROM {schema}.webhook_cursors WHERE webhook = $1 AND stream >= $2 AND stream < $3";

const LIST: &str = "SELECT {columns} FROM {schema}.webhooks w WHERE $1 IS NULL OR w.id = $1 ORDER BY w.id";

const LOCK: &str = "SELECT version FROM {schema}.webhooks WHERE id = $1 FOR UPDATE";

/// Whatever an operator changes may be the mend: failures before it count for nothing. A new filter gives up the batch
/// under way; what is noted of who attends is told by the next one.
const CHANGE: &str = "
    UPDATE {schema}.webhooks w SET version = version + 1, generation = generation + 1, updated_at = {now},
        url = coalesce($2, url), filter = coalesce($3::json, filter), secrets = coalesce($4::json, secrets),
        paused = CASE WHEN $5 IS NULL THEN paused WHEN $5 THEN 'operator' END,
        batch = CASE WHEN $3 IS NULL THEN batch END,
        attempts = 0, failing_since = NULL, next_attempt_at = NULL, body_bytes_max = NULL
    WHERE id = $1
    RETURNING {columns}";

const REMOVE: &str = "DELETE FROM {schema}.webhooks WHERE id = $1";

const REMOVE_CURSORS: &str = "DELETE FROM {schema}.webhook_cursors WHERE webhook = $1";

const REMOVE_OCCUPANCY: &str = "DELETE FROM {schema}.webhook_occupancy WHERE webhook = $1";

const POSITION: &str = "
    SELECT {epoch} AS epoch, coalesce(s.head, 0) AS head, coalesce(s.floor, 0) AS floor
    FROM (SELECT) one LEFT JOIN {schema}.streams s ON s.name = $1";

const MOVE: &str = "
    INSERT INTO {schema}.webhook_cursors AS c (webhook, stream, epoch, seq, digest)
    SELECT $1, $2, $3, $4, (SELECT {digest} FROM {schema}.events e WHERE e.stream = $2 AND e.seq = $4)
    ON CONFLICT (webhook, stream)
        DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, digest = excluded.digest";

const BEGIN_ANEW: &str = "
    UPDATE {schema}.webhooks w SET generation = generation + 1, batch = NULL, attempts = 0, failing_since = NULL,
        next_attempt_at = NULL
    WHERE id = $1
    RETURNING {columns}";

const LAG: &str = "
    SELECT count(*) AS streams,
        count(*) FILTER (WHERE p.head > greatest(coalesce(c.seq, 0), p.floor)) AS behind,
        coalesce(sum(greatest(p.head - greatest(coalesce(c.seq, 0), p.floor), 0)), 0)::bigint AS events
    FROM (
        SELECT name, head, floor FROM {schema}.streams WHERE name >= $2 AND name < $3 ORDER BY name LIMIT $4
    ) p
    LEFT JOIN {schema}.webhook_cursors c ON c.webhook = $1 AND c.stream = p.name";

const CLAIM: &str = "
    WITH free AS (
        SELECT id FROM {schema}.webhooks
        WHERE paused IS NULL AND (lease_until IS NULL OR lease_until < {now} OR lease_until > {now} + 2 * $3)
        ORDER BY lease_until NULLS FIRST LIMIT $4 FOR UPDATE SKIP LOCKED
    )
    UPDATE {schema}.webhooks w SET generation = generation + 1, holder = $1, holder_node = $2,
        lease_until = {now} + $3
    FROM free WHERE w.id = free.id
    RETURNING {columns}";

const RENEW: &str = "
    UPDATE {schema}.webhooks w SET lease_until = {now} + $3
    WHERE w.id = $1 AND w.holder = $2 AND w.paused IS NULL
    RETURNING {columns}";

const RELEASE: &str = "
    UPDATE {schema}.webhooks SET holder = NULL, holder_node = NULL, lease_until = NULL
    WHERE id = $1 AND holder = $2";

/// Whether an event is still the same is asked only where the history has another name than the cursor's.
const LOOK: &str = "
    WITH epoch AS MATERIALIZED (SELECT {epoch} AS epoch), page AS MATERIALIZED (
        SELECT name, head, floor FROM {schema}.streams WHERE name >= $2 AND name < $3 ORDER BY name LIMIT $4
    ), page_end AS (SELECT max(name) AS last, count(*) AS streams FROM page)
    SELECT epoch.epoch, page_end.last, page_end.streams, due.*
    FROM epoch CROSS JOIN page_end LEFT JOIN LATERAL (
        SELECT p.name, p.head, p.floor, c.seq, c.epoch AS cursor_epoch,
            CASE WHEN c.epoch <> epoch.epoch AND c.seq > p.floor THEN (
                SELECT c.digest = {digest} FROM {schema}.events e WHERE e.stream = p.name AND e.seq = c.seq
            ) END AS same
        FROM page p LEFT JOIN {schema}.webhook_cursors c ON c.webhook = $1 AND c.stream = p.name
        WHERE p.head <> coalesce(c.seq, 0) OR c.epoch <> epoch.epoch
    ) due ON true";

const BEGIN: &str = "
    UPDATE {schema}.webhooks SET batch = $4::json, noted = $5::json
    WHERE id = $1 AND holder = $2 AND generation = $3";

/// What was told in a history of another name is removed with the first change that is told in this one.
const DELIVERED: &str = "
    WITH before AS MATERIALIZED (
        SELECT id, occupancy_epoch FROM {schema}.webhooks WHERE id = $1 AND holder = $2 AND generation = $3
        FOR UPDATE
    ), held AS (
        UPDATE {schema}.webhooks w SET batch = NULL, attempts = 0, failing_since = NULL, next_attempt_at = NULL,
            noted = $10::json,
            occupancy_number = CASE WHEN cardinality($8::text[]) > 0 THEN $11 ELSE w.occupancy_number END,
            occupancy_epoch = CASE WHEN cardinality($8::text[]) > 0 THEN $5 ELSE w.occupancy_epoch END,
            last_delivery_at = CASE WHEN $4 THEN {now} ELSE w.last_delivery_at END
        FROM before WHERE w.id = before.id
        RETURNING w.id
    ), moved AS (
        INSERT INTO {schema}.webhook_cursors AS c (webhook, stream, epoch, seq, digest)
        SELECT before.id, w.stream, $5, w.seq,
            (SELECT {digest} FROM {schema}.events e WHERE e.stream = w.stream AND e.seq = w.seq)
        FROM before CROSS JOIN unnest($6::text[], $7::bigint[]) AS w (stream, seq)
        ON CONFLICT (webhook, stream)
            DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, digest = excluded.digest
    ), occupied AS (
        INSERT INTO {schema}.webhook_occupancy (webhook, topic, epoch)
        SELECT before.id, t.topic, $5 FROM before CROSS JOIN unnest($8::text[], $9::boolean[]) AS t (topic, occupied)
        WHERE t.occupied
        ON CONFLICT (webhook, topic) DO UPDATE SET epoch = excluded.epoch
    ), vacated AS (
        DELETE FROM {schema}.webhook_occupancy w
        USING before, unnest($8::text[], $9::boolean[]) AS t (topic, occupied)
        WHERE w.webhook = before.id AND w.topic = t.topic AND NOT t.occupied
    ), forgotten AS (
        DELETE FROM {schema}.webhook_occupancy w USING before
        WHERE w.webhook = before.id AND w.epoch <> $5 AND before.occupancy_epoch IS DISTINCT FROM $5
            AND cardinality($8::text[]) > 0 AND w.topic <> ALL ($8)
    )
    SELECT count(*) FROM held";

/// Smaller batches are tried at once: each is half as large as the one before.
const FAILED: &str = "
    UPDATE {schema}.webhooks w SET attempts = attempts + 1, failing_since = coalesce(failing_since, {now}),
        last_error = $4, last_error_at = {now},
        next_attempt_at = CASE WHEN $9::bigint IS NULL THEN {now} + $5 END,
        batch = CASE WHEN $9::bigint IS NULL THEN batch END, body_bytes_max = coalesce($9, body_bytes_max),
        paused = CASE WHEN $6 THEN 'gone' WHEN f.gives_up THEN 'gave_up' END,
        version = version + CASE WHEN $6 OR f.gives_up THEN 1 ELSE 0 END
    FROM (
        SELECT id, coalesce(failing_since < {now} - $7, false) AND attempts + 1 >= $8 AS gives_up
        FROM {schema}.webhooks WHERE id = $1 AND holder = $2 AND generation = $3 FOR UPDATE
    ) f
    WHERE w.id = f.id";

const DRAFT_KINDS: &str = "
    SELECT d.user_id, d.draft_id, d.kind FROM unnest($1::text[], $2::text[]) AS w (user_id, draft_id)
    JOIN {schema}.drafts d ON d.user_id = w.user_id AND d.draft_id = w.draft_id";

const ASKED: &str = "
    SELECT {epoch} AS epoch, {digest_of_filters} AS digest, w.filter::text AS filter
    FROM (SELECT) one LEFT JOIN {schema}.webhooks w ON true";

/// One statement, so that a lease never stands for topics that are not written yet. Names whose lease ended long ago are
/// removed by the others. A lease that ends later than anybody can have set it by the clock of now is cut: that clock
/// was put back, and a name of the dead would count until it has caught up.
const ATTEND: &str = "
    WITH gone AS (
        DELETE FROM {schema}.occupancy_leases WHERE node IN (
            SELECT node FROM {schema}.occupancy_leases WHERE node <> $1 AND lease_until < {now} - 6 * $2
            FOR UPDATE SKIP LOCKED
        )
        RETURNING node
    ), forgotten AS (
        DELETE FROM {schema}.occupancy o USING gone WHERE o.node = gone.node
    ), cut AS (
        UPDATE {schema}.occupancy_leases SET lease_until = {now} + $2 WHERE node IN (
            SELECT node FROM {schema}.occupancy_leases WHERE node <> $1 AND lease_until > {now} + 2 * $2
            FOR UPDATE SKIP LOCKED
        )
    ), lease AS (
        INSERT INTO {schema}.occupancy_leases AS l (node, lease_until, complete_for) VALUES ($1, {now} + $2, $5)
        ON CONFLICT (node) DO UPDATE SET lease_until = excluded.lease_until, complete_for = excluded.complete_for
    ), came AS (
        INSERT INTO {schema}.occupancy (topic, node) SELECT topic, $1 FROM unnest($3::text[]) AS t (topic)
        ON CONFLICT DO NOTHING
    ), gone_topics AS (
        DELETE FROM {schema}.occupancy WHERE node = $1 AND topic = ANY ($4)
    )
    SELECT EXISTS (SELECT FROM {schema}.occupancy_leases WHERE node = $1 AND lease_until >= {now})";

const LEAVE: &str = "
    WITH lease AS (DELETE FROM {schema}.occupancy_leases WHERE node = ANY ($1))
    DELETE FROM {schema}.occupancy WHERE node = ANY ($1)";

/// Who attends is certain at once. That nobody does is certain where each node has written all that webhooks ask for
/// by now, and where the asking one has a lease that runs: after an outage or a jump of the clock all have ended.
const DIFFERENCES: &str = "
    WITH epoch AS MATERIALIZED (SELECT {epoch} AS epoch), wanted AS MATERIALIZED (
        SELECT range_start, range_end FROM unnest($2::text[], $3::text[]) AS r (range_start, range_end)
    ), leases AS MATERIALIZED (
        SELECT node, complete_for FROM {schema}.occupancy_leases WHERE lease_until >= {now}
    ), emptiness AS MATERIALIZED (
        SELECT EXISTS (SELECT FROM leases WHERE node = $5)
            AND NOT EXISTS (SELECT FROM leases WHERE complete_for IS DISTINCT FROM {digest_of_filters}) AS is_certain
    ), attended AS MATERIALIZED (
        SELECT DISTINCT o.topic
        FROM wanted r
        JOIN {schema}.occupancy o ON o.topic >= r.range_start AND o.topic < r.range_end
        JOIN leases l ON l.node = o.node
    ), told AS MATERIALIZED (
        SELECT w.topic
        FROM wanted r
        JOIN {schema}.webhook_occupancy w
            ON w.webhook = $1 AND w.topic >= r.range_start AND w.topic < r.range_end
        WHERE w.epoch = (SELECT epoch FROM epoch)
    )
    SELECT epoch.epoch, d.topic, d.occupied FROM epoch LEFT JOIN (
        SELECT coalesce(a.topic, t.topic) AS topic, a.topic IS NOT NULL AS occupied
        FROM attended a FULL JOIN told t ON t.topic = a.topic
        WHERE t.topic IS NULL OR a.topic IS NULL AND (SELECT is_certain FROM emptiness)
        ORDER BY 1 LIMIT $4
    ) d ON true
    ORDER BY d.topic";

/// The statements over the tables of one schema.
pub(crate) struct Statements {
    pub(super) turn: SqlStr,
    pub(super) insert: SqlStr,
    pub(super) epoch: SqlStr,
    pub(super) place: SqlStr,
    pub(super) unplace: SqlStr,
    pub(super) list: SqlStr,
    pub(super) lock: SqlStr,
    pub(super) change: SqlStr,
    pub(super) remove: SqlStr,
    pub(super) remove_cursors: SqlStr,
    pub(super) remove_occupancy: SqlStr,
    pub(super) position: SqlStr,
    pub(super) r#move: SqlStr,
    pub(super) begin_anew: SqlStr,
    pub(super) lag: SqlStr,
    pub(super) claim: SqlStr,
    pub(super) renew: SqlStr,
    pub(super) release: SqlStr,
    pub(super) look: SqlStr,
    pub(super) begin: SqlStr,
    pub(super) delivered: SqlStr,
    pub(super) failed: SqlStr,
    pub(super) draft_kinds: SqlStr,
    pub(super) asked: SqlStr,
    pub(super) attend: SqlStr,
    pub(super) leave: SqlStr,
    pub(super) differences: SqlStr,
}

impl Statements {
    pub(crate) fn new(template: &Template<'_>) -> Self {
        let sql = |text: &str| {
            let filled = text.replace("{columns}", COLUMNS).replace("{digest}", DIGEST);
            let filled = filled.replace("{digest_of_filters}", DIGEST_OF_FILTERS).replace("{now}", NOW);
            template.sql(&filled)
        };
        Self {
            turn: sql(TURN),
            insert: sql(INSERT),
            epoch: sql(EPOCH),
            place: sql(PLACE),
            unplace: sql(UNPLACE),
            list: sql(LIST),
            lock: sql(LOCK),
            change: sql(CHANGE),
            remove: sql(REMOVE),
            remove_cursors: sql(REMOVE_CURSORS),
            remove_occupancy: sql(REMOVE_OCCUPANCY),
            position: sql(POSITION),
            r#move: sql(MOVE),
            begin_anew: sql(BEGIN_ANEW),
            lag: sql(LAG),
            claim: sql(CLAIM),
            renew: sql(RENEW),
            release: sql(RELEASE),
            look: sql(LOOK),
            begin: sql(BEGIN),
            delivered: sql(DELIVERED),
            failed: sql(FAILED),
            draft_kinds: sql(DRAFT_KINDS),
            asked: sql(ASKED),
            attend: sql(ATTEND),
            leave: sql(LEAVE),
            differences: sql(DIFFERENCES),
        }
    }
}

/// Sessions for what touches many streams at once, beside the pool.
pub(crate) fn sessions(planned: &Sessions) -> Sessions {
    let limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
    planned
        .with(limits.map(|name| (name, format!("{}ms", LONG.as_millis()))))
        .with([("default_transaction_isolation", "read committed".to_owned())])
        .durable()
}
