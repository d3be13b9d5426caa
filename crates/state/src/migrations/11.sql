-- Secrets and configs (kind), sealed: the value is never here in the clear. key_id names the key.
CREATE TABLE secret (
    kind        TEXT NOT NULL,
    name        TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    revision_id TEXT NOT NULL,
    size        INTEGER NOT NULL,
    key_id      TEXT NOT NULL,
    created     INTEGER NOT NULL,
    modified    INTEGER NOT NULL,
    sealed      BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;
