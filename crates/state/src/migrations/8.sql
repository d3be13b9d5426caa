-- The registry. Digests are ALGORITHM:HEX. A blob's bytes are a file of storage; it has a row here as
-- long as the registry knows it. A repository is there while something refers to it.
CREATE TABLE registry_blob (
    digest TEXT PRIMARY KEY,
    size   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who has pushed or mounted a blob may pull it from that repository. touched is when somebody last
-- was told that it is there: until some time after it may be about to be named by a manifest.
CREATE TABLE repository_blob (
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL REFERENCES registry_blob (digest),
    touched    INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX repository_blob_digest ON repository_blob (digest);
CREATE INDEX repository_blob_touched ON repository_blob (touched);

-- The body stands last, so that the other columns are read without it.
CREATE TABLE manifest (
    id            INTEGER PRIMARY KEY,
    repository    TEXT NOT NULL,
    digest        TEXT NOT NULL,
    media_type    TEXT NOT NULL,
    artifact_type TEXT,
    subject       TEXT,
    annotations   TEXT NOT NULL,
    size          INTEGER NOT NULL,
    pushed        INTEGER NOT NULL,
    body          BLOB NOT NULL,
    UNIQUE (repository, digest)
) STRICT;
CREATE INDEX manifest_subject ON manifest (repository, subject, digest) WHERE subject IS NOT NULL;

-- What a manifest names in its repository: its blobs (configuration, layers), its manifests.
CREATE TABLE manifest_reference (
    manifest    INTEGER NOT NULL REFERENCES manifest (id) ON DELETE CASCADE,
    digest      TEXT NOT NULL,
    is_manifest INTEGER NOT NULL,
    PRIMARY KEY (manifest, digest, is_manifest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_reference_digest ON manifest_reference (digest);

CREATE TABLE tag (
    repository TEXT NOT NULL,
    name       TEXT NOT NULL,
    manifest   INTEGER NOT NULL REFERENCES manifest (id) ON DELETE CASCADE,
    moved      INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_manifest ON tag (manifest);
CREATE INDEX tag_listing ON tag (repository, name COLLATE NOCASE, name);

-- Uploads that are not finished. size is how much of the upload's file is durable.
CREATE TABLE blob_upload (
    id         TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    size       INTEGER NOT NULL,
    touched    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_upload_touched ON blob_upload (touched);
