-- What an event caused, and what repeats it.
CREATE INDEX event_cause ON event (cause, id) WHERE cause IS NOT NULL;
CREATE INDEX event_replay ON event (replay_of, id) WHERE replay_of IS NOT NULL;

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
