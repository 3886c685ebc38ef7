//! Commits: what is acknowledged is there, what shares a batch shares no failure, and floors hold in a crowd.

use muster::store::{Db, Error};

use crate::{Site, subject_write};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_seen_by_another_process_of_the_same_database() {
    for site in Site::both().await {
        let other = Db::open(&site.address).await.unwrap();
        for turn in 0..20_i64 {
            let mut tx = site.db.begin().await.unwrap();
            subject_write(&mut tx, &format!("subject {turn}")).await.unwrap();
            let (before,): (i64,) = count(&other).await;
            assert_eq!(before, turn, "an open transaction is nobody else's business");
            site.commit(tx).await.unwrap();
            let (after,): (i64,) = count(&other).await;
            assert_eq!(after, turn + 1);
        }
        other.close().await;
    }
}

async fn count(db: &Db) -> (i64,) {
    db.glance().await.unwrap().query("SELECT count(*) FROM login_throttles").one().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_at_once_each_keep_or_undo_their_own() {
    for site in Site::both().await {
        let jobs = (0..200).map(|number| {
            let (db, warrant) = (site.db.clone(), site.warrant());
            tokio::spawn(async move {
                let mut tx = db.begin().await.unwrap();
                subject_write(&mut tx, &format!("first of {number}")).await.unwrap();
                subject_write(&mut tx, &format!("second of {number}")).await.unwrap();
                match number % 4 {
                    0 => tx.commit(&warrant).await.unwrap(),
                    1 => drop(tx),
                    2 => {
                        // The same subject again: the statement fails, and then so must the commit.
                        let twice = subject_write(&mut tx, &format!("first of {number}")).await;
                        assert!(matches!(twice, Err(Error::Unique(_))), "{twice:?}");
                        assert!(matches!(tx.commit(&warrant).await, Err(Error::Broken)));
                    }
                    _ => panic!("a job that panics"),
                }
            })
        });
        let outcomes = futures_util::future::join_all(jobs.collect::<Vec<_>>()).await;
        assert_eq!(
            outcomes.iter().filter(|outcome| outcome.is_err()).count(),
            50,
            "the panics, and only they"
        );
        assert_eq!(site.subjects().await, 100);
        site.db.ping_write().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_commit_fails_whoever_shared_it_is_told_and_nobody_is_told_wrong() {
    let [site, _] = Site::both().await;
    let jobs = (0..40).map(|number| {
        let (db, warrant) = (site.db.clone(), site.warrant());
        tokio::spawn(async move {
            let mut tx = db.begin().await.unwrap();
            subject_write(&mut tx, &format!("subject {number}")).await.unwrap();
            let bad = number % 10 == 9;
            if bad {
                // A broken reference that SQLite looks at only when it commits.
                tx.query("PRAGMA defer_foreign_keys = ON").execute().await.unwrap();
                let sql = "INSERT INTO usages VALUES ($1, 'no such team', 0, 0, 0, 0, 0)";
                tx.query(sql).bind(number.to_string()).execute().await.unwrap();
            }
            let outcome = tx.commit(&warrant).await;
            assert!(!(bad && outcome.is_ok()));
            assert!(matches!(outcome, Ok(()) | Err(Error::Commit(_))), "{outcome:?}");
            (number, outcome.is_ok())
        })
    });
    for outcome in futures_util::future::join_all(jobs.collect::<Vec<_>>()).await {
        let (number, acknowledged) = outcome.unwrap();
        let mut read = site.db.glance().await.unwrap();
        let stored = read.throttle_fetch(&format!("subject {number}")).await.unwrap().is_some();
        assert_eq!(stored, acknowledged);
    }
    site.db.ping_write().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_conditional_updates_at_once_never_cross_a_floor() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        subject_write(&mut tx, "purse").await.unwrap();
        tx.query("UPDATE login_throttles SET failures = $1").bind(100).execute().await.unwrap();
        site.commit(tx).await.unwrap();
        let takers = (0..64).map(|_| {
            let (db, warrant) = (site.db.clone(), site.warrant());
            tokio::spawn(async move {
                let mut tx = db.begin().await.unwrap();
                let sql = "UPDATE login_throttles SET failures = failures - $1 WHERE failures >= $1";
                let taken = tx.query(sql).bind(3).execute().await.unwrap();
                tx.commit(&warrant).await.unwrap();
                taken
            })
        });
        let taken = futures_util::future::join_all(takers.collect::<Vec<_>>()).await;
        assert_eq!(taken.into_iter().map(Result::unwrap).sum::<u64>(), 33);
        let mut read = site.db.read().await.unwrap();
        assert_eq!(read.throttle_fetch("purse").await.unwrap().unwrap().failures, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_sees_one_moment_and_writes_nothing() {
    for site in Site::both().await {
        let mut read = site.db.read().await.unwrap();
        let sql = "SELECT count(*) FROM login_throttles";
        let before: (i64,) = read.query(sql).one().await.unwrap();
        let mut tx = site.db.begin().await.unwrap();
        subject_write(&mut tx, "late").await.unwrap();
        site.commit(tx).await.unwrap();
        let after: (i64,) = read.query(sql).one().await.unwrap();
        assert_eq!(before, after);
        assert!(subject_write(&mut read, "sneaky").await.is_err());
        drop(read);
        assert_eq!(site.subjects().await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_says_so() {
    for site in Site::both().await {
        site.db.close().await;
        assert!(matches!(site.db.begin().await.err(), Some(Error::Closed)));
        assert!(matches!(site.db.read().await.err(), Some(Error::Closed)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gets_no_turn_in_time_is_told_to_come_again() {
    let [site, _] = Site::both().await;
    let held = site.db.begin().await.unwrap();
    let refused = site.db.begin().await.err().unwrap();
    assert!(matches!(refused, Error::Busy(_)));
    let told = muster::error::Error::from(refused);
    assert_eq!((told.kind, told.retry_after_seconds), (muster::error::Kind::Unavailable, Some(1)));
    drop(held);
    site.db.ping_write().await.unwrap();
}
