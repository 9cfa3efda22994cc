-- Locks the rows of tombstones, which nobody changes any more.
UPDATE drafts SET live = false WHERE content IS NULL;
