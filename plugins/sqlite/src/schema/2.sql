-- Version 2: jobs that call jobs, that belong to who asks, that have keys and checkpoints; documents.

ALTER TABLE jobs ADD COLUMN idempotency_key TEXT;
ALTER TABLE jobs ADD COLUMN is_cancelled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN attached INTEGER NOT NULL DEFAULT 0;

CREATE INDEX jobs_by_parent ON jobs (parent, id) WHERE parent IS NOT NULL;

-- Idempotency keys outlive their jobs.
CREATE TABLE keys (
    key TEXT NOT NULL PRIMARY KEY,
    job BLOB NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX keys_by_creation ON keys (created_at);

CREATE TABLE checkpoints (
    job BLOB NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, name)
) WITHOUT ROWID;

CREATE TABLE documents (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    expires_at INTEGER,
    value TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;

CREATE INDEX documents_by_expiry ON documents (expires_at) WHERE expires_at IS NOT NULL;

-- The revision of the last change of a document.
ALTER TABLE totals ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
