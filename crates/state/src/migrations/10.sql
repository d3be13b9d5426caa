-- Pushes to tags that functions follow, and what became of them. A push whose tag was moved and that
-- is not here has not become a version yet.
CREATE TABLE function_push (
    function  TEXT NOT NULL,
    pushed    INTEGER NOT NULL,
    digest    TEXT NOT NULL,
    reference TEXT NOT NULL,
    settled   INTEGER NOT NULL,
    by        TEXT NOT NULL,
    version   INTEGER,
    failure   TEXT,
    PRIMARY KEY (function, pushed, digest)
) STRICT, WITHOUT ROWID;
