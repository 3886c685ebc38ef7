-- Money: lots under every balance, budgets, statements, vouchers, payments, alerts, and what is needed to compute a
-- charge again. Same tables and columns in both folders; a test compares them.

-- The team's terms of money, a document; how much the operator lends it; how many transactions its books have.
ALTER TABLE teams ADD COLUMN terms TEXT NOT NULL DEFAULT '{}';
ALTER TABLE teams ADD COLUMN credit_limit BIGINT NOT NULL DEFAULT 0 CHECK (credit_limit >= 0);
ALTER TABLE teams ADD COLUMN booked BIGINT NOT NULL DEFAULT 0 CHECK (booked >= 0);

-- Transactions are numbered within their team, in the order in which they were written.
DROP TRIGGER transactions_keep ON transactions;
ALTER TABLE transactions ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
UPDATE transactions SET seq = (
    SELECT COUNT(*) FROM transactions earlier WHERE earlier.team = transactions.team AND earlier.id <= transactions.id);
UPDATE teams SET booked = (SELECT COUNT(*) FROM transactions WHERE transactions.team = teams.id);
CREATE UNIQUE INDEX transactions_by_seq ON transactions (team, seq);
CREATE TRIGGER transactions_keep BEFORE UPDATE OR DELETE ON transactions
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();

-- Where the money in a spendable account came from. What is left of a lot is amount - spent - expired; the pinned
-- part of that is held for instances. A lot that was moved to another account goes on as a child there; origin is the
-- first of the line. Its owner is told once that it will expire.
CREATE TABLE lots (
    id             TEXT PRIMARY KEY,
    team           TEXT NOT NULL REFERENCES teams (id),
    account        TEXT NOT NULL REFERENCES accounts (id),
    category       TEXT NOT NULL CHECK (category IN ('paid', 'promo', 'lent')),
    priority       BIGINT NOT NULL,
    effective_at   BIGINT NOT NULL,
    expires_at     BIGINT,
    parent         TEXT REFERENCES lots (id),
    origin         TEXT NOT NULL,
    transaction_id TEXT NOT NULL REFERENCES transactions (id),
    amount         BIGINT NOT NULL CHECK (amount > 0),
    pinned         BIGINT NOT NULL CHECK (pinned >= 0),
    spent          BIGINT NOT NULL CHECK (spent >= 0),
    expired        BIGINT NOT NULL CHECK (expired >= 0),
    expiry_told_at BIGINT,
    CHECK (pinned + spent + expired <= amount)
);
CREATE INDEX lots_left ON lots (account) WHERE amount > spent + expired;
CREATE INDEX lots_expiring ON lots (expires_at) WHERE expires_at IS NOT NULL AND amount > spent + expired;

-- Which lots a line of a transaction moved, in the order in which they were taken.
CREATE TABLE lot_moves (
    transaction_id TEXT NOT NULL REFERENCES transactions (id),
    line           BIGINT NOT NULL,
    place          BIGINT NOT NULL,
    lot            TEXT NOT NULL REFERENCES lots (id),
    amount         BIGINT NOT NULL CHECK (amount > 0),
    PRIMARY KEY (transaction_id, line, place)
);
CREATE INDEX lot_moves_by_lot ON lot_moves (lot);
CREATE TRIGGER lot_moves_keep BEFORE UPDATE OR DELETE ON lot_moves
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();

-- Which lots an open hold has pinned.
CREATE TABLE pins (
    hold   TEXT NOT NULL REFERENCES holds (id),
    lot    TEXT NOT NULL REFERENCES lots (id),
    amount BIGINT NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (hold, lot)
);

-- The money of books that are older than lots is one paid lot per account, and open holds pin of it.
INSERT INTO lots (id, team, account, category, priority, effective_at, expires_at, parent, origin, transaction_id,
                  amount, pinned, spent, expired)
SELECT 'lot_' || substr(a.id, 6), a.team, a.id, 'paid', 100, a.created_at, NULL, NULL, 'lot_' || substr(a.id, 6),
       (SELECT MIN(e.transaction_id) FROM entries e
         WHERE e.account = a.id AND e.direction = 'credit' AND e.phase = 'posted'),
       a.credits_posted, a.debits_pending, a.debits_posted, 0
  FROM accounts a WHERE a.kind IN ('team_pool', 'wallet') AND a.credits_posted > 0;
INSERT INTO lot_moves (transaction_id, line, place, lot, amount)
SELECT e.transaction_id, e.line, 0, l.id, e.amount FROM entries e JOIN lots l ON l.account = e.account;
INSERT INTO pins (hold, lot, amount)
SELECT h.id, l.id, h.reserved - h.captured - h.released
  FROM holds h JOIN lots l ON l.account = h.account WHERE h.state = 'open';

-- Budgets: how much of the money a team, a member or an API key may use up once or in a month.
CREATE TABLE budgets (
    id         TEXT PRIMARY KEY,
    team       TEXT NOT NULL REFERENCES teams (id),
    name       TEXT NOT NULL,
    scope      TEXT NOT NULL CHECK (scope IN ('team', 'member', 'api_key')),
    subject    TEXT NOT NULL,
    period     TEXT NOT NULL CHECK (period IN ('once', 'monthly')),
    ceiling    BIGINT NOT NULL CHECK (ceiling >= 0),
    thresholds TEXT NOT NULL,
    reaction   TEXT NOT NULL CHECK (reaction IN ('alert', 'deny', 'drain')),
    active     BOOLEAN NOT NULL,
    version    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (team, name)
);
CREATE INDEX budgets_active ON budgets (team, subject) WHERE active;

-- What was used up of a budget in a period, and what open holds have reserved of it. start_at 0 and no end: for good.
CREATE TABLE budget_periods (
    budget       TEXT NOT NULL REFERENCES budgets (id),
    start_at     BIGINT NOT NULL,
    end_at       BIGINT,
    reserved     BIGINT NOT NULL CHECK (reserved >= 0),
    spent        BIGINT NOT NULL,
    told_percent BIGINT NOT NULL,
    PRIMARY KEY (budget, start_at)
);

-- What an open hold has reserved of a budget, and in which period.
CREATE TABLE budget_claims (
    hold     TEXT NOT NULL REFERENCES holds (id),
    budget   TEXT NOT NULL REFERENCES budgets (id),
    start_at BIGINT NOT NULL,
    reserved BIGINT NOT NULL CHECK (reserved >= 0),
    PRIMARY KEY (hold, budget)
);
CREATE INDEX budget_claims_by_budget ON budget_claims (budget);

ALTER TABLE holds ADD COLUMN api_key TEXT;
CREATE INDEX holds_by_instance ON holds (instance);
ALTER TABLE instances ADD COLUMN api_key TEXT;
ALTER TABLE instances ADD COLUMN pulling_at BIGINT;
ALTER TABLE instances ADD COLUMN held TEXT NOT NULL DEFAULT '[]';

-- Prices by scope: product '' is every product; each counts from effective_at on.
ALTER TABLE price_versions ADD COLUMN product TEXT NOT NULL DEFAULT '';
ALTER TABLE price_versions ADD COLUMN effective_at BIGINT NOT NULL DEFAULT 0;
UPDATE price_versions SET effective_at = created_at;

-- A segment meters any resource, not only an instance, and keeps what its price was told. quoted_per_hour bounds what
-- it may be charged; account pays where no hold does.
CREATE TABLE segments_next (
    id               TEXT PRIMARY KEY,
    team             TEXT NOT NULL REFERENCES teams (id),
    member           TEXT NOT NULL REFERENCES members (id),
    resource         TEXT NOT NULL,
    instance         TEXT REFERENCES instances (id),
    account          TEXT REFERENCES accounts (id),
    kind             TEXT NOT NULL,
    number           BIGINT NOT NULL,
    quantity         BIGINT NOT NULL CHECK (quantity > 0),
    price_version    TEXT NOT NULL REFERENCES price_versions (id),
    sku              TEXT NOT NULL,
    quoted_per_hour  BIGINT NOT NULL,
    grid             BIGINT NOT NULL CHECK (grid > 0),
    start_at         BIGINT NOT NULL,
    end_at           BIGINT,
    proof_at         BIGINT NOT NULL,
    billed_until     BIGINT NOT NULL,
    next_k           BIGINT NOT NULL,
    cumulative_nano  BIGINT NOT NULL,
    settled          BOOLEAN NOT NULL,
    UNIQUE (resource, kind, number)
);
INSERT INTO segments_next
SELECT s.id, s.team, s.member, s.instance, s.instance, NULL, s.kind, s.number, s.quantity, s.price_version,
       json_build_object('name', p.name, 'kind', s.kind, 'region', p.region, 'instance_type', p.instance_type,
                    'accelerator', p.accelerator, 'unit_price', s.unit_price)::TEXT,
       i.quoted_per_hour, s.grid, s.start_at, s.end_at, s.proof_at, s.billed_until, s.next_k, s.cumulative_nano,
       s.settled
  FROM segments s JOIN instances i ON i.id = s.instance JOIN products p ON p.id = i.product;

CREATE TABLE charges_next (
    segment          TEXT NOT NULL REFERENCES segments_next (id),
    k                BIGINT NOT NULL,
    revision         BIGINT NOT NULL,
    team             TEXT NOT NULL,
    member           TEXT NOT NULL,
    resource         TEXT NOT NULL,
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
    told_now         BIGINT NOT NULL,
    lines            TEXT NOT NULL,
    parked           BOOLEAN NOT NULL,
    parked_because   TEXT NOT NULL,
    reason           TEXT NOT NULL,
    transaction_id   TEXT REFERENCES transactions (id),
    created_at       BIGINT NOT NULL,
    PRIMARY KEY (segment, k, revision),
    CHECK (to_at > from_at)
);
INSERT INTO charges_next
SELECT segment, k, revision, team, member, instance, instance, kind, from_at, to_at, quantity, nano, amount, uncovered,
       price_version, component_digest, config_digest, input_digest, created_at, '[]', parked, parked_because, '',
       transaction_id, created_at
  FROM charges;
DROP TABLE charges;
DROP TABLE segments;
ALTER TABLE segments_next RENAME TO segments;
-- The API key that a run was launched or started by, whose budgets count it; an instance may be started again by another.
ALTER TABLE segments ADD COLUMN api_key TEXT;
CREATE INDEX segments_keyed ON segments (api_key) WHERE api_key IS NOT NULL;
ALTER TABLE charges_next RENAME TO charges;
CREATE UNIQUE INDEX segments_one_open ON segments (resource, kind) WHERE end_at IS NULL;
CREATE INDEX segments_unsettled ON segments (id) WHERE NOT settled;
CREATE INDEX segments_by_instance ON segments (instance) WHERE instance IS NOT NULL;
CREATE INDEX charges_by_team ON charges (team, from_at, segment, k);
CREATE INDEX charges_by_instance ON charges (instance, from_at);
CREATE INDEX charges_parked ON charges (segment, k) WHERE parked;
-- Charges that may belong to a month before the one that they are on the statement of: rated anew, or written an hour or
-- more after they began. No month is closed sooner than an hour after its end.
CREATE INDEX charges_late ON charges (team, from_at) WHERE revision > 0 OR created_at - from_at >= 3600000000;

-- Payments. next_at is when the server has to see to one again by itself; without it there is nothing to see to.
CREATE TABLE top_ups_next (
    id            TEXT PRIMARY KEY,
    team          TEXT NOT NULL REFERENCES teams (id),
    amount        BIGINT NOT NULL CHECK (amount > 0),
    provider      TEXT NOT NULL,
    provider_ref  TEXT,
    state         TEXT NOT NULL
                  CHECK (state IN ('created', 'pending', 'succeeded', 'failed', 'refunded', 'disputed')),
    automatic     BOOLEAN NOT NULL,
    note          TEXT NOT NULL,
    requested_by  TEXT NOT NULL,
    confirmed_by  TEXT NOT NULL,
    decided_by    TEXT,
    lot           TEXT REFERENCES lots (id),
    refunded      BIGINT NOT NULL CHECK (refunded >= 0 AND refunded <= amount),
    failure       TEXT NOT NULL,
    next_at       BIGINT,
    tries         BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    decided_at    BIGINT,
    UNIQUE (provider, provider_ref)
);
INSERT INTO top_ups_next
SELECT id, team, amount, provider, NULL, CASE state WHEN 'refused' THEN 'failed' ELSE state END, FALSE, note,
       requested_by, '[]', decided_by, NULL, 0, '', NULL, 0, created_at, decided_at
  FROM top_ups;
DROP TABLE top_ups;
ALTER TABLE top_ups_next RENAME TO top_ups;
CREATE INDEX top_ups_by_team ON top_ups (team, id);
CREATE INDEX top_ups_waiting ON top_ups (next_at) WHERE next_at IS NOT NULL;
CREATE UNIQUE INDEX top_ups_one_automatic ON top_ups (team) WHERE automatic AND state IN ('created', 'pending');

-- Every message of a payment provider counts once.
CREATE TABLE provider_events (
    provider    TEXT NOT NULL,
    event       TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (provider, event)
);

CREATE TABLE auto_top_ups (
    team            TEXT PRIMARY KEY REFERENCES teams (id),
    active          BOOLEAN NOT NULL,
    threshold       BIGINT NOT NULL CHECK (threshold >= 0),
    target          BIGINT NOT NULL CHECK (target > threshold),
    provider        TEXT NOT NULL,
    day_cap         BIGINT NOT NULL CHECK (day_cap > 0),
    month_cap       BIGINT NOT NULL CHECK (month_cap > 0),
    min_gap_seconds BIGINT NOT NULL CHECK (min_gap_seconds >= 0),
    failures        BIGINT NOT NULL,
    next_at         BIGINT NOT NULL,
    version         BIGINT NOT NULL
);

CREATE TABLE vouchers (
    id           TEXT PRIMARY KEY,
    code_hash    BYTEA NOT NULL UNIQUE,
    team         TEXT NOT NULL,
    amount       BIGINT NOT NULL CHECK (amount > 0),
    note         TEXT NOT NULL,
    valid_until  BIGINT NOT NULL,
    credit_days  BIGINT CHECK (credit_days IS NULL OR credit_days > 0),
    most_uses    BIGINT NOT NULL CHECK (most_uses > 0),
    uses         BIGINT NOT NULL CHECK (uses >= 0 AND uses <= most_uses),
    created_by   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    revoked_at   BIGINT
);
CREATE TABLE voucher_redemptions (
    voucher        TEXT NOT NULL REFERENCES vouchers (id),
    team           TEXT NOT NULL REFERENCES teams (id),
    member         TEXT NOT NULL,
    transaction_id TEXT NOT NULL UNIQUE REFERENCES transactions (id),
    redeemed_at    BIGINT NOT NULL,
    PRIMARY KEY (voucher, team)
);

-- Alerts fire when a figure crosses their threshold, and are armed again when it is back on the good side.
CREATE TABLE alerts (
    id         TEXT PRIMARY KEY,
    team       TEXT NOT NULL REFERENCES teams (id),
    metric     TEXT NOT NULL CHECK (metric IN ('balance', 'runway_hours', 'budget_percent')),
    subject    TEXT NOT NULL,
    threshold  BIGINT NOT NULL,
    armed      BOOLEAN NOT NULL,
    fired_at   BIGINT,
    version    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX alerts_by_team ON alerts (team, id);

-- Who is told of what the outbox has, and how far each message has come on its way there.
CREATE TABLE webhooks (
    id            TEXT PRIMARY KEY,
    team          TEXT NOT NULL REFERENCES teams (id),
    url           TEXT NOT NULL,
    kinds         TEXT NOT NULL,
    secret_sealed BYTEA NOT NULL,
    active        BOOLEAN NOT NULL,
    version       BIGINT NOT NULL,
    created_by    TEXT NOT NULL,
    created_at    BIGINT NOT NULL
);
CREATE INDEX webhooks_by_team ON webhooks (team, id);
CREATE TABLE deliveries (
    message    TEXT NOT NULL REFERENCES outbox (id),
    webhook    TEXT NOT NULL REFERENCES webhooks (id),
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead')),
    tries      BIGINT NOT NULL,
    next_at    BIGINT NOT NULL,
    last_error TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (webhook, message)
);
CREATE INDEX deliveries_waiting ON deliveries (next_at) WHERE state = 'waiting';
CREATE INDEX deliveries_by_message ON deliveries (message);

-- When a message was handed to the webhooks that want it; delivered_at is when the last of them had taken it.
ALTER TABLE outbox ADD COLUMN fanned_at BIGINT;
DROP INDEX outbox_waiting;
CREATE INDEX outbox_waiting ON outbox (id) WHERE fanned_at IS NULL;

-- Statements: a team's month, closed for good. It covers the transactions up to number through_seq that happened before
-- the month's end and are on no earlier statement.
CREATE TABLE statements (
    id          TEXT PRIMARY KEY,
    team        TEXT NOT NULL REFERENCES teams (id),
    month       TEXT NOT NULL,
    number      BIGINT NOT NULL CHECK (number > 0),
    start_at    BIGINT NOT NULL,
    end_at      BIGINT NOT NULL,
    through_seq BIGINT NOT NULL,
    opening     BIGINT NOT NULL,
    closing     BIGINT NOT NULL,
    document    TEXT NOT NULL,
    digest      TEXT NOT NULL,
    issued_at   BIGINT NOT NULL,
    UNIQUE (team, month),
    UNIQUE (team, number)
);
CREATE TABLE credit_notes (
    id             TEXT PRIMARY KEY,
    team           TEXT NOT NULL REFERENCES teams (id),
    number         BIGINT NOT NULL CHECK (number > 0),
    statement      TEXT NOT NULL REFERENCES statements (id),
    transaction_id TEXT NOT NULL REFERENCES transactions (id),
    amount         BIGINT NOT NULL,
    reason         TEXT NOT NULL,
    issued_at      BIGINT NOT NULL,
    UNIQUE (team, number),
    UNIQUE (statement, transaction_id)
);

-- The chain of digests over a team's transactions, built behind the writers: one link covers those up to through_seq.
CREATE TABLE ledger_links (
    team        TEXT NOT NULL REFERENCES teams (id),
    through_seq BIGINT NOT NULL,
    digest      TEXT NOT NULL,
    linked_at   BIGINT NOT NULL,
    PRIMARY KEY (team, through_seq)
);
CREATE TRIGGER statements_keep BEFORE UPDATE OR DELETE ON statements
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER credit_notes_keep BEFORE UPDATE OR DELETE ON credit_notes
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER ledger_links_keep BEFORE UPDATE OR DELETE ON ledger_links
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER provider_events_keep BEFORE UPDATE OR DELETE ON provider_events
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();

-- What a gibibyte of storage costs for an hour, by what is stored and where; how much a drive was last seen to hold.
CREATE TABLE storage_rates (
    kind               TEXT NOT NULL CHECK (kind IN ('drive', 'snapshot', 'stopped')),
    region             TEXT NOT NULL,
    price_per_gib_hour BIGINT NOT NULL CHECK (price_per_gib_hour >= 0),
    version            BIGINT NOT NULL,
    created_at         BIGINT NOT NULL,
    PRIMARY KEY (kind, region)
);
ALTER TABLE drives ADD COLUMN measured_bytes BIGINT;
ALTER TABLE drives ADD COLUMN measured_at BIGINT;
