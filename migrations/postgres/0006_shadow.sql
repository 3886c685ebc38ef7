-- A candidate for a team's policies that is asked beside the live ones for a while, and where the two differ.

-- The number of the candidate that is asked now; 0 when none is.
ALTER TABLE teams ADD COLUMN policy_shadow BIGINT NOT NULL DEFAULT 0 CHECK (policy_shadow >= 0);

-- `base` is the version that was live at the start. `ending` says why it ended.
CREATE TABLE policy_shadows (
    team       TEXT NOT NULL REFERENCES teams (id),
    number     BIGINT NOT NULL CHECK (number > 0),
    base       BIGINT NOT NULL CHECK (base >= 0),
    text       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    policies   BIGINT NOT NULL,
    reason     TEXT NOT NULL,
    author     TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL,
    ended_at   BIGINT,
    ending     TEXT CHECK (ending IN ('over', 'published', 'stopped')),
    asked      BIGINT NOT NULL DEFAULT 0,
    refused    BIGINT NOT NULL DEFAULT 0,
    allowed    BIGINT NOT NULL DEFAULT 0,
    failed     BIGINT NOT NULL DEFAULT 0,
    left_out   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (team, number),
    CHECK ((ended_at IS NULL) = (ending IS NULL))
);

CREATE INDEX policy_shadows_running ON policy_shadows (ends_at) WHERE ended_at IS NULL;

-- `policies` are the ids of those that decide with the candidate, as a JSON list; `examples` are decisions.
CREATE TABLE policy_differences (
    team     TEXT NOT NULL,
    shadow   BIGINT NOT NULL,
    role     TEXT NOT NULL,
    action   TEXT NOT NULL,
    allows   BOOLEAN NOT NULL,
    policies TEXT NOT NULL,
    count    BIGINT NOT NULL CHECK (count > 0),
    examples TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    PRIMARY KEY (team, shadow, role, action, allows, policies),
    FOREIGN KEY (team, shadow) REFERENCES policy_shadows (team, number)
);
