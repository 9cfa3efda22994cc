-- Changes of settings while the nodes run. The last one of a setting says what it is; one without a value has set it
-- back to what each node was started with. Each is written in one transaction with its event of the stream `control`.
CREATE TABLE settings_changes (
    -- Counts the changes of all settings.
    version    bigint PRIMARY KEY,
    name       text COLLATE "C" NOT NULL,
    value      text,
    -- For those whom the roll-out leaves out; null stands for what each node was started with.
    otherwise  text,
    percent    bigint NOT NULL,
    -- What the percentage is of: user, connection or node.
    unit       text NOT NULL,
    reason     text,
    changed_by text NOT NULL,
    changed_at bigint NOT NULL
);

CREATE INDEX settings_changes_name ON settings_changes (name, version);
