//! Many hands at one wallet and one pool: no more is held than is there, no fact is recorded twice, nobody waits for
//! ever, and what comes out is exact.

use std::{sync::Arc, time::Duration};

use muster::{
    chance::Seeded,
    ids::HoldId,
    ledger::{
        journal::{Bound, NewHold, Outcome},
        posting::{IdemKey, Posting},
    },
    store::{Concern, Db, Error},
};

use crate::{
    clerk::{Clerk, micros},
    desk::{Desk, fresh_key},
    model::Command,
    world::{World, commit, on_both},
};

/// Hands that reach at once, and how many the money is for.
const HANDS: usize = 32;
const FUNDED: usize = 7;

/// How long all hands together may take: far more than they need, unless two wait for each other.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn of_32_reserves_at_once_exactly_the_7_that_are_funded_succeed() {
    on_both(async |db: Db| {
        let mut desk = Desk::new(World::new(&db, 1).await);
        desk.run_all(&[Command::TopUp(1_000), Command::Assign(0, 10 * FUNDED as i64 + 9)]).await;
        let world = Arc::new(desk.world);
        let mut hands = tokio::task::JoinSet::new();
        for _ in 0..HANDS {
            let world = world.clone();
            hands.spawn(async move { reserve(&world).await });
        }
        let outcomes = hands.join_all().await;
        let placed = outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count();
        let no = Outcome::Refused(Bound::Account(world.wallets[0]));
        let refused = outcomes.iter().filter(|outcome| **outcome == no).count();
        assert_eq!((placed, refused), (FUNDED, HANDS - FUNDED));
        world.assert_sound().await;
    })
    .await;
}

async fn reserve(world: &World) -> Outcome {
    let hold: HoldId = world.op.id();
    let mut tx = world.begin().await;
    let concern = Concern::of(world.members[0]);
    let mut journal = tx.journal(&world.op, world.team, &concern).await.unwrap();
    let instance = world.plant_instance(&mut tx, world.members[0]).await;
    let user = Clerk::new(world.seed).user(0);
    let new = NewHold { id: hold, user, instance, account: world.wallets[0], amount: micros(10) };
    let outcome = journal.hold_place(world.header(IdemKey::hold_place(hold)), new).unwrap();
    if outcome == Outcome::Applied {
        tx.journal_write(&journal).await.unwrap();
        commit(tx, &world.op).await;
    }
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_16_times_at_once_is_credited_once() {
    on_both(async |db: Db| {
        let world = Arc::new(World::new(&db, 2).await);
        let key = fresh_key(&world);
        let mut hands = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (world, key) = (world.clone(), key.clone());
            hands.spawn(async move {
                let gift = Posting::goodwill(world.promo, world.pool, micros(5));
                world.post(world.header(key), gift).await
            });
        }
        let outcomes = hands.join_all().await;
        let applied = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Applied))).count();
        let known = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Recorded))).count();
        assert_eq!((applied, known), (1, 15), "{outcomes:?}");
        world.assert_sound().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hammer_of_every_kind_of_move_leaves_exact_books() {
    /// What each hand does in each round: its own instance, and money there and back.
    fn round(nth: usize) -> Vec<Command> {
        use Command as C;
        let slot = if nth.is_multiple_of(3) { 2 } else { 0 };
        vec![
            C::TopUp(20),
            C::Assign(0, 9),
            C::Place(slot, 10),
            C::Extend(slot, 5),
            C::Capture(slot, 7_000),
            C::Reclaim(0, 4),
            C::Capture(slot, 9_000),
            C::Store(0, 3_000),
            C::Release(slot),
        ]
    }
    const ROUNDS: usize = 3;
    on_both(async |db: Db| {
        let mut desk = Desk::new(World::new(&db, 3).await);
        desk.run_all(&[Command::TopUp(10_000), Command::Assign(0, 4_000)]).await;
        let mut hands = tokio::task::JoinSet::new();
        for nth in 0..HANDS {
            let world = desk.world.clone();
            hands.spawn(async move {
                let mut hand = Desk::new(world);
                hand.clerk.chance = Arc::new(Seeded::new((nth as u64 + 1) << 40));
                for _ in 0..ROUNDS {
                    hand.run_all(&round(nth)).await;
                }
            });
        }
        tokio::time::timeout(PATIENCE, hands.join_all()).await.expect("two hands wait for each other");
        let rounds = (HANDS * ROUNDS) as i64;
        let pooled = (HANDS.div_ceil(3) * ROUNDS) as i64;
        // Each round charges 7 and 8 of a hold of 15, and 1 beyond it, which is owed; and 3 of the wallet.
        let picture = desk.picture().await;
        let pool = 6_000 + rounds * (20 - 9 + 4) - pooled * 15;
        let wallet = 4_000 + rounds * (9 - 4 - 3) - (rounds - pooled) * 15;
        assert_eq!(picture.purses, [(pool, 0), (wallet, 0), (0, 0), (0, 0)]);
        assert_eq!((picture.earned, picture.owed), (rounds * 19, rounds));
        assert_eq!(picture.paid_in, 10_000 + rounds * 20);
        desk.world.assert_sound().await;
    })
    .await;
}
