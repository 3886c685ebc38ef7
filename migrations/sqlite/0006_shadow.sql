-- A candidate for a team's policies that is asked beside the live ones for a while, and where the two differ.

-- The number of the candidate that is asked now; 0 when none is.
ALTER TABLE teams ADD COLUMN policy_shadow INTEGER NOT NULL DEFAULT 0 CHECK (policy_shadow >= 0);

-- `base` is the version that was live at the start. `ending` says why it ended.
CREATE TABLE policy_shadows (
    team       TEXT NOT NULL REFERENCES teams (id),
    number     INTEGER NOT NULL CHECK (number > 0),
    base       INTEGER NOT NULL CHECK (base >= 0),
    text       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    policies   INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    author     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    ended_at   INTEGER,
    ending     TEXT CHECK (ending IN ('over', 'published', 'stopped')),
    asked      INTEGER NOT NULL DEFAULT 0,
    refused    INTEGER NOT NULL DEFAULT 0,
    allowed    INTEGER NOT NULL DEFAULT 0,
    failed     INTEGER NOT NULL DEFAULT 0,
    left_out   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (team, number),
    CHECK ((ended_at IS NULL) = (ending IS NULL))
) STRICT;

CREATE INDEX policy_shadows_running ON policy_shadows (ends_at) WHERE ended_at IS NULL;

-- `policies` are the ids of those that decide with the candidate, as a JSON list; `examples` are decisions.
CREATE TABLE policy_differences (
    team     TEXT NOT NULL,
    shadow   INTEGER NOT NULL,
    role     TEXT NOT NULL,
    action   TEXT NOT NULL,
    allows   INTEGER NOT NULL CHECK (allows IN (0, 1)),
    policies TEXT NOT NULL,
    count    INTEGER NOT NULL CHECK (count > 0),
    examples TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    PRIMARY KEY (team, shadow, role, action, allows, policies),
    FOREIGN KEY (team, shadow) REFERENCES policy_shadows (team, number)
) STRICT;
