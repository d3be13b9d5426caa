-- What was done to aliases of functions. before and after (JSON) say where the alias led; NULL is an alias
-- that was not there. back: it was a step back in this history. digest and labels are those of the
-- version that it named first from then on, which may be gone by now.
CREATE TABLE function_alias_move (
    function TEXT NOT NULL,
    number   INTEGER NOT NULL,
    alias    TEXT NOT NULL,
    at       INTEGER NOT NULL,
    by       TEXT NOT NULL,
    before   TEXT,
    after    TEXT,
    back     INTEGER NOT NULL,
    digest   TEXT,
    labels   TEXT NOT NULL,
    PRIMARY KEY (function, number)
) STRICT, WITHOUT ROWID;

-- How events that say a qualifier are delivered (JSON), in the place of what their function says.
CREATE TABLE function_event_invoke (
    function  TEXT NOT NULL,
    qualifier TEXT NOT NULL,
    config    TEXT NOT NULL,
    PRIMARY KEY (function, qualifier)
) STRICT, WITHOUT ROWID;
