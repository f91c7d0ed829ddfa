-- Images, volumes and networks. Each has a section of its own below.

-- Volumes, and which sandbox has which. A generation is one state of a volume's contents that
-- nobody could write to: it grows whenever someone may.
CREATE TABLE volumes (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id),
    name       TEXT NOT NULL,
    status     TEXT NOT NULL,
    size_mb    INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    UNIQUE (user_id, name)
) STRICT;

CREATE TABLE attachments (
    volume_id  TEXT NOT NULL REFERENCES volumes (id),
    sandbox_id TEXT NOT NULL REFERENCES sandboxes (id),
    slot       INTEGER NOT NULL,
    serial     TEXT NOT NULL,
    mount      TEXT NOT NULL,
    read_only  INTEGER NOT NULL,
    owned      INTEGER NOT NULL,
    PRIMARY KEY (sandbox_id, slot),
    UNIQUE (volume_id, sandbox_id),
    UNIQUE (sandbox_id, serial),
    UNIQUE (sandbox_id, mount)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX attachments_writer ON attachments (volume_id) WHERE read_only = 0;

ALTER TABLE users ADD COLUMN max_volume_mb INTEGER NOT NULL DEFAULT 20480;
UPDATE users SET max_volume_mb = 4294967295 WHERE id = 'usr_00000000';
-- What a machine runs by itself: process 1, and the program that is kept running (JSON).
ALTER TABLE sandboxes ADD COLUMN init TEXT NOT NULL DEFAULT 'lohar';
ALTER TABLE sandboxes ADD COLUMN run TEXT;
ALTER TABLE snapshots ADD COLUMN init TEXT NOT NULL DEFAULT 'lohar';
ALTER TABLE snapshots ADD COLUMN run TEXT;
-- Images. They are directories; here is only how many a user may have, and who else sees them.
ALTER TABLE users ADD COLUMN max_images INTEGER NOT NULL DEFAULT 10;
UPDATE users SET max_images = 4294967295 WHERE id = 'usr_00000000';

CREATE TABLE image_shares (
    owner_id  TEXT NOT NULL REFERENCES users (id),
    image     TEXT NOT NULL,
    user_id   TEXT NOT NULL REFERENCES users (id),
    shared_at TEXT NOT NULL,
    PRIMARY KEY (owner_id, image, user_id)
) STRICT, WITHOUT ROWID;

-- Networks: a machine's address, unique in its user's network, and what it may reach (JSON).
ALTER TABLE sandboxes ADD COLUMN address TEXT;
ALTER TABLE sandboxes ADD COLUMN egress TEXT NOT NULL DEFAULT '{}';
ALTER TABLE snapshots ADD COLUMN egress TEXT NOT NULL DEFAULT '{}';
CREATE UNIQUE INDEX sandboxes_address ON sandboxes (user_id, address);
