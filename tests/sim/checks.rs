//! What must be true after every step, and what at the end, when everything is given back and charged.

use std::{collections::BTreeMap, sync::LazyLock};

use muster::{
    ids::{InstanceId, MemberId, TeamId},
    money::{Credits, NanoCredits, prorate},
    store::{self, Record, Row},
    time::{HOUR, Timestamp},
};
use serde_json::Value;

use crate::{
    engine::Run,
    world::{Ask, Crooked, World},
};

/// Statements that find what must not be, each with what that is.
const NEVER: [(&str, &str); 10] = [
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
        "an instance has two runs that are metered",
        "SELECT instance FROM segments GROUP BY instance, kind HAVING COUNT(*) > 1",
    ),
    (
        "an instance is live without a hold that pays for it",
        "SELECT i.id || ' ' || i.state FROM instances i
          WHERE i.state IN ('scheduled', 'pulling', 'starting', 'running', 'unreachable') AND i.ended_at IS NULL
            AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.instance = i.id AND h.state = 'open')",
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
    SELECT t.team, t.kind || '/' || t.member, CAST(SUM(e.amount) AS BIGINT), COUNT(*)
    FROM transactions t JOIN entries e ON e.transaction_id = t.id
    WHERE e.direction = 'debit' AND t.kind IN ('grant', 'top_up', 'assign', 'reclaim') GROUP BY 1, 2";

const WRITTEN: &str = "
    SELECT (SELECT SUM(booked) FROM teams), (SELECT COUNT(*) FROM charges), (SELECT COUNT(*) FROM segments)";

const FUNDS: &str = "
    SELECT t.id,
        (SELECT COALESCE(SUM(a.credits_posted - a.debits_posted), 0) FROM accounts a
          WHERE a.team = t.id AND a.kind IN ('wallet', 'team_pool')),
        (SELECT COALESCE(SUM(e.amount), 0) FROM transactions x JOIN entries e ON e.transaction_id = x.id
          WHERE x.team = t.id AND x.kind = 'lend' AND e.direction = 'debit'),
        (SELECT COALESCE(SUM(c.amount - c.uncovered), 0) FROM charges c WHERE c.team = t.id)
        + (SELECT COALESCE(SUM(e.amount), 0) FROM transactions x JOIN entries e ON e.transaction_id = x.id
            WHERE x.team = t.id AND x.kind IN ('expire', 'settle') AND e.direction = 'debit' AND e.phase = 'posted')
    FROM teams t";

const INSTANCES: &str = "
    SELECT i.*, s.start_at AS segment_start, s.end_at AS segment_end, s.billed_until, s.settled AS segment_settled,
           (SELECT SUM(c.amount) FROM charges c WHERE c.instance = i.id) AS charged,
           (SELECT COUNT(*) FROM charges c WHERE c.instance = i.id AND c.parked) AS parked
    FROM instances i LEFT JOIN segments s ON s.instance = i.id AND s.kind = 'instance' ORDER BY i.name, i.id";

const HOLDS_OPEN: &str = "SELECT id FROM holds WHERE state = 'open'";
const PINS: &str = "SELECT hold FROM pins WHERE amount > 0";

/// How often what the runs are about did happen.
const MET: &str = "
    SELECT 'launches', COUNT(*) FROM instances
    UNION ALL SELECT 'ended: ' || reason, COUNT(*) FROM instances WHERE reason IS NOT NULL GROUP BY reason
    UNION ALL SELECT 'charges', COUNT(*) FROM charges
    UNION ALL SELECT 'charges beyond their hold', COUNT(*) FROM charges WHERE uncovered > 0
    UNION ALL SELECT kind, COUNT(*) FROM transactions GROUP BY kind";

/// What happened in a run, and how often.
pub(crate) async fn met(world: &World) -> Vec<(String, i64)> {
    world.db.glance().await.unwrap().query(MET).all().await.unwrap()
}

/// An instance with the segment that meters it.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) team: TeamId,
    pub(crate) member: MemberId,
    state: String,
    quoted_per_hour: Credits,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    proof_at: Option<Timestamp>,
    pulling_at: Option<Timestamp>,
    segment_start: Option<Timestamp>,
    segment_end: Option<Timestamp>,
    charged: Option<i64>,
    parked: i64,
}

impl Record for Instance {
    fn from_row(row: &Row) -> store::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            member: row.get("member")?,
            state: row.get("state")?,
            quoted_per_hour: row.get("quoted_per_hour")?,
            started_at: row.get("started_at")?,
            ended_at: row.get("ended_at")?,
            proof_at: row.get("proof_at")?,
            pulling_at: row.get("pulling_at")?,
            segment_start: row.get("segment_start")?,
            segment_end: row.get("segment_end")?,
            charged: row.get("charged")?,
            parked: row.get("parked")?,
        })
    }
}

impl Instance {
    pub(crate) fn is_over(&self) -> bool {
        self.state == "released" || self.state == "failed"
    }
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
    let funds: Vec<(TeamId, i64, i64, i64)> = read.query(FUNDS).all().await.unwrap();
    for (team, has, lent, paid) in funds {
        let given: i64 = moved
            .iter()
            .filter(|((of, what), _)| {
                *of == team && (what.starts_with("grant") || what.starts_with("top_up"))
            })
            .map(|(_, (sum, _))| *sum)
            .sum();
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
            Ask::Grant { team, amount, .. } => add(*team, "grant/".to_owned(), *amount),
            Ask::Decide { team, confirm: true, .. } => add(*team, "top_up/".to_owned(), amount_of(answer)),
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

/// What is not over yet, in words.
pub(crate) async fn unsettled(world: &World) -> Vec<String> {
    let mut left: Vec<String> = world.engines.values().flat_map(|engine| engine.names()).collect();
    for one in instances(world).await {
        if !one.is_over() || one.segment_start.is_some() && one.segment_end.is_none() {
            left.push(format!("{one:?}"));
        }
    }
    left
}

/// What must be true when everything is given back.
pub(crate) async fn at_the_end(world: &mut World) {
    world.verified = Default::default();
    after_step(world).await;
    let mut read = world.db.read().await.unwrap();
    for statement in [HOLDS_OPEN, PINS] {
        let left: Vec<(String,)> = read.query(statement).all().await.unwrap();
        assert!(left.is_empty(), "left over: {left:?}");
    }
    drop(read);
    for one in instances(world).await {
        let runs = world.runs.of(one.id);
        assert!(runs.len() <= 1, "{one:?} ran in several containers: {runs:?}");
        assert_eq!(one.parked, 0, "{one:?}");
        bill(world, &one, runs.first());
    }
}

/// The bill of an instance is its price times what the engine says it ran, or less where nobody can say.
fn bill(world: &World, one: &Instance, run: Option<&Run>) {
    let charged = one.charged.unwrap_or(0);
    let (Some(start), Some(end)) = (one.segment_start, one.segment_end) else {
        assert_eq!(charged, 0, "charged without a run: {one:?}");
        // The server never heard of it: it failed, or it was gone, or it began after it was given up.
        let excused = run.is_none_or(|run| {
            let late = one.ended_at.is_some_and(|end| run.told_start >= end)
                || world.manner.crooked != Crooked::Nobody;
            run.heard_at.is_none() || run.taken || late || one.state == "failed" || run.code == Some(255)
        });
        assert!(excused, "it ran and was not metered: {one:?} {run:?}");
        return;
    };
    let run = run.unwrap_or_else(|| panic!("metered and never ran: {one:?}"));
    let price = NanoCredits::from_nanos(one.quoted_per_hour.as_micros() * 1_000);
    let cost = prorate(price, (end - start).as_micros(), HOUR).unwrap().round();
    assert_eq!(charged, cost.as_micros(), "price times time: {one:?} {run:?}");
    assert_eq!(one.started_at, Some(run.told_start), "{one:?} {run:?}");
    let begins = one.pulling_at.filter(|_| start != run.told_start).unwrap_or(run.told_start);
    assert_eq!(start, begins.min(run.told_start), "it began when the engine says: {one:?} {run:?}");
    let true_end = run.true_end.unwrap_or_else(|| panic!("it still runs: {run:?}"));
    let told_end = run.told_end.unwrap();
    let proof = one.proof_at.unwrap_or(run.told_start).max(run.told_start);
    if world.manner.crooked != Crooked::Nobody {
        let (billed, ran) = (end - run.told_start, true_end - run.true_start);
        assert!(billed <= ran, "billed {billed:?} and ran {ran:?}: {one:?} {run:?}");
        return;
    }
    if run.taken || run.code == Some(255) {
        assert_eq!(end, proof, "to the last proof of life: {one:?} {run:?}");
        assert!(proof <= run.heard_at.unwrap_or(run.told_start).max(run.told_start), "{one:?} {run:?}");
        assert!(end <= true_end, "beyond its end: {one:?} {run:?}");
    } else {
        assert_eq!(end, told_end, "to its end by the engine: {one:?} {run:?}");
    }
}
