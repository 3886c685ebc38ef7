//! What comes to an instance or a host without anybody's asking for it is in the audit log, even where nobody is told.

use muster::op::{Actor, SystemActor, SystemWarrant};
use serde_json::{Value, json};

use crate::{site::Site, stage::Stage};

/// Changes what the simulated host says of itself, as if somebody had done so behind our back.
async fn meddle(stage: &Stage, change: impl FnOnce(&mut Value)) {
    let (site, file) = (&stage.site, stage.site.simulated(stage.host));
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    change(&mut kept);
    std::fs::write(&file, kept.to_string()).unwrap();
    // As if the host had been registered otherwise, so that it is connected to anew.
    let op = site.app.op(Actor::System(SystemActor::Setup));
    let mut tx = site.db.begin().await.unwrap();
    tx.query("UPDATE hosts SET version = version + 1").execute().await.unwrap();
    tx.commit(&SystemWarrant::of(&op).unwrap()).await.unwrap();
}

/// The lines of the log about this, by whom.
async fn lines(site: &Site, log: &str, target: &str) -> Vec<(String, String)> {
    let page = site.get(&site.operator, log).await.want(200);
    let lines = page["items"].as_array().unwrap().iter().filter(|line| line["target"] == target);
    let mut told: Vec<_> = lines
        .map(|line| (line["action"].as_str().unwrap().to_owned(), line["actor"].as_str().unwrap().to_owned()))
        .collect();
    told.reverse();
    told
}

#[tokio::test]
async fn an_instance_whose_container_vanished_leaves_a_line_and_one_that_was_stopped_on_request_none_more() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        let [lost, asked] =
            [stage.launch(&site.worker, "lost").await, stage.launch(&site.worker, "asked").await];
        stage.run(1).await;
        site.post(&site.worker, &format!("{asked}/stop"), json!({})).await.want(202);
        stage.run(1).await;
        let id = |path: &str| path.strip_prefix("instances/").unwrap().to_owned();
        let (lost, asked) = (id(&lost), id(&asked));
        meddle(&stage, |kept| {
            let containers = kept["containers"].as_object_mut().unwrap();
            let before = containers.len();
            containers.retain(|_, container| !container.to_string().contains(&lost));
            assert_eq!(containers.len(), before - 1, "one container of the lost instance");
        })
        .await;
        stage.run(1).await;
        let by_server = |action: &str| (action.to_owned(), "system/reconciler".to_owned());
        let told = lines(site, "/teams/crew/audit?limit=200", &lost).await;
        assert_eq!(told[1..], [by_server("instance.stopped")], "{told:?}");
        let told = lines(site, "/teams/crew/audit?limit=200", &asked).await;
        let actions: Vec<&str> = told.iter().map(|(action, _)| action.as_str()).collect();
        assert_eq!(actions, ["CreateInstance", "StopInstance"]);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_host_that_stays_away_and_comes_back_is_in_the_log_of_the_site() {
    for stage in Stage::both("100", "50").await {
        let (site, host) = (&stage.site, stage.host.to_string());
        stage.launch(&site.worker, "box").await;
        stage.run(1).await;
        let file = site.simulated(stage.host);
        let kept = std::fs::read(&file).unwrap();
        // What is in its place is nothing that a host would say.
        meddle(&stage, |kept| *kept = json!("nonsense")).await;
        let reconcile = async || {
            site.clock.advance(muster::time::Span::from_seconds(60));
            let op = site.app.op(Actor::System(SystemActor::Reconciler));
            // A host that is away fails its pass.
            drop(site.app.reconcile(&op, stage.host).await);
        };
        for _ in 0..6 {
            reconcile().await;
        }
        let told = lines(site, "/audit?limit=200", &host).await;
        let count =
            |told: &[(String, String)], action: &str| told.iter().filter(|(a, _)| a == action).count();
        assert_eq!((count(&told, "host.down"), count(&told, "host.up")), (1, 0), "{told:?}");
        std::fs::write(&file, kept).unwrap();
        for _ in 0..3 {
            reconcile().await;
        }
        let told = lines(site, "/audit?limit=200", &host).await;
        assert_eq!((count(&told, "host.down"), count(&told, "host.up")), (1, 1), "{told:?}");
    }
}
