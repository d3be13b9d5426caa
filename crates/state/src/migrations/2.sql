-- Queues. A queue's messages are kept under its number, which is a new one after a purge: what is
-- left under an old number is nobody's, and is swept in steps.
CREATE TABLE queue (
    name        TEXT PRIMARY KEY,
    number      INTEGER NOT NULL UNIQUE,
    created     INTEGER NOT NULL,
    modified    INTEGER NOT NULL,
    dead_letter TEXT,
    attributes  TEXT NOT NULL,
    tags        TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX queue_dead_letter ON queue (dead_letter, name) WHERE dead_letter IS NOT NULL;
INSERT INTO counter (name, value) VALUES ('queue', 0);

-- How many messages there are, and how many of them are marked as hidden.
CREATE TABLE queue_count (
    queue   INTEGER PRIMARY KEY,
    total   INTEGER NOT NULL,
    flight  INTEGER NOT NULL,
    delayed INTEGER NOT NULL
) STRICT;

CREATE TABLE queue_gone (
    queue INTEGER PRIMARY KEY
) STRICT;

-- visible is when a message can be received (again). hidden says why not before: 1 in flight,
-- 2 delayed, 0 when nothing hides it; the mark may outlive its time until it is swept. epoch grows
-- with each receive. receives counts in all queues, tries in this one. origin is the queue whose
-- dead letter it is. grp is NULL in a standard queue.
CREATE TABLE message (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    queue          INTEGER NOT NULL,
    id             BLOB NOT NULL,
    grp            INTEGER,
    sent           INTEGER NOT NULL,
    visible        INTEGER NOT NULL,
    hidden         INTEGER NOT NULL CHECK (hidden IN (0, 1, 2)),
    epoch          INTEGER NOT NULL DEFAULT 0,
    receives       INTEGER NOT NULL DEFAULT 0,
    tries          INTEGER NOT NULL DEFAULT 0,
    first_received INTEGER,
    origin         TEXT
) STRICT;
CREATE INDEX message_ready ON message (queue, visible, seq) WHERE grp IS NULL;
CREATE INDEX message_order ON message (grp, seq) WHERE grp IS NOT NULL;
CREATE INDEX message_sent ON message (queue, sent);
CREATE INDEX message_hidden ON message (queue, visible) WHERE hidden <> 0;

-- Apart from the message, so that a receive does not write the body again.
CREATE TABLE message_body (
    message INTEGER PRIMARY KEY REFERENCES message (seq) ON DELETE CASCADE,
    head    TEXT NOT NULL,
    body    TEXT NOT NULL
) STRICT;

-- A group of a FIFO queue that has messages: its first one, and when that is visible.
CREATE TABLE message_group (
    id      INTEGER PRIMARY KEY,
    queue   INTEGER NOT NULL,
    name    TEXT NOT NULL,
    head    INTEGER NOT NULL,
    visible INTEGER NOT NULL,
    UNIQUE (queue, name)
) STRICT;
CREATE INDEX message_group_ready ON message_group (queue, visible, head);

-- scope is the message group where ids count for each group, else empty.
CREATE TABLE deduplication (
    queue   INTEGER NOT NULL,
    scope   TEXT NOT NULL,
    id      TEXT NOT NULL,
    message BLOB NOT NULL,
    seq     INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (queue, scope, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deduplication_expires ON deduplication (expires);

CREATE TABLE move_task (
    id          BLOB PRIMARY KEY,
    source      TEXT NOT NULL,
    destination TEXT,
    rate        INTEGER,
    state       TEXT NOT NULL,
    started     INTEGER NOT NULL,
    moved       INTEGER NOT NULL,
    to_move     INTEGER NOT NULL,
    failure     TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX move_task_source ON move_task (source, started);

CREATE TABLE mapping (
    id       BLOB PRIMARY KEY,
    queue    TEXT NOT NULL,
    function TEXT NOT NULL,
    modified INTEGER NOT NULL,
    spec     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
