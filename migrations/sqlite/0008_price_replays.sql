-- Replays of prices: what a past span of a team would have cost by another price, as evidence for its activation. Same
-- tables and columns in both folders; a test compares them.

-- product '': all that have no price of their own. before and after are micro-credits; document holds the whole report.
CREATE TABLE price_replays (
    id            TEXT PRIMARY KEY,
    team          TEXT NOT NULL REFERENCES teams (id),
    digest        TEXT NOT NULL REFERENCES components (digest),
    config_digest TEXT NOT NULL,
    product       TEXT NOT NULL,
    from_at       INTEGER NOT NULL,
    to_at         INTEGER NOT NULL,
    document      TEXT NOT NULL,
    created_by    TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    CHECK (to_at > from_at)
) STRICT;
CREATE INDEX price_replays_by_team ON price_replays (team, id);
CREATE INDEX segments_by_team ON segments (team, id);
