-- What a webhook is told of presence counts in the history of one name, as its cursors do, and outlives the batch that
-- was to tell it. How large a batch may be is learned from the receiver.

ALTER TABLE webhooks
    -- The history in which `occupancy_number` counts; in another one it begins anew. Null: in any.
    ADD COLUMN occupancy_epoch text,
    -- Changes of who attends that have numbers and are not known to be taken: {"epoch", "changes"}. The batch under way
    -- tells the first of them; where it is given up, the next one does, with the same numbers.
    ADD COLUMN noted json,
    -- The largest body, in bytes, since the receiver has refused a larger one.
    ADD COLUMN body_bytes_max bigint;

-- The history in which the webhook was told. What it was told in another one is told anew.
ALTER TABLE webhook_occupancy ADD COLUMN epoch text NOT NULL DEFAULT '';

-- What webhooks asked for when all topics that are attended through the node were written, as a digest of their filters.
ALTER TABLE occupancy_leases ADD COLUMN complete_for text;
