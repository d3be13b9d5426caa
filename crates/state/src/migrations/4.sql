-- How many events stand before this one in its chain of causes.
ALTER TABLE event ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;

-- spec is a model::Bus, a model::Rule or a model::Webhook in JSON.
CREATE TABLE bus (
    name TEXT PRIMARY KEY,
    spec TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO bus (name, spec) VALUES ('default', '{"name":"default","created":0,"modified":0}');

CREATE TABLE rule (
    bus  TEXT NOT NULL REFERENCES bus (name),
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    PRIMARY KEY (bus, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook (
    name TEXT PRIMARY KEY,
    spec TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What was accepted under a name that its sender chose, so that the same is not accepted twice.
-- first is the event that was.
CREATE TABLE accepted (
    key     TEXT PRIMARY KEY,
    at      INTEGER NOT NULL,
    first   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX accepted_at ON accepted (at);
