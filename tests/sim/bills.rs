//! What must be true at the end, when everything is given back and charged: every bill is what really ran, or was
//! really stored, and the provider and the books agree.

use std::collections::BTreeMap;

use muster::{
    ids::{SegmentId, TeamId},
    ledger::interval::Segment,
    money::{Credits, NanoCredits, prorate},
    store::Read,
    time::HOUR,
};
use serde_json::Value;

use crate::{
    checks::{self, Instance},
    engine::Run,
    world::{Crooked, World},
};

const HOLDS_OPEN: &str = "SELECT id FROM holds WHERE state = 'open'";
const PINS: &str = "SELECT hold FROM pins WHERE amount > 0";
const RESERVED: &str = "SELECT budget FROM budget_periods WHERE reserved > 0";
const UNLINKED: &str = "
    SELECT t.id FROM teams t
    WHERE t.booked > COALESCE((SELECT MAX(l.through_seq) FROM ledger_links l WHERE l.team = t.id), 0)";
const SEGMENTS: &str = "SELECT * FROM segments ORDER BY resource, kind, number";
/// What was charged of a segment at first, what revisions have changed, and how many there were.
const CHARGED: &str = "
    SELECT segment, CAST(SUM(CASE WHEN revision = 0 THEN amount ELSE 0 END) AS BIGINT),
           CAST(SUM(CASE WHEN revision > 0 THEN amount ELSE 0 END) AS BIGINT), CAST(MAX(revision) AS BIGINT)
    FROM charges GROUP BY segment";
const DRIVES: &str = "SELECT id, volume FROM drives";

const USED: &str = "
    SELECT t.id, COALESCE((SELECT SUM(c.amount) FROM charges c WHERE c.team = t.id), 0),
        COALESCE((SELECT SUM(CASE WHEN c.amount < 0 THEN -c.uncovered ELSE c.uncovered END)
                    FROM charges c WHERE c.team = t.id), 0)
    FROM teams t";
const DOCUMENTS: &str = "SELECT team, document FROM statements";
const OPEN: &str = "
    SELECT t.id FROM transactions t
    WHERE t.kind IN ('capture', 'correction')
      AND (t.seq > COALESCE((SELECT MAX(s.through_seq) FROM statements s WHERE s.team = t.team), 0)
           OR t.occurred_at >= (SELECT MAX(s.end_at) FROM statements s WHERE s.team = t.team))";

/// What must be true when everything is given back.
pub(crate) async fn at_the_end(world: &mut World) {
    world.verified = Default::default();
    checks::after_step(world).await;
    let mut read = world.db.read().await.unwrap();
    for statement in [HOLDS_OPEN, PINS, RESERVED, UNLINKED] {
        let left: Vec<(String,)> = read.query(statement).all().await.unwrap();
        assert!(left.is_empty(), "left over: {left:?}");
    }
    for top_up in checks::top_ups(&mut read).await.iter().filter(|one| one.provider == "fake") {
        let known = world.provider.payments().remove(&top_up.id);
        let known = known.unwrap_or_else(|| panic!("never begun: {top_up:?}"));
        assert_eq!(top_up.is_credited(), known.paid, "{top_up:?}");
        let back = if known.disputed { known.amount } else { known.refunded };
        let found = (top_up.refunded.as_micros(), top_up.state == "disputed");
        assert_eq!(found, (back, known.disputed), "{top_up:?}");
    }
    stated(&mut read).await;
    let segments: Vec<Segment> = read.query(SEGMENTS).all().await.unwrap();
    let charged: Vec<(SegmentId, i64, i64, i64)> = read.query(CHARGED).all().await.unwrap();
    let charged: BTreeMap<SegmentId, (i64, i64, i64)> = charged
        .into_iter()
        .map(|(id, first, changed, revisions)| (id, (first, changed, revisions)))
        .collect();
    let drives: Vec<(String, String)> = read.query(DRIVES).all().await.unwrap();
    let volumes: BTreeMap<String, String> = drives.into_iter().collect();
    drop(read);
    for segment in &segments {
        price_times_time(segment, charged.get(&segment.id).copied().unwrap_or_default());
        if segment.kind != "instance" {
            let stored = volumes.get(&segment.resource).unwrap_or(&segment.resource);
            counted(world, segment, stored);
        }
    }
    if world.manner.crooked == Crooked::Nobody {
        apart(&segments);
    }
    for one in checks::instances(world).await {
        assert_eq!(one.parked, 0, "{one:?}");
        let own = |segment: &&Segment| segment.kind == "instance" && segment.instance == Some(one.id);
        runs(world, &one, &segments.iter().filter(own).collect::<Vec<_>>());
    }
}

/// Every charge is on one statement.
async fn stated(read: &mut Read) {
    let open: Vec<(String,)> = read.query(OPEN).all().await.unwrap();
    assert!(open.is_empty(), "on no statement: {open:?}");
    let documents: Vec<(TeamId, String)> = read.query(DOCUMENTS).all().await.unwrap();
    let mut sums: BTreeMap<TeamId, (i64, i64)> = BTreeMap::new();
    for (team, document) in documents {
        let document: Value = serde_json::from_str(&document).unwrap();
        let micros =
            |what: &str| document["usage"][what].as_str().unwrap().parse::<Credits>().unwrap().as_micros();
        let (total, owed) = sums.entry(team).or_default();
        (*total, *owed) = (*total + micros("total"), *owed + micros("owed"));
    }
    let used: Vec<(TeamId, i64, i64)> = read.query(USED).all().await.unwrap();
    for (team, total, owed) in used {
        assert_eq!(sums[&team], (total, owed), "the statements of {team}");
    }
}

/// Until when a segment is metered.
fn end_of(segment: &Segment) -> muster::time::Timestamp {
    segment.end_at.unwrap_or(segment.billed_until)
}

/// What was charged is the price times the quantity times the time.
fn price_times_time(segment: &Segment, (first, changed, revisions): (i64, i64, i64)) {
    let price = NanoCredits::from_nanos(segment.sku.unit_price.as_nanos() * i64::from(segment.quantity));
    let ran = end_of(segment) - segment.start_at;
    let cost: Credits = prorate(price, ran.as_micros(), HOUR).unwrap().round();
    let off = (first - cost.as_micros()).abs();
    // A revision moves the running sum, and with it where what comes after is rounded: by less than a micro-credit.
    assert!(off <= revisions, "{first} is not price times time, {cost}: {segment:?}");
    assert_eq!(first + changed, segment.cumulative.round().as_micros(), "{segment:?}");
}

/// What is stored is metered by what was counted when it began, and not beyond the last count.
fn counted(world: &World, segment: &Segment, stored: &str) {
    let counts = world.runs.counts_of(stored);
    let mebibytes = |bytes: u64| u32::try_from(bytes.div_ceil(1 << 20).max(1)).unwrap();
    let first =
        counts.iter().any(|one| one.at == segment.start_at && mebibytes(one.bytes) == segment.quantity);
    assert!(first, "not counted: {segment:?} {counts:?}");
    let last = end_of(segment);
    assert!(counts.iter().any(|one| one.at >= last), "beyond the last count: {segment:?} {counts:?}");
}

/// Nothing is metered twice for the same time, and no disk counts as stopped while its instance runs.
fn apart(segments: &[Segment]) {
    for (place, one) in segments.iter().enumerate() {
        for other in segments.iter().skip(place + 1).filter(|other| other.resource == one.resource) {
            let apart = end_of(one) <= other.start_at || end_of(other) <= one.start_at;
            assert!(apart, "metered twice: {one:?} {other:?}");
        }
    }
}

/// Every run is metered once, from its start to its end by the engine, or less where nobody can say.
fn runs(world: &World, one: &Instance, segments: &[&Segment]) {
    let mut runs = world.runs.of(one.id);
    for segment in segments {
        // The first may have begun with the fetch of its image.
        let place = runs.iter().position(|run| run.told_start == segment.start_at);
        let place = place.or((segment.number == 0 && !runs.is_empty()).then_some(0));
        let place = place.unwrap_or_else(|| panic!("metered and never ran: {segment:?} {one:?}"));
        bill(world, one, segment, &runs.remove(place));
    }
    for run in &runs {
        // The server never heard of it: it failed, or it was gone, or it began after it was given up.
        let late = one.ended_at.is_some_and(|end| run.told_start >= end);
        let unknown = run.heard_at.is_none() || run.taken || run.code == Some(255);
        let excused = unknown || late || one.state == "failed" || world.manner.crooked != Crooked::Nobody;
        assert!(excused, "it ran and was not metered: {one:?} {run:?}");
    }
}

fn bill(world: &World, one: &Instance, segment: &Segment, run: &Run) {
    let (start, end) = (segment.start_at, end_of(segment));
    assert!(start <= run.told_start, "it began when the engine says: {segment:?} {run:?}");
    let true_end = run.true_end.unwrap_or_else(|| panic!("it still runs: {run:?}"));
    let told_end = run.told_end.unwrap();
    let proof = segment.proof_at.max(run.told_start);
    if world.manner.crooked != Crooked::Nobody {
        let (billed, ran) = (end - run.told_start, true_end + world.ahead - run.true_start);
        // Whoever lives in the future sees a container run in it.
        assert!(billed <= ran, "billed {billed:?} and ran {ran:?}: {segment:?} {run:?}");
        return;
    }
    if run.taken || run.code == Some(255) {
        assert_eq!(end, proof, "to the last proof of life: {segment:?} {one:?} {run:?}");
        assert!(proof <= run.heard_at.unwrap_or(run.told_start).max(run.told_start), "{segment:?} {run:?}");
        assert!(end <= true_end, "beyond its end: {segment:?} {run:?}");
    } else {
        assert_eq!(end, told_end, "to its end by the engine: {segment:?} {one:?} {run:?}");
    }
}
