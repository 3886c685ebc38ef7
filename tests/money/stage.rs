//! A stage for instances that cost: a host, an offer for 6 credits an hour, minutes that pass, messages.

use muster::{
    app::secrets::Token,
    ids::HostId,
    money::Credits,
    op::{Actor, SystemActor},
    time::Span,
};
use serde_json::{Value, json};

use crate::site::Site;

/// A site with something to launch.
pub(crate) struct Stage {
    pub(crate) site: Site,
    pub(crate) host: HostId,
}

impl Stage {
    /// On both databases. Instances are paid 10 minutes ahead, 1 credit; the pool has `pool`, the worker `wallet`.
    pub(crate) async fn both(pool: &str, wallet: &str) -> Vec<Stage> {
        let mut stages = Vec::new();
        for site in Site::both().await {
            let host = json!({ "name": "one", "endpoint": "simulated:", "region": "here" });
            let host = site.post(&site.operator, "/hosts", host).await.want(201);
            for (name, price) in [("cpu", "6"), ("free", "0")] {
                let product = json!({ "name": name, "region": "here", "instance_type": "cpu", "accelerator": "none",
                    "gpus_per_unit": 0, "cpu_millis": 100, "memory_bytes": 1 << 26, "price_per_hour": price,
                    "published": true });
                site.post(&site.operator, "/products", product).await.want(201);
            }
            let image = json!({ "name": "base", "reference": "base:1", "published": true });
            site.post(&site.operator, "/images", image).await.want(201);
            let host = host["id"].as_str().unwrap().parse().unwrap();
            let stage = Stage { site, host };
            stage.terms(json!({ "spending": "wallet", "runway_minutes": 10 })).await;
            if pool != "0" {
                stage.site.grant(pool).await;
            }
            if wallet != "0" {
                stage.assign(wallet).await;
            }
            stages.push(stage);
        }
        stages
    }

    /// Puts other terms in the place of the team's.
    pub(crate) async fn terms(&self, terms: Value) -> Value {
        let site = &self.site;
        let version = site.get(&site.owner, "terms").await.want(200)["version"].clone();
        site.change(&site.owner, "PUT", "terms", Some(&version), terms).await.want(200)
    }

    /// Moves credits from the pool to the worker's wallet.
    pub(crate) async fn assign(&self, amount: &str) {
        let body = json!({ "member": self.site.member, "amount": amount });
        self.site.post(&self.site.owner, "credits/assign", body).await.want(201);
    }

    /// Launches an instance and gives its path.
    pub(crate) async fn launch(&self, who: &Token, name: &str) -> String {
        let made = self.site.post(who, "instances", launch(name)).await.want(201);
        format!("instances/{}", made["id"].as_str().unwrap())
    }

    /// Lets the host be looked at, and the meter run, after each of `minutes` minutes.
    pub(crate) async fn run(&self, minutes: u32) {
        let app = &self.site.app;
        for _ in 0..minutes {
            self.settle().await;
            self.site.clock.advance(Span::from_seconds(60));
            app.reconcile(&app.op(Actor::System(SystemActor::Reconciler)), self.host).await.unwrap();
            app.meter(&app.op(Actor::System(SystemActor::Meter))).await.unwrap();
        }
        self.settle().await;
    }

    /// Lets what was decided happen to the containers.
    pub(crate) async fn settle(&self) {
        let app = &self.site.app;
        for _ in 0..3 {
            app.reconcile(&app.op(Actor::System(SystemActor::Reconciler)), self.host).await.unwrap();
        }
    }

    /// Lets the figures be looked at; how many alerts fired.
    pub(crate) async fn watch(&self) -> usize {
        let app = &self.site.app;
        app.alerts_watch(&app.op(Actor::System(SystemActor::Messenger))).await.unwrap()
    }

    /// Lets messages be handed out and sent; how many were taken.
    pub(crate) async fn deliver(&self) -> usize {
        let app = &self.site.app;
        app.messages_deliver(&app.op(Actor::System(SystemActor::Messenger))).await.unwrap()
    }

    /// The documents of the messages of a kind that were written, the oldest first.
    pub(crate) async fn messages(&self, kind: &str) -> Vec<Value> {
        let log = self.site.get(&self.site.owner, "audit?limit=200").await.want(200);
        let lines = log["items"].as_array().unwrap().iter().filter(|line| line["action"] == kind);
        let mut told: Vec<Value> = lines.map(|line| line["document"].clone()).collect();
        told.reverse();
        told
    }

    /// What the team was charged for what began at or after `from`.
    pub(crate) async fn charged_since(&self, from: &str) -> Credits {
        let (mut sum, mut cursor) = (Credits::ZERO, String::new());
        loop {
            let path = format!("bills?view=admin&limit=200{cursor}");
            let page = self.site.get(&self.site.owner, &path).await.want(200);
            for charge in page["items"].as_array().unwrap() {
                if charge["from"].as_str().unwrap() >= from {
                    sum = sum.plus(credits(&charge["amount"])).unwrap();
                }
            }
            let Some(next) = page["next_cursor"].as_str() else { return sum };
            cursor = format!("&cursor={next}");
        }
    }
}

/// What is posted to launch an instance for 6 credits an hour.
pub(crate) fn launch(name: &str) -> Value {
    json!({ "name": name, "product": "cpu", "image": "base", "mount_team_drive": false })
}

/// An amount in an answer.
#[track_caller]
pub(crate) fn credits(value: &Value) -> Credits {
    value.as_str().unwrap_or_else(|| panic!("no amount: {value}")).parse().unwrap()
}
