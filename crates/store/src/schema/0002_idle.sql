-- What is set about idling (JSON, empty for nothing), when it was last used, when its guest wants
-- to be woken, and what it descends from (JSON).
ALTER TABLE sandboxes ADD COLUMN idle TEXT NOT NULL DEFAULT '{}';
ALTER TABLE sandboxes ADD COLUMN used_at TEXT;
ALTER TABLE sandboxes ADD COLUMN wake_at TEXT;
ALTER TABLE sandboxes ADD COLUMN parent TEXT;

ALTER TABLE users ADD COLUMN idle TEXT NOT NULL DEFAULT '{}';

-- Whether bhatti took it by itself, before a rollback.
ALTER TABLE snapshots ADD COLUMN automatic INTEGER NOT NULL DEFAULT 0;
