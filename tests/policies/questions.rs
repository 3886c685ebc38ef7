//! Questions that change nothing.

use serde_json::json;

use crate::scene::{NIGHT, both, label, launch, put, until};

#[tokio::test(flavor = "multi_thread")]
async fn may_i_is_answered_with_reasons_for_oneself_and_for_others_whom_one_sees() {
    for site in both().await {
        label(&site, &["intern"]).await;
        put(&site, NIGHT).await;
        until(&site, 12);
        let evening = "2025-11-24T19:00:00Z";
        let questions = json!({ "questions": [
            { "action": "createInstance", "product": "spot-cpu", "image": "base" },
            { "action": "createInstance", "product": "spot-cpu", "image": "base", "at": evening },
            { "action": "createInstance", "product": "cpu", "image": "base", "at": evening },
            { "action": "publishPolicies" },
            { "action": "listBills", "owner": site.member },
        ] });
        let answers = site.post(&site.worker, "authorize", questions).await.want(200);
        let said: Vec<_> =
            answers["answers"].as_array().unwrap().iter().map(|answer| answer["decision"].clone()).collect();
        assert_eq!(json!(said), json!(["allow", "deny", "allow", "deny", "allow"]), "{answers:#}");
        assert_eq!(answers["answers"][1]["denials"][0]["policy"], "team/night-spot");
        assert_eq!(answers["answers"][1]["versions"]["team"], 1);
        assert_eq!(answers["answers"][3]["denials"][0]["lifted_by"], "team owner or admin");

        let about = json!({ "questions": [{ "action": "createInstance", "product": "spot-cpu", "image": "base",
            "member": site.member, "at": evening }] });
        let answers = site.post(&site.admin, "authorize", about).await.want(200);
        assert_eq!(
            (&answers["answers"][0]["decision"], &answers["answers"][0]["member"]),
            (&json!("deny"), &json!(site.member))
        );
        let owner = site.get(&site.owner, "/me").await.want(200)["member"]["id"].clone();
        if owner.is_string() {
            let nosy = json!({ "questions": [{ "action": "listBills", "member": owner }] });
            assert_ne!(site.post(&site.worker, "authorize", nosy).await.status, 200);
        }
        let unknown = json!({ "questions": [{ "action": "fly" }] });
        site.post(&site.worker, "authorize", unknown).await.fails(422, "invalid-input");
        let many = vec![json!({ "action": "getTeam" }); 201];
        site.post(&site.worker, "authorize", json!({ "questions": many })).await.fails(422, "invalid-input");
        let many = vec![json!({ "action": "getTeam" }); 200];
        site.post(&site.worker, "authorize", json!({ "questions": many })).await.want(200);
        let key = site
            .post(&site.worker, "api-keys", json!({ "name": "robot", "scopes": ["view"] }))
            .await
            .want(201);
        let mine =
            json!({ "questions": [{ "action": "createInstance", "product": "cpu", "image": "base" }] });
        let answers = site.post_with_key(key["token"].as_str().unwrap(), "authorize", mine).await.want(200);
        assert_eq!(answers["answers"][0]["denials"][0]["policy"], "plat/key-scope", "{answers:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_explained_to_whom_it_concerns_only() {
    for site in both().await {
        let closed = "@id(\"closed\") @advice(\"closed today\") forbid (principal in Role::\"member\", action, \
                      resource is Instance);";
        put(&site, closed).await;
        let refused = launch(&site, &site.worker, "cpu").await.want(403);
        let path = format!("decisions/{}", refused["decision"].as_str().unwrap());
        let why = site.get(&site.worker, &path).await.want(200);
        assert_eq!(why["document"]["decision"]["denials"][0]["advice"], "closed today");
        site.get(&site.owner, &path).await.want(200);
        put(&site, "").await;
        let why = site.get(&site.admin, &path).await.want(200);
        assert_eq!((&why["decision"], &why["now"]), (&json!("deny"), &json!("allow")), "{why:#}");
        let theirs = site.post(&site.admin, "credits/grant", json!({ "amount": "1" })).await;
        assert_ne!(theirs.status, 201);
        if let Some(decision) = theirs.body["decision"].as_str() {
            assert_ne!(site.get(&site.worker, &format!("decisions/{decision}")).await.status, 200);
        }
        let none = "decisions/dec_00000000000000000000000000000000";
        site.get(&site.worker, none).await.fails(404, "not-found");
        let replay = site.post(&site.owner, "policies:replay", json!({ "last": 100 })).await.want(200);
        assert_eq!((&replay["flips"], &replay["drifted"]), (&json!([]), &json!(1)), "{replay:#}");
        site.post(&site.worker, "policies:replay", json!({})).await.fails(403, "refused");
        // Of the looks that are allowed one in 32 is recorded, off the path of the request.
        for _ in 0..64 {
            site.get(&site.worker, "balance").await.want(200);
        }
        let op = site.app.op(muster::op::Actor::System(muster::op::SystemActor::Bookkeeper));
        assert!(site.app.looks_write(&op).await.unwrap() >= 2);
        assert_eq!(site.app.looks_write(&op).await.unwrap(), 0);
        let text = "@id(\"blind\") @advice(\"no\") forbid (principal in Role::\"member\", action == \
                    Action::\"GetBalance\", resource);";
        let replay = site.post(&site.owner, "policies:replay", json!({ "text": text })).await.want(200);
        let flip = &replay["flips"][0];
        assert_eq!((&flip["action"], &flip["allows"]), (&json!("getBalance"), &json!(false)), "{replay:#}");
    }
}
