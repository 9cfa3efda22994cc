-- Webhooks: endpoints of applications that follow streams. docs/webhooks.md is what applications see.
--
-- Times are Unix milliseconds by this server's clock, which all nodes share.

-- One endpoint each. `version` counts what operators change, for their conditions. `generation` is raised by each
-- change of an operator and each change of the holder: what was read under one generation is not written under
-- another one.
CREATE TABLE webhooks (
    id               text COLLATE "C" PRIMARY KEY,
    version          bigint NOT NULL DEFAULT 1,
    generation       bigint NOT NULL DEFAULT 1,
    url              text NOT NULL,
    filter           json NOT NULL,
    -- The newest first; an older one has the time at which it ends.
    secrets          json NOT NULL,
    -- Why nothing is delivered; null where something is.
    paused           text,
    created_at       bigint NOT NULL,
    updated_at       bigint NOT NULL,
    -- The node that delivers, for as long as its lease has not ended.
    holder           text,
    holder_node      text,
    lease_until      bigint,
    -- The batch that is being delivered, so that a repetition is the same batch.
    batch            json,
    -- Attempts at the batch that have failed in a row.
    attempts         bigint NOT NULL DEFAULT 0,
    failing_since    bigint,
    next_attempt_at  bigint,
    last_error       text,
    last_error_at    bigint,
    last_delivery_at bigint,
    -- What it was told last about who attends topics.
    occupancy_number bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Up to where each stream was delivered. `digest` is of the event there: a history of another name may have another
-- event of the same number. A stream without a row was created after the webhook, and is delivered from its first
-- event on.
CREATE TABLE webhook_cursors (
    webhook text COLLATE "C" NOT NULL,
    stream  text COLLATE "C" NOT NULL,
    epoch   text NOT NULL,
    seq     bigint NOT NULL,
    digest  bytea,
    PRIMARY KEY (webhook, stream)
) WITH (fillfactor = 50);

-- Which topics somebody attends through a node, of those that a webhook asks about, and until when the node is
-- known to live. One row to renew for each node, however many topics.
CREATE TABLE occupancy_leases (
    node        text COLLATE "C" PRIMARY KEY,
    lease_until bigint NOT NULL
);
CREATE TABLE occupancy (
    topic text COLLATE "C" NOT NULL,
    node  text COLLATE "C" NOT NULL,
    PRIMARY KEY (topic, node)
);

-- The topics of which a webhook was told last that somebody attends them.
CREATE TABLE webhook_occupancy (
    webhook text COLLATE "C" NOT NULL,
    topic   text COLLATE "C" NOT NULL,
    PRIMARY KEY (webhook, topic)
);
