-- Schedules. tags, spec and timetable are JSON, times milliseconds since 1970.

CREATE TABLE schedule_group (
    name     TEXT PRIMARY KEY,
    tags     TEXT NOT NULL,
    created  INTEGER NOT NULL,
    modified INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO schedule_group (name, tags, created, modified)
VALUES ('default', '{}', unixepoch() * 1000, unixepoch() * 1000);

-- cursor is the last tick that was decided, origin where a rate counts from; tick is the next one and
-- due when its event comes, both NULL while there is none. owner is the function or service whose
-- manifest declares it.
CREATE TABLE schedule (
    seq      INTEGER PRIMARY KEY,
    grp      TEXT NOT NULL REFERENCES schedule_group (name) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    owner    TEXT,
    created  INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    origin   INTEGER NOT NULL,
    cursor   INTEGER NOT NULL,
    tick     INTEGER,
    due      INTEGER,
    spec     TEXT NOT NULL,
    CHECK ((tick IS NULL) = (due IS NULL))
) STRICT;
CREATE UNIQUE INDEX schedule_name ON schedule (grp, name);
CREATE INDEX schedule_due ON schedule (due) WHERE due IS NOT NULL;
CREATE INDEX schedule_owner ON schedule (owner) WHERE owner IS NOT NULL;

-- Requests of the last day, by the token that makes each of them happen once.
CREATE TABLE schedule_request (
    token  TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    made   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX schedule_request_made ON schedule_request (made);
