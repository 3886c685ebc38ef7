//! Budgets at the turn of a month: what a hold has left counts in the month that it is in.

use muster::store::Db;

use crate::{
    desk::Desk,
    model::{Bite, Command as C, Model, Plan, Whose},
    world::{World, on_both},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_lasts_into_the_next_month_takes_its_whole_rest_along() {
    on_both(async |db: Db| {
        let plan = Plan { whose: Whose::Member(0), monthly: true, ceiling: 100, bite: Bite::Drain };
        let mut desk = Desk::with(World::new(&db, 50).await, &[plan]).await;
        let mut model = Model::new(&[plan]);
        let life = [
            (C::TopUp(1_000), true),
            (C::Assign(0, 500), true),
            (C::Place(0, 80), true),
            (C::Pass(20), true),
            // Nothing has moved the claim yet, and still only 20 are left of the new month.
            (C::Extend(0, 21), false),
            (C::Extend(0, 20), true),
            (C::Extend(0, 1), false),
            // The first intervals began in the old month, so what they cost is the old month's.
            (C::Capture(0, 30_000), true),
            (C::Extend(0, 30), true),
            (C::Release(0), true),
            (C::Place(0, 100), true),
        ];
        for (command, possible) in life {
            assert_eq!((desk.run(&command).await, model.run(&command)), (possible, possible), "{command:?}");
            assert_eq!(desk.picture().await, model.picture(), "{command:?}");
        }
        assert_eq!(desk.picture().await.budgets.values().copied().collect::<Vec<_>>(), [(0, 30), (100, 0)]);
        desk.world.assert_sound().await;
    })
    .await;
}
