//! What storage costs, on a simulated host: a drive grows by 256 MiB and a disk by 64 MiB with every run.

use muster::{
    ids::HostId,
    money::{Credits, NanoCredits, prorate},
    op::{Actor, SystemActor},
    time::{HOUR, Span, Timestamp},
};
use serde_json::{Value, json};

use crate::{
    resume::{assign, launch, plant, settle, start, stop},
    site::Site,
};

pub(crate) async fn rate(site: &Site, kind: &str, region: &str, price: &str) -> Value {
    let body = json!({ "kind": kind, "region": region, "price_per_gib_hour": price });
    site.put(&site.operator, "/storage-rates", body).await.want(200)
}

/// Lets the host be counted, which must be due, and runs the meter.
pub(crate) async fn count(site: &Site, host: HostId) -> Timestamp {
    let op = site.app.op(Actor::System(SystemActor::Meter));
    assert!(site.app.storage_pass(&op, host).await.unwrap(), "nothing was due");
    settle(site, host).await;
    op.now()
}

/// Lets `seconds` pass, and counts.
pub(crate) async fn count_after(site: &Site, host: HostId, seconds: i64) -> Timestamp {
    site.clock.advance(Span::from_seconds(seconds));
    count(site, host).await
}

/// What so many mebibytes cost from `from` to `to`, at `nano` nano-credits a mebibyte and hour.
fn cost(nano: i64, mebibytes: i64, from: Timestamp, to: Timestamp) -> i64 {
    let rate = NanoCredits::from_nanos(nano * mebibytes);
    prorate(rate, (to - from).as_micros(), HOUR).unwrap().round().as_micros()
}

async fn billed(site: &Site, kind: &str) -> (i64, Vec<Value>) {
    let bill = site.get(&site.owner, &format!("bills?view=admin&type={kind}&limit=200")).await.want(200);
    let total: Credits = bill["total"].as_str().unwrap().parse().unwrap();
    (total.as_micros(), bill["items"].as_array().unwrap().clone())
}

#[tokio::test]
async fn a_drive_is_billed_by_what_was_counted_step_by_step() {
    for site in Site::both().await {
        let host = plant(&site).await;
        rate(&site, "drive", "", "9").await;
        rate(&site, "drive", "here", "1.024").await;
        site.grant("100").await;
        assign(&site, "50").await;
        count(&site, host).await;
        let id = launch(&site, &site.worker, "cpu", true).await;
        settle(&site, host).await;
        let begin = count_after(&site, host, 61).await;
        let drives = site.get(&site.worker, "drives").await.want(200);
        assert_eq!(drives["items"][0]["size_bytes"], 256 << 20, "{drives:#}");
        assert_eq!(billed(&site, "drive").await.0, 0, "nothing is proven yet");

        // Two more looks that find the same, then one that finds more.
        count_after(&site, host, 3_600).await;
        let proven = count_after(&site, host, 3_601).await;
        let (so_far, charges) = billed(&site, "drive").await;
        assert!(so_far > 0 && so_far <= cost(1_000_000, 256, begin, proven), "{so_far}");
        assert!(
            charges.iter().all(|one| one["quantity"] == 256 && one["account"] == "member"),
            "{charges:#?}"
        );
        stop(&site, host, &id).await;
        start(&site, host, &id).await;
        let grown = count_after(&site, host, 3_600).await;
        assert_eq!(billed(&site, "drive").await.0, cost(1_000_000, 256, begin, grown));

        // Twice as much costs twice as much; a new rate counts from the look after it.
        let changed = count_after(&site, host, 5_000).await;
        rate(&site, "drive", "here", "2.048").await;
        let dearer = count_after(&site, host, 4_000).await;
        rate(&site, "drive", "here", "0").await;
        let free = count_after(&site, host, 7_000).await;
        let whole = cost(1_000_000, 256, begin, grown)
            + cost(1_000_000, 512, grown, dearer)
            + cost(2_000_000, 512, dearer, free);
        assert!(changed > grown);
        assert_eq!(billed(&site, "drive").await.0, whole);
        count_after(&site, host, 9_000).await;
        assert_eq!(billed(&site, "drive").await.0, whole, "without a rate nothing is billed");
        assert_eq!(billed(&site, "stopped").await.0, 0);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn the_disk_of_a_stopped_instance_is_billed_until_its_last_count_before_start_or_release() {
    for site in Site::both().await {
        let host = plant(&site).await;
        rate(&site, "stopped", "", "2.048").await;
        site.grant("100").await;
        assign(&site, "50").await;
        count(&site, host).await;
        let id = launch(&site, &site.worker, "gpu", false).await;
        settle(&site, host).await;
        site.clock.advance(Span::from_seconds(600));
        stop(&site, host, &id).await;
        let running = billed(&site, "instance").await.0;
        count_after(&site, host, 60).await;
        count_after(&site, host, 3_600).await;
        site.clock.advance(Span::from_seconds(1_000));
        start(&site, host, &id).await;
        // One hour of 64 MiB; what came after the last count is not billed.
        let (disk, charges) = billed(&site, "stopped").await;
        assert_eq!(disk, 128_000);
        assert!(charges.iter().all(|one| one["instance"] == json!(id) && one["quantity"] == 64));
        assert_eq!(billed(&site, "instance").await.0, running, "stopped time is not running time");

        site.clock.advance(Span::from_seconds(600));
        stop(&site, host, &id).await;
        // It ran twice, so it has 128 MiB now.
        count_after(&site, host, 3_600).await;
        count_after(&site, host, 3_600).await;
        site.clock.advance(Span::from_seconds(500));
        site.post(&site.worker, &format!("instances/{id}/release"), json!({})).await.want(202);
        settle(&site, host).await;
        let over = site.get(&site.worker, &format!("instances/{id}")).await.want(200);
        assert_eq!(over["state"], "released", "{over:#}");
        assert_eq!(billed(&site, "stopped").await.0, 128_000 + 256_000);
        let total: Credits = over["cost"].as_str().unwrap().parse().unwrap();
        assert_eq!(total.as_micros(), 2 * running + 128_000 + 256_000);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn storage_that_nobody_can_pay_is_owed_and_ends_with_its_host() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "6").await;
        count(&site, host).await;
        let id = launch(&site, &site.worker, "cpu", true).await;
        settle(&site, host).await;
        site.post(&site.worker, &format!("instances/{id}/release"), json!({})).await.want(202);
        settle(&site, host).await;
        let [_, left] = site.available().await;
        let body = json!({ "member": site.member, "amount": left });
        site.post(&site.owner, "credits/reclaim", body).await.want(201);
        rate(&site, "drive", "", "1.024").await;
        count_after(&site, host, 3_600).await;
        count_after(&site, host, 3_600).await;
        let (owed, charges) = billed(&site, "drive").await;
        assert!(owed > 0 && charges.iter().all(|one| one["uncovered"] == one["amount"]), "{charges:#?}");
        assert_eq!(site.available().await[1], "0");
        site.assert_sound().await;

        // What is paid in again pays what comes, and a host that is retired ends it at the last count.
        assign(&site, "5").await;
        let last = count_after(&site, host, 3_600).await;
        site.clock.advance(Span::from_seconds(2_000));
        site.post(&site.operator, &format!("/hosts/{host}/retire"), json!({})).await.want(200);
        site.app.meter(&site.app.op(Actor::System(SystemActor::Meter))).await.unwrap();
        let (total, charges) = billed(&site, "drive").await;
        assert_eq!(total, 2 * 256_000, "two hours between three counts");
        let to = charges.iter().map(|one| one["to"].as_str().unwrap()).max().unwrap().parse().unwrap();
        assert_eq!((to, charges[0]["uncovered"].clone()), (last, json!("0")));
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_correction_of_what_was_owed_and_given_up_gives_nothing_back_and_of_what_the_pool_paid_a_gift() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "6").await;
        count(&site, host).await;
        let id = launch(&site, &site.worker, "cpu", true).await;
        settle(&site, host).await;
        site.post(&site.worker, &format!("instances/{id}/release"), json!({})).await.want(202);
        settle(&site, host).await;
        let [_, left] = site.available().await;
        let body = json!({ "member": site.member, "amount": left });
        site.post(&site.owner, "credits/reclaim", body).await.want(201);
        rate(&site, "drive", "", "1.024").await;
        count_after(&site, host, 3_600).await;
        count_after(&site, host, 3_600).await;
        let (owed, charges) = billed(&site, "drive").await;
        let half = Credits::from_micros(owed / 2);
        let body = json!({ "amount": half, "note": "given up" });
        site.post(&site.operator, "credits/write-off", body).await.want(201);
        let body = json!({ "amount": "5", "provider": "manual" });
        let asked = site.post(&site.owner, "top-ups", body).await.want(201);
        let confirm = format!("top-ups/{}/confirm", asked["id"].as_str().unwrap());
        site.post(&site.operator, &confirm, json!({})).await.want(200);
        const OWED: &str = "
            SELECT o.credits_posted - o.debits_posted, w.credits_posted - w.debits_posted
            FROM accounts o JOIN accounts w ON w.team = o.team AND w.kind = 'writeoff'
            WHERE o.kind = 'receivable'";
        assert_eq!(site.pair(OWED).await, (0, -half.as_micros()));
        let paid = site.available().await;

        let at = |what: &str| charges.iter().map(|one| one[what].as_str().unwrap()).collect::<Vec<_>>();
        let (from, to) = (at("from").into_iter().min().unwrap(), at("to").into_iter().max().unwrap());
        let wish =
            json!({ "segment": charges[0]["segment"], "from": from, "to": to, "reason": "it was empty" });
        site.post(&site.operator, "charges/correct", wish).await.want(201);
        assert_eq!(site.pair(OWED).await, (0, 0), "nothing is given up of what was never owed");
        let gift = Credits::from_micros(owed - half.as_micros()).to_string();
        assert_eq!(site.available().await, [paid[0].clone(), gift], "what the pool paid comes back");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn the_pool_pays_for_the_teams_drive_and_for_what_a_removed_member_left() {
    for site in Site::both().await {
        let host = plant(&site).await;
        rate(&site, "drive", "", "1.024").await;
        site.grant("100").await;
        assign(&site, "10").await;
        count(&site, host).await;
        let body = json!({ "name": "box", "product": "cpu", "image": "base", "mount_team_drive": true,
            "mount_personal_drive": true });
        let made = site.post(&site.worker, "instances", body).await.want(201);
        settle(&site, host).await;
        let begin = count_after(&site, host, 60).await;
        let id = made["id"].as_str().unwrap();
        site.post(&site.worker, &format!("instances/{id}/release"), json!({})).await.want(202);
        settle(&site, host).await;
        let spent = site.get(&site.worker, "balance").await.want(200)["own"]["spent"].clone();
        let ran: Credits = spent.as_str().unwrap().parse().unwrap();
        assert_eq!(site.available().await[0], "90");
        assert_eq!(site.delete(&site.owner, &format!("members/{}", site.member)).await, 204);
        let removed = count_after(&site, host, 3_600).await;
        let (_, charges) = billed(&site, "drive").await;
        let of = |quantity: u64| charges.iter().filter(move |one| one["quantity"] == quantity);
        assert!(of(1).count() > 0 && of(1).all(|one| one["account"] == "owner"), "the team's: {charges:#?}");
        assert!(of(256).count() > 0 && of(256).all(|one| one["account"] == "member"), "{charges:#?}");

        // The hour before the removal was seen is the member's, whose wallet had gone to the pool: it is owed.
        let owed: i64 = of(256)
            .map(|one| one["uncovered"].as_str().unwrap().parse::<Credits>().unwrap().as_micros())
            .sum();
        assert_eq!(owed, cost(1_000_000, 256, begin, removed));
        count_after(&site, host, 3_600).await;
        rate(&site, "drive", "", "0").await;
        let end = count_after(&site, host, 3_600).await;
        let pool = 100_000_000
            - ran.as_micros()
            - cost(1_000_000, 256, removed, end)
            - cost(1_000_000, 1, begin, end);
        let left: Credits =
            site.get(&site.owner, "balance?view=admin").await.want(200)["team"]["pool"]["available"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
        assert_eq!(left.as_micros(), pool);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn only_the_operator_sets_what_storage_costs_within_limits() {
    for site in Site::both().await {
        let body = json!({ "kind": "drive", "price_per_gib_hour": "1" });
        site.put(&site.owner, "/storage-rates", body.clone()).await.fails(403, "refused");
        site.get(&site.owner, "/storage-rates").await.fails(403, "refused");
        for (wrong, pointer) in [
            (json!({ "kind": "drive", "price_per_gib_hour": "-1" }), "/price_per_gib_hour"),
            (json!({ "kind": "drive", "price_per_gib_hour": "1000.1" }), "/price_per_gib_hour"),
            (json!({ "kind": "drive", "region": "r".repeat(65), "price_per_gib_hour": "1" }), "/region"),
        ] {
            let told = site.put(&site.operator, "/storage-rates", wrong).await.want(422);
            assert_eq!(told["errors"][0]["pointer"], pointer, "{told:#}");
        }
        assert_eq!(rate(&site, "drive", "", "0.0001").await["nano_per_mib_hour"], 98);
        assert_eq!(rate(&site, "drive", "", "0.000128").await["version"], 2);
        rate(&site, "stopped", "here", "1").await;
        let listed = site.get(&site.operator, "/storage-rates").await.want(200);
        let listed: Vec<_> =
            listed["items"].as_array().unwrap().iter().map(|one| &one["price_per_gib_hour"]).collect();
        assert_eq!(listed, [&json!("0.000128"), &json!("1")]);
    }
}
