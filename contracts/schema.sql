-- schema version 3
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
CREATE TABLE image_shares (
    owner_id  TEXT NOT NULL REFERENCES users (id),
    image     TEXT NOT NULL,
    user_id   TEXT NOT NULL REFERENCES users (id),
    shared_at TEXT NOT NULL,
    PRIMARY KEY (owner_id, image, user_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE journal (
    op        TEXT PRIMARY KEY,
    kind      TEXT NOT NULL,
    subject   TEXT NOT NULL,
    detail    TEXT NOT NULL,
    opened_at TEXT NOT NULL
) STRICT;
CREATE TABLE journal_steps (
    op    TEXT NOT NULL REFERENCES journal (op) ON DELETE CASCADE,
    idx   INTEGER NOT NULL,
    name  TEXT NOT NULL,
    phase TEXT NOT NULL,
    PRIMARY KEY (op, idx)
) STRICT, WITHOUT ROWID;
CREATE TABLE sandboxes (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id),
    name         TEXT NOT NULL,
    status       TEXT NOT NULL,
    thermal      TEXT NOT NULL,
    reason       TEXT,
    image        TEXT NOT NULL,
    cpus         INTEGER NOT NULL,
    memory_mb    INTEGER NOT NULL,
    disk_mb      INTEGER NOT NULL,
    env          TEXT NOT NULL,
    labels       TEXT NOT NULL,
    run_as       TEXT,
    workdir      TEXT,
    kit          TEXT NOT NULL,
    engine       TEXT NOT NULL,
    accelerator  TEXT,
    resumed_from TEXT,
    machine      TEXT,
    created_at   TEXT NOT NULL,
    stopped_at   TEXT
, idle TEXT NOT NULL DEFAULT '{}', used_at TEXT, wake_at TEXT, parent TEXT, init TEXT NOT NULL DEFAULT 'lohar', run TEXT, address TEXT, egress TEXT NOT NULL DEFAULT '{}') STRICT;
CREATE TABLE snapshots (
    id             TEXT PRIMARY KEY,
    user_id        TEXT NOT NULL REFERENCES users (id),
    name           TEXT NOT NULL,
    source_sandbox TEXT NOT NULL,
    source_id      TEXT NOT NULL,
    status         TEXT NOT NULL,
    cpus           INTEGER NOT NULL,
    memory_mb      INTEGER NOT NULL,
    disk_mb        INTEGER NOT NULL,
    image          TEXT NOT NULL,
    env            TEXT NOT NULL,
    labels         TEXT NOT NULL,
    run_as         TEXT,
    workdir        TEXT,
    kit            TEXT NOT NULL,
    engine         TEXT NOT NULL,
    accelerator    TEXT,
    stall_ms       INTEGER NOT NULL,
    disk_bytes     INTEGER NOT NULL,
    created_at     TEXT NOT NULL, automatic INTEGER NOT NULL DEFAULT 0, init TEXT NOT NULL DEFAULT 'lohar', run TEXT, egress TEXT NOT NULL DEFAULT '{}',
    UNIQUE (user_id, name)
) STRICT;
CREATE TABLE users (
    id                        TEXT PRIMARY KEY,
    name                      TEXT NOT NULL UNIQUE,
    token_hash                TEXT UNIQUE,
    max_sandboxes             INTEGER NOT NULL,
    max_cpus_per_sandbox      INTEGER NOT NULL,
    max_memory_mb_per_sandbox INTEGER NOT NULL,
    max_snapshots             INTEGER NOT NULL,
    created_at                TEXT NOT NULL
, idle TEXT NOT NULL DEFAULT '{}', max_volume_mb INTEGER NOT NULL DEFAULT 20480, max_images INTEGER NOT NULL DEFAULT 10) STRICT;
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
CREATE UNIQUE INDEX attachments_writer ON attachments (volume_id) WHERE read_only = 0;
CREATE UNIQUE INDEX sandboxes_address ON sandboxes (user_id, address);
CREATE UNIQUE INDEX sandboxes_name ON sandboxes (user_id, name) WHERE status <> 'destroying';
