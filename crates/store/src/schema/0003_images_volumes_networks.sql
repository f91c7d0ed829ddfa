-- Images, volumes and networks. Each has a section of its own below.

-- What a machine runs by itself: process 1, and the program that is kept running (JSON).
ALTER TABLE sandboxes ADD COLUMN init TEXT NOT NULL DEFAULT 'lohar';
ALTER TABLE sandboxes ADD COLUMN run TEXT;
ALTER TABLE snapshots ADD COLUMN init TEXT NOT NULL DEFAULT 'lohar';
ALTER TABLE snapshots ADD COLUMN run TEXT;
