-- Limits of members that end by themselves, what a whole team may hold, who changed which limit, what members ask for,
-- and an audit log that cannot be rewritten. Same tables and columns in both folders; a test compares them.

-- Limits that hold until an instant, a document; what the operator lets the whole team hold, a document.
ALTER TABLE members ADD COLUMN temporary TEXT NOT NULL DEFAULT '[]';
ALTER TABLE teams ADD COLUMN ceiling TEXT NOT NULL DEFAULT '{}';
-- What costs money now, for the limit on spending.
CREATE INDEX instances_spending ON instances (team) WHERE state NOT IN ('stopped', 'released', 'failed');

-- Who changed which limits from what to what. Without a member they are the team's: its defaults or its ceiling.
CREATE TABLE quota_changes (
    id            TEXT PRIMARY KEY,
    team          TEXT NOT NULL REFERENCES teams (id),
    member        TEXT REFERENCES members (id),
    kind          TEXT NOT NULL CHECK (kind IN ('standing', 'temporary', 'ceiling')),
    at            BIGINT NOT NULL,
    actor         TEXT NOT NULL,
    limits_before TEXT NOT NULL,
    limits_after  TEXT NOT NULL,
    until_at      BIGINT,
    reason        TEXT NOT NULL,
    request       TEXT
);
CREATE INDEX quota_changes_of_member ON quota_changes (member, id) WHERE member IS NOT NULL;
CREATE INDEX quota_changes_of_team ON quota_changes (team, id) WHERE member IS NULL;

-- What a member asks for, and what became of it. Times run out by themselves: an open request whose time has passed is
-- over, whatever its state says. A member has one open request of a kind.
CREATE TABLE requests (
    id             TEXT PRIMARY KEY,
    team           TEXT NOT NULL REFERENCES teams (id),
    member         TEXT NOT NULL REFERENCES members (id),
    kind           TEXT NOT NULL CHECK (kind IN ('credits', 'quota', 'team_quota')),
    state          TEXT NOT NULL CHECK (state IN ('open', 'approved', 'refused', 'cancelled', 'expired')),
    amount         BIGINT CHECK (amount > 0),
    limits         TEXT,
    until_at       BIGINT,
    reason         TEXT NOT NULL,
    granted_amount BIGINT CHECK (granted_amount > 0),
    granted_limits TEXT,
    granted_until  BIGINT,
    transaction_id TEXT REFERENCES transactions (id),
    answer         TEXT NOT NULL,
    decided_by     TEXT,
    decided_at     BIGINT,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    CHECK ((kind = 'credits') = (amount IS NOT NULL)),
    CHECK ((kind = 'credits') = (limits IS NULL)),
    CHECK (state = 'approved' OR (granted_amount IS NULL AND granted_limits IS NULL AND transaction_id IS NULL))
);
CREATE UNIQUE INDEX requests_one_open ON requests (member, kind) WHERE state = 'open';
CREATE INDEX requests_by_team ON requests (team, id);
CREATE INDEX requests_of_teams ON requests (id) WHERE kind = 'team_quota';

-- The member who acted, if one did, and the texts that decided. The last is for policies of the team's own.
ALTER TABLE audit_events ADD COLUMN member TEXT;
ALTER TABLE audit_events ADD COLUMN schema_version TEXT;
ALTER TABLE audit_events ADD COLUMN platform_version TEXT;
ALTER TABLE audit_events ADD COLUMN preset_version TEXT;
ALTER TABLE audit_events ADD COLUMN team_version TEXT;

-- The chain of digests over the audit log of a team, or with the empty text of the site, built behind the writers: one
-- link for each event, in the order in which they were linked.
CREATE TABLE audit_links (
    team      TEXT NOT NULL,
    number    BIGINT NOT NULL CHECK (number > 0),
    event     TEXT NOT NULL UNIQUE,
    digest    TEXT NOT NULL,
    linked_at BIGINT NOT NULL,
    PRIMARY KEY (team, number)
);
CREATE FUNCTION record_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% is append only', TG_TABLE_NAME; END $$;
CREATE TRIGGER audit_events_keep BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION record_is_append_only();
CREATE TRIGGER audit_links_keep BEFORE UPDATE OR DELETE ON audit_links
    FOR EACH ROW EXECUTE FUNCTION record_is_append_only();
CREATE TRIGGER quota_changes_keep BEFORE UPDATE OR DELETE ON quota_changes
    FOR EACH ROW EXECUTE FUNCTION record_is_append_only();
