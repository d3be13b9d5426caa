-- Other registries that images are pulled through. spec is JSON (model::Upstream); the password is sealed, key_id
-- names the key, and all three are NULL without one. revision_id is what it is sealed for.
CREATE TABLE upstream (
    name        TEXT PRIMARY KEY,
    spec        TEXT NOT NULL,
    revision_id TEXT,
    key_id      TEXT,
    sealed      BLOB
) STRICT;
