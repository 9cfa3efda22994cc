-- Whether a draft is not deleted, as a column. A partial index must not look at `content`: an update that
-- changes a column of any index, be it in its condition, writes to all of them, and every change of a draft
-- changes `content`. Nodes that do not know the column yet leave it true where they delete, so readers ask
-- for `content` as well.
ALTER TABLE drafts ADD COLUMN live boolean NOT NULL DEFAULT true;
UPDATE drafts SET live = false WHERE content IS NULL;
DROP INDEX drafts_live;
CREATE INDEX drafts_live ON drafts (user_id, draft_id) WHERE live;
