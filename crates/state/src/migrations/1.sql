-- Times are milliseconds since 1970. Specs and maps are JSON. Identities of events are the 16 bytes
-- of a UUID version 7, so that they sort by time.

CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, value) VALUES ('sequence', 0);

CREATE TABLE bucket (
    name    TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    notify  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The key is a BLOB so that listing can seek to bytes that are no UTF-8, such as "the first key
-- after all that begin with this prefix".
CREATE TABLE object (
    bucket   TEXT NOT NULL REFERENCES bucket (name),
    key      BLOB NOT NULL,
    data     TEXT NOT NULL,
    size     INTEGER NOT NULL,
    etag     TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    headers  TEXT NOT NULL,
    metadata TEXT NOT NULL,
    PRIMARY KEY (bucket, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_data ON object (data);

CREATE TABLE upload (
    id       TEXT PRIMARY KEY,
    bucket   TEXT NOT NULL REFERENCES bucket (name),
    key      BLOB NOT NULL,
    created  INTEGER NOT NULL,
    headers  TEXT NOT NULL,
    metadata TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_key ON upload (bucket, key, created);

CREATE TABLE part (
    upload   TEXT NOT NULL REFERENCES upload (id) ON DELETE CASCADE,
    number   INTEGER NOT NULL,
    data     TEXT NOT NULL,
    size     INTEGER NOT NULL,
    etag     TEXT NOT NULL,
    modified INTEGER NOT NULL,
    PRIMARY KEY (upload, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX part_data ON part (data);

CREATE TABLE function (
    name        TEXT PRIMARY KEY,
    revision    INTEGER NOT NULL,
    revision_id TEXT NOT NULL,
    created     INTEGER NOT NULL,
    modified    INTEGER NOT NULL,
    spec        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE service (
    name     TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    spec     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE image (
    reference TEXT PRIMARY KEY,
    digest    TEXT NOT NULL,
    size      INTEGER NOT NULL,
    imported  INTEGER NOT NULL,
    config    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX image_digest ON image (digest);

-- principal is Principal::key: root, function:NAME or service:NAME.
CREATE TABLE credential (
    access_key_id     TEXT PRIMARY KEY,
    principal         TEXT NOT NULL UNIQUE,
    secret_access_key TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- target is Target::key; path is the part of it that is a service's path, NULL for a function.
-- due is when the event next needs somebody: not_before while it waits, the end of its lease while
-- it is leased, NULL once it ended.
CREATE TABLE event (
    seq        INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE,
    target     TEXT NOT NULL,
    path       TEXT,
    source     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    accepted   INTEGER NOT NULL,
    cause      BLOB,
    replay_of  BLOB,
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'succeeded', 'dead')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    epoch      INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL,
    due        INTEGER,
    last_error TEXT,
    ended      INTEGER,
    CHECK ((due IS NULL) = (state IN ('succeeded', 'dead'))),
    CHECK ((ended IS NULL) = (due IS NOT NULL))
) STRICT;
CREATE INDEX event_due ON event (target, due) WHERE due IS NOT NULL;
CREATE INDEX event_target ON event (target, state, id, accepted);
CREATE INDEX event_ended ON event (ended) WHERE ended IS NOT NULL;

-- Apart from the event, so that a change of its state does not write the payload again.
CREATE TABLE payload (
    event INTEGER PRIMARY KEY REFERENCES event (seq) ON DELETE CASCADE,
    body  BLOB NOT NULL
) STRICT;

CREATE TABLE run (
    seq     INTEGER PRIMARY KEY,
    event   BLOB,
    target  TEXT NOT NULL,
    started INTEGER NOT NULL,
    record  TEXT NOT NULL
) STRICT;
CREATE INDEX run_event ON run (event) WHERE event IS NOT NULL;
CREATE INDEX run_target ON run (target);
CREATE INDEX run_call ON run (started) WHERE event IS NULL;
