-- Names and ids sort by their bytes ("C"): the same order on every machine, and the one in which the
-- code locks streams and sorts drafts.

-- Where each stream stands: it holds the events `floor < seq <= head`.
-- A row is never deleted. It is updated by every commit to its stream, so half of each page is kept
-- free for the next version of the row to stay on the page (heap-only tuples).
CREATE TABLE streams (
    name  text COLLATE "C" PRIMARY KEY,
    head  bigint NOT NULL DEFAULT 0,
    floor bigint NOT NULL DEFAULT 0,
    CHECK (0 <= floor AND floor <= head)
) WITH (fillfactor = 50);

-- The log. `payload` is json and not jsonb: followers get the text exactly as it was committed, and
-- jsonb refuses the escape \u0000, which is valid JSON.
CREATE TABLE events (
    stream  text COLLATE "C" NOT NULL,
    seq     bigint NOT NULL,
    kind    text NOT NULL,
    origin  text NOT NULL,
    ts      bigint NOT NULL,
    payload json NOT NULL,
    PRIMARY KEY (stream, seq)
);

-- The state that the events of a user's stream add up to. `content` is null where the draft was
-- deleted: the row stays, so that neither its id nor its versions are used again.
CREATE TABLE drafts (
    user_id    text COLLATE "C" NOT NULL,
    draft_id   text COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    kind       text NOT NULL,
    content    json,
    fields     json NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (user_id, draft_id)
) WITH (fillfactor = 70);

-- Lists and counts pass over tombstones, of which there may be many more than drafts.
CREATE INDEX drafts_live ON drafts (user_id, draft_id) WHERE content IS NOT NULL;

-- Commands carried out, with their answers: what makes a repetition safe.
CREATE TABLE commands (
    user_id     text COLLATE "C" NOT NULL,
    device      text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    fingerprint bigint NOT NULL,
    answer      json NOT NULL,
    ts          bigint NOT NULL,
    PRIMARY KEY (user_id, device, id)
);

-- Old commands are forgotten in the order of their age.
CREATE INDEX commands_ts ON commands (ts);
