-- Snapshots: what an instance had on its disk, kept as an image on its host; and instances that are paused for want of
-- money. Same tables and columns in both folders; a test compares them.

-- owner NULL: the team's. size_bytes is what was written since the image of the catalogue, as the engine counts it.
CREATE TABLE snapshots (
    id         TEXT PRIMARY KEY,
    team       TEXT NOT NULL REFERENCES teams (id),
    owner      TEXT REFERENCES members (id),
    taken_by   TEXT NOT NULL REFERENCES members (id),
    instance   TEXT NOT NULL REFERENCES instances (id),
    host       TEXT NOT NULL REFERENCES hosts (id),
    image      TEXT NOT NULL REFERENCES images (id),
    name       TEXT NOT NULL,
    note       TEXT NOT NULL,
    cause      TEXT NOT NULL CHECK (cause IN ('user', 'credit')),
    state      TEXT NOT NULL CHECK (state IN ('wanted', 'taking', 'ready', 'failed', 'deleting', 'deleted')),
    reason     TEXT NOT NULL,
    stored_as  TEXT,
    size_bytes BIGINT CHECK (size_bytes IS NULL OR size_bytes >= 0),
    created_at BIGINT NOT NULL,
    taking_at  BIGINT,
    ready_at   BIGINT,
    version    BIGINT NOT NULL
);
CREATE INDEX snapshots_by_team ON snapshots (team, id) WHERE state <> 'deleted';
CREATE INDEX snapshots_live_by_host ON snapshots (host, id) WHERE state NOT IN ('failed', 'deleted');
CREATE INDEX snapshots_by_instance ON snapshots (instance) WHERE state NOT IN ('failed', 'deleted');

ALTER TABLE instances ADD COLUMN snapshot TEXT REFERENCES snapshots (id);
ALTER TABLE instances ADD COLUMN paused_since BIGINT;

-- New teams are snapshotted and stopped when their credits run out; those that were there before are stopped, as before.
UPDATE teams SET terms = '{"exhaustion":"stop"}' WHERE terms = '{}';
