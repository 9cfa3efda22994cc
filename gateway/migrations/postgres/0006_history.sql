-- What names the history that events are numbered in. `source` is 'timeline' where the server's timeline does,
-- as on a Postgres of one's own, and 'row' where that cannot be read. Then `name` does, as long as the server
-- is the one that was started at `started`: on another one, or after a restart, the first node that comes gives
-- the history a new name.
CREATE TABLE history (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    source  text NOT NULL CHECK (source IN ('timeline', 'row')),
    name    text NOT NULL,
    started timestamptz NOT NULL
);
INSERT INTO history (source, name, started)
VALUES ('timeline', 'r' || left(md5(random()::text || clock_timestamp()::text), 16), pg_postmaster_start_time());
