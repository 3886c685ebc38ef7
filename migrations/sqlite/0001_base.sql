-- The base: who, what, where, and the books. Same tables and columns in both folders; a test compares them.
-- Ids are TEXT, money and times INTEGER (micro-credits, microseconds UTC), flags INTEGER 0/1, documents TEXT.

CREATE TABLE installation (
    singleton           INTEGER PRIMARY KEY CHECK (singleton = 1),
    id                  TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    operator_claim_hash BLOB
) STRICT;

-- People and teams ----------------------------------------------------------------------------------------------

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    login         TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    operator      INTEGER NOT NULL CHECK (operator IN (0, 1)),
    must_reset    INTEGER NOT NULL CHECK (must_reset IN (0, 1)),
    valid_from    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE teams (
    id          TEXT PRIMARY KEY,
    slug        TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    preset      TEXT NOT NULL CHECK (preset IN ('glows', 'grid', 'novita')),
    spending    TEXT NOT NULL CHECK (spending IN ('wallet', 'pool')),
    limits      TEXT NOT NULL,
    version     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
    id            TEXT PRIMARY KEY,
    team          TEXT NOT NULL REFERENCES teams (id),
    account       TEXT NOT NULL,
    user_id       TEXT REFERENCES users (id),
    password_hash TEXT,
    role          TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('issued', 'active', 'suspended', 'removed')),
    alias         TEXT NOT NULL,
    note          TEXT NOT NULL,
    limits        TEXT NOT NULL,
    version       INTEGER NOT NULL,
    valid_from    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    UNIQUE (team, account)
) STRICT;
CREATE UNIQUE INDEX members_one_owner ON members (team) WHERE role = 'owner' AND state <> 'removed';
CREATE UNIQUE INDEX members_one_per_user ON members (team, user_id) WHERE user_id IS NOT NULL AND state <> 'removed';
CREATE INDEX members_by_user ON members (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    token_hash BLOB NOT NULL UNIQUE,
    user_id    TEXT REFERENCES users (id),
    member     TEXT REFERENCES members (id),
    reset_only INTEGER NOT NULL CHECK (reset_only IN (0, 1)),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    CHECK ((user_id IS NULL) <> (member IS NULL))
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_by_member ON sessions (member) WHERE member IS NOT NULL;

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    team         TEXT NOT NULL REFERENCES teams (id),
    member       TEXT NOT NULL REFERENCES members (id),
    name         TEXT NOT NULL,
    secret_hash  BLOB NOT NULL UNIQUE,
    scopes       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;
CREATE INDEX api_keys_by_team ON api_keys (team, id);

CREATE TABLE login_throttles (
    subject       TEXT PRIMARY KEY,
    failures      INTEGER NOT NULL,
    blocked_until INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;

-- What is held of each counted limit: one row per member, one per team (holder is either id).
CREATE TABLE usages (
    holder         TEXT PRIMARY KEY,
    team           TEXT NOT NULL REFERENCES teams (id),
    instances      INTEGER NOT NULL CHECK (instances >= 0),
    gpus           INTEGER NOT NULL CHECK (gpus >= 0),
    snapshots      INTEGER NOT NULL CHECK (snapshots >= 0),
    network_groups INTEGER NOT NULL CHECK (network_groups >= 0),
    storage_bytes  INTEGER NOT NULL CHECK (storage_bytes >= 0)
) STRICT;

-- Hosts, and what they offer ------------------------------------------------------------------------------------

CREATE TABLE hosts (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL CHECK (kind IN ('docker', 'simulated')),
    endpoint     TEXT NOT NULL,
    tls_sealed   BLOB,
    region       TEXT NOT NULL,
    address      TEXT NOT NULL,
    probe_image  TEXT NOT NULL,
    admin_state  TEXT NOT NULL CHECK (admin_state IN ('active', 'cordoned', 'retired')),
    reach        TEXT NOT NULL CHECK (reach IN ('unknown', 'up', 'suspect', 'down')),
    reach_detail TEXT NOT NULL,
    facts        TEXT,
    marker       TEXT,
    misses       INTEGER NOT NULL,
    last_ok_at   INTEGER,
    version      INTEGER NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE accelerators (
    uuid       TEXT PRIMARY KEY,
    host       TEXT NOT NULL REFERENCES hosts (id),
    model      TEXT NOT NULL,
    memory_mib INTEGER NOT NULL,
    driver     TEXT NOT NULL,
    healthy    INTEGER NOT NULL CHECK (healthy IN (0, 1)),
    seen_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX accelerators_by_host ON accelerators (host, uuid);

CREATE TABLE products (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    region         TEXT NOT NULL,
    instance_type  TEXT NOT NULL,
    accelerator    TEXT NOT NULL,
    gpus_per_unit  INTEGER NOT NULL CHECK (gpus_per_unit >= 0),
    cpu_millis     INTEGER NOT NULL CHECK (cpu_millis > 0),
    memory_bytes   INTEGER NOT NULL CHECK (memory_bytes > 0),
    price_per_hour INTEGER NOT NULL CHECK (price_per_hour >= 0),
    published      INTEGER NOT NULL CHECK (published IN (0, 1)),
    version        INTEGER NOT NULL,
    created_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE images (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    reference   TEXT NOT NULL,
    ports       TEXT NOT NULL,
    description TEXT NOT NULL,
    published   INTEGER NOT NULL CHECK (published IN (0, 1)),
    version     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

-- Plugins and prices --------------------------------------------------------------------------------------------

CREATE TABLE components (
    digest     TEXT PRIMARY KEY,
    wasm       BLOB NOT NULL,
    world      TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- team '' is the site's own.
CREATE TABLE plugins (
    id         TEXT PRIMARY KEY,
    team       TEXT NOT NULL,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL REFERENCES components (digest),
    size_bytes INTEGER NOT NULL,
    world      TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (team, name, digest)
) STRICT;

CREATE TABLE price_versions (
    id            TEXT PRIMARY KEY,
    team          TEXT NOT NULL,
    number        INTEGER NOT NULL,
    digest        TEXT NOT NULL REFERENCES components (digest),
    config        TEXT NOT NULL,
    config_digest TEXT NOT NULL,
    created_by    TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    UNIQUE (team, number)
) STRICT;

-- Instances -----------------------------------------------------------------------------------------------------

CREATE TABLE instances (
    id             TEXT PRIMARY KEY,
    team           TEXT NOT NULL REFERENCES teams (id),
    member         TEXT NOT NULL REFERENCES members (id),
    name           TEXT NOT NULL,
    product        TEXT NOT NULL REFERENCES products (id),
    image          TEXT NOT NULL REFERENCES images (id),
    host           TEXT NOT NULL REFERENCES hosts (id),
    desired        TEXT NOT NULL CHECK (desired IN ('running', 'stopped', 'released')),
    state          TEXT NOT NULL,
    reason         TEXT,
    reason_detail  TEXT NOT NULL,
    generation     INTEGER NOT NULL,
    unit_qty       INTEGER NOT NULL CHECK (unit_qty > 0),
    gpus           INTEGER NOT NULL CHECK (gpus >= 0),
    cpu_millis     INTEGER NOT NULL,
    memory_bytes   INTEGER NOT NULL,
    spec           TEXT NOT NULL,
    spec_digest    TEXT NOT NULL,
    jupyter_sealed BLOB NOT NULL,
    ports          TEXT NOT NULL,
    price_version  TEXT NOT NULL REFERENCES price_versions (id),
    unit_price     INTEGER NOT NULL,
    quoted_per_hour INTEGER NOT NULL,
    container_id   TEXT,
    exit_code      INTEGER,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER,
    ended_at       INTEGER,
    proof_at       INTEGER,
    draining_since INTEGER,
    warned_percent INTEGER NOT NULL,
    version        INTEGER NOT NULL
) STRICT;
CREATE INDEX instances_by_team ON instances (team, id);
CREATE INDEX instances_by_member ON instances (member, id);
CREATE INDEX instances_live_by_host ON instances (host, id) WHERE state NOT IN ('released', 'failed');

-- Exclusive use of an accelerator: the primary key is the proof that two instances never share one.
CREATE TABLE allocations (
    accelerator TEXT PRIMARY KEY REFERENCES accelerators (uuid),
    instance    TEXT NOT NULL REFERENCES instances (id)
) STRICT;
CREATE INDEX allocations_by_instance ON allocations (instance);

CREATE TABLE drives (
    id         TEXT PRIMARY KEY,
    team       TEXT NOT NULL REFERENCES teams (id),
    member     TEXT REFERENCES members (id),
    host       TEXT NOT NULL REFERENCES hosts (id),
    volume     TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX drives_team ON drives (team, host) WHERE member IS NULL;
CREATE UNIQUE INDEX drives_personal ON drives (team, member, host) WHERE member IS NOT NULL;

-- The books -----------------------------------------------------------------------------------------------------

-- member '' for the accounts of the team itself. The four counters move only in the transaction that writes
-- entries; moves counts those transactions and numbers their entries, so that every earlier balance can be told.
CREATE TABLE accounts (
    id              TEXT PRIMARY KEY,
    team            TEXT NOT NULL REFERENCES teams (id),
    member          TEXT NOT NULL,
    kind            TEXT NOT NULL,
    debits_posted   INTEGER NOT NULL CHECK (debits_posted >= 0),
    credits_posted  INTEGER NOT NULL CHECK (credits_posted >= 0),
    debits_pending  INTEGER NOT NULL CHECK (debits_pending >= 0),
    credits_pending INTEGER NOT NULL CHECK (credits_pending >= 0),
    moves           INTEGER NOT NULL CHECK (moves >= 0),
    floor           INTEGER,
    created_at      INTEGER NOT NULL,
    UNIQUE (team, member, kind),
    CHECK (floor IS NULL OR credits_posted - debits_posted - debits_pending >= floor)
) STRICT;

CREATE TABLE transactions (
    id          TEXT PRIMARY KEY,
    team        TEXT NOT NULL REFERENCES teams (id),
    kind        TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    actor       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    member      TEXT NOT NULL,
    instance    TEXT NOT NULL,
    reverses    TEXT UNIQUE REFERENCES transactions (id),
    idem_key    TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX transactions_by_team ON transactions (team, id);
CREATE INDEX transactions_by_member ON transactions (member, id) WHERE member <> '';

-- phase: pending adds to the pending counter, released takes from it, posted adds to the posted one.
CREATE TABLE entries (
    transaction_id TEXT NOT NULL REFERENCES transactions (id),
    line           INTEGER NOT NULL,
    account        TEXT NOT NULL REFERENCES accounts (id),
    account_move   INTEGER NOT NULL CHECK (account_move > 0),
    direction      TEXT NOT NULL CHECK (direction IN ('debit', 'credit')),
    phase          TEXT NOT NULL CHECK (phase IN ('pending', 'released', 'posted')),
    amount         INTEGER NOT NULL CHECK (amount > 0),
    PRIMARY KEY (transaction_id, line)
) STRICT;
CREATE INDEX entries_by_account ON entries (account, account_move);

CREATE TRIGGER transactions_keep BEFORE UPDATE ON transactions
BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END;
CREATE TRIGGER transactions_stay BEFORE DELETE ON transactions
BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END;
CREATE TRIGGER entries_keep BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END;
CREATE TRIGGER entries_stay BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END;

CREATE TABLE holds (
    id         TEXT PRIMARY KEY,
    team       TEXT NOT NULL REFERENCES teams (id),
    member     TEXT NOT NULL REFERENCES members (id),
    instance   TEXT NOT NULL REFERENCES instances (id),
    account    TEXT NOT NULL REFERENCES accounts (id),
    reserved   INTEGER NOT NULL CHECK (reserved >= 0),
    captured   INTEGER NOT NULL CHECK (captured >= 0),
    released   INTEGER NOT NULL CHECK (released >= 0),
    extensions INTEGER NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    created_at INTEGER NOT NULL,
    closed_at  INTEGER,
    CHECK (captured + released <= reserved),
    CHECK (state = 'open' OR captured + released = reserved)
) STRICT;
CREATE UNIQUE INDEX holds_one_open ON holds (instance) WHERE state = 'open';

CREATE TABLE segments (
    id               TEXT PRIMARY KEY,
    team             TEXT NOT NULL REFERENCES teams (id),
    member           TEXT NOT NULL REFERENCES members (id),
    instance         TEXT NOT NULL REFERENCES instances (id),
    kind             TEXT NOT NULL,
    number           INTEGER NOT NULL,
    quantity         INTEGER NOT NULL CHECK (quantity > 0),
    price_version    TEXT NOT NULL REFERENCES price_versions (id),
    unit_price       INTEGER NOT NULL,
    grid             INTEGER NOT NULL CHECK (grid > 0),
    start_at         INTEGER NOT NULL,
    end_at           INTEGER,
    proof_at         INTEGER NOT NULL,
    billed_until     INTEGER NOT NULL,
    next_k           INTEGER NOT NULL,
    cumulative_nano  INTEGER NOT NULL,
    settled          INTEGER NOT NULL CHECK (settled IN (0, 1)),
    UNIQUE (instance, kind, number)
) STRICT;
CREATE UNIQUE INDEX segments_one_open ON segments (instance, kind) WHERE end_at IS NULL;
CREATE INDEX segments_unsettled ON segments (id) WHERE NOT settled;

CREATE TABLE charges (
    segment          TEXT NOT NULL REFERENCES segments (id),
    k                INTEGER NOT NULL,
    revision         INTEGER NOT NULL,
    team             TEXT NOT NULL,
    member           TEXT NOT NULL,
    instance         TEXT NOT NULL,
    kind             TEXT NOT NULL,
    from_at          INTEGER NOT NULL,
    to_at            INTEGER NOT NULL,
    quantity         INTEGER NOT NULL,
    nano             INTEGER NOT NULL,
    amount           INTEGER NOT NULL,
    uncovered        INTEGER NOT NULL CHECK (uncovered >= 0),
    price_version    TEXT NOT NULL REFERENCES price_versions (id),
    component_digest TEXT NOT NULL,
    config_digest    TEXT NOT NULL,
    input_digest     TEXT NOT NULL,
    parked           INTEGER NOT NULL CHECK (parked IN (0, 1)),
    parked_because   TEXT NOT NULL,
    transaction_id   TEXT REFERENCES transactions (id),
    created_at       INTEGER NOT NULL,
    PRIMARY KEY (segment, k, revision),
    CHECK (to_at > from_at)
) STRICT;
CREATE INDEX charges_by_team ON charges (team, from_at, segment, k);
CREATE INDEX charges_by_instance ON charges (instance, from_at);

CREATE TABLE top_ups (
    id           TEXT PRIMARY KEY,
    team         TEXT NOT NULL REFERENCES teams (id),
    amount       INTEGER NOT NULL CHECK (amount > 0),
    provider     TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('pending', 'succeeded', 'refused')),
    note         TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    decided_by   TEXT,
    created_at   INTEGER NOT NULL,
    decided_at   INTEGER
) STRICT;
CREATE INDEX top_ups_by_team ON top_ups (team, id);

-- The record ----------------------------------------------------------------------------------------------------

CREATE TABLE decisions (
    id       TEXT PRIMARY KEY,
    team     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    resource TEXT NOT NULL,
    allowed  INTEGER NOT NULL CHECK (allowed IN (0, 1)),
    document TEXT NOT NULL
) STRICT;
CREATE INDEX decisions_by_team ON decisions (team, id);

CREATE TABLE audit_events (
    id       TEXT PRIMARY KEY,
    team     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    target   TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    decision TEXT,
    request  TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX audit_events_by_team ON audit_events (team, id);

CREATE TABLE outbox (
    id           TEXT PRIMARY KEY,
    team         TEXT NOT NULL,
    kind         TEXT NOT NULL,
    document     TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    delivered_at INTEGER
) STRICT;
CREATE INDEX outbox_waiting ON outbox (id) WHERE delivered_at IS NULL;

CREATE TABLE idempotency (
    scope      TEXT NOT NULL,
    key        TEXT NOT NULL,
    digest     TEXT NOT NULL,
    status     INTEGER NOT NULL,
    body       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT;
