//! Recorded decisions are kept up to a number, the latest ones; a team that decides much does not shorten another's.

use muster::op::{Actor, SystemActor, SystemWarrant};
use serde_json::json;

use crate::scene::both;

/// What is kept of a team.
const KEPT: i64 = 100_000;
/// How much more the busy team has.
const TOO_MANY: i64 = 7;

/// Decisions with ids in the order of their numbers, older than all ids of now.
const PLANT: &str = "
    WITH RECURSIVE numbers (n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
    INSERT INTO decisions (id, team, at, actor, action, resource, allowed, document)
    SELECT 'dec_019' || CAST($4 AS TEXT) || CAST(1000000000 + n AS TEXT) || 'aaaaaaaaaaaaaaaaaa', t.id, n,
           'somebody', 'GetTeam', 'x', $2, '{}'
      FROM numbers, teams t WHERE t.slug = $3";
const COUNT: &str = "
    SELECT COUNT(*), CAST(COALESCE(MIN(d.at), 0) AS BIGINT) FROM decisions d JOIN teams t ON t.id = d.team
     WHERE t.slug = 'crew'";
const COUNT_OTHER: &str = "
    SELECT COUNT(*), CAST(COALESCE(MIN(d.at), 0) AS BIGINT) FROM decisions d JOIN teams t ON t.id = d.team
     WHERE t.slug = 'other'";

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_decisions_of_each_team_are_kept() {
    for site in both().await {
        site.post(&site.operator, "/teams", json!({ "slug": "other", "name": "Other", "preset": "glows" }))
            .await
            .want(201);
        let op = site.app.op(Actor::System(SystemActor::Bookkeeper));
        let (real, _) = site.pair(COUNT).await;
        assert!((1..TOO_MANY).contains(&real), "{real} decisions of the scene");
        let mut tx = site.db.begin().await.unwrap();
        for (slug, count, prefix) in [("crew", KEPT + TOO_MANY - real, "3"), ("other", 3, "4")] {
            tx.query(PLANT).bind(count).bind(true).bind(slug).bind(prefix).execute().await.unwrap();
        }
        tx.commit(&SystemWarrant::of(&op).unwrap()).await.unwrap();
        let (others, _) = site.pair(COUNT_OTHER).await;
        assert_eq!(site.app.decisions_prune(&op).await.unwrap(), u64::try_from(TOO_MANY).unwrap());
        // The oldest went, and nothing else.
        assert_eq!(site.pair(COUNT).await, (KEPT, TOO_MANY + 1));
        assert_eq!(site.pair(COUNT_OTHER).await.0, others);
        assert_eq!(site.app.decisions_prune(&op).await.unwrap(), 0);
        site.get(&site.worker, "members").await.want(200);
    }
}
