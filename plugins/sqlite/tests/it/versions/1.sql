-- Version 1: jobs and their logs.
--
-- Ids are 16 bytes that sort by time, so a new job comes last in its table. Times are microseconds
-- since 1970. States are numbered in the order of a job's life: scheduled, queued, running,
-- succeeded, failed, cancelled.

-- What a list shows stands before what may be large and would have to be skipped.
CREATE TABLE jobs (
    id BLOB NOT NULL PRIMARY KEY,
    operation TEXT NOT NULL,
    state INTEGER NOT NULL,
    error_code TEXT,
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    priority TEXT NOT NULL,
    caller TEXT NOT NULL,
    parent BLOB,
    created_at INTEGER NOT NULL,
    run_at INTEGER,
    started_at INTEGER,
    ended_at INTEGER,
    last_event INTEGER NOT NULL,
    -- Microseconds.
    timeout INTEGER,
    -- JSON: the result or the problem.
    outcome TEXT
) WITHOUT ROWID;

CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_operation ON jobs (operation, state, id);
CREATE INDEX jobs_by_end ON jobs (ended_at, id) WHERE ended_at IS NOT NULL;

-- Apart from jobs: a row is written anew whenever it changes, and an input never does.
CREATE TABLE inputs (
    job BLOB NOT NULL PRIMARY KEY,
    input TEXT NOT NULL
) WITHOUT ROWID;

-- The segments of logs: events `first` to `last`, which take `size` bytes behind the log's first
-- `start` bytes, and their CRC-32. A log's segments have their bytes here, all of them, or none: then they are
-- in the log's file, at the same places.
CREATE TABLE segments (
    job BLOB NOT NULL,
    last INTEGER NOT NULL,
    first INTEGER NOT NULL,
    start INTEGER NOT NULL,
    size INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    bytes BLOB,
    PRIMARY KEY (job, last)
) WITHOUT ROWID;

-- One row. `bytes` is what all inputs, outcomes and logs take; `ended` is how many jobs have ended.
CREATE TABLE totals (
    bytes INTEGER NOT NULL,
    ended INTEGER NOT NULL
);
INSERT INTO totals VALUES (0, 0);
