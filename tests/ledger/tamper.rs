//! What `verify` sees when somebody writes to the books past the product, and that the books refuse it by
//! themselves.

use muster::{
    ledger::verify::{Invariant, Report},
    store::{Db, Tx},
};

use crate::{
    desk::Desk,
    model::Command,
    world::{World, commit, on_both},
};

/// Takes the guards of the append-only tables away.
async fn disarm(tx: &mut Tx) {
    const ENTRIES_SQLITE: &str = "DROP TRIGGER entries_keep";
    const ENTRIES_POSTGRES: &str = "ALTER TABLE entries DISABLE TRIGGER entries_keep";
    const TRANSACTIONS_SQLITE: &str = "DROP TRIGGER transactions_keep";
    const TRANSACTIONS_POSTGRES: &str = "ALTER TABLE transactions DISABLE TRIGGER transactions_keep";
    tx.query_by(ENTRIES_SQLITE, ENTRIES_POSTGRES).execute().await.unwrap();
    tx.query_by(TRANSACTIONS_SQLITE, TRANSACTIONS_POSTGRES).execute().await.unwrap();
}

async fn desk_with_a_charge(db: &Db) -> Desk {
    let mut desk = Desk::new(World::new(db, 9).await);
    for command in [Command::TopUp(900), Command::Assign(0, 500), Command::Place(0, 100)] {
        assert!(desk.run(&command).await);
    }
    for nano in [60_000, 60_000] {
        assert!(desk.run(&Command::Capture(0, nano)).await);
    }
    desk.world.assert_sound().await;
    desk
}

async fn write(db: &Db, desk: &Desk, sql: &'static str, id: &str) {
    let mut tx = db.begin().await.unwrap();
    assert!(tx.query(sql).bind(id).execute().await.unwrap() > 0, "{sql} changed nothing");
    commit(tx, &desk.world.op).await;
}

async fn verify(db: &Db) -> Report {
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
        for tamper in tampers(&desk).await {
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
    let capture = desk.applied.last().unwrap().0.id.to_string();
    let top_up = desk.applied[0].0.id.to_string();
    let (wallet, cash, team) = (w.wallets[0].to_string(), w.cash.to_string(), w.team.to_string());
    let mut read = w.db.read().await.unwrap();
    let segment = read.segments_due_page(None, 1).await.unwrap().remove(0);
    let hold = read.hold_open_of_instance(segment.instance).await.unwrap().unwrap();
    let (segment, hold) = (segment.id.to_string(), hold.id.to_string());
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
    ]
}
