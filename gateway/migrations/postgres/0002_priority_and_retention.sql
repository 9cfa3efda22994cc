-- How urgent an event is: 0 normal, 1 high, 2 critical. A constant default rewrites nothing, and nodes
-- that do not know the column yet write events of normal priority.
ALTER TABLE events ADD COLUMN priority smallint NOT NULL DEFAULT 0;

-- What retention has cut off and not deleted yet: the events `deleted < seq <= floor` of each stream. A
-- stream is only here while there are such. Kept apart from `streams`, so that deleting takes no lock
-- that a writer waits for; and it says exactly where to delete, because a search for the first event
-- of a log would wade through all that was deleted there since the last vacuum.
CREATE TABLE trims (
    stream  text COLLATE "C" PRIMARY KEY,
    deleted bigint NOT NULL,
    floor   bigint NOT NULL,
    CHECK (0 <= deleted AND deleted < floor)
);
