//! Credits with an end: who sees them, who is told, and that what is not used is lost then.

use muster::time::{HOUR, Span};
use serde_json::{Value, json};

use crate::site::Site;

const DAY: Span = Span::from_micros(24 * HOUR);

fn in_days(site: &Site, days: i64) -> String {
    use muster::time::Clock as _;
    (site.clock.now() + Span::from_micros(days * 24 * HOUR)).to_string()
}

/// The kinds of the messages in the team's audit log that begin with `credits.`, the oldest first.
async fn told(site: &Site) -> Vec<String> {
    let log = site.get(&site.owner, "audit?limit=200").await.want(200);
    let actions =
        log["items"].as_array().unwrap().iter().rev().map(|event| event["action"].as_str().unwrap());
    actions.filter(|action| action.starts_with("credits.")).map(str::to_owned).collect()
}

#[tokio::test]
async fn credits_that_expire_are_used_first_their_owner_is_told_once_and_the_rest_is_lost() {
    for site in Site::both().await {
        site.grant("5").await;
        // Lists are by age, and ids tell it to the millisecond.
        site.clock.advance(Span::from_seconds(1));
        let ends = in_days(&site, 10);
        let grant = json!({ "amount": "20", "expires_at": ends });
        site.post(&site.operator, "credits/grant", grant).await.want(201);
        site.clock.advance(Span::from_seconds(1));
        let assigned = json!({ "member": site.member, "amount": "8" });
        site.post(&site.owner, "credits/assign", assigned).await.want(201);
        site.cashier().await;
        assert_eq!(told(&site).await, Vec::<String>::new());

        let lots = site.get(&site.owner, "lots?view=admin").await.want(200);
        let lots = lots["items"].as_array().unwrap();
        let shown: Vec<[&Value; 4]> = lots
            .iter()
            .map(|lot| [&lot["category"], &lot["left"], &lot["expires_at"], &lot["member"]])
            .collect();
        let (promo, none, ends) = (json!("promo"), Value::Null, json!(ends));
        let member = json!(site.member);
        assert_eq!(
            shown,
            [
                [&promo, &json!("5"), &none, &none],
                [&promo, &json!("12"), &ends, &none],
                [&promo, &json!("8"), &ends, &member],
            ]
        );
        let own = site.get(&site.worker, "lots").await.want(200);
        assert_eq!(own["items"].as_array().unwrap().len(), 1);
        assert_eq!(own["items"][0]["left"], "8");
        site.get(&site.worker, "lots?view=admin").await.fails(403, "refused");
        let page = site.get(&site.owner, "lots?view=admin&limit=2").await.want(200);
        let rest = format!("lots?view=admin&limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
        assert_eq!(site.get(&site.owner, &rest).await.want(200)["items"].as_array().unwrap().len(), 1);

        for _ in 0..4 {
            site.clock.advance(DAY);
            site.cashier().await;
        }
        assert_eq!(told(&site).await, ["credits.expiring", "credits.expiring"]);
        for _ in 0..6 {
            site.clock.advance(DAY);
        }
        // Over is over, whether the cashier has come by or not.
        let reclaimed = json!({ "member": site.member, "amount": "8" });
        site.post(&site.owner, "credits/reclaim", reclaimed).await.fails(409, "not-enough-credits");
        site.cashier().await;
        site.cashier().await;
        assert_eq!(site.available().await, ["5", "0"]);
        let end = ["credits.expiring", "credits.expiring", "credits.expired", "credits.expired"];
        assert_eq!(told(&site).await, end);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn more_lots_than_a_page_are_all_lost_in_the_end() {
    for site in Site::both().await {
        let ends = in_days(&site, 1);
        for _ in 0..205 {
            let grant = json!({ "amount": "1", "expires_at": ends });
            site.post(&site.operator, "credits/grant", grant).await.want(201);
        }
        site.clock.advance(DAY);
        site.cashier().await;
        site.cashier().await;
        assert_eq!(site.available().await[0], "0");
        const LOST: &str = "SELECT COUNT(*), COUNT(*) FROM transactions WHERE kind = 'expire'";
        assert_eq!(site.pair(LOST).await.0, 205);
        site.assert_sound().await;
    }
}
