-- Whether a draft is not deleted, as a column. A partial index must not look at `content`: an update that
-- changes a column of any index, be it in its condition, writes to all of them, and every change of a draft
-- changes `content`. Nodes that do not know the column yet leave it true where they delete, so readers ask
-- for `content` as well.
--
-- In three steps, because a lock is kept to the end of its step: this one takes the table for a moment.
ALTER TABLE drafts ADD COLUMN live boolean NOT NULL DEFAULT true;
