-- Whether a bucket keeps versions of its objects: NULL (it never did), enabled or suspended.
ALTER TABLE bucket ADD COLUMN versioning TEXT;

-- The version of the object that a key has now; NULL is the version that S3 calls null.
ALTER TABLE object ADD COLUMN version TEXT;

-- What else a bucket with versions keeps: the versions below a key's object, and delete markers
-- (data is NULL). The greatest sequence of a key is its newest version. An object stays in its own
-- table as long as it is the newest, so a key whose newest version is a marker has no row there.
CREATE TABLE object_version (
    bucket   TEXT NOT NULL REFERENCES bucket (name),
    key      BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    version  TEXT NOT NULL,
    data     TEXT,
    size     INTEGER NOT NULL,
    etag     TEXT NOT NULL,
    modified INTEGER NOT NULL,
    headers  TEXT NOT NULL,
    metadata TEXT NOT NULL,
    PRIMARY KEY (bucket, key, sequence DESC)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX object_version_id ON object_version (bucket, key, version);
CREATE INDEX object_version_data ON object_version (data) WHERE data IS NOT NULL;
