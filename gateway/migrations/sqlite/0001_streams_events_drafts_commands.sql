-- The same tables as in Postgres, where each is explained. SQLite compares text by its bytes unless
-- told otherwise. Narrow tables live in their primary key; those with large values do not, because
-- SQLite's keyed tables hold few wide rows per page.

-- What names this history: made once, with the file.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('epoch', lower(hex(randomblob(8))));

CREATE TABLE streams (
    name  TEXT NOT NULL PRIMARY KEY,
    head  INTEGER NOT NULL DEFAULT 0,
    floor INTEGER NOT NULL DEFAULT 0,
    CHECK (0 <= floor AND floor <= head)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    stream  TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    origin  TEXT NOT NULL,
    ts      INTEGER NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (stream, seq)
) STRICT;

CREATE TABLE drafts (
    user_id    TEXT NOT NULL,
    draft_id   TEXT NOT NULL,
    version    INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    content    TEXT,
    fields     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, draft_id)
) STRICT;

-- Lists and counts pass over tombstones, of which there may be many more than drafts.
CREATE INDEX drafts_live ON drafts (user_id, draft_id) WHERE content IS NOT NULL;

CREATE TABLE commands (
    user_id     TEXT NOT NULL,
    device      TEXT NOT NULL,
    id          TEXT NOT NULL,
    fingerprint INTEGER NOT NULL,
    answer      TEXT NOT NULL,
    ts          INTEGER NOT NULL,
    PRIMARY KEY (user_id, device, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX commands_ts ON commands (ts);
