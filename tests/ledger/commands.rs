//! Any life of a team: the model and the database agree after every command, and doing it all again changes
//! nothing.

use muster::{
    ledger::{
        account::AccountKind,
        posting::{IdemKey, Posting, TransactionKind},
    },
    store::{Db, Error, Outcome},
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use crate::{
    desk::{Desk, header, micros},
    model::{Model, lives},
    world::{World, commit, on_both},
};

/// Lives on each database; the sequence is always the same.
const LIVES: u64 = 24;

#[tokio::test(flavor = "multi_thread")]
async fn the_database_does_what_the_model_does() {
    on_both(async |db: Db| {
        let mut runner = TestRunner::deterministic();
        for seed in 0..LIVES {
            let life = lives(60).new_tree(&mut runner).unwrap().current();
            let mut desk = Desk::new(World::new(&db, seed).await);
            let mut model = Model::default();
            for (step, command) in life.iter().enumerate() {
                let expected = model.run(command);
                let done = desk.run(command).await;
                assert_eq!(done, expected, "life {seed}, step {step}: {command:?} of {life:#?}");
                assert_eq!(balances(&desk.world).await, model_balances(&model), "{command:?} of {life:#?}");
            }
            replay(&desk).await;
        }
        let report = db.read().await.unwrap().ledger_verify().await.unwrap();
        assert!(report.is_clean(), "{report:#?}");
        assert!(report.counts.charges > 50, "too little was charged: {report:?}");
    })
    .await;
}

/// Posts everything again and finds the books as they were.
async fn replay(desk: &Desk) {
    let before = desk.world.dump().await;
    for (header, posting) in &desk.applied {
        let mut tx = desk.world.db.begin().await.unwrap();
        assert_eq!(tx.posting_apply(header, posting).await.unwrap(), Outcome::AlreadyApplied);
        commit(tx, &desk.world.op).await;
    }
    assert_eq!(desk.world.dump().await, before);
}

/// Posted and held of the pool and the wallets, then what was earned, owed and paid in.
type Balances = (i64, Vec<(i64, i64)>, i64, i64, i64);

async fn balances(world: &World) -> Balances {
    let mut read = world.db.read().await.unwrap();
    let mut balance = async |member, kind| {
        let account = read.account_fetch(world.team, member, kind).await.unwrap().unwrap();
        (account.balance.posted().unwrap().as_micros(), account.balance.pending().as_micros())
    };
    let (pool, _) = balance(None, AccountKind::TeamPool).await;
    let (earned, _) = balance(None, AccountKind::Revenue).await;
    let (owed, _) = balance(None, AccountKind::Receivable).await;
    let (paid, _) = balance(None, AccountKind::Cash).await;
    let mut wallets = Vec::new();
    for member in world.members {
        wallets.push(balance(Some(member), AccountKind::Wallet).await);
    }
    (pool, wallets, earned, -owed, -paid)
}

fn model_balances(model: &Model) -> Balances {
    let wallets = model.wallets.iter().map(|wallet| (wallet.posted, wallet.held)).collect::<Vec<_>>();
    (model.pool, wallets, model.earned, model.owed, model.paid_in)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_the_transaction_as_it_was_and_usable() {
    on_both(async |db: Db| {
        let w = World::new(&db, 7).await;
        let empty = w.dump().await;
        let key = || IdemKey::request(TransactionKind::Assign, w.op.id());
        let greedy = Posting::assign(w.pool, w.wallets[0], micros(1)).unwrap();
        let mut tx = db.begin().await.unwrap();
        let refused = tx.posting_apply(&header(&w, key()), &greedy).await.unwrap();
        assert_eq!(refused, Outcome::Refused(w.pool));
        commit(tx, &w.op).await;
        assert_eq!(w.dump().await, empty);

        let mut tx = db.begin().await.unwrap();
        let refused = tx.posting_apply(&header(&w, key()), &greedy).await.unwrap();
        assert_eq!(refused, Outcome::Refused(w.pool));
        let paid = Posting::top_up(w.cash, w.pool, micros(5)).unwrap();
        let paid_at = header(&w, IdemKey::top_up(w.op.id()));
        assert_eq!(tx.posting_apply(&paid_at, &paid).await.unwrap(), Outcome::Applied);
        assert_eq!(tx.posting_apply(&paid_at, &paid).await.unwrap(), Outcome::AlreadyApplied);
        commit(tx, &w.op).await;
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
        let outcome = tx.posting_apply(&header(&mine, IdemKey::top_up(mine.op.id())), &across).await;
        assert!(matches!(outcome, Err(Error::Missing)), "{outcome:?}");
        commit(tx, &mine.op).await;
        assert_eq!(theirs.dump().await, before);
    })
    .await;
}
