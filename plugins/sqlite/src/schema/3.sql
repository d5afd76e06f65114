-- Version 3: jobs that servers hand on to each other.

ALTER TABLE jobs ADD COLUMN hops INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN rerouted_to TEXT;
