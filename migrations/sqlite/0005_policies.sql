-- A team's own policies: immutable versions, and which of them is live.

ALTER TABLE teams ADD COLUMN policy_version INTEGER NOT NULL DEFAULT 0 CHECK (policy_version >= 0);

-- The words that a team gives its members, for its policies to look at.
ALTER TABLE members ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';

-- Written once and never changed. `parent` is the version that was live before, or 0.
CREATE TABLE policy_versions (
    team       TEXT NOT NULL REFERENCES teams (id),
    number     INTEGER NOT NULL CHECK (number > 0),
    parent     INTEGER NOT NULL CHECK (parent >= 0),
    text       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    policies   INTEGER NOT NULL,
    cases      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    author     TEXT NOT NULL,
    engine     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (team, number)
) STRICT;
