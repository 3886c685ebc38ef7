//! What a refusal says, and what it keeps to itself.

use std::sync::Arc;

use muster::{
    error::{Error, Kind},
    ids::{DecisionId, Id},
    model::{
        action::{Action, Verb},
        quota::{Limits, Usage},
        team::{Preset, Role},
    },
    op::Warrant,
    policy::{Facts, Launch, MemberPrincipal, Principal, Reach, Resource},
};

use crate::people::{
    POLICIES, colleague, credits, facts_for, instance_of, launch, me, member, ours, seat, theirs, user,
};

fn id() -> DecisionId {
    DecisionId::from_uuid(uuid::Uuid::from_u128(99))
}

#[test]
fn everything_that_is_missing_is_said_at_once() {
    let limits = Limits {
        regions: Some(["tw-01".to_owned()].into()),
        instances: Some(1),
        gpus: Some(3),
        gpus_per_instance: Some(1),
        ..Limits::default()
    };
    let principal =
        Principal::Member(Arc::new(MemberPrincipal { limits, ..seat(Preset::Glows, Role::Member) }));
    let facts = Facts {
        launch: Some(Launch {
            instances: 1,
            gpus: 2,
            per_hour: credits("2"),
            used: Usage { instances: 1, gpus: 2, ..Usage::default() },
            hold: credits("12"),
            funds: credits("3.5"),
            budget: None,
            ..Launch::default()
        }),
        ..Facts::default()
    };
    let decision = POLICIES.decide(&principal, Action::CreateInstance, &instance_of(me()), &facts);
    let error = Error::from(decision.permit(id()).unwrap_err());
    assert_eq!(error.kind, Kind::Refused);
    let managers = "team owner or admin";
    // What a member may ask for is asked for at once, since a member has one open request of a kind.
    let request = serde_json::json!({
        "method": "POST",
        "path": format!("/api/v1/teams/{}/requests", ours()),
        "body": {
            "kind": "quota",
            "limits": { "instances": 2, "gpus": 4, "gpus_per_instance": 2 },
            "reason": "to run gpu-2 in tw-03",
        },
    });
    let expected = serde_json::json!([
        {
            "policy": "plat/funds",
            "advice": "the launch sets 12 credits aside and 3.5 can be spent: 8.5 are missing",
            "limit": { "name": "credits", "max": "3.5", "requested": "12" },
            "lifted_by": "whoever tops up or assigns credits in the team",
        },
        {
            "policy": "plat/quota-gpus",
            "advice": "GPUs held at once: at most 3; you hold 2 and ask for 2 more",
            "limit": { "name": "gpus", "max": "3", "used": "2", "requested": "2" },
            "lifted_by": managers,
            "request": request,
        },
        {
            "policy": "plat/quota-gpus-per-instance",
            "advice": "GPUs in one instance: at most 1; you ask for 2",
            "limit": { "name": "gpus_per_instance", "max": "1", "requested": "2" },
            "lifted_by": managers,
            "request": request,
        },
        {
            "policy": "plat/quota-instances",
            "advice": "instances held at once: at most 1; you hold 1 and ask for 1 more",
            "limit": { "name": "instances", "max": "1", "used": "1", "requested": "1" },
            "lifted_by": managers,
            "request": request,
        },
        {
            "policy": "plat/visible-region",
            "advice": "your team does not show you the region tw-03",
            "lifted_by": managers,
        },
    ]);
    assert_eq!(serde_json::to_value(&error.denials).unwrap(), expected);
}

#[test]
fn a_limit_binds_only_beyond_its_number() {
    let limits =
        Limits { gpus: Some(2), instances: Some(1), gpus_per_instance: Some(2), ..Limits::default() };
    let principal =
        Principal::Member(Arc::new(MemberPrincipal { limits, ..seat(Preset::Novita, Role::Basic) }));
    let thing = instance_of(me());
    let exactly = Facts {
        launch: launch().launch.map(|launch| Launch { funds: launch.hold, ..launch }),
        ..Facts::default()
    };
    assert!(POLICIES.decide(&principal, Action::CreateInstance, &thing, &exactly).allowed());
    let over = Facts {
        launch: launch().launch.map(|l| Launch { used: Usage { gpus: 1, ..Usage::default() }, ..l }),
        ..Facts::default()
    };
    let refused = POLICIES.decide(&principal, Action::CreateInstance, &thing, &over);
    let policies: Vec<&str> = refused.denials().iter().map(|denial| denial.policy.as_str()).collect();
    assert_eq!(policies, ["plat/quota-gpus"]);
}

#[test]
fn snapshots_are_counted_for_members_and_not_for_those_who_run_the_team() {
    let limits = Limits { snapshots: Some(3), ..Limits::default() };
    let seated = |role| {
        Principal::Member(Arc::new(MemberPrincipal { limits: limits.clone(), ..seat(Preset::Glows, role) }))
    };
    let used = |used| Facts { snapshots_used: Some(used), ..Facts::default() };
    let own = Resource::own(ours(), me());
    let answer = |role, held| POLICIES.decide(&seated(role), Action::CreateSnapshot, &own, &used(held));
    assert!(answer(Role::Member, 2).allowed() && answer(Role::Admin, 9).allowed());
    let refused = answer(Role::Member, 3);
    assert_eq!(refused.denials()[0].policy, "plat/quota-snapshots");
    assert_eq!(refused.denials()[0].lifted_by, "team owner or admin");
    assert!(refused.denials()[0].advice.contains("at most 3; you hold 3"), "{:?}", refused.denials());
}

#[test]
fn money_binds_the_owner_too() {
    let facts = Facts {
        launch: launch().launch.map(|launch| Launch { funds: credits("-1"), ..launch }),
        ..Facts::default()
    };
    let owner = member(Preset::Glows, Role::Owner);
    let refused = POLICIES.decide(&owner, Action::CreateInstance, &instance_of(me()), &facts);
    assert_eq!(refused.denials().len(), 1);
    assert_eq!(refused.denials()[0].policy, "plat/funds");
}

#[test]
fn a_refusal_does_not_tell_the_balance_to_those_who_may_not_see_it() {
    let poor = launch().launch.map(|launch| Launch { funds: credits("1.25"), ..launch });
    let facts = Facts { launch: poor, ..Facts::default() };
    let developer = member(Preset::Novita, Role::Developer);
    let refused = POLICIES.decide(&developer, Action::CreateInstance, &instance_of(me()), &facts);
    assert_eq!(refused.denials()[0].policy, "plat/funds");
    assert!(!serde_json::to_string(&refused).unwrap().contains("1.25"));
}

#[test]
fn nobody_launches_or_makes_keys_as_somebody_else() {
    let owner = member(Preset::Novita, Role::Owner);
    let launched = POLICIES.decide(&owner, Action::CreateInstance, &instance_of(colleague()), &launch());
    assert_eq!(launched.denials()[0].policy, "plat/own-name");
    let theirs = Resource::own(ours(), colleague());
    assert!(!POLICIES.decide(&owner, Action::CreateApiKey, &theirs, &Facts::default()).allowed());
    assert!(POLICIES.decide(&owner, Action::RevokeApiKey, &theirs, &Facts::default()).allowed());
}

#[test]
fn a_missing_fact_is_a_no_even_for_the_owner() {
    let owner = member(Preset::Novita, Role::Owner);
    let decision = POLICIES.decide(&owner, Action::CreateInstance, &instance_of(me()), &Facts::default());
    assert!(!decision.allowed());
    assert!(decision.forced());
    assert!(!decision.errors().is_empty());
    let error = Error::from(decision.permit(id()).unwrap_err());
    assert_eq!(error.kind, Kind::Refused);
    assert_eq!(error.denials[0].policy, "plat/not-evaluated");
    assert!(!error.detail.contains("context"), "the engine's words stay inside: {}", error.detail);
    assert!(error.inside.is_some());
}

#[test]
fn another_teams_thing_is_not_found() {
    let principal = member(Preset::Grid, Role::Owner);
    let thing = Resource::own(theirs(), colleague());
    // A stranger is not even told that there is such a team.
    for (principal, noun) in [(principal, "instance"), (user(false), "team")] {
        let decision = POLICIES.decide(&principal, Action::ReleaseInstance, &thing, &Facts::default());
        assert!(decision.foreign());
        let error = Error::from(decision.permit(id()).unwrap_err());
        assert_eq!(error.kind, Kind::NotFound);
        assert!(error.denials.is_empty());
        assert_eq!(error.detail, Error::not_found(noun).detail);
    }
}

#[test]
fn whoever_is_not_signed_in_is_asked_to_sign_in() {
    let thing = Resource::team(ours());
    let decision = POLICIES.decide(&Principal::Anonymous, Action::GetTeam, &thing, &Facts::default());
    assert_eq!(Error::from(decision.permit(id()).unwrap_err()).kind, Kind::Unauthenticated);
}

#[test]
fn without_a_permit_the_refusal_names_the_roles_that_have_one() {
    let told = |preset, role, action, resource: &Resource| {
        let facts = facts_for(action);
        let decision = POLICIES.decide(&member(preset, role), action, resource, &facts);
        let denial = decision.denials()[0].clone();
        assert_eq!(denial.policy, "no-permit");
        format!("{}; {}", denial.advice, denial.lifted_by)
    };
    let team = Resource::team(ours());
    assert_eq!(
        told(Preset::Glows, Role::Member, Action::CreateTopUp, &team),
        "your role member may not do createTopUp; team owner"
    );
    assert_eq!(
        told(Preset::Novita, Role::Basic, Action::ReleaseInstance, &instance_of(colleague())),
        "your role basic may do releaseInstance only with what is your own; team owner, admin or developer"
    );
    assert_eq!(
        told(Preset::Novita, Role::Billing, Action::CreateInstance, &instance_of(me())),
        "your role billing may not do createInstance; team owner, admin, developer or basic"
    );
}

#[test]
fn a_yes_becomes_a_permit_that_carries_its_decision() {
    let decision = POLICIES.decide(
        &member(Preset::Glows, Role::Member),
        Action::CreateInstance,
        &instance_of(me()),
        &launch(),
    );
    let recorded = serde_json::to_value(&decision).unwrap();
    assert_eq!(recorded["allowed"], true);
    assert_eq!(recorded["determining"][0]["id"], "preset/glows/member/own");
    assert_eq!(recorded["determining"][0]["effect"], "permit");
    assert_eq!(recorded["versions"]["policies"], POLICIES.digest());
    let permit = decision.permit(id()).unwrap();
    assert_eq!(permit.decision(), Some(id().to_string()));
    assert_eq!(permit.action(), "CreateInstance");
}

#[test]
fn the_matrix_is_what_the_engine_answers() {
    let basic = member(Preset::Novita, Role::Basic);
    let rows = POLICIES.matrix(&basic);
    assert!(rows.iter().all(|row| row.kind != "host"), "the site's nouns are not a member's");
    let of = |kind: &str| rows.iter().find(|row| row.kind == kind).unwrap();
    assert_eq!((of("instance").view, of("instance").write), (Reach::Own, Reach::Own));
    assert_eq!((of("image").view, of("image").write), (Reach::All, Reach::None));
    assert_eq!(of("balance").view, Reach::None);
    for row in &rows {
        let whole = Resource::team(ours());
        let all = POLICIES.decide_group(&basic, &row.kind, Verb::View, &whole, &Facts::default()).allowed();
        assert_eq!(row.view == Reach::All, all, "{}", row.kind);
    }
    let operator = POLICIES.matrix(&user(true));
    assert_eq!(operator.iter().find(|row| row.kind == "host").unwrap().write, Reach::All);
    assert_eq!(operator.iter().find(|row| row.kind == "balance").unwrap().write, Reach::None);
}

#[test]
fn a_question_about_the_wrong_sort_of_thing_is_a_no() {
    let admin = member(Preset::Glows, Role::Admin);
    let boss = Resource::own(ours(), colleague());
    let decision = POLICIES.decide(&admin, Action::RemoveMember, &boss, &Facts::default());
    assert!(decision.forced(), "a record in place of the account would pass by the owner's shield");
    assert!(decision.errors()[0].contains("RemoveMember is never about"), "{:?}", decision.errors());
}
