//! Many hands at one wallet: no more is held than is there, and no fact is recorded twice.

use muster::{
    ids::HoldId,
    ledger::posting::{IdemKey, Posting},
    store::{Db, Outcome},
};

use crate::{
    desk::{Desk, header, micros, new_hold},
    model::Command,
    world::{World, commit, on_both},
};

/// Hands that reach at once, and how many the money is for.
const HANDS: usize = 32;
const FUNDED: usize = 7;

#[tokio::test(flavor = "multi_thread")]
async fn of_32_reserves_at_once_exactly_the_7_that_are_funded_succeed() {
    on_both(async |db: Db| {
        let mut desk = Desk::new(World::new(&db, 1).await);
        assert!(desk.run(&Command::TopUp(1_000)).await);
        assert!(desk.run(&Command::Assign(0, 10 * FUNDED as i64 + 9)).await);
        let world = std::sync::Arc::new(desk.world);
        let mut hands = tokio::task::JoinSet::new();
        for _ in 0..HANDS {
            let world = world.clone();
            hands.spawn(async move { reserve(&world).await });
        }
        let outcomes = hands.join_all().await;
        let placed = outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count();
        let refused =
            outcomes.iter().filter(|outcome| **outcome == Outcome::Refused(world.wallets[0])).count();
        assert_eq!((placed, refused), (FUNDED, HANDS - FUNDED));
        world.assert_sound().await;
    })
    .await;
}

async fn reserve(world: &World) -> Outcome {
    let hold: HoldId = world.op.id();
    let mut tx = world.db.begin().await.unwrap();
    let posting = Posting::hold_place(world.wallets[0], world.revenue, micros(10)).unwrap();
    let outcome = tx.posting_apply(&header(world, IdemKey::hold_place(hold)), &posting).await.unwrap();
    if outcome == Outcome::Applied {
        let instance = world.plant_instance(&mut tx, world.members[0]).await;
        tx.hold_insert(&new_hold(world, 0, hold, instance, 10)).await.unwrap();
        commit(tx, &world.op).await;
    }
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_that_arrives_16_times_at_once_is_credited_once() {
    on_both(async |db: Db| {
        let world = std::sync::Arc::new(World::new(&db, 2).await);
        let key = IdemKey::top_up(world.op.id());
        let mut hands = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (world, key) = (world.clone(), key.clone());
            hands.spawn(async move {
                let mut tx = world.db.begin().await.unwrap();
                let posting = Posting::top_up(world.cash, world.pool, micros(5)).unwrap();
                let outcome = tx.posting_apply(&header(&world, key), &posting).await.unwrap();
                commit(tx, &world.op).await;
                outcome
            });
        }
        let outcomes = hands.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::AlreadyApplied).count(), 15);
        world.assert_sound().await;
    })
    .await;
}
