-- Events, their payloads and their runs are kept in partitions: tables event_N, payload_N and run_N.
-- What is accepted goes into the newest and stays in its partition; an old one is dropped whole. The
-- next partition's tables are made of the statements that made the newest's, with another number.
--
-- closed is when the next one began, and no earlier than any id in it was made. settled is when it was seen that every event of a closed one had
-- ended: nothing in it changes any more, and counts (JSON) says of each target how many ended how.
CREATE TABLE event_partition (
    number  INTEGER PRIMARY KEY,
    opened  INTEGER NOT NULL,
    closed  INTEGER NOT NULL DEFAULT 9223372036854775807,
    settled INTEGER,
    bytes   INTEGER NOT NULL DEFAULT 0,
    counts  TEXT
) STRICT;
CREATE INDEX event_partition_closed ON event_partition (closed);
CREATE INDEX event_partition_unsettled ON event_partition (number) WHERE settled IS NULL;
INSERT INTO event_partition (number, opened) VALUES (0, unixepoch() * 1000);

-- Without the reference to the event: a table that others refer to is emptied row by row when it is
-- dropped.
CREATE TABLE payload_0 (
    event INTEGER PRIMARY KEY,
    body  BLOB NOT NULL
) STRICT;
INSERT INTO payload_0 (event, body) SELECT event, body FROM payload;
DROP TABLE payload;

-- An event that did not succeed is a dead letter, or grew too old, or its target was deleted.
DROP INDEX event_due;
DROP INDEX event_target;
DROP INDEX event_ended;
CREATE TABLE event_0 (
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
    state      TEXT NOT NULL CHECK
        (state IN ('waiting', 'leased', 'succeeded', 'dead', 'expired', 'cancelled')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    epoch      INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL,
    due        INTEGER,
    last_error TEXT,
    ended      INTEGER,
    depth      INTEGER NOT NULL DEFAULT 0,
    delivery   TEXT,
    CHECK ((due IS NOT NULL) = (state IN ('waiting', 'leased'))),
    CHECK ((ended IS NULL) = (due IS NOT NULL))
) STRICT;
INSERT INTO event_0 SELECT * FROM event;
DROP TABLE event;
CREATE INDEX event_due_0 ON event_0 (target, due) WHERE due IS NOT NULL;
CREATE INDEX event_target_0 ON event_0 (target, state, id, accepted);
-- What an event caused, and what repeats it.
CREATE INDEX event_cause_0 ON event_0 (cause, id) WHERE cause IS NOT NULL;
CREATE INDEX event_replay_0 ON event_0 (replay_of, id) WHERE replay_of IS NOT NULL;

-- The runs of an event are in its partition, those of waiting calls in the one that was newest.
DROP INDEX run_event;
DROP INDEX run_target;
DROP INDEX run_call;
ALTER TABLE run RENAME TO run_0;
CREATE INDEX run_event_0 ON run_0 (event) WHERE event IS NOT NULL;
CREATE INDEX run_target_0 ON run_0 (target);

-- Replays of all events that a query (JSON) means. before and after are ids of events: what lies
-- between is left to look at.
CREATE TABLE replay (
    id       BLOB PRIMARY KEY,
    query    TEXT NOT NULL,
    most     INTEGER,
    before   BLOB NOT NULL,
    after    BLOB,
    state    TEXT NOT NULL,
    started  INTEGER NOT NULL,
    ended    INTEGER,
    replayed INTEGER NOT NULL,
    skipped  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_started ON replay (started);
