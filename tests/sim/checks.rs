//! What must be true after every step.

use std::{collections::BTreeMap, sync::LazyLock};

use muster::{
    ids::{InstanceId, MemberId, TeamId, TopUpId},
    money::Credits,
    store::{self, Read, Record, Row},
    time::Timestamp,
};
use serde_json::Value;

use crate::{asks::Ask, deeds, world::World};

/// Statements that find what must not be, each with what that is.
const NEVER: [(&str, &str); 13] = [
    (
        "a wallet or a pool is below zero",
        "SELECT id FROM accounts WHERE kind IN ('wallet', 'team_pool')
           AND credits_posted - debits_posted - debits_pending < 0",
    ),
    (
        "an account and its lots differ",
        "SELECT a.id || ': ' || COALESCE(l.whole, 0) || ' in lots, ' || COALESCE(l.pinned, 0) || ' pinned; '
                || (a.credits_posted - a.debits_posted) || ' posted, ' || a.debits_pending || ' held'
           FROM accounts a
           LEFT JOIN (SELECT account, SUM(amount - spent - expired) AS whole, SUM(pinned) AS pinned
                        FROM lots GROUP BY account) l ON l.account = a.id
          WHERE a.kind IN ('wallet', 'team_pool')
            AND (COALESCE(l.whole, 0) <> a.credits_posted - a.debits_posted
                 OR COALESCE(l.pinned, 0) <> a.debits_pending)",
    ),
    (
        "a hold and its pins differ",
        "SELECT h.id FROM holds h
           LEFT JOIN (SELECT hold, SUM(amount) AS whole FROM pins GROUP BY hold) p ON p.hold = h.id
          WHERE COALESCE(p.whole, 0) <> h.reserved - h.captured - h.released",
    ),
    (
        "a closed hold has pins",
        "SELECT p.hold FROM pins p JOIN holds h ON h.id = p.hold WHERE h.state = 'closed' AND p.amount > 0",
    ),
    (
        "a hold outlived its instance",
        "SELECT h.id FROM holds h JOIN instances i ON i.id = h.instance
          WHERE h.state = 'open' AND i.state IN ('released', 'failed')",
    ),
    (
        "an instance holds too many or too few accelerators",
        "SELECT i.id || ' ' || i.state || ' has ' || COALESCE(a.held, 0) || ' of ' || i.gpus FROM instances i
           LEFT JOIN (SELECT instance, COUNT(*) AS held FROM allocations GROUP BY instance) a ON a.instance = i.id
          WHERE COALESCE(a.held, 0) <>
                CASE WHEN i.ended_at IS NULL AND i.state NOT IN ('released', 'failed') THEN i.gpus ELSE 0 END",
    ),
    (
        "a member's counters are not what they hold",
        "SELECT u.holder || ' counts ' || u.instances || ' and ' || u.gpus
           FROM usages u JOIN members m ON m.id = u.holder
          WHERE u.instances <> (SELECT COUNT(*) FROM instances i
                                 WHERE i.member = m.id AND i.state NOT IN ('released', 'failed'))
             OR u.gpus <> (SELECT COUNT(*) FROM allocations a JOIN instances i ON i.id = a.instance
                            WHERE i.member = m.id)",
    ),
    (
        "a team's counters are not what it holds",
        "SELECT u.holder || ' counts ' || u.instances || ' and ' || u.gpus FROM usages u JOIN teams t ON t.id = u.holder
          WHERE u.instances <> (SELECT COUNT(*) FROM instances i
                                 WHERE i.team = t.id AND i.state NOT IN ('released', 'failed'))
             OR u.gpus <> (SELECT COUNT(*) FROM allocations a JOIN instances i ON i.id = a.instance
                            WHERE i.team = t.id)",
    ),
    (
        "something is metered twice at a time",
        "SELECT resource FROM segments WHERE end_at IS NULL GROUP BY resource, kind HAVING COUNT(*) > 1",
    ),
    (
        "an instance is live without a hold that pays for it",
        "SELECT i.id || ' ' || i.state FROM instances i
          WHERE i.state IN ('scheduled', 'pulling', 'starting', 'running', 'unreachable') AND i.ended_at IS NULL
            AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.instance = i.id AND h.state = 'open')",
    ),
    (
        "a voucher was used more often than it says, or than it may be",
        "SELECT v.id FROM vouchers v
          WHERE v.uses > v.most_uses
             OR v.uses <> (SELECT COUNT(*) FROM voucher_redemptions r WHERE r.voucher = v.id)",
    ),
    (
        "a pool is filled up by two payments at a time",
        "SELECT team FROM top_ups WHERE automatic AND state IN ('created', 'pending')
          GROUP BY team HAVING COUNT(*) > 1",
    ),
    (
        "a statement is not the sum of the books up to its end",
        "SELECT s.id || ': ' || s.closing || ' from ' || s.opening FROM statements s
          WHERE s.closing <> (SELECT COALESCE(SUM(CASE WHEN e.direction = 'credit' THEN e.amount ELSE -e.amount END), 0)
                                FROM transactions t
                                JOIN entries e ON e.transaction_id = t.id AND e.phase = 'posted'
                                JOIN accounts a ON a.id = e.account AND a.kind IN ('wallet', 'team_pool')
                               WHERE t.team = s.team AND t.seq <= s.through_seq AND t.occurred_at < s.end_at)
             OR s.opening <> COALESCE((SELECT p.closing FROM statements p
                                        WHERE p.team = s.team AND p.number = s.number - 1), 0)",
    ),
];

/// All of them in one, each with its place.
static EVER: LazyLock<&'static str> = LazyLock::new(|| {
    let one = |(place, (_, statement)): (usize, &(&str, &str))| {
        format!("SELECT {place}, found FROM (WITH it (found) AS ({statement}) SELECT found FROM it)")
    };
    NEVER.iter().enumerate().map(one).collect::<Vec<_>>().join(" UNION ALL ").leak()
});

const MOVED: &str = "
    SELECT t.team, t.kind || CASE WHEN t.kind IN ('assign', 'reclaim') THEN '/' || t.member ELSE '' END,
           CAST(SUM(e.amount) AS BIGINT), COUNT(*)
    FROM transactions t JOIN entries e ON e.transaction_id = t.id
    WHERE e.direction = 'debit' AND t.kind IN ('grant', 'goodwill', 'voucher', 'assign', 'reclaim', 'writeoff')
    GROUP BY 1, 2";

const WRITTEN: &str = "
    SELECT (SELECT SUM(booked) FROM teams), (SELECT COUNT(*) FROM charges), (SELECT COUNT(*) FROM segments)";

const FUNDS: &str = "
    SELECT t.id,
        (SELECT COALESCE(SUM(a.credits_posted - a.debits_posted), 0) FROM accounts a
          WHERE a.team = t.id AND a.kind IN ('wallet', 'team_pool')),
        (SELECT COALESCE(SUM(e.amount), 0) FROM transactions x JOIN entries e ON e.transaction_id = x.id
          WHERE x.team = t.id AND x.kind = 'lend' AND e.direction = 'debit'),
        (SELECT COALESCE(SUM(c.amount - CASE WHEN c.amount < 0 THEN -c.uncovered ELSE c.uncovered END), 0)
           FROM charges c WHERE c.team = t.id)
        + (SELECT COALESCE(SUM(e.amount), 0) FROM transactions x JOIN entries e ON e.transaction_id = x.id
             JOIN accounts a ON a.id = e.account AND a.kind IN ('wallet', 'team_pool')
            WHERE x.team = t.id AND x.kind IN ('expire', 'settle', 'refund') AND e.direction = 'debit'
              AND e.phase = 'posted')
        + (SELECT COALESCE(SUM(e.amount), 0) FROM transactions x JOIN entries e ON e.transaction_id = x.id
             JOIN accounts a ON a.id = e.account AND a.kind = 'writeoff'
            WHERE x.team = t.id AND x.kind = 'correction')
    FROM teams t";

const TOP_UPS: &str = "SELECT id, team, provider, state, amount, refunded FROM top_ups ORDER BY id";

const OVERDRAWN: &str = "
    SELECT b.name || ': ' || p.spent || ' spent and ' || p.reserved || ' reserved of ' || b.ceiling
    FROM holds h JOIN budget_claims c ON c.hold = h.id
    JOIN budgets b ON b.id = c.budget AND b.active AND b.reaction IN ('deny', 'drain')
    JOIN budget_periods p ON p.budget = c.budget AND p.start_at = c.start_at
    WHERE h.instance = $1 AND h.state = 'open' AND c.reserved > 0 AND p.spent + p.reserved > b.ceiling";

const INSTANCES: &str = "
    SELECT i.*, (SELECT COUNT(*) FROM charges c
                  WHERE c.instance = i.id AND c.parked
                    AND NOT EXISTS (SELECT 1 FROM charges l WHERE l.segment = c.segment AND l.k = c.k
                                       AND l.revision > c.revision)) AS parked
    FROM instances i ORDER BY i.name, i.id";

const UNMETERED: &str = "
    SELECT resource FROM segments WHERE kind = 'instance' AND (end_at IS NULL OR NOT settled)";

const STORED: &str = "SELECT COUNT(*) FROM segments WHERE kind <> 'instance' AND NOT settled";

/// How often what the runs are about did happen.
const MET: &str = "
    SELECT 'launches', COUNT(*) FROM instances
    UNION ALL SELECT 'ended: ' || reason, COUNT(*) FROM instances WHERE reason IS NOT NULL GROUP BY reason
    UNION ALL SELECT 'charges', COUNT(*) FROM charges
    UNION ALL SELECT 'charges that nobody could pay', COUNT(*) FROM charges WHERE uncovered > 0
    UNION ALL SELECT 'charged for: ' || kind, COUNT(*) FROM charges GROUP BY kind
    UNION ALL SELECT 'charges of another revision', COUNT(*) FROM charges WHERE revision > 0
    UNION ALL SELECT 'runs', COUNT(*) FROM segments WHERE kind = 'instance'
    UNION ALL SELECT 'runs by an API key', COUNT(*) FROM holds WHERE api_key IS NOT NULL
    UNION ALL SELECT 'budgets: ' || reaction, COUNT(*) FROM budgets GROUP BY reaction
    UNION ALL SELECT 'periods of budgets', COUNT(*) FROM budget_periods
    UNION ALL SELECT 'top-ups of ' || provider || ': ' || state, COUNT(*) FROM top_ups GROUP BY provider, state
    UNION ALL SELECT 'top-ups by themselves', COUNT(*) FROM top_ups WHERE automatic
    UNION ALL SELECT 'statements', COUNT(*) FROM statements
    UNION ALL SELECT 'credit notes', COUNT(*) FROM credit_notes
    UNION ALL SELECT 'told: ' || kind, COUNT(*) FROM outbox GROUP BY kind
    UNION ALL SELECT kind, COUNT(*) FROM transactions GROUP BY kind";

/// What happened in a run, and how often.
pub(crate) async fn met(world: &World) -> Vec<(String, i64)> {
    let mut met: Vec<(String, i64)> = world.db.glance().await.unwrap().query(MET).all().await.unwrap();
    met.extend(deeds::answers(world));
    met
}

/// An instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) team: TeamId,
    pub(crate) member: MemberId,
    pub(crate) state: String,
    pub(crate) ended_at: Option<Timestamp>,
    /// Charges of it that are provisional.
    pub(crate) parked: i64,
}

impl Record for Instance {
    fn from_row(row: &Row) -> store::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            member: row.get("member")?,
            state: row.get("state")?,
            ended_at: row.get("ended_at")?,
            parked: row.get("parked")?,
        })
    }
}

impl Instance {
    pub(crate) fn is_over(&self) -> bool {
        self.state == "released" || self.state == "failed"
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state == "stopped"
    }
}

/// A top-up.
#[derive(Debug)]
pub(crate) struct TopUp {
    pub(crate) id: TopUpId,
    pub(crate) team: TeamId,
    pub(crate) provider: String,
    pub(crate) state: String,
    pub(crate) amount: Credits,
    pub(crate) refunded: Credits,
}

impl Record for TopUp {
    fn from_row(row: &Row) -> store::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            provider: row.get("provider")?,
            state: row.get("state")?,
            amount: row.get("amount")?,
            refunded: row.get("refunded")?,
        })
    }
}

impl TopUp {
    pub(crate) fn is_credited(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "refunded" | "disputed")
    }
}

pub(crate) async fn top_ups(read: &mut Read) -> Vec<TopUp> {
    read.query(TOP_UPS).all().await.unwrap()
}

pub(crate) async fn instances(world: &World) -> Vec<Instance> {
    world.db.glance().await.unwrap().query(INSTANCES).all().await.unwrap()
}

/// What must be true after every step. Books in which nothing was written since they were checked are not read again.
pub(crate) async fn after_step(world: &mut World) {
    if !world.fate.has_written() {
        return;
    }
    let mut read = world.db.read().await.unwrap();
    let written: (i64, i64, i64) = read.query(WRITTEN).one().await.unwrap();
    if written != world.verified {
        let report = read.ledger_verify().await.unwrap();
        assert!(report.is_clean(), "the books: {:#?}", report.violations);
        world.verified = written;
    }
    let found: Vec<(i64, String)> = read.query(&EVER).all().await.unwrap();
    if let Some((what, found)) = found.into_iter().next() {
        panic!("{}: {found}", NEVER[usize::try_from(what).unwrap()].0);
    }
    let moved: Vec<(TeamId, String, i64, i64)> = read.query(MOVED).all().await.unwrap();
    let moved: BTreeMap<_, _> =
        moved.into_iter().map(|(team, what, sum, count)| ((team, what), (sum, count))).collect();
    assert_eq!(moved, wanted(world), "what was acknowledged and what is in the books differ");
    let top_ups = top_ups(&mut read).await;
    for top_up in &top_ups {
        payment(world, top_up);
    }
    let funds: Vec<(TeamId, i64, i64, i64)> = read.query(FUNDS).all().await.unwrap();
    for (team, has, lent, paid) in funds {
        let gifts = moved.iter().filter(|((of, what), _)| {
            *of == team && ["grant", "goodwill", "voucher"].contains(&what.as_str())
        });
        let credited = top_ups.iter().filter(|one| one.team == team && one.is_credited());
        let given = gifts.map(|(_, (sum, _))| *sum).sum::<i64>()
            + credited.map(|one| one.amount.as_micros()).sum::<i64>();
        assert_eq!(
            has,
            given + lent - paid,
            "team {team} was given {given}, lent {lent}, and paid or lost {paid}"
        );
    }
    let launched =
        world.answered.iter().filter(|(_, ask, answer)| matches!(ask, Ask::Launch { .. }) && answer.is_ok());
    drop(read);
    assert_eq!(
        instances(world).await.len(),
        launched.count(),
        "launches that were acknowledged, and instances"
    );
}

/// What the books must have moved, by all that was acknowledged.
fn wanted(world: &World) -> BTreeMap<(TeamId, String), (i64, i64)> {
    let mut wanted = BTreeMap::new();
    let mut add = |team: usize, what: String, amount: Credits| {
        let (sum, count): &mut (i64, i64) = wanted.entry((world.team(team).id, what)).or_default();
        *sum += amount.as_micros();
        *count += 1;
    };
    for (_, ask, answer) in world.answered.iter() {
        let Ok(answer) = answer else { continue };
        match ask {
            Ask::Grant { team, amount, .. } => add(*team, "grant".to_owned(), *amount),
            Ask::Goodwill { team, amount, .. } => add(*team, "goodwill".to_owned(), *amount),
            Ask::WriteOff { team, amount } => add(*team, "writeoff".to_owned(), *amount),
            Ask::Redeem { team, .. } => add(*team, "voucher".to_owned(), amount_of(answer)),
            Ask::Assign { team, member, amount } => {
                add(*team, format!("assign/{}", world.team(*team).members[*member].0), *amount);
            }
            Ask::Reclaim { team, member, amount } => {
                add(*team, format!("reclaim/{}", world.team(*team).members[*member].0), *amount);
            }
            _ => {}
        }
    }
    wanted
}

fn amount_of(answer: &Value) -> Credits {
    answer["amount"].as_str().unwrap().parse().unwrap()
}

/// What the books say of a payment is what the operator, or the provider, says of it.
fn payment(world: &World, top_up: &TopUp) {
    if top_up.provider == "fake" {
        let known = world.provider.payments().remove(&top_up.id);
        assert!(known.as_ref().is_none_or(|known| known.begun == 1), "begun twice: {top_up:?}");
        assert!(!top_up.is_credited() || known.as_ref().is_some_and(|known| known.paid), "{top_up:?}");
        let disputed = known.is_some_and(|known| known.disputed);
        assert!(top_up.state != "disputed" || disputed, "taken back by nobody: {top_up:?}");
        return;
    }
    let (mut confirmed, mut disputed, mut refunded) = (false, false, Credits::ZERO);
    for (_, ask, _) in world.answered.iter().filter(|(_, _, answer)| answer.is_ok()) {
        match ask {
            Ask::Decide { top_up: id, confirm, .. } if *id == top_up.id => confirmed |= confirm,
            Ask::Dispute { top_up: id, .. } if *id == top_up.id => disputed = true,
            Ask::Refund { top_up: id, amount, .. } if *id == top_up.id => {
                refunded = refunded.plus(*amount).unwrap();
            }
            _ => {}
        }
    }
    let back = if disputed { top_up.amount } else { refunded };
    let found = (top_up.is_credited(), top_up.state == "disputed", top_up.refunded);
    assert_eq!(found, (confirmed, disputed, back), "{top_up:?}");
}

/// What was launched or started just now is within every budget that binds it.
pub(crate) async fn within_budgets(world: &World, instance: &str) {
    let mut glance = world.db.glance().await.unwrap();
    let over: Vec<(String,)> = glance.query(OVERDRAWN).bind(instance).all().await.unwrap();
    assert!(over.is_empty(), "{instance} was let in beyond its budgets: {over:?}");
}

/// How much of what is stored is still metered.
pub(crate) async fn stored(world: &World) -> i64 {
    let (stored,) = world.db.glance().await.unwrap().query(STORED).one().await.unwrap();
    stored
}

/// What is not over yet, in words.
pub(crate) async fn unsettled(world: &World) -> Vec<String> {
    let mut left: Vec<String> = world.engines.values().flat_map(|engine| engine.names()).collect();
    let instances = instances(world).await;
    left.extend(instances.iter().filter(|one| !one.is_over()).map(|one| format!("{one:?}")));
    let unmetered: Vec<(String,)> = world.db.glance().await.unwrap().query(UNMETERED).all().await.unwrap();
    left.extend(unmetered.into_iter().map(|(resource,)| format!("a run of {resource}")));
    left
}
