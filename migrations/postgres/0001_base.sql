-- The base: who, what, where, and the books. Same tables and columns in both folders; a test compares them.
-- Ids are TEXT, money and times BIGINT (micro-credits, microseconds UTC), flags BOOLEAN, documents TEXT.

CREATE TABLE installation (
    singleton           BIGINT PRIMARY KEY CHECK (singleton = 1),
    id                  TEXT NOT NULL,
    created_at          BIGINT NOT NULL,
    operator_claim_hash BYTEA
);

-- People and teams ----------------------------------------------------------------------------------------------

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    login         TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    operator      BOOLEAN NOT NULL,
    must_reset    BOOLEAN NOT NULL,
    valid_from    BIGINT NOT NULL,
    created_at    BIGINT NOT NULL
);

CREATE TABLE teams (
    id          TEXT PRIMARY KEY,
    slug        TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    preset      TEXT NOT NULL CHECK (preset IN ('glows', 'grid', 'novita')),
    spending    TEXT NOT NULL CHECK (spending IN ('wallet', 'pool')),
    limits      TEXT NOT NULL,
    version     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL
);

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
    version       BIGINT NOT NULL,
    valid_from    BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    UNIQUE (team, account)
);
CREATE UNIQUE INDEX members_one_owner ON members (team) WHERE role = 'owner' AND state <> 'removed';
CREATE UNIQUE INDEX members_one_per_user ON members (team, user_id) WHERE user_id IS NOT NULL AND state <> 'removed';
CREATE INDEX members_by_user ON members (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    token_hash BYTEA NOT NULL UNIQUE,
    user_id    TEXT REFERENCES users (id),
    member     TEXT REFERENCES members (id),
    reset_only BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    CHECK ((user_id IS NULL) <> (member IS NULL))
);
CREATE INDEX sessions_by_user ON sessions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_by_member ON sessions (member) WHERE member IS NOT NULL;

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    team         TEXT NOT NULL REFERENCES teams (id),
    member       TEXT NOT NULL REFERENCES members (id),
    name         TEXT NOT NULL,
    secret_hash  BYTEA NOT NULL UNIQUE,
    scopes       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
CREATE INDEX api_keys_by_team ON api_keys (team, id);

CREATE TABLE login_throttles (
    subject       TEXT PRIMARY KEY,
    failures      BIGINT NOT NULL,
    blocked_until BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

-- What is held of each counted limit: one row per member, one per team (holder is either id).
CREATE TABLE usages (
    holder         TEXT PRIMARY KEY,
    team           TEXT NOT NULL REFERENCES teams (id),
    instances      BIGINT NOT NULL CHECK (instances >= 0),
    gpus           BIGINT NOT NULL CHECK (gpus >= 0),
    snapshots      BIGINT NOT NULL CHECK (snapshots >= 0),
    network_groups BIGINT NOT NULL CHECK (network_groups >= 0),
    storage_bytes  BIGINT NOT NULL CHECK (storage_bytes >= 0)
);

-- Hosts, and what they offer ------------------------------------------------------------------------------------

CREATE TABLE hosts (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL CHECK (kind IN ('docker', 'simulated')),
    endpoint     TEXT NOT NULL,
    tls_sealed   BYTEA,
    region       TEXT NOT NULL,
    address      TEXT NOT NULL,
    probe_image  TEXT NOT NULL,
    admin_state  TEXT NOT NULL CHECK (admin_state IN ('active', 'cordoned', 'retired')),
    reach        TEXT NOT NULL CHECK (reach IN ('unknown', 'up', 'suspect', 'down')),
    reach_detail TEXT NOT NULL,
    facts        TEXT,
    marker       TEXT,
    misses       BIGINT NOT NULL,
    last_ok_at   BIGINT,
    version      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL
);

CREATE TABLE accelerators (
    uuid       TEXT PRIMARY KEY,
    host       TEXT NOT NULL REFERENCES hosts (id),
    model      TEXT NOT NULL,
    memory_mib BIGINT NOT NULL,
    driver     TEXT NOT NULL,
    healthy    BOOLEAN NOT NULL,
    seen_at    BIGINT NOT NULL
);
CREATE INDEX accelerators_by_host ON accelerators (host, uuid);

CREATE TABLE products (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    region         TEXT NOT NULL,
    instance_type  TEXT NOT NULL,
    accelerator    TEXT NOT NULL,
    gpus_per_unit  BIGINT NOT NULL CHECK (gpus_per_unit >= 0),
    cpu_millis     BIGINT NOT NULL CHECK (cpu_millis > 0),
    memory_bytes   BIGINT NOT NULL CHECK (memory_bytes > 0),
    price_per_hour BIGINT NOT NULL CHECK (price_per_hour >= 0),
    published      BOOLEAN NOT NULL,
    version        BIGINT NOT NULL,
    created_at     BIGINT NOT NULL
);

CREATE TABLE images (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    reference   TEXT NOT NULL,
    ports       TEXT NOT NULL,
    description TEXT NOT NULL,
    published   BOOLEAN NOT NULL,
    version     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL
);

-- Plugins and prices --------------------------------------------------------------------------------------------

CREATE TABLE components (
    digest     TEXT PRIMARY KEY,
    wasm       BYTEA NOT NULL,
    world      TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- team '' is the site's own.
CREATE TABLE plugins (
    id         TEXT PRIMARY KEY,
    team       TEXT NOT NULL,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL REFERENCES components (digest),
    size_bytes BIGINT NOT NULL,
    world      TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (team, name, digest)
);

CREATE TABLE price_versions (
    id            TEXT PRIMARY KEY,
    team          TEXT NOT NULL,
    number        BIGINT NOT NULL,
    digest        TEXT NOT NULL REFERENCES components (digest),
    config        TEXT NOT NULL,
    config_digest TEXT NOT NULL,
    created_by    TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    UNIQUE (team, number)
);

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
    generation     BIGINT NOT NULL,
    unit_qty       BIGINT NOT NULL CHECK (unit_qty > 0),
    gpus           BIGINT NOT NULL CHECK (gpus >= 0),
    cpu_millis     BIGINT NOT NULL,
    memory_bytes   BIGINT NOT NULL,
    spec           TEXT NOT NULL,
    spec_digest    TEXT NOT NULL,
    jupyter_sealed BYTEA NOT NULL,
    ports          TEXT NOT NULL,
    price_version  TEXT NOT NULL REFERENCES price_versions (id),
    unit_price     BIGINT NOT NULL,
    quoted_per_hour BIGINT NOT NULL,
    container_id   TEXT,
    exit_code      BIGINT,
    created_at     BIGINT NOT NULL,
    started_at     BIGINT,
    ended_at       BIGINT,
    proof_at       BIGINT,
    draining_since BIGINT,
    warned_percent BIGINT NOT NULL,
    version        BIGINT NOT NULL
);
CREATE INDEX instances_by_team ON instances (team, id);
CREATE INDEX instances_by_member ON instances (member, id);
CREATE INDEX instances_live_by_host ON instances (host, id) WHERE state NOT IN ('released', 'failed');

-- Exclusive use of an accelerator: the primary key is the proof that two instances never share one.
CREATE TABLE allocations (
    accelerator TEXT PRIMARY KEY REFERENCES accelerators (uuid),
    instance    TEXT NOT NULL REFERENCES instances (id)
);
CREATE INDEX allocations_by_instance ON allocations (instance);

CREATE TABLE drives (
    id         TEXT PRIMARY KEY,
    team       TEXT NOT NULL REFERENCES teams (id),
    member     TEXT REFERENCES members (id),
    host       TEXT NOT NULL REFERENCES hosts (id),
    volume     TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);
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
    debits_posted   BIGINT NOT NULL CHECK (debits_posted >= 0),
    credits_posted  BIGINT NOT NULL CHECK (credits_posted >= 0),
    debits_pending  BIGINT NOT NULL CHECK (debits_pending >= 0),
    credits_pending BIGINT NOT NULL CHECK (credits_pending >= 0),
    moves           BIGINT NOT NULL CHECK (moves >= 0),
    floor           BIGINT,
    created_at      BIGINT NOT NULL,
    UNIQUE (team, member, kind),
    CHECK (floor IS NULL OR credits_posted - debits_posted - debits_pending >= floor)
);

CREATE TABLE transactions (
    id          TEXT PRIMARY KEY,
    team        TEXT NOT NULL REFERENCES teams (id),
    kind        TEXT NOT NULL,
    occurred_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    actor       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    member      TEXT NOT NULL,
    instance    TEXT NOT NULL,
    reverses    TEXT UNIQUE REFERENCES transactions (id),
    idem_key    TEXT NOT NULL UNIQUE
);
CREATE INDEX transactions_by_team ON transactions (team, id);
CREATE INDEX transactions_by_member ON transactions (member, id) WHERE member <> '';

-- phase: pending adds to the pending counter, released takes from it, posted adds to the posted one.
CREATE TABLE entries (
    transaction_id TEXT NOT NULL REFERENCES transactions (id),
    line           BIGINT NOT NULL,
    account        TEXT NOT NULL REFERENCES accounts (id),
    account_move   BIGINT NOT NULL CHECK (account_move > 0),
    direction      TEXT NOT NULL CHECK (direction IN ('debit', 'credit')),
    phase          TEXT NOT NULL CHECK (phase IN ('pending', 'released', 'posted')),
    amount         BIGINT NOT NULL CHECK (amount > 0),
    PRIMARY KEY (transaction_id, line)
);
CREATE INDEX entries_by_account ON entries (account, account_move);

CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the ledger is append only'; END $$;
CREATE TRIGGER transactions_keep BEFORE UPDATE OR DELETE ON transactions
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER entries_keep BEFORE UPDATE OR DELETE ON entries
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();

CREATE TABLE holds (
    id         TEXT PRIMARY KEY,
    team       TEXT NOT NULL REFERENCES teams (id),
    member     TEXT NOT NULL REFERENCES members (id),
    instance   TEXT NOT NULL REFERENCES instances (id),
    account    TEXT NOT NULL REFERENCES accounts (id),
    reserved   BIGINT NOT NULL CHECK (reserved >= 0),
    captured   BIGINT NOT NULL CHECK (captured >= 0),
    released   BIGINT NOT NULL CHECK (released >= 0),
    extensions BIGINT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    created_at BIGINT NOT NULL,
    closed_at  BIGINT,
    CHECK (captured + released <= reserved),
    CHECK (state = 'open' OR captured + released = reserved)
);
CREATE UNIQUE INDEX holds_one_open ON holds (instance) WHERE state = 'open';

CREATE TABLE segments (
    id               TEXT PRIMARY KEY,
    team             TEXT NOT NULL REFERENCES teams (id),
    member           TEXT NOT NULL REFERENCES members (id),
    instance         TEXT NOT NULL REFERENCES instances (id),
    kind             TEXT NOT NULL,
    number           BIGINT NOT NULL,
    quantity         BIGINT NOT NULL CHECK (quantity > 0),
    price_version    TEXT NOT NULL REFERENCES price_versions (id),
    unit_price       BIGINT NOT NULL,
    grid             BIGINT NOT NULL CHECK (grid > 0),
    start_at         BIGINT NOT NULL,
    end_at           BIGINT,
    proof_at         BIGINT NOT NULL,
    billed_until     BIGINT NOT NULL,
    next_k           BIGINT NOT NULL,
    cumulative_nano  BIGINT NOT NULL,
    settled          BOOLEAN NOT NULL,
    UNIQUE (instance, kind, number)
);
CREATE UNIQUE INDEX segments_one_open ON segments (instance, kind) WHERE end_at IS NULL;
CREATE INDEX segments_unsettled ON segments (id) WHERE NOT settled;

CREATE TABLE charges (
    segment          TEXT NOT NULL REFERENCES segments (id),
    k                BIGINT NOT NULL,
    revision         BIGINT NOT NULL,
    team             TEXT NOT NULL,
    member           TEXT NOT NULL,
    instance         TEXT NOT NULL,
    kind             TEXT NOT NULL,
    from_at          BIGINT NOT NULL,
    to_at            BIGINT NOT NULL,
    quantity         BIGINT NOT NULL,
    nano             BIGINT NOT NULL,
    amount           BIGINT NOT NULL,
    uncovered        BIGINT NOT NULL CHECK (uncovered >= 0),
    price_version    TEXT NOT NULL REFERENCES price_versions (id),
    component_digest TEXT NOT NULL,
    config_digest    TEXT NOT NULL,
    input_digest     TEXT NOT NULL,
    parked           BOOLEAN NOT NULL,
    parked_because   TEXT NOT NULL,
    transaction_id   TEXT REFERENCES transactions (id),
    created_at       BIGINT NOT NULL,
    PRIMARY KEY (segment, k, revision),
    CHECK (to_at > from_at)
);
CREATE INDEX charges_by_team ON charges (team, from_at, segment, k);
CREATE INDEX charges_by_instance ON charges (instance, from_at);

CREATE TABLE top_ups (
    id           TEXT PRIMARY KEY,
    team         TEXT NOT NULL REFERENCES teams (id),
    amount       BIGINT NOT NULL CHECK (amount > 0),
    provider     TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('pending', 'succeeded', 'refused')),
    note         TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    decided_by   TEXT,
    created_at   BIGINT NOT NULL,
    decided_at   BIGINT
);
CREATE INDEX top_ups_by_team ON top_ups (team, id);

-- The record ----------------------------------------------------------------------------------------------------

CREATE TABLE decisions (
    id       TEXT PRIMARY KEY,
    team     TEXT NOT NULL,
    at       BIGINT NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    resource TEXT NOT NULL,
    allowed  BOOLEAN NOT NULL,
    document TEXT NOT NULL
);
CREATE INDEX decisions_by_team ON decisions (team, id);

CREATE TABLE audit_events (
    id       TEXT PRIMARY KEY,
    team     TEXT NOT NULL,
    at       BIGINT NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    target   TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    decision TEXT,
    request  TEXT NOT NULL,
    document TEXT NOT NULL
);
CREATE INDEX audit_events_by_team ON audit_events (team, id);

CREATE TABLE outbox (
    id           TEXT PRIMARY KEY,
    team         TEXT NOT NULL,
    kind         TEXT NOT NULL,
    document     TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    delivered_at BIGINT
);
CREATE INDEX outbox_waiting ON outbox (id) WHERE delivered_at IS NULL;

CREATE TABLE idempotency (
    scope      TEXT NOT NULL,
    key        TEXT NOT NULL,
    digest     TEXT NOT NULL,
    status     BIGINT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);
