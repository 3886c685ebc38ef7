//! The chain of digests: rewriting history breaks the first link that covers it, and nothing else need show it.

use muster::{
    ledger::{
        chain::{Link, Linking},
        verify::Invariant,
    },
    store::Db,
};

use crate::{
    desk::Desk,
    model::Command as C,
    tamper::{disarm, verify, write},
    world::{NOW, World, commit, on_both},
};

/// Links what is not linked yet, `most` transactions to a link.
pub(crate) async fn link(world: &World, most: u32) {
    loop {
        let mut tx = world.db.begin().await.unwrap();
        let last = tx.link_last(world.team).await.unwrap();
        let (reached, previous) = last.map_or((0, String::new()), |link| (link.through_seq, link.digest));
        let page = tx.bookings_of_team(world.team, reached, most).await.unwrap();
        let Some(through) = page.last() else { return };
        let mut linking = Linking::after(world.team, &previous);
        page.iter().for_each(|booking| linking.add(booking).unwrap());
        let (through_seq, digest) = (through.seq, linking.digest());
        tx.link_insert(&Link { team: world.team, through_seq, digest, linked_at: NOW }).await.unwrap();
        commit(tx, &world.op).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_link_that_covers_rewritten_history_is_named() {
    on_both(async |db: Db| {
        let mut desk = Desk::new(World::new(&db, 40).await);
        desk.run_all(&[C::TopUp(500), C::Grant(90, None), C::Assign(0, 300), C::Place(0, 100)]).await;
        desk.run_all(&[C::Capture(0, 30_000), C::Capture(0, 30_000), C::Release(0)]).await;
        link(&desk.world, 3).await;
        assert_eq!(verify(&db).await.counts.links, 3);
        desk.world.assert_sound().await;

        let mut tx = db.begin().await.unwrap();
        disarm(&mut tx).await;
        commit(tx, &desk.world.op).await;
        let placed = desk.applied[3].id.to_string();
        // Nothing that is summed up anywhere: only the chain can tell.
        for (sql, undo) in [
            (
                "UPDATE transactions SET reason = 'as agreed' WHERE id = $1",
                "UPDATE transactions SET reason = '' WHERE id = $1",
            ),
            (
                "UPDATE transactions SET occurred_at = occurred_at - 1 WHERE id = $1",
                "UPDATE transactions SET occurred_at = occurred_at + 1 WHERE id = $1",
            ),
            (
                "UPDATE transactions SET actor = 'mem_x' WHERE id = $1",
                "UPDATE transactions SET actor = 'system/meter' WHERE id = $1",
            ),
        ] {
            write(&db, &desk, sql, &placed).await;
            let report = verify(&db).await;
            assert_eq!(report.found, 1, "{sql}: {report:#?}");
            let violation = &report.violations[0];
            assert_eq!(violation.invariant, Invariant::ChainIntact);
            assert_eq!(violation.ids, [desk.world.team.to_string(), "through_seq=6".to_owned()]);
            write(&db, &desk, undo, &placed).await;
            desk.world.assert_sound().await;
        }

        // Terms of a lot are history too.
        let lot = desk.rows().await.lots.into_values().find(|lot| lot.terms.expires_at.is_none()).unwrap();
        let lot = lot.id.to_string();
        write(&db, &desk, "UPDATE lots SET expires_at = 4000000000000000 WHERE id = $1", &lot).await;
        let report = verify(&db).await;
        assert_eq!(report.violations.last().map(|found| found.invariant), Some(Invariant::ChainIntact));
    })
    .await;
}
