//! What a team's policies can look at besides names: the words that the operator gives products, and what runs already;
//! and plans that ask about whom a rule names.

use serde_json::json;

use crate::scene::{both, label, launch, plan, put};

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_products_steer_rules_whatever_the_products_are_called() {
    for site in both().await {
        let wrong = json!({ "name": "x", "region": "here", "instance_type": "cpu", "accelerator": "none",
            "gpus_per_unit": 0, "cpu_millis": 10, "memory_bytes": 1 << 24, "price_per_hour": "1",
            "labels": ["Spot!"] });
        site.post(&site.operator, "/products", wrong).await.fails(422, "invalid-input");
        let product = json!({ "name": "cheap", "region": "here", "instance_type": "cpu", "accelerator": "none",
            "gpus_per_unit": 0, "cpu_millis": 10, "memory_bytes": 1 << 24, "price_per_hour": "1",
            "published": true, "labels": ["spot"] });
        let made = site.post(&site.operator, "/products", product).await.want(201);
        assert_eq!(made["labels"], json!(["spot"]));
        let text = r#"
            @id("no-spot") @advice("interns launch nothing that can be taken away")
            forbid (principal, action == Action::"CreateInstance", resource is Instance)
            when { principal.labels.contains("intern") && resource.product_labels.contains("spot") };
            @id("not-shown") @advice("interns do not see spot machines")
            forbid (principal, action == Action::"ListCatalog", resource is Offer)
            when { principal.labels.contains("intern") && resource.product_labels.contains("spot") };"#;
        let planned = plan(&site, text).await;
        let changes = planned["effects"]["changes"].as_array().unwrap();
        assert!(changes.iter().any(|one| one["label"] == "intern" && one["loses"] != 0), "{planned:#}");
        put(&site, text).await;
        label(&site, &["intern"]).await;
        let refused = launch(&site, &site.worker, "cheap").await.want(403);
        assert_eq!(refused["denials"][0]["policy"], "team/no-spot");
        launch(&site, &site.worker, "cpu").await.want(201);
        let shown = site.get(&site.worker, "catalog").await.want(200);
        let mut names: Vec<_> =
            shown["products"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cpu", "spot-cpu"]);

        // The words of now count, also for what was launched before.
        let path = format!("/products/{}", made["id"].as_str().unwrap());
        let change = json!({ "labels": [] });
        let changed =
            site.change(&site.operator, "PATCH", &path, Some(&made["version"]), change).await.want(200);
        assert_eq!((&changed["labels"], &changed["price_per_hour"]), (&json!([]), &made["price_per_hour"]));
        launch(&site, &site.worker, "cheap").await.want(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_already_is_a_fact_of_launches() {
    for site in both().await {
        // "cpu" costs 6 an hour, "spot-cpu" 1.
        let text = r#"
            @id("busy") @advice("one thing at a time for interns")
            forbid (principal, action == Action::"CreateInstance", resource)
            when { principal.labels.contains("intern") && context.spend_per_hour >= 6000000 };
            @id("crowded") @advice("the team runs enough")
            forbid (principal in Role::"member", action == Action::"CreateInstance", resource)
            when { context.team_spend_per_hour > 7000000 };"#;
        let planned = plan(&site, text).await;
        let example = planned["effects"]["changes"][0]["example"].as_str().unwrap().to_owned();
        assert!(example.ends_with("credits an hour run"), "{example}");
        put(&site, text).await;
        label(&site, &["intern"]).await;
        launch(&site, &site.worker, "cpu").await.want(201);
        let refused = launch(&site, &site.worker, "spot-cpu").await.want(403);
        assert_eq!(refused["denials"][0]["policy"], "team/busy", "{refused:#}");
        label(&site, &[]).await;
        launch(&site, &site.worker, "spot-cpu").await.want(201);
        launch(&site, &site.owner, "spot-cpu").await.want(201);
        let refused = launch(&site, &site.worker, "spot-cpu").await.want(403);
        assert_eq!(refused["denials"][0]["policy"], "team/crowded", "{refused:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_asks_for_whom_a_rule_names() {
    for site in both().await {
        let lost = async |text: &str| {
            let planned = plan(&site, text).await;
            let changes = planned["effects"]["changes"].as_array().unwrap().clone();
            changes
                .iter()
                .map(|one| {
                    (one["account"].as_str().unwrap().to_owned(), one["role"].as_str().unwrap().to_owned())
                })
                .collect::<Vec<_>>()
        };
        let named = |condition: &str| {
            format!(
                "@id(\"a\") @advice(\"no\") forbid (principal, action == Action::\"ListDrives\", resource) when {{ \
                 {condition} }};"
            )
        };
        let member = [("member".to_owned(), "member".to_owned())];
        assert_eq!(lost(&named("principal.account == \"member\"")).await, member);
        let by_id = format!(
            "@id(\"a\") @advice(\"no\") forbid (principal == Member::\"{}\", action == Action::\"ListDrives\", \
             resource);",
            site.member
        );
        assert_eq!(lost(&by_id).await, member);
        let both_named = lost(&named("[\"member\", \"admin\"].contains(principal.account)")).await;
        assert_eq!(both_named, [("admin".to_owned(), "admin".to_owned()), member[0].clone()]);
        // Nobody has this name yet: whoever gets it, whatever the role.
        assert_eq!(lost(&named("principal.account == \"eve\"")).await.len(), 3);
        // Of one's own things too: who asks is the owner of what is asked about.
        let own =
            named("principal.account == \"member\" && resource has owner && resource.owner == principal");
        assert_eq!(lost(&own).await.len(), 1);
    }
}
