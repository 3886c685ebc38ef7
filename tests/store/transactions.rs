use muster::{
    chance::Seeded,
    op::{Actor, Op, SystemActor, SystemWarrant},
    store::Db,
    time::{ManualClock, Timestamp},
};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&format!("sqlite:{}/a.db", dir.path().display())).await.unwrap();
    let now = Timestamp::from_micros(5);
    assert_eq!(db.migrate(now).await.unwrap(), 1);
    assert_eq!(db.migrate(now).await.unwrap(), 0);
    db.schema_check().await.unwrap();
    db.ping_write().await.unwrap();
    let op =
        Op::new(Actor::System(SystemActor::Setup), Arc::new(ManualClock::new(now)), Arc::new(Seeded::new(1)));
    let warrant = SystemWarrant::of(&op).unwrap();
    let mut tasks = Vec::new();
    for i in 0..64i64 {
        let db = db.clone();
        let w = SystemWarrant::of(&op).unwrap();
        tasks.push(tokio::spawn(async move {
            let mut tx = db.begin().await.unwrap();
            tx.query("INSERT INTO login_throttles (subject, failures, blocked_until, updated_at) VALUES ($1, $2, 0, 0)").bind(i.to_string()).bind(i).execute().await.unwrap();
            if i % 2 == 0 { tx.commit(&w).await.unwrap(); }
        }));
    }
    for t in tasks {
        t.await.unwrap();
    }
    let mut read = db.read().await.unwrap();
    let (n,): (i64,) = read.query("SELECT count(*) FROM login_throttles").one().await.unwrap();
    assert_eq!(n, 32);
    let _ = warrant;
    db.close().await;
}
