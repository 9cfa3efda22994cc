-- The same as in Postgres, where it is explained.
CREATE TABLE settings_changes (
    version    INTEGER NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    value      TEXT,
    otherwise  TEXT,
    percent    INTEGER NOT NULL,
    unit       TEXT NOT NULL,
    reason     TEXT,
    changed_by TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX settings_changes_name ON settings_changes (name, version);
