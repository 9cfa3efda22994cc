-- The same as in Postgres, where it is explained.
ALTER TABLE events ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;

CREATE TABLE trims (
    stream  TEXT NOT NULL PRIMARY KEY,
    deleted INTEGER NOT NULL,
    floor   INTEGER NOT NULL,
    CHECK (0 <= deleted AND deleted < floor)
) STRICT, WITHOUT ROWID;
