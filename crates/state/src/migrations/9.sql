-- Versions of functions: nothing of one changes. A number is not given twice, so the function keeps
-- the highest that was given.
ALTER TABLE function ADD COLUMN versions INTEGER NOT NULL DEFAULT 0;

CREATE TABLE function_version (
    function    TEXT NOT NULL,
    number      INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    revision_id TEXT NOT NULL,
    description TEXT NOT NULL,
    created     INTEGER NOT NULL,
    by          TEXT NOT NULL,
    labels      TEXT NOT NULL,
    spec        TEXT NOT NULL,
    PRIMARY KEY (function, number)
) STRICT, WITHOUT ROWID;

-- Which version of its function a replay is for (JSON).
ALTER TABLE replay ADD COLUMN version TEXT;

-- share (JSON) is the second version of an alias and its weight.
CREATE TABLE function_alias (
    function    TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    share       TEXT,
    description TEXT NOT NULL,
    revision_id TEXT NOT NULL,
    leads       INTEGER NOT NULL,
    modified    INTEGER NOT NULL,
    by          TEXT NOT NULL,
    PRIMARY KEY (function, name)
) STRICT, WITHOUT ROWID;
