//! Segments at their edges: the end that comes late or early, the proof that came first, and two meters at
//! once.

use muster::{
    ids::SegmentId,
    ledger::interval::{Segment, Watermark},
    money::NanoCredits,
    store::{Advance, Db, Error},
    time::{Span, Timestamp},
};

use crate::{
    clerk::Clerk,
    world::{World, commit, on_both},
};

/// A running segment, proven for `proven_seconds`.
async fn running(world: &World, proven_seconds: i64) -> Segment {
    let mut tx = world.db.begin().await.unwrap();
    let instance = world.plant_instance(&mut tx, world.members[0]).await;
    let clerk = Clerk::new(world.seed);
    let start_at = crate::world::NOW + Span::from_seconds(17);
    let segment = Segment {
        id: world.op.id(),
        grid: Span::from_seconds(60),
        start_at,
        proof_at: start_at,
        billed_until: start_at,
        ..clerk.segment(0, Some(instance), instance.to_string())
    };
    tx.segment_open(&segment).await.unwrap();
    let proof = segment.start_at + Span::from_seconds(proven_seconds);
    assert!(tx.segment_proof_advance(segment.id, proof).await.unwrap());
    assert!(!tx.segment_proof_advance(segment.id, proof).await.unwrap(), "old news moved the proof");
    commit(tx, &world.op).await;
    fetch(&world.db, segment.id).await
}

async fn fetch(db: &Db, id: SegmentId) -> Segment {
    db.read().await.unwrap().segment_fetch(id).await.unwrap().unwrap()
}

/// The watermark after everything that can be charged now.
fn reach(segment: &Segment) -> Watermark {
    let last = segment.closed_intervals().last().unwrap();
    Watermark { billed_until: last.to, next_k: last.k + 1 }
}

async fn advance(world: &World, read: &Segment, to: Watermark) -> bool {
    let mut tx = world.db.begin().await.unwrap();
    let advance = Advance {
        segment: read.id,
        from: read.watermark(),
        to,
        cumulative_before: read.cumulative,
        cumulative: NanoCredits::ZERO,
    };
    match tx.segments_advance(&[advance]).await {
        Ok(()) => {
            commit(tx, &world.op).await;
            true
        }
        Err(Error::Moved) => false,
        Err(error) => panic!("{error:?}"),
    }
}

async fn close(world: &World, id: SegmentId, end: Timestamp) -> Option<Timestamp> {
    let mut tx = world.db.begin().await.unwrap();
    let closed = tx.segment_close(id, end).await.unwrap();
    commit(tx, &world.op).await;
    closed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_billed_to_its_end_once_and_then_settled() {
    on_both(async |db: Db| {
        let world = World::new(&db, 11).await;
        let read = running(&world, 200).await;
        let to = reach(&read);
        assert!(advance(&world, &read, to).await);
        assert!(!advance(&world, &read, to).await, "a second meter charged the same intervals");
        assert!(fetch(&db, read.id).await.closed_intervals().next().is_none());

        let end = to.billed_until + Span::from_seconds(5);
        assert_eq!(close(&world, read.id, end).await, Some(end));
        let ended = fetch(&db, read.id).await;
        assert!(!ended.settled);
        assert_eq!(reach(&ended).billed_until, end);
        assert!(advance(&world, &ended, reach(&ended)).await);
        assert!(fetch(&db, read.id).await.settled);
        assert_eq!(db.read().await.unwrap().segments_due_page(None, 9).await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_before_what_is_billed_moves_to_there_and_nothing_is_reopened() {
    on_both(async |db: Db| {
        let world = World::new(&db, 12).await;
        let read = running(&world, 200).await;
        let to = reach(&read);
        assert!(advance(&world, &read, to).await);
        assert_eq!(close(&world, read.id, read.start_at).await, Some(to.billed_until));
        assert!(fetch(&db, read.id).await.settled);
        assert_eq!(close(&world, read.id, read.start_at).await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_that_read_before_the_end_was_known_does_not_bill_past_it() {
    on_both(async |db: Db| {
        let world = World::new(&db, 13).await;
        let read = running(&world, 200).await;
        let end = read.start_at + Span::from_seconds(50);
        assert_eq!(close(&world, read.id, end).await, Some(end));
        assert!(!advance(&world, &read, reach(&read)).await, "billed past the end");
        let again = fetch(&db, read.id).await;
        assert_eq!(reach(&again).billed_until, end);
        assert!(advance(&world, &again, reach(&again)).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn due_segments_come_page_by_page() {
    on_both(async |db: Db| {
        let world = World::new(&db, 14).await;
        let mut opened = Vec::new();
        for _ in 0..5 {
            opened.push(running(&world, 10).await.id);
        }
        opened.sort_unstable();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = db.read().await.unwrap().segments_due_page(after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.iter().map(|segment| segment.id));
        }
        assert_eq!(seen, opened);
    })
    .await;
}
