//! Where money comes from and how it ends: gifts that are lost, lots under a hold, refunds, and what comes back late.

use muster::{
    ledger::{
        journal::{Bound, Outcome},
        lot::Lot,
        posting::{IdemKey, Posting},
    },
    store::{Concern, Db},
};

use crate::{
    clerk::micros,
    desk::Desk,
    model::{Command as C, Picture, SECOND_CHANCE},
    world::{World, on_both},
};

/// What is left in a place and lost by a certain day, counted from the first, or never.
fn left(picture: &Picture, place: usize, gift: bool) -> i64 {
    let sorts = picture.heaps.iter().filter(|(sort, _)| sort.0 == place && (sort.3 == 0) == gift);
    sorts.map(|(_, heap)| heap.left).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hold_has_pinned_outlives_its_end_and_is_lost_when_given_back() {
    on_both(async |db: Db| {
        let mut desk = Desk::new(World::new(&db, 30).await);
        let gift_first = [C::TopUp(100), C::Grant(100, Some(3)), C::Assign(0, 150), C::Place(0, 60)];
        desk.run_all(&gift_first).await;
        let picture = desk.picture().await;
        assert_eq!((left(&picture, 1, true), left(&picture, 1, false)), (100, 50));

        desk.run_all(&[C::Pass(4), C::Expire]).await;
        let picture = desk.picture().await;
        assert_eq!((left(&picture, 1, true), picture.lost), (60, 40), "only what was free is lost");

        desk.run_all(&[C::Capture(0, 25_000)]).await;
        let picture = desk.picture().await;
        assert_eq!((left(&picture, 1, true), left(&picture, 1, false)), (35, 50));

        desk.run_all(&[C::Release(0)]).await;
        assert!(!desk.run(&C::Assign(0, 51)).await, "the pool has 50 paid credits");
        assert!(!desk.run(&C::Place(0, 51)).await, "money that is over cannot be held, swept or not");
        desk.run_all(&[C::Place(0, 50), C::Release(0), C::Expire]).await;
        let picture = desk.picture().await;
        assert_eq!((left(&picture, 1, true), picture.lost), (0, 75));
        desk.world.assert_sound().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_given_back_fills_the_lots_it_took_and_a_lot_that_is_over_gets_a_second_chance() {
    on_both(async |db: Db| {
        let mut desk = Desk::new(World::new(&db, 31).await);
        let before = [C::TopUp(100), C::Grant(20, Some(3)), C::Assign(0, 100), C::Place(0, 60)];
        desk.run_all(&before).await;
        let early = desk.picture().await;
        desk.run_all(&[C::Capture(0, 40_000), C::GiveBack(0, 100)]).await;
        assert_eq!(left(&desk.picture().await, 1, true), left(&early, 1, true));

        desk.run_all(&[C::Release(0), C::Place(0, 20), C::Capture(0, 20_000), C::Release(0)]).await;
        desk.run_all(&[C::Pass(4), C::GiveBack(0, 100)]).await;
        let late = desk.picture().await;
        let now = desk.clerk.clock_seconds();
        let gifts = late.heaps.iter().filter(|(sort, _)| sort.3 == 0);
        let gifts: Vec<_> = gifts.map(|(sort, heap)| (sort.2, heap.left)).collect();
        assert_eq!(gifts, [(now + SECOND_CHANCE, 20)]);
        desk.world.assert_sound().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_takes_the_lot_of_its_payment_and_no_other() {
    on_both(async |db: Db| {
        let mut desk = Desk::new(World::new(&db, 32).await);
        desk.run_all(&[C::TopUp(100), C::TopUp(70), C::Assign(0, 80)]).await;
        let w = &desk.world;
        let rows = desk.rows().await;
        let of_pool = |lot: &&Lot| lot.account == w.pool;
        let first = rows.lots.values().filter(of_pool).min_by_key(|lot| lot.effective_at).unwrap();
        let refund = |amount| Posting::refund(first.id, w.pool, w.cash, micros(amount));
        let key = |before| IdemKey::refund(first_top_up(&desk), micros(before));
        let refused = w.post(w.header(key(0)), refund(21)).await.unwrap();
        assert_eq!(refused, Outcome::Refused(Bound::Account(w.pool)));
        let paid_back = w.post_with(&Concern::default(), w.header(key(0)), refund(20)).await.unwrap();
        assert_eq!(paid_back, Outcome::Applied);
        assert_eq!(desk.picture().await.purses[0], (70, 0));
        let report = db.read().await.unwrap().ledger_verify().await.unwrap();
        // The payment's own row is written by who talks to the provider; without it the check must complain.
        assert_eq!(report.found, 1, "{report:#?}");
        assert_eq!(report.violations[0].invariant.word(), "top-ups-credited");
    })
    .await;
}

fn first_top_up(desk: &Desk) -> muster::ids::TopUpId {
    let key = desk.applied[0].idem_key.as_str().to_owned();
    key.strip_prefix("top_up/").unwrap().parse().unwrap()
}
