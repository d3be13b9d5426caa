-- Of a target that was deleted (its key; for a service all its paths) the events are cancelled in steps: those
-- whose id is before this one. While a row is here none of them is given out.
CREATE TABLE cancellation (
    target TEXT PRIMARY KEY,
    before BLOB NOT NULL,
    reason TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
