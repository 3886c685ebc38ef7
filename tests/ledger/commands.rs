//! Any life of a team: the model and the database agree after every command, doing it all again changes nothing, and
//! both databases have the same books to the byte.

use muster::{
    ledger::{
        journal::{Bound, Outcome},
        posting::{IdemKey, Posting, TransactionKind},
    },
    store::{Concern, Db, Error},
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use crate::{
    clerk::micros,
    desk::{Desk, fresh_key},
    model::{Model, lives},
    world::{World, on_both},
};

/// Lives on each database; the sequence is always the same.
const LIVES: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn the_database_does_what_the_model_does_and_both_keep_the_same_books() {
    let dumps = on_both(async |db: Db| {
        let mut runner = TestRunner::deterministic();
        let mut dump = String::new();
        for seed in 0..LIVES {
            let life = lives(60).new_tree(&mut runner).unwrap().current();
            let mut desk = Desk::with(World::new(&db, seed).await, &life.plans).await;
            let mut model = Model::new(&life.plans);
            for (step, command) in life.commands.iter().enumerate() {
                let expected = model.run(command);
                let done = desk.run(command).await;
                assert_eq!(done, expected, "life {seed}, step {step}: {command:?} of {life:#?}");
                assert_eq!(desk.picture().await, model.picture(), "life {seed}, step {step}: {command:?}");
            }
            desk.replay().await;
            dump = desk.world.dump().await;
        }
        let report = db.read().await.unwrap().ledger_verify().await.unwrap();
        assert!(report.is_clean(), "{report:#?}");
        assert!(report.counts.charges > 60, "too little was charged: {report:?}");
        assert!(report.counts.lots > 100 && report.counts.budgets > 6, "too little was kept: {report:?}");
        dump
    })
    .await;
    let [sqlite, postgres] = dumps;
    let differs = sqlite.lines().zip(postgres.lines()).find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(sqlite.len(), postgres.len());
    assert!(sqlite.lines().count() > 500, "{} lines", sqlite.lines().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_the_journal_as_it_was_and_usable() {
    on_both(async |db: Db| {
        let w = World::new(&db, 7).await;
        let empty = w.dump().await;
        let key = || IdemKey::request(TransactionKind::Assign, w.op.id());
        let greedy = || Posting::assign(w.pool, w.wallets[0], micros(1));
        let refused = Outcome::Refused(Bound::Account(w.pool));
        assert_eq!(w.post(w.header(key()), greedy()).await.unwrap(), refused);
        assert_eq!(w.dump().await, empty);

        let mut tx = db.begin().await.unwrap();
        let concern = Concern { members: w.members.to_vec(), ..Concern::default() };
        let mut journal = tx.journal(&w.op, w.team, &concern).await.unwrap();
        assert_eq!(journal.post(w.header(key()), &greedy().unwrap()).unwrap(), refused);
        let gift = Posting::goodwill(w.promo, w.pool, micros(5)).unwrap();
        assert_eq!(journal.post(w.header(key()), &gift).unwrap(), Outcome::Applied);
        tx.journal_write(&journal).await.unwrap();
        crate::world::commit(tx, &w.op).await;
        assert_eq!(w.post(w.header(key()), greedy()).await.unwrap(), Outcome::Applied);
        w.assert_sound().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_another_team_cannot_be_reached() {
    on_both(async |db: Db| {
        let (mine, theirs) = (World::new(&db, 20).await, World::new(&db, 21).await);
        let before = theirs.dump().await;
        let across = Posting::top_up(mine.cash, theirs.pool, micros(5)).unwrap();
        let mut tx = db.begin().await.unwrap();
        let mut journal = tx.journal(&mine.op, mine.team, &Concern::default()).await.unwrap();
        let outcome = journal.post(mine.header(fresh_key(&mine)), &across);
        assert!(outcome.is_err(), "{outcome:?}");
        drop(tx);
        assert_eq!(theirs.dump().await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_read_before_another_wrote_is_not_written() {
    on_both(async |db: Db| {
        let w = World::new(&db, 22).await;
        let gift = Posting::goodwill(w.promo, w.pool, micros(5)).unwrap();
        let key = || IdemKey::request(TransactionKind::Goodwill, w.op.id());
        // A look takes no lock, so it is what a journal without one would have read.
        let mut read = db.read().await.unwrap();
        let mut stale = read.journal_look(&w.op, w.team, &Concern::default()).await.unwrap();
        drop(read);
        assert_eq!(w.post(w.header(key()), Ok(gift.clone())).await.unwrap(), Outcome::Applied);
        let after = w.dump().await;
        assert_eq!(stale.post(w.header(key()), &gift).unwrap(), Outcome::Applied);
        let mut tx = db.begin().await.unwrap();
        let refused = tx.journal_write(&stale).await;
        drop(tx);
        assert!(matches!(refused, Err(Error::Moved)), "{refused:?}");
        assert_eq!(w.dump().await, after);
    })
    .await;
}
