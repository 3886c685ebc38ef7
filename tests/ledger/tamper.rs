//! What `verify` sees when somebody writes to the books past the product, and that the books refuse it by
//! themselves.

use muster::{
    ledger::verify::{Invariant, Report},
    store::{Db, Tx},
};

use crate::{
    chain::link,
    desk::Desk,
    model::{Bite, Command, Plan, Whose},
    world::{World, commit, on_both},
};

/// Takes the guards of the append-only tables away.
pub(crate) async fn disarm(tx: &mut Tx) {
    const ENTRIES_SQLITE: &str = "DROP TRIGGER entries_keep";
    const ENTRIES_POSTGRES: &str = "ALTER TABLE entries DISABLE TRIGGER entries_keep";
    const TRANSACTIONS_SQLITE: &str = "DROP TRIGGER transactions_keep";
    const TRANSACTIONS_POSTGRES: &str = "ALTER TABLE transactions DISABLE TRIGGER transactions_keep";
    const MOVES_SQLITE: &str = "DROP TRIGGER lot_moves_keep";
    const MOVES_POSTGRES: &str = "ALTER TABLE lot_moves DISABLE TRIGGER lot_moves_keep";
    tx.query_by(MOVES_SQLITE, MOVES_POSTGRES).execute().await.unwrap();
    tx.query_by(ENTRIES_SQLITE, ENTRIES_POSTGRES).execute().await.unwrap();
    tx.query_by(TRANSACTIONS_SQLITE, TRANSACTIONS_POSTGRES).execute().await.unwrap();
}

async fn desk_with_a_charge(db: &Db) -> Desk {
    use Command as C;
    let plan = Plan { whose: Whose::Team, monthly: true, ceiling: 10_000, bite: Bite::Drain };
    let mut desk = Desk::with(World::new(db, 9).await, &[plan]).await;
    desk.run_all(&[C::TopUp(900), C::Grant(100, Some(30)), C::Assign(0, 500), C::Place(0, 200)]).await;
    desk.run_all(&[C::Capture(0, 60_000), C::Capture(0, 60_000), C::GiveBack(0, 50)]).await;
    link(&desk.world, 100).await;
    desk.world.assert_sound().await;
    desk
}

pub(crate) async fn write(db: &Db, desk: &Desk, sql: &'static str, id: &str) {
    let mut tx = db.begin().await.unwrap();
    assert!(tx.query(sql).bind(id).execute().await.unwrap() > 0, "{sql} changed nothing");
    commit(tx, &desk.world.op).await;
}

pub(crate) async fn verify(db: &Db) -> Report {
    db.read().await.unwrap().ledger_verify().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_refuse_to_be_rewritten() {
    on_both(async |db: Db| {
        let desk = desk_with_a_charge(&db).await;
        for sql in [
            "UPDATE entries SET amount = amount + 1 WHERE line = 0 OR account = $1",
            "DELETE FROM entries WHERE line = 0 OR account = $1",
            "UPDATE transactions SET reason = 'other' WHERE id <> $1",
            "DELETE FROM transactions WHERE id <> $1",
            "UPDATE lot_moves SET amount = amount + 1 WHERE lot <> $1",
            "DELETE FROM lot_moves WHERE lot <> $1",
            "UPDATE ledger_links SET digest = 'x' WHERE team <> $1",
            "DELETE FROM ledger_links WHERE team <> $1",
        ] {
            let mut tx = db.begin().await.unwrap();
            assert!(tx.query(sql).bind("").execute().await.is_err(), "{sql}");
        }
        desk.world.assert_sound().await;
    })
    .await;
}

/// A change, its undoing, which row they touch, and what verify must say about which row.
struct Tamper {
    sql: &'static str,
    undo: &'static str,
    row: String,
    invariant: Invariant,
    named: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_the_row_that_was_tampered_with() {
    on_both(async |db: Db| {
        let desk = desk_with_a_charge(&db).await;
        let mut tx = db.begin().await.unwrap();
        disarm(&mut tx).await;
        commit(tx, &desk.world.op).await;
        let tampers = tampers(&desk).await;
        let untried = |invariant: &&Invariant| tampers.iter().all(|tamper| tamper.invariant != **invariant);
        assert_eq!(Invariant::ALL.iter().filter(untried).collect::<Vec<_>>(), [] as [&Invariant; 0]);
        for tamper in tampers {
            write(&db, &desk, tamper.sql, &tamper.row).await;
            let report = verify(&db).await;
            let told = report.violations.iter().any(|violation| {
                violation.invariant == tamper.invariant && violation.ids.contains(&tamper.named)
            });
            assert!(
                told,
                "{}: expected {} of {}, got {report:#?}",
                tamper.sql, tamper.invariant, tamper.named
            );
            write(&db, &desk, tamper.undo, &tamper.row).await;
            desk.world.assert_sound().await;
        }
    })
    .await;
}

async fn tampers(desk: &Desk) -> Vec<Tamper> {
    let w = &desk.world;
    let [top_up, grant, .., capture, correction] = &desk.applied[..] else { panic!("too little was done") };
    let [top_up, grant, capture, correction] =
        [top_up, grant, capture, correction].map(|header| header.id.to_string());
    let (wallet, cash, team) = (w.wallets[0].to_string(), w.cash.to_string(), w.team.to_string());
    let mut read = w.db.read().await.unwrap();
    let segment = read.segments_due_page(None, 1).await.unwrap().remove(0);
    let hold = read.hold_open_of_instance(segment.instance.unwrap()).await.unwrap().unwrap();
    let (segment, hold) = (segment.id.to_string(), hold.id.to_string());
    drop(read);
    let rows = desk.rows().await;
    let gift = rows.lots.values().find(|lot| lot.terms.expires_at.is_some()).unwrap();
    let gift = gift.parent.unwrap().to_string();
    let own = rows.lots.values().find(|lot| lot.account == w.wallets[0] && lot.terms.expires_at.is_none());
    let paid = own.unwrap().id.to_string();
    let budget = desk.clerk.budgets(&desk.plans)[0].id.to_string();
    let payment = desk.applied[0].idem_key.as_str().strip_prefix("top_up/").unwrap().to_owned();
    let tamper = |invariant, named: &str, row: &str, sql, undo| Tamper {
        sql,
        undo,
        row: row.to_owned(),
        invariant,
        named: named.to_owned(),
    };
    vec![
        tamper(
            Invariant::Balanced,
            &top_up,
            &top_up,
            "UPDATE entries SET amount = amount + 1 WHERE transaction_id = $1 AND line = 0",
            "UPDATE entries SET amount = amount - 1 WHERE transaction_id = $1 AND line = 0",
        ),
        tamper(
            Invariant::CountersMatch,
            &cash,
            &top_up,
            "UPDATE entries SET amount = amount + 1 WHERE transaction_id = $1 AND line = 0",
            "UPDATE entries SET amount = amount - 1 WHERE transaction_id = $1 AND line = 0",
        ),
        tamper(
            Invariant::CountersMatch,
            &wallet,
            &wallet,
            "UPDATE accounts SET credits_posted = credits_posted + 5 WHERE id = $1",
            "UPDATE accounts SET credits_posted = credits_posted - 5 WHERE id = $1",
        ),
        tamper(
            Invariant::BooksBalanced,
            &team,
            &wallet,
            "UPDATE accounts SET credits_posted = credits_posted + 5 WHERE id = $1",
            "UPDATE accounts SET credits_posted = credits_posted - 5 WHERE id = $1",
        ),
        tamper(
            Invariant::FloorKept,
            &wallet,
            &wallet,
            "UPDATE entries SET account_move = 3 - account_move WHERE account = $1 AND account_move < 3",
            "UPDATE entries SET account_move = 3 - account_move WHERE account = $1 AND account_move < 3",
        ),
        tamper(
            Invariant::HoldsMatch,
            &wallet,
            &hold,
            "UPDATE holds SET reserved = reserved + 5 WHERE id = $1",
            "UPDATE holds SET reserved = reserved - 5 WHERE id = $1",
        ),
        tamper(
            Invariant::ChargesMatch,
            &capture,
            &capture,
            "UPDATE charges SET amount = amount + 5 WHERE transaction_id = $1",
            "UPDATE charges SET amount = amount - 5 WHERE transaction_id = $1",
        ),
        tamper(
            Invariant::ChargesTelescope,
            &segment,
            &segment,
            "UPDATE charges SET nano = nano + 1 WHERE segment = $1 AND k = 0",
            "UPDATE charges SET nano = nano - 1 WHERE segment = $1 AND k = 0",
        ),
        tamper(
            Invariant::IntervalsCover,
            &segment,
            &segment,
            "UPDATE charges SET to_at = to_at + 1 WHERE segment = $1 AND k = 0",
            "UPDATE charges SET to_at = to_at - 1 WHERE segment = $1 AND k = 0",
        ),
        tamper(
            Invariant::KeysDerived,
            &capture,
            &capture,
            "UPDATE transactions SET idem_key = 'x' || idem_key WHERE id = $1",
            "UPDATE transactions SET idem_key = substr(idem_key, 2) WHERE id = $1",
        ),
        tamper(
            Invariant::NumbersComplete,
            &correction,
            &correction,
            "UPDATE transactions SET seq = seq + 7 WHERE id = $1",
            "UPDATE transactions SET seq = seq - 7 WHERE id = $1",
        ),
        tamper(
            Invariant::NumbersComplete,
            &team,
            &team,
            "UPDATE teams SET booked = booked + 1 WHERE id = $1",
            "UPDATE teams SET booked = booked - 1 WHERE id = $1",
        ),
        tamper(
            Invariant::ChainIntact,
            &team,
            &top_up,
            "UPDATE transactions SET reason = 'other' WHERE id = $1",
            "UPDATE transactions SET reason = '' WHERE id = $1",
        ),
        tamper(
            Invariant::LotsMatch,
            &paid,
            &paid,
            "UPDATE lots SET spent = spent + 5 WHERE id = $1",
            "UPDATE lots SET spent = spent - 5 WHERE id = $1",
        ),
        tamper(
            Invariant::LotsMatch,
            &wallet,
            &paid,
            "UPDATE lots SET amount = amount + 5 WHERE id = $1",
            "UPDATE lots SET amount = amount - 5 WHERE id = $1",
        ),
        tamper(
            Invariant::LotsMatch,
            &paid,
            &paid,
            "UPDATE lots SET amount = amount + 5, spent = spent + 5 WHERE id = $1",
            "UPDATE lots SET amount = amount - 5, spent = spent - 5 WHERE id = $1",
        ),
        tamper(
            Invariant::LotsMatch,
            &paid,
            &paid,
            "UPDATE lots SET origin = 'lot_00000000000000000000000000000000' WHERE id = $1",
            "UPDATE lots SET origin = parent WHERE id = $1",
        ),
        tamper(
            Invariant::LinesNameLots,
            &top_up,
            &top_up,
            "UPDATE lot_moves SET amount = amount - 1 WHERE transaction_id = $1",
            "UPDATE lot_moves SET amount = amount + 1 WHERE transaction_id = $1",
        ),
        tamper(
            Invariant::LotsInOrder,
            &gift,
            &gift,
            "UPDATE lots SET priority = priority + 500 WHERE id = $1",
            "UPDATE lots SET priority = priority - 500 WHERE id = $1",
        ),
        tamper(
            Invariant::LotsInOrder,
            &gift,
            &gift,
            "UPDATE lots SET expires_at = expires_at - 2592000000000 WHERE id = $1",
            "UPDATE lots SET expires_at = expires_at + 2592000000000 WHERE id = $1",
        ),
        tamper(
            Invariant::PinsMatch,
            &hold,
            &hold,
            "UPDATE pins SET amount = amount + 5 WHERE hold = $1",
            "UPDATE pins SET amount = amount - 5 WHERE hold = $1",
        ),
        tamper(
            Invariant::BudgetsMatch,
            &budget,
            &budget,
            "UPDATE budget_periods SET spent = spent + 5 WHERE budget = $1",
            "UPDATE budget_periods SET spent = spent - 5 WHERE budget = $1",
        ),
        tamper(
            Invariant::BudgetsMatch,
            &budget,
            &budget,
            "UPDATE budget_periods SET reserved = reserved + 5 WHERE budget = $1",
            "UPDATE budget_periods SET reserved = reserved - 5 WHERE budget = $1",
        ),
        tamper(
            Invariant::BudgetsMatch,
            &budget,
            &hold,
            "UPDATE budget_claims SET reserved = reserved + 5 WHERE hold = $1",
            "UPDATE budget_claims SET reserved = reserved - 5 WHERE hold = $1",
        ),
        tamper(
            Invariant::RevisionsMatch,
            &segment,
            &correction,
            "UPDATE charges SET to_at = to_at + 1 WHERE transaction_id = $1",
            "UPDATE charges SET to_at = to_at - 1 WHERE transaction_id = $1",
        ),
        tamper(
            Invariant::RevisionsMatch,
            &correction,
            &correction,
            "UPDATE transactions SET kind = 'goodwill' WHERE id = $1",
            "UPDATE transactions SET kind = 'correction' WHERE id = $1",
        ),
        tamper(
            Invariant::TopUpsCredited,
            &cash,
            &payment,
            "UPDATE top_ups SET refunded = refunded + 5 WHERE id = $1",
            "UPDATE top_ups SET refunded = refunded - 5 WHERE id = $1",
        ),
        tamper(
            Invariant::TopUpsCredited,
            &payment,
            &payment,
            "UPDATE top_ups SET amount = amount + 5 WHERE id = $1",
            "UPDATE top_ups SET amount = amount - 5 WHERE id = $1",
        ),
        tamper(
            Invariant::TopUpsCredited,
            &payment,
            &payment,
            "UPDATE top_ups SET state = 'failed' WHERE id = $1",
            "UPDATE top_ups SET state = 'succeeded' WHERE id = $1",
        ),
        tamper(
            Invariant::TopUpsCredited,
            &grant,
            &grant,
            "UPDATE transactions SET kind = 'top_up' WHERE id = $1",
            "UPDATE transactions SET kind = 'grant' WHERE id = $1",
        ),
    ]
}
