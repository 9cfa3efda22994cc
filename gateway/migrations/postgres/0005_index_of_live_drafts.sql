-- Changes of drafts wait while it is built, and readers do not. (CONCURRENTLY would wait for every node that
-- waits for its turn to migrate.)
CREATE INDEX drafts_by_user ON drafts (user_id, draft_id) WHERE live;
DROP INDEX drafts_live;
