//! What can be proven about a change, with a real solver: claims that hold, claims that do not, and what nobody knows.

use std::time::Instant;

use muster::{
    app::policy_plans::{Case, files_check},
    config::Prove,
    model::team::Preset,
};
use serde_json::{Value, json};

use crate::{
    scene::{NIGHT, both, publish, put},
    site::{Extra, Site},
};

/// Interns may look at the smaller machines of others, which members of the preset may not.
const LOOK: &str = r#"
@id("interns-look")
permit (principal, action == Action::"GetInstance", resource is Instance)
when { principal.labels.contains("intern") && resource.gpus <= 4 };
"#;

async fn prove(site: &Site, text: &str) -> Value {
    site.post(&site.owner, "policies:prove", json!({ "text": text })).await.want(200)
}

#[track_caller]
fn claim<'a>(proof: &'a Value, name: &str, verdict: &str) -> &'a Value {
    let one = proof["claims"].as_array().unwrap().iter().find(|one| one["claim"] == name).unwrap();
    assert_eq!(one["verdict"], verdict, "{name}: {one:#}");
    one
}

/// A server with other settings of proofs.
async fn set(prove: Prove) -> Vec<Site> {
    Site::both_with(|| Extra { prove: prove.clone(), ..Extra::default() }).await.into()
}

fn solver(name: &str) -> Prove {
    Prove { solver: name.to_owned(), ..Prove::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbid_is_proved_to_give_nobody_anything_and_refuted_to_take_nothing() {
    for site in both().await {
        let proof = prove(&site, NIGHT).await;
        assert!(proof["solver"].as_str().unwrap().starts_with("cvc5 "));
        assert_eq!((&proof["base"], &proof["situations"]), (&json!(0), &json!(1)));
        assert!(proof["untouched"].as_u64().unwrap() > 100, "{proof:#}");
        let gains = claim(&proof, "nobody_gains", "proved");
        assert_eq!((&gains["asked"], &gains["held"], &gains["findings"]), (&json!(1), &json!(1), &json!([])));
        claim(&proof, "never_errors", "proved");
        claim(&proof, "owner_can_mend", "proved");
        let loses = &claim(&proof, "nobody_loses", "refuted")["findings"][0];
        assert_eq!((&loses["action"], &loses["about"]), (&json!("createInstance"), &json!("Instance")));
        let example = &loses["example"];
        assert_eq!(example["role"], "member");
        let matters =
            json!({ "principal.labels": ["intern"], "resource.product": "spot-", "context.hour": 18 });
        assert_eq!(example["matters"], matters, "the smallest there is");
        assert_eq!(example["before"], json!({ "allowed": true, "by": ["preset/glows/member/own"] }));
        assert_eq!(example["after"], json!({ "allowed": false, "by": ["team/night-spot"] }));

        // A change of what is live is compared with that, not with nothing.
        put(&site, NIGHT).await;
        let proof = prove(&site, &NIGHT.replace("18", "20")).await;
        assert_eq!((&proof["base"], &proof["situations"]), (&json!(1), &json!(1)));
        claim(&proof, "nobody_loses", "proved");
        let gains = &claim(&proof, "nobody_gains", "refuted")["findings"][0]["example"];
        assert_eq!(
            (&gains["matters"]["context.hour"], &gains["before"]["by"]),
            (&json!(18), &json!(["team/night-spot"]))
        );
        // Another advice is no other rule.
        let proof = prove(&site, &NIGHT.replace("interns launch no", "launch no")).await;
        assert_eq!(proof["situations"], 0);
        assert_eq!(claim(&proof, "nobody_gains", "proved")["asked"], 0);
        // The live text, as it is.
        let proof = site.post(&site.owner, "policies:prove", json!({})).await.want(200);
        assert_eq!(
            (&proof["situations"], &claim(&proof, "never_errors", "proved")["asked"]),
            (&json!(0), &json!(1))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_for_interns_is_refuted_by_an_example_that_holds() {
    for site in both().await {
        let proof = prove(&site, LOOK).await;
        claim(&proof, "nobody_loses", "proved");
        assert_eq!(claim(&proof, "guardrails_hold", "proved")["asked"], 1);
        claim(&proof, "no_dead_permits", "proved");
        let found = &claim(&proof, "nobody_gains", "refuted")["findings"][0];
        let example = &found["example"];
        assert_eq!((&found["action"], &example["role"]), (&json!("getInstance"), &json!("member")));
        assert_eq!(example["matters"], json!({ "principal.labels": ["intern"], "resource.gpus": 1 }));
        assert!(example["words"].as_str().unwrap().contains("an Instance of another member"), "{example:#}");
        assert_eq!(example["before"], json!({ "allowed": false, "by": [] }));
        assert_eq!(example["after"], json!({ "allowed": true, "by": ["team/interns-look"] }));
        // The same question by another road: a case, asked of both texts.
        let case = |expect: &str| -> Vec<Case> {
            let asked = json!({ "name": "look", "action": "getInstance", "expect": expect,
                "who": { "role": "member", "labels": ["intern"] }, "thing": { "owner": "other", "gpus": 1 } });
            vec![serde_json::from_value(asked).unwrap()]
        };
        assert!(files_check(Preset::Glows, "", &case("deny")).unwrap().failed.is_empty());
        assert!(files_check(Preset::Glows, LOOK, &case("allow")).unwrap().failed.is_empty());
        // What is refuted in many situations is told of a few.
        let proof = prove(
            &site,
            &LOOK.replace("action == Action::\"GetInstance\"", "action in [Action::\"instance:view\"]"),
        )
        .await;
        let gains = claim(&proof, "nobody_gains", "refuted");
        assert!(gains["asked"] == 5 && gains["skipped"].as_u64().unwrap() > 0, "{gains:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_that_permit_nothing_are_found() {
    let text = r#"
@id("never") permit (principal, action == Action::"GetInstance", resource is Instance)
when { resource.gpus > 8 && resource.gpus < 4 };
@id("at-thirty") permit (principal, action == Action::"ListBills", resource) when { context.hour > 23 };
@id("others-snapshots") permit (principal, action == Action::"CreateSnapshot", resource)
when { resource has owner && resource.owner != principal };
@id("shut") permit (principal, action == Action::"ListBudgets", resource) when { principal.labels.contains("money") };
@id("shutter") @advice("shut") forbid (principal, action == Action::"ListBudgets", resource)
when { principal.labels.contains("money") && principal.key };
@id("late") permit (principal, action == Action::"ListBudgets", resource)
when { principal.key && principal.labels.contains("money") };
@id("lives") permit (principal, action == Action::"ListBills", resource) when { context.hour > 22 };
"#;
    for site in both().await {
        let proof = prove(&site, text).await;
        let dead = claim(&proof, "no_dead_permits", "refuted");
        let findings = dead["findings"].as_array().unwrap();
        let mut names: Vec<&str> = findings.iter().map(|one| one["policy"].as_str().unwrap()).collect();
        names.sort_unstable();
        let expected = ["team/at-thirty", "team/late", "team/never", "team/others-snapshots"];
        assert_eq!(names, expected);
        assert_eq!((&dead["asked"], &dead["held"]), (&json!(6), &json!(2)));
        claim(&proof, "never_errors", "proved");
        claim(&proof, "guardrails_hold", "proved");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_proved_to_reach_what_mends_the_team() {
    let text = r#"
@id("frozen") @advice("nothing changes")
forbid (principal, action in [Action::"policy:write", Action::"member:write"], resource)
unless { principal.labels.contains("keeper") };
"#;
    for site in both().await {
        let proof = prove(&site, text).await;
        let owner = claim(&proof, "owner_can_mend", "proved");
        assert!(owner["asked"].as_u64().unwrap() >= 8, "{owner:#}");
        let loses = claim(&proof, "nobody_loses", "refuted");
        for finding in loses["findings"].as_array().unwrap() {
            let example = &finding["example"];
            assert!(example["role"] != "owner" || example["matters"]["principal.key"] == true, "{example:#}");
        }
        // It is so: the owner goes on, and an admin does not.
        put(&site, text).await;
        let body = json!({ "version": 0, "reason": "enough" });
        publish(&site, &site.admin, 1, body.clone()).await.fails(403, "refused");
        publish(&site, &site.owner, 1, body).await.want(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbid_of_all_writing_is_proved_in_every_situation() {
    let text = r#"
@id("evenings") @advice("interns change nothing after 18:00") forbid (principal, action in [Action::"write"], resource)
when { principal.labels.contains("intern") && context.hour >= 18 };
"#;
    for site in set(Prove { total_seconds: 50, ..Prove::default() }).await {
        let proof = prove(&site, text).await;
        let gains = claim(&proof, "nobody_gains", "proved");
        assert!(
            proof["situations"].as_u64().unwrap() > 40 && gains["held"] == proof["situations"],
            "{proof:#}"
        );
        assert!(claim(&proof, "owner_can_mend", "proved")["asked"].as_u64().unwrap() > 10);
        claim(&proof, "never_errors", "proved");
        let loses = claim(&proof, "nobody_loses", "refuted");
        assert!(loses["asked"] == 5 && loses["skipped"].as_u64().unwrap() > 30, "{loses:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_time_or_a_true_solver_nobody_knows() {
    for site in set(Prove { question_millis: 1, ..Prove::default() }).await {
        let proof = prove(&site, NIGHT).await;
        let loses = claim(&proof, "nobody_loses", "undecided");
        let why = loses["findings"][0]["why"].as_str().unwrap();
        assert_eq!(why, "the solver found no answer within 1 ms", "{loses:#}");
        assert_eq!(loses["findings"][0]["verdict"], "undecided");
    }
    // They tell a version, and nothing of use after that.
    for name in ["cat", "sleep"] {
        let [site, _] = Site::both_with(|| Extra { prove: solver(name), ..Extra::default() }).await;
        let proof = prove(&site, LOOK).await;
        for name in ["nobody_gains", "nobody_loses", "no_dead_permits"] {
            claim(&proof, name, "undecided");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_solver_a_plan_says_so_and_a_proof_is_told_the_way_out() {
    for site in set(solver("/usr/bin/no-such-solver")).await {
        let told = site.post(&site.owner, "policies:prove", json!({ "text": NIGHT })).await;
        let told = told.fails(503, "analysis-unavailable");
        assert!(told.contains("apt-get install cvc5") && !told.contains("no-such-solver"), "{told}");
        let plan = json!({ "text": NIGHT, "prove": true });
        let plan = site.post(&site.owner, "policies:plan", plan).await.want(200);
        assert_eq!(plan["proof"]["analysis"], "unavailable");
        assert!(plan["proof"]["detail"].as_str().unwrap().contains("apt-get install cvc5"));
        assert!(plan["plan"].is_string(), "it can be published all the same");
        let plan = site.post(&site.owner, "policies:plan", json!({ "text": NIGHT })).await.want(200);
        assert!(plan["proof"].is_null(), "nobody asked for one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_plans_may_prove_and_nothing_is_written() {
    for site in both().await {
        let body = json!({ "text": NIGHT });
        site.post(&site.admin, "policies:prove", body.clone()).await.want(200);
        site.post(&site.worker, "policies:prove", body.clone()).await.fails(403, "refused");
        site.post(&site.operator, "policies:prove", body.clone()).await.fails(403, "refused");
        site.post(&site.owner, "/teams/no-such-team/policies:prove", body).await.fails(404, "not-found");
        let wrong = json!({ "text": "permit (principal, action, resource);" });
        site.post(&site.owner, "policies:prove", wrong).await.fails(422, "invalid-input");
        let plan = json!({ "text": NIGHT, "prove": true });
        let plan = site.post(&site.owner, "policies:plan", plan).await.want(200);
        assert_eq!(plan["proof"]["analysis"], "done");
        claim(&plan["proof"], "nobody_gains", "proved");
        assert_eq!(site.get(&site.owner, "policies").await.want(200)["version"], 0);
    }
}

/// As large as a text may be: many policies that speak of everything, each with as many operators as fit.
fn hostile() -> String {
    let policy = |n: usize| {
        let words: Vec<String> = (0..6)
            .map(|m| format!("principal.account like \"*{n}a*{m}*\" && context.now != {n}{m}"))
            .collect();
        let effect = if n.is_multiple_of(2) { "permit" } else { "@advice(\"x\") forbid" };
        format!("@id(\"p{n}\") {effect} (principal, action, resource) when {{ {} }};\n", words.join(" || "))
    };
    (0..130).map(policy).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_text_takes_the_time_that_there_is_and_no_more() {
    let text = hostile();
    assert!((50_000..65_536).contains(&text.len()), "{}", text.len());
    for site in set(Prove { total_seconds: 4, ..Prove::default() }).await {
        let began = Instant::now();
        let proof = prove(&site, &text).await;
        let took = began.elapsed();
        // The check of the text is not part of it.
        assert!(took.as_secs() < 30, "{took:?}");
        let gains = &proof["claims"][0];
        assert!(gains["verdict"] != "proved", "{gains:#}");
        assert!(gains["findings"].as_array().unwrap().len() <= 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proof_is_made_at_a_time_and_few_wait_for_it() {
    for site in both().await {
        put(&site, "@id(\"all\") permit (principal, action, resource) when { principal.key };").await;
        let send = || site.post(&site.owner, "policies:prove", json!({}));
        let answers = tokio::join!(send(), send(), send(), send(), send());
        let answers = [answers.0, answers.1, answers.2, answers.3, answers.4];
        let (busy, proved): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 503);
        assert_eq!((busy.len(), proved.len()), (2, 3), "{busy:#?}");
        assert!(busy.iter().all(|answer| answer.body["code"] == "prover-busy"), "{busy:#?}");
        for answer in proved {
            let proof = answer.want(200);
            let errors = claim(&proof, "never_errors", "proved");
            assert!(errors["asked"].as_u64().unwrap() > 100, "{errors:#}");
            assert!(claim(&proof, "owner_can_mend", "proved")["asked"].as_u64().unwrap() > 20);
        }
    }
}
