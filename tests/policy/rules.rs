//! What the guides of the presets say in sentences, and what the platform adds to all of them.

use std::sync::Arc;

use muster::{
    model::{
        action::Action,
        quota::Limits,
        team::{Preset, Role},
    },
    money::Credits,
    policy::{Confirmation, Decision, Facts, MemberPrincipal, Principal, Resource},
};

use crate::people::{
    POLICIES, account, colleague, facts_for, instance_of, machine_without_gpu, me, member, ours, seat, user,
};

fn ask(principal: &Principal, action: Action, resource: &Resource) -> Decision {
    let facts = facts_for(action);
    POLICIES.decide(principal, action, resource, &facts)
}

fn may(principal: &Principal, action: Action, resource: &Resource) -> bool {
    ask(principal, action, resource).allowed()
}

fn to_role(principal: &Principal, action: Action, resource: &Resource, role: Role) -> bool {
    let facts = Facts { target_role: Some(role), ..Facts::default() };
    POLICIES.decide(principal, action, resource, &facts).allowed()
}

#[test]
fn glows_members_work_with_what_is_their_own() {
    let principal = member(Preset::Glows, Role::Member);
    let (mine, other) = (instance_of(me()), instance_of(colleague()));
    let on_instances = [
        Action::GetInstance,
        Action::GetInstanceAccess,
        Action::GetInstanceMetrics,
        Action::GetInstanceBilling,
        Action::GetInstanceConfig,
        Action::GetInstanceHardware,
        Action::StopInstance,
        Action::ReleaseInstance,
    ];
    for action in on_instances {
        assert!(may(&principal, action, &mine), "{action:?}");
        assert!(!may(&principal, action, &other), "{action:?}");
    }
    assert!(may(&principal, Action::CreateInstance, &mine));
    assert!(may(&principal, Action::StartInstance, &mine) && !may(&principal, Action::StartInstance, &other));
    let lists = [
        Action::ListInstances,
        Action::ListBills,
        Action::ListTransactions,
        Action::GetBalance,
        Action::ListDrives,
        Action::ListApiKeys,
        Action::GetMemberPermissions,
    ];
    for action in lists {
        assert!(may(&principal, action, &Resource::own(ours(), me())), "{action:?}, own");
        assert!(!may(&principal, action, &Resource::team(ours())), "{action:?}, the team's");
    }
    assert!(!may(&principal, Action::ListMembers, &Resource::team(ours())));
    assert!(may(&principal, Action::GetMember, &account(me(), Role::Member)));
    assert!(!may(&principal, Action::GetMember, &account(colleague(), Role::Member)));
    assert!(!may(&principal, Action::CreateTopUp, &Resource::team(ours())));
    assert!(!may(&principal, Action::AssignCredits, &Resource::own(ours(), me())));
    assert!(!may(&principal, Action::PutMemberQuota, &account(me(), Role::Member)));
}

#[test]
fn a_glows_admin_stands_in_for_the_owner_but_brings_no_money_in() {
    let (owner, admin) = (member(Preset::Glows, Role::Owner), member(Preset::Glows, Role::Admin));
    let team = Resource::team(ours());
    assert!(may(&owner, Action::CreateTopUp, &team));
    let refused = ask(&admin, Action::CreateTopUp, &team);
    assert_eq!(refused.denials()[0].policy, "preset/glows/owner-recharges");
    assert_eq!(refused.denials()[0].lifted_by, "team owner");
    for principal in [&owner, &admin] {
        assert!(may(principal, Action::ReleaseInstance, &instance_of(colleague())));
        assert!(may(principal, Action::AssignCredits, &Resource::own(ours(), colleague())));
        assert!(may(principal, Action::PutTeamQuota, &team));
        assert!(may(principal, Action::UpdateTeam, &team));
        assert!(may(principal, Action::ListBills, &team));
        assert!(may(principal, Action::ListTopUps, &team));
        assert!(to_role(principal, Action::CreateMember, &account(colleague(), Role::Admin), Role::Admin));
    }
}

#[test]
fn grid_collaborators_see_and_use_everything_and_change_their_own() {
    let principal = member(Preset::Grid, Role::Collaborator);
    let other = instance_of(colleague());
    for action in [Action::GetInstance, Action::GetInstanceLogs, Action::GetInstanceAccess] {
        assert!(may(&principal, action, &other), "{action:?}");
    }
    assert!(may(&principal, Action::ListInstances, &Resource::team(ours())));
    assert!(may(&principal, Action::ListMembers, &Resource::team(ours())));
    assert!(may(&principal, Action::GetBalance, &Resource::team(ours())));
    assert!(may(&principal, Action::CreateInstance, &instance_of(me())));
    assert!(may(&principal, Action::ReleaseInstance, &instance_of(me())));
    let facts = Facts { owner_name: Some("ada".to_owned()), ..Facts::default() };
    let refused = POLICIES.decide(&principal, Action::ReleaseInstance, &other, &facts);
    assert_eq!(refused.denials()[0].policy, "preset/grid/no-touching-others");
    assert_eq!(refused.denials()[0].advice, "only its creator may do this; it belongs to ada");
    assert!(may(&member(Preset::Grid, Role::Admin), Action::ReleaseInstance, &other));
}

#[test]
fn the_owner_is_shielded_and_nobody_is_made_one() {
    let (boss, other_admin) = (account(colleague(), Role::Owner), account(colleague(), Role::Admin));
    for preset in Preset::ALL {
        let admin = member(*preset, Role::Admin);
        assert!(!to_role(&admin, Action::UpdateMember, &boss, Role::Admin), "{preset}");
        for action in [Action::RemoveMember, Action::ResetMemberPassword, Action::PutMemberQuota] {
            let refused = ask(&admin, action, &boss);
            assert!(refused.denials().iter().any(|d| d.policy == "plat/owner-shield"), "{preset} {action:?}");
        }
        assert!(may(&admin, Action::RemoveMember, &other_admin), "{preset}: admins may remove each other");
        let lowest = *preset.roles().last().unwrap();
        assert!(to_role(&admin, Action::UpdateMember, &other_admin, lowest), "{preset}");
        let owner = member(*preset, Role::Owner);
        let myself = account(me(), Role::Owner);
        for principal in [&admin, &owner] {
            assert!(!to_role(principal, Action::UpdateMember, &other_admin, Role::Owner), "{preset}");
            let another_owner = account(colleague(), Role::Owner);
            assert!(!to_role(principal, Action::CreateMember, &another_owner, Role::Owner), "{preset}");
        }
        assert!(may(&owner, Action::UpdateMember, &myself), "{preset}: a new alias");
        assert!(to_role(&owner, Action::UpdateMember, &myself, Role::Owner), "{preset}: no change of role");
        assert!(!to_role(&owner, Action::UpdateMember, &myself, Role::Admin), "{preset}: no stepping down");
        assert!(!may(&owner, Action::RemoveMember, &myself), "{preset}: no leaving");
    }
}

#[test]
fn a_session_that_must_reset_does_nothing_else() {
    let seats = Preset::ALL.iter().flat_map(|p| p.roles().iter().map(|r| (*p, *r)));
    let members = seats.map(|(preset, role)| {
        Principal::Member(Arc::new(MemberPrincipal { reset_only: true, ..seat(preset, role) }))
    });
    let Principal::User { id, .. } = user(true) else { panic!("a user") };
    let users = [true, false].map(|operator| Principal::User { id, operator, reset_only: true });
    for principal in members.chain(users) {
        for action in Action::ALL {
            let allowed = [Resource::Site, Resource::own(ours(), me()), instance_of(me())]
                .iter()
                .any(|resource| may(&principal, *action, resource));
            let leads_out = matches!(action.kind(), "password" | "door");
            assert_eq!(allowed, leads_out, "{action:?} {principal:?}");
        }
    }
}

#[test]
fn a_change_of_the_member_counts_from_the_next_question_on() {
    let thing = instance_of(colleague());
    let as_role = |role| member(Preset::Novita, role);
    for role in [Role::Developer, Role::Basic, Role::Developer, Role::Billing] {
        let allowed = may(&as_role(role), Action::ReleaseInstance, &thing);
        assert_eq!(allowed, role == Role::Developer, "{role}");
    }
}

#[test]
fn a_suspended_member_may_nothing() {
    let suspended = MemberPrincipal { active: false, ..seat(Preset::Glows, Role::Owner) };
    let principal = Principal::Member(Arc::new(suspended));
    for action in Action::ALL {
        for resource in [Resource::Site, Resource::own(ours(), me()), instance_of(me())] {
            assert!(!may(&principal, *action, &resource), "{action:?}");
        }
    }
}

#[test]
fn a_member_cannot_act_on_the_site_and_nobody_signed_in_can_do_more_than_sign_in() {
    for action in Action::ALL {
        let at_the_door = action.kind() == "door";
        let anonymous = may(&Principal::Anonymous, *action, &Resource::Site);
        assert_eq!(anonymous, at_the_door, "{action:?}");
        let own = matches!(action.kind(), "door" | "profile" | "password");
        for preset in Preset::ALL {
            let owner = member(*preset, Role::Owner);
            assert_eq!(may(&owner, *action, &Resource::Site), own, "{preset} {action:?}");
        }
    }
}

#[test]
fn the_operator_runs_the_site_and_only_looks_at_teams() {
    let (operator, plain) = (user(true), user(false));
    let team = Resource::team(ours());
    for action in Action::ALL {
        // A confirmation is not decided without its amount.
        let facts = if *action == Action::ConfirmTopUp { confirmation(1, false) } else { Facts::default() };
        let on_site = POLICIES.may(&operator, *action, &Resource::Site, &facts);
        let sites = !matches!(action.kind(), "price" | "plugin");
        let entity_is_site = matches!(
            action.kind(),
            "door"
                | "profile"
                | "password"
                | "own_team"
                | "user"
                | "site"
                | "host"
                | "product"
                | "site_image"
                | "site_credit"
                | "price"
                | "plugin"
        );
        assert_eq!(on_site, entity_is_site, "{action:?}");
        assert!(!may(&plain, *action, &team), "{action:?}");
        if sites && may(&operator, *action, &team) {
            assert_eq!(action.verb(), muster::model::action::Verb::View, "{action:?}");
        }
    }
    assert!(may(&operator, Action::GetTeam, &team) && may(&operator, Action::GetBalance, &team));
    assert!(!may(&operator, Action::GetInstanceLogs, &instance_of(me())));
    assert!(ask(&plain, Action::GetTeam, &team).foreign());
    assert!(!may(&plain, Action::CreateHost, &Resource::Site));
    assert!(may(&plain, Action::CreateTeam, &Resource::Site));
}

/// The confirmation of a top-up where more than 10 micro-credits need two operators.
fn confirmation(amount: i64, again: bool) -> Facts {
    let credits = Credits::from_micros;
    let confirmation = Confirmation { amount: credits(amount), alone_up_to: Some(credits(10)), again };
    Facts { confirmation: Some(confirmation), ..Facts::default() }
}

#[test]
fn nobody_is_both_of_the_two_persons_that_a_large_top_up_needs() {
    for (amount, again, allowed) in
        [(10, false, true), (10, true, true), (11, false, true), (11, true, false)]
    {
        let facts = confirmation(amount, again);
        let decision = POLICIES.decide(&user(true), Action::ConfirmTopUp, &Resource::Site, &facts);
        assert_eq!(decision.allowed(), allowed, "{amount} {again}");
        let denials = decision.denials().iter().map(|denial| denial.policy.as_str());
        assert_eq!(denials.collect::<Vec<_>>(), if allowed { vec![] } else { vec!["plat/two-persons"] });
    }
    let unknown = POLICIES.decide(&user(true), Action::ConfirmTopUp, &Resource::Site, &Facts::default());
    assert!(!unknown.allowed() && !unknown.errors().is_empty());
}

#[test]
fn a_key_does_what_its_scopes_name_and_no_more() {
    let with = |scopes: &[&str]| {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Principal::Member(Arc::new(MemberPrincipal {
            key_scopes: Some(scopes),
            ..seat(Preset::Glows, Role::Owner)
        }))
    };
    let (thing, team) = (instance_of(me()), Resource::team(ours()));
    assert!(may(&with(&[]), Action::ReleaseInstance, &thing), "no scopes: all that the member may do");
    assert!(may(&with(&["instance:view"]), Action::GetInstance, &thing));
    assert!(!may(&with(&["instance:view"]), Action::ReleaseInstance, &thing));
    assert!(may(&with(&["view"]), Action::GetBalance, &team));
    assert!(may(&with(&["releaseInstance"]), Action::ReleaseInstance, &thing));
    let refused = ask(&with(&["view"]), Action::CreateTopUp, &team);
    assert_eq!(refused.denials()[0].advice, "the scopes of this API key leave out createTopUp");
    assert!(!may(&with(&[]), Action::CreateApiKey, &Resource::own(ours(), me())));
    assert!(!may(&with(&[]), Action::ChangePassword, &Resource::Site));
    assert!(may(&with(&["instance:view"]), Action::GetMe, &Resource::Site), "a key may ask who it is");
    for word in ["view", "instance:write", "createInstance"] {
        assert!(POLICIES.is_scope(word), "{word}");
    }
    for word in ["", "fly", "instance:fly", "operate", "createHost", "host:view", "CreateInstance"] {
        assert!(!POLICIES.is_scope(word), "{word}");
    }
}

#[test]
fn what_a_team_hides_is_neither_listed_nor_launched_except_for_owner_and_admin() {
    let only = |name: &str| Some([name.to_owned()].into());
    let limits = Limits {
        regions: only("tw-03"),
        accelerators: only("rtx-4090"),
        images: Some(Default::default()),
        ..Limits::default()
    };
    let of = |role| {
        Principal::Member(Arc::new(MemberPrincipal { limits: limits.clone(), ..seat(Preset::Glows, role) }))
    };
    let image = Resource::Image { name: "cuda-12.8".to_owned() };
    for action in [Action::ListCatalog, Action::CreateEstimate, Action::CreateInstance, Action::StartInstance]
    {
        let hidden = if action == Action::ListCatalog { image.clone() } else { instance_of(me()) };
        let refused = ask(&of(Role::Member), action, &hidden);
        let policies: Vec<&str> = refused.denials().iter().map(|d| d.policy.as_str()).collect();
        assert_eq!(policies, ["plat/visible-image"], "{action:?}");
        assert_eq!(refused.denials()[0].advice, "your team does not show you the image cuda-12.8");
        assert!(may(&of(Role::Admin), action, &hidden), "{action:?}");
    }
    assert!(!may(&of(Role::Member), Action::ListCatalog, &machine_without_gpu()));
    assert!(may(&of(Role::Member), Action::GetInstance, &instance_of(me())), "what runs stays in sight");
}

#[test]
fn a_list_is_what_each_row_is() {
    let limits = Limits { regions: Some(["tw-03".to_owned()].into()), ..Limits::default() };
    let principal =
        Principal::Member(Arc::new(MemberPrincipal { limits, ..seat(Preset::Glows, Role::Member) }));
    let offers: Vec<Resource> = (0..40_usize)
        .map(|number| Resource::Offer {
            region: format!("tw-0{}", number % 5),
            instance_type: "cpu-8".to_owned(),
            accelerator: "none".to_owned(),
            product_labels: (number % 2 == 0).then(|| "spot".to_owned()).into_iter().collect(),
        })
        .collect();
    let listed = POLICIES.may_each(&principal, Action::ListCatalog, &offers);
    let one_by_one: Vec<bool> = offers
        .iter()
        .map(|offer| POLICIES.may(&principal, Action::ListCatalog, offer, &Facts::default()))
        .collect();
    assert_eq!(listed, one_by_one);
    assert_eq!(listed.iter().filter(|shown| **shown).count(), 8);
}
