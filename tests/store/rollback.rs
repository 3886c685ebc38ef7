//! Whatever way a transaction is left without a commit, nothing of it stays, and the next one finds all in
//! order.

use std::time::Duration;

use muster::store::{Dialect, Error};

use crate::{Site, subject_write};

/// Long enough to be in the middle of, short enough to wait for: counts some million rows.
const LONG: &str = "
    WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 3000000)
    INSERT INTO login_throttles (subject, failures, blocked_until, updated_at)
    SELECT 'counted', max(n), 0, 0 FROM count";

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_transaction_leaves_nothing() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        subject_write(&mut tx, "gone").await.unwrap();
        drop(tx);
        let mut tx = site.db.begin().await.unwrap();
        subject_write(&mut tx, "gone").await.unwrap();
        site.commit(tx).await.unwrap();
        assert_eq!(site.subjects().await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_leaves_nothing_and_waits_for_what_was_seen() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        subject_write(&mut tx, "gone").await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(site.subjects().await, 0);
        site.db.ping_write().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_future_rolls_back() {
    for site in Site::both().await {
        let (written, told) = tokio::sync::oneshot::channel();
        let db = site.db.clone();
        let job = tokio::spawn(async move {
            let mut tx = db.begin().await.unwrap();
            subject_write(&mut tx, "cancelled").await.unwrap();
            written.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(tx);
        });
        told.await.unwrap();
        job.abort();
        assert!(job.await.unwrap_err().is_cancelled());
        assert_eq!(site.subjects().await, 0);
        site.db.ping_write().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_abandoned_half_way_breaks_its_transaction_and_no_other() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        subject_write(&mut tx, "before").await.unwrap();
        let abandoned = tokio::time::timeout(Duration::from_millis(20), tx.query(LONG).execute()).await;
        assert!(abandoned.is_err(), "the statement was meant to take longer than that");
        assert!(matches!(subject_write(&mut tx, "after").await, Err(Error::Broken)));
        assert!(matches!(site.commit(tx).await, Err(Error::Broken)));
        // The statement may still be running, so the next one may have to wait for it more than once.
        let mut next = loop {
            match site.db.begin().await {
                Ok(tx) => break tx,
                Err(busy) => assert!(matches!(busy, Error::Busy(_)), "{busy:?}"),
            }
        };
        subject_write(&mut next, "next").await.unwrap();
        site.commit(next).await.unwrap();
        assert_eq!(site.subjects().await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_waits_for_any_more_is_skipped() {
    let [site, _] = Site::both().await;
    assert_eq!(site.db.dialect(), Dialect::Sqlite);
    let held = site.db.begin().await.unwrap();
    for _ in 0..10 {
        let db = site.db.clone();
        let waiting = tokio::spawn(async move { db.begin().await.map(drop) });
        tokio::task::yield_now().await;
        waiting.abort();
    }
    drop(held);
    site.db.ping_write().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_append_only() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        for sql in [
            "INSERT INTO teams (id, slug, name, description, preset, spending, limits, version, created_at)
             VALUES ('t', 't', 't', '', 'grid', 'pool', '{}', 1, 0)",
            "INSERT INTO transactions (id, team, kind, occurred_at, recorded_at, actor, reason, member,
                                       instance, reverses, idem_key)
             VALUES ('x', 't', 'grant', 0, 0, 'system', '', '', '', NULL, 'x')",
        ] {
            tx.query(sql).execute().await.unwrap();
        }
        site.commit(tx).await.unwrap();
        for sql in ["UPDATE transactions SET reason = 'other'", "DELETE FROM transactions"] {
            let mut tx = site.db.begin().await.unwrap();
            let refused = tx.query(sql).execute().await.unwrap_err();
            assert!(refused.to_string().contains("append only"), "{refused}");
        }
    }
}
