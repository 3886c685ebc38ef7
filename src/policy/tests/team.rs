//! A team's own policies with the engine at hand: that a layer beside the shipped one answers as one set would, that
//! what passes the check never fails, and that hostile texts are told where they are wrong.

use std::sync::LazyLock;

use super::*;
use crate::{
    money::Credits,
    policy::cases::{Thing, Who, Whose},
};

/// The shipped policies, read once.
static SHIPPED: LazyLock<Policies> = LazyLock::new(|| Policies::shipped().unwrap());

/// The same asker under these policies.
pub(super) fn with(principal: &Principal, rules: &Arc<Rules>) -> Principal {
    match principal {
        Principal::Member(member) => {
            let mut member = MemberPrincipal::clone(member);
            member.rules = Some(Arc::clone(rules));
            Principal::Member(Arc::new(member))
        }
        other => other.clone(),
    }
}

/// Conditions that fit every question.
const ANYWHERE: [&str; 8] = [
    "",
    "when { context.hour >= 12 }",
    "when { context.weekday == 4 && context.minute < 30 }",
    "when { context.now > 1000 }",
    "when { principal.labels.contains(\"intern\") }",
    "unless { principal.account == \"ada\" }",
    "when { principal.key }",
    "when { resource has owner && resource.owner == principal }",
];

/// Conditions about an instance, and those about a launch.
const INSTANCE: [&str; 3] = [
    "when { resource.gpus > 1 }",
    "when { resource.accelerator == \"none\" || resource.product like \"sm*\" }",
    "when { resource.region == \"tw-01\" } unless { principal.labels.containsAny([\"intern\", \"x\"]) }",
];
const LAUNCH: [&str; 2] = [
    "when { context.hold > context.funds || context.want.gpus > context.left.gpus }",
    "when { context.price_per_hour > 5 } unless { context.runway_minutes < 60 }",
];

/// Policies that are all valid: scopes, each with conditions that fit it.
fn policies() -> impl Strategy<Value = String> {
    let anywhere = || ANYWHERE.iter();
    let scopes: Vec<(&str, &str, Vec<&str>)> = vec![
        ("action", "resource", anywhere().copied().collect()),
        ("action", "resource is Record", anywhere().copied().collect()),
        ("action in [Action::\"write\"]", "resource", anywhere().copied().collect()),
        ("action in [Action::\"view\", Action::\"use\"]", "resource", anywhere().copied().collect()),
        (
            "action in [Action::\"policy:write\", Action::\"ListBills\"]",
            "resource",
            anywhere().copied().collect(),
        ),
        (
            "action == Action::\"UpdateMember\"",
            "resource",
            anywhere()
                .copied()
                .chain(["when { context has target_role && context.target_role == \"admin\" }"])
                .collect(),
        ),
        (
            "action in [Action::\"instance:write\", Action::\"instance:view\"]",
            "resource is Instance",
            anywhere().chain(&INSTANCE).copied().collect(),
        ),
        (
            "action == Action::\"CreateInstance\"",
            "resource",
            anywhere().chain(&INSTANCE).chain(&LAUNCH).copied().collect(),
        ),
    ];
    let who = prop::sample::select(vec![
        "principal",
        "principal",
        "principal in Role::\"owner\"",
        "principal in Role::\"admin\"",
        "principal is Member",
        "principal == Member::\"mem_00000000000000000000000000000001\"",
    ]);
    let scope = prop::sample::select(scopes).prop_flat_map(|(action, thing, conditions)| {
        prop::sample::select(conditions).prop_map(move |condition| (action, thing, condition))
    });
    (prop::bool::ANY, who, scope).prop_map(|(permits, who, (action, thing, condition))| {
        let effect = if permits { "permit" } else { "@advice(\"not now\") forbid" };
        format!("{effect} ({who}, {action}, {thing}) {condition};")
    })
}

#[test]
fn a_team_layer_changes_no_answer_and_never_fails() {
    let shipped = &*SHIPPED;
    let schema = schema();
    let actions = schema.action_entities().unwrap();
    let names: Vec<String> = schema
        .actions()
        .map(|uid| uid.id().unescaped().to_owned())
        .filter(|name| name.contains(':') || name.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let asked = prop::sample::select(vec![
        "CreateInstance",
        "UpdateMember",
        "ListBills",
        "GetInstance",
        "PlanPolicies",
    ]);
    let name = prop_oneof![asked.prop_map(str::to_owned), prop::sample::select(names)];
    let things = prop::collection::vec(resources(), 12);
    let question = (principals(), name, things, facts());
    let worlds = (prop::collection::vec(policies(), 1..8), prop::collection::vec(question, 60));
    let (spoken, bound) = (std::cell::Cell::new(0_u32), std::cell::Cell::new(0_u32));
    runner
        .run(&worlds, |(texts, questions)| {
            let named = texts.iter().enumerate().map(|(number, text)| format!("@id(\"p{number}\") {text}\n"));
            let draft = shipped.draft(Preset::Glows, &named.collect::<String>());
            let text = draft.map_err(|faults| TestCaseError::fail(format!("{texts:#?} {faults:?}")))?.text;
            let rules = shipped.rules(3, &text);
            let own = text::team(&text).unwrap();
            for (principal, name, things, facts) in questions {
                let principal = with(&principal, &rules);
                let leaf = Action::ALL.iter().find(|action| action.name() == name);
                let operation = leaf.map_or(name.as_str(), |action| action.operation());
                let kind = leaf.map_or_else(|| name.split(':').next().unwrap(), |action| action.kind());
                let Principal::Member(member) = &principal else { continue };
                let Some(entry) = shipped.index(&principal).and_then(|index| index.get(&name)) else {
                    continue;
                };
                let fits = |thing: &&Resource| {
                    entry.resources.contains(shipped.types.resource(thing).unwrap().uid.type_name())
                };
                let Some(resource) = things.iter().find(fits) else { continue };
                let question =
                    Question { principal: &principal, name: &name, kind, operation, resource, facts: &facts };
                let (decision, what) = (shipped.answer(&question), shipped.types.resource(resource).unwrap());
                // The whole set with its scopes, as one who knows nothing of layers would ask it.
                let mut whole = composed(Some(member.preset));
                let teams =
                    entry.groups.iter().any(|group| matches!(group.as_str(), "view" | "use" | "write"));
                let spared =
                    member.role == Role::Owner && member.key_scopes.is_none() && floor::is_floor(kind);
                if teams && !spared {
                    whole.extend(own.clone());
                    bound.set(bound.get() + 1);
                }
                let set = PolicySet::from_policies(whole).unwrap();
                let who = shipped.types.principal(&principal).unwrap();
                let context = entities::context(&principal, in_scope(&question, entry), &facts).unwrap();
                let request = Request::new(who.uid, action_uid(&name), what.uid, context, None).unwrap();
                let entities = actions.clone().add_entities([who.entity, what.entity], None).unwrap();
                let response = Authorizer::new().is_authorized(&request, &set, &entities);
                let ids: BTreeSet<String> =
                    response.diagnostics().reason().map(ToString::to_string).collect();
                let errors = response.diagnostics().errors().count();
                let allowed = response.decision() == cedar_policy::Decision::Allow && errors == 0;
                prop_assert_eq!(
                    decision.allowed(),
                    allowed,
                    "{}\n{:?} {} {:?}",
                    text,
                    principal,
                    name,
                    resource
                );
                let determining: BTreeSet<String> =
                    decision.determining().iter().map(|policy| policy.id.clone()).collect();
                spoken.set(spoken.get() + u32::from(determining.iter().any(|id| id.starts_with("team/"))));
                prop_assert_eq!(determining, ids);
                prop_assert_eq!(decision.versions().team, Some(3));
                prop_assert_eq!(shipped.allows(&question), decision.allowed());
                // Facts that the server would have handed in are missing in some of the questions; those fail in the
                // shipped policies as well. No team's policy fails by itself.
                let complete =
                    facts.launch.is_some() || !matches!(name.as_str(), "CreateInstance" | "StartInstance");
                let by_team = decision.errors().iter().filter(|error| error.contains("team/")).count();
                prop_assert!(!complete || by_team == 0, "{}\n{:?}", text, decision.errors());
            }
            Ok(())
        })
        .unwrap();
    assert!(spoken.get() > 100 && bound.get() > 300, "{} of {} spoke", spoken.get(), bound.get());
}

#[test]
fn the_schema_of_members_has_all_nouns_of_teams_and_nothing_else() {
    let (schema, warnings) = Schema::from_cedarschema_str(&lint::members_text()).unwrap();
    assert_eq!(warnings.count(), 0);
    let whole = super::schema();
    let actions = whole.action_entities().unwrap();
    let is_teams = |action: &&EntityUid| {
        let mut above = actions.ancestors(action).into_iter().flatten();
        above.any(|group| matches!(group.id().unescaped(), "view" | "use" | "write"))
    };
    let wanted: BTreeSet<String> = whole.actions().filter(is_teams).map(ToString::to_string).collect();
    let members = |action: &&EntityUid| {
        let mut asks = schema.principals_for_action(action).into_iter().flatten().map(ToString::to_string);
        asks.next().is_some_and(|first| first == "Member") && asks.next().is_none()
    };
    let found: BTreeSet<String> = schema.actions().filter(members).map(ToString::to_string).collect();
    // Bare metal is written by nobody, so these are under none of the three.
    let lone = |name: &&String| !name.contains("metal_instance:") && !name.contains("metal_storage:");
    assert_eq!(found.iter().filter(lone).collect::<Vec<_>>(), wanted.iter().filter(lone).collect::<Vec<_>>());
    let asked: Vec<_> =
        schema.actions().filter(|action| schema.principals_for_action(action).is_some()).collect();
    assert!(
        asked
            .iter()
            .filter(|action| !members(action))
            .all(|action| { schema.principals_for_action(action).into_iter().flatten().next().is_none() })
    );
}

#[test]
fn the_layout_of_a_text_is_its_own_layout() {
    let shipped = &*SHIPPED;
    let text = "// Nobody at night.\n@id(\"night\")@advice(\"sleep\")forbid(principal,action,resource)\
                when{context.hour>22};";
    let draft = shipped.draft(Preset::Grid, text).unwrap();
    assert!(
        draft.text.starts_with("// Nobody at night.\n@id(\"night\")\n@advice(\"sleep\")\nforbid ("),
        "{}",
        draft.text
    );
    assert_eq!(shipped.draft(Preset::Grid, &draft.text).unwrap().text, draft.text);
    assert_eq!(draft.ids, ["team/night"]);
    assert_eq!(shipped.draft(Preset::Grid, " \n").unwrap().text, "");
    assert!(shipped.draft(Preset::Grid, "// only a word").is_ok());
}

fn fault(text: &str) -> Fault {
    let shipped = &*SHIPPED;
    shipped.draft(Preset::Glows, text).unwrap_err().remove(0)
}

#[test]
fn each_fault_is_told_with_its_place() {
    let mut wrong = Vec::new();
    let forbid = |id: &str, rest: &str| {
        format!("@id(\"{id}\")\n@advice(\"no\")\nforbid (principal, action, resource) {rest};")
    };
    for (text, place, told) in [
        ("permit (principal, action, resource)".to_owned(), (1, 37), "unexpected end"),
        ("permit (principal, action, resource);".to_owned(), (1, 1), "give it an @id"),
        ("\n\n  @id(\"a\") forbid (principal, action, resource);".to_owned(), (3, 3), "@advice"),
        (forbid("plat/funds", ""), (1, 1), "ids that begin with plat/"),
        (forbid("team/x", ""), (1, 1), "ids that begin with team/"),
        (forbid("Night", ""), (1, 1), "1 to 64 of a-z"),
        (forbid("a", "") + &forbid("a", ""), (3, 39), "another policy has the @id"),
        (format!("@code(\"x\") {}", forbid("a", "")), (1, 1), "@code means nothing here"),
        (forbid("a", "when { resource.colour == \"red\" }"), (3, 45), "colour"),
        (forbid("a", "when { principal.quota.gpus + 1 > 3 }"), (1, 1), "`+` calculates"),
        (forbid("a", "when { -principal.quota.gpus > 3 }"), (1, 1), "`neg` calculates"),
        (forbid("a", "when { principal in Role::\"intern\" }"), (1, 1), "use labels"),
        (forbid("a", "when { action == Action::\"view\" }"), (1, 1), "in the scope"),
        (forbid("a", "when { context.hour > 25 && context.hour < 3 && \"x\" }"), (3, 86), "expected"),
        (forbid("a", "when { resource has owner && resource.owner.active }"), (3, 67), "level"),
        (
            "@id(\"a\") permit (principal == ?principal, action, resource);".to_owned(),
            (1, 31),
            "templates cannot be used",
        ),
        (
            "@id(\"a\") permit (principal is User, action == Action::\"GetTeam\", resource);".to_owned(),
            (1, 1),
            "about its members",
        ),
        (
            "@id(\"a\") permit (principal, action == Action::\"ChangePassword\", resource);".to_owned(),
            (1, 1),
            "not about a team's nouns",
        ),
        (
            "@id(\"a\") permit (principal, action == Action::\"instance:view\", resource);".to_owned(),
            (1, 1),
            "say `action in [Action::\"instance:view\"]`",
        ),
        (
            "@id(\"a\") permit (principal, action == Action::\"LaunchRocket\", resource);".to_owned(),
            (1, 1),
            "there is no action \"LaunchRocket\"",
        ),
    ] {
        let fault = fault(&text);
        if !fault.detail.contains(told) || (fault.line, fault.column) != place {
            wrong.push(format!("{place:?} {told}: {text}\n{fault}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(
        Policies::shipped()
            .unwrap()
            .draft(Preset::Glows, &forbid("a", "when { principal.quota.gpus > -1 }"))
            .is_ok()
    );
}

#[test]
fn a_huge_text_is_refused_before_it_is_read_and_the_largest_one_is_not() {
    let shipped = &*SHIPPED;
    let policy = |n: usize| {
        format!(
            "@id(\"p{n}\") permit (principal, action == Action::\"GetTeam\", resource) when {{ context.hour == \
             {n} }};\n"
        )
    };
    let most: String = (0..MOST_POLICIES).map(policy).collect();
    let draft = shipped.draft(Preset::Glows, &most).unwrap();
    assert_eq!(draft.ids.len(), MOST_POLICIES);
    let more = format!("{most}{}", policy(MOST_POLICIES));
    assert!(fault(&more).detail.contains("a team may have 200"));
    assert_eq!(fault(&more).line, 201);
    assert!(fault(&"x".repeat(MOST_BYTES + 1)).detail.contains("65537 bytes"));
    for deep in ["(", "!", "[", "{", "-", "if true then ", "a.", "a && ", "a || ", "\"", "1 + "] {
        let text = format!(
            "@id(\"a\") permit (principal, action, resource) when {{ {} }};",
            deep.repeat(15_000 / deep.len())
        );
        assert!(shipped.draft(Preset::Glows, &text).is_err(), "{deep}");
    }
    // As long and as deep as it may be, on the small stack of a thread that serves requests.
    let largest = [
        format!("{}true", "principal.active && ".repeat(50)),
        format!("{}true", "if principal.active then true else ".repeat(50)),
        format!("{}principal.active{}", "(".repeat(18), ")".repeat(18)),
        format!("{}principal.active{}", "(true && (if true then (".repeat(6), ") else false))".repeat(6)),
    ];
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let asked = small.spawn(move || {
        let shipped = &*SHIPPED;
        let who = Who { role: Role::Member, labels: BTreeSet::new(), account: String::new(), key: false };
        let thing = Thing::default().resource("Record", Preset::Glows);
        for condition in largest {
            let scope = "principal, action == Action::\"GetTeam\", resource";
            let draft =
                shipped.draft(Preset::Glows, &format!("@id(\"a\") permit ({scope}) when {{ {condition} }};"));
            let rules = draft.unwrap_or_else(|faults| panic!("{condition}: {faults:?}")).rules;
            let principal = Principal::Member(Arc::new(who.seat(Preset::Glows, Some(&rules))));
            let decision = shipped.decide(&principal, Action::GetTeam, &thing, &Facts::default());
            assert_eq!(decision.errors(), Vec::<String>::new());
            assert!(decision.determining().iter().any(|policy| policy.id == "team/a"), "{condition}");
        }
    });
    asked.unwrap().join().unwrap();
}

#[test]
fn what_a_team_says_steers_nothing_and_cannot_lock_the_owner_out() {
    let shipped = &*SHIPPED;
    let text = "@id(\"all\") @advice(\"foreign\") forbid (principal, action, resource);";
    let draft = shipped.draft(Preset::Glows, text).unwrap();
    let seat = |role, key| {
        let who = Who { role, labels: BTreeSet::new(), account: String::new(), key };
        Principal::Member(Arc::new(who.seat(Preset::Glows, Some(&draft.rules))))
    };
    let thing = Thing { owner: Whose::Team, ..Thing::default() }.resource("Record", Preset::Glows);
    let ask = |role, key, action| shipped.decide(&seat(role, key), action, &thing, &Facts::default());
    for action in [
        Action::PublishPolicies,
        Action::GetPolicies,
        Action::UpdateTeam,
        Action::ListMembers,
        Action::GetBalance,
    ] {
        assert!(ask(Role::Owner, false, action).allowed(), "{action:?}");
        assert!(!ask(Role::Admin, false, action).allowed(), "{action:?}");
        assert!(!ask(Role::Owner, true, action).allowed(), "{action:?}: a key of the owner is no owner");
    }
    let refused = ask(Role::Owner, false, Action::ListDrives);
    assert_eq!(
        (refused.denials()[0].policy.as_str(), refused.denials()[0].advice.as_str()),
        ("team/all", "foreign")
    );
    assert!(!refused.foreign());
    // A permit for everything opens no other team's door and lifts no guardrail.
    let open = shipped.draft(Preset::Glows, "@id(\"open\") permit (principal, action, resource);").unwrap();
    let who = Who { role: Role::Member, labels: BTreeSet::new(), account: String::new(), key: false };
    let open = Principal::Member(Arc::new(who.seat(Preset::Glows, Some(&open.rules))));
    let theirs = Resource::team(team(77));
    assert!(shipped.decide(&open, Action::ListMembers, &theirs, &Facts::default()).foreign());
    assert!(shipped.decide(&open, Action::ListDrives, &thing, &Facts::default()).allowed());
}

#[test]
fn a_version_that_cannot_be_read_refuses_everybody_but_lets_the_owner_mend_it() {
    let shipped = &*SHIPPED;
    let rules = shipped.rules(4, "this is no Cedar");
    let who = |role| Who { role, labels: BTreeSet::new(), account: String::new(), key: false };
    let thing = Thing { owner: Whose::Team, ..Thing::default() }.resource("Record", Preset::Glows);
    let ask = |role, action| {
        let seat = Principal::Member(Arc::new(who(role).seat(Preset::Glows, Some(&rules))));
        shipped.decide(&seat, action, &thing, &Facts::default())
    };
    assert!(!ask(Role::Admin, Action::GetTeam).allowed() && ask(Role::Admin, Action::GetTeam).forced());
    assert!(ask(Role::Owner, Action::PublishPolicies).allowed());
    assert!(!ask(Role::Owner, Action::ListDrives).allowed());
}

#[test]
fn cases_and_effects_tell_what_a_change_does() {
    let shipped = &*SHIPPED;
    let text = "@id(\"night-spot\")\n@advice(\"no spot GPUs for interns after 18:00\")\nforbid (principal, action == \
                Action::\"CreateInstance\", resource is Instance)\nwhen { principal.labels.contains(\"intern\") && \
                resource.product like \"spot-*\" && context.hour >= 18 };";
    let draft = shipped.draft(Preset::Glows, text).unwrap();
    let case = |expect: &str, hour: u8, label: &str| -> Case {
        serde_json::from_value(serde_json::json!({
            "name": format!("{expect} at {hour}"), "who": { "role": "member", "labels": [label] },
            "action": "createInstance", "thing": { "product": "spot-h100", "gpus": 1 }, "hour": hour, "expect": expect,
            "by": if expect == "deny" { Some("night-spot") } else { None },
        }))
        .unwrap()
    };
    let good = [case("deny", 18, "intern"), case("allow", 17, "intern"), case("allow", 18, "phd")];
    assert_eq!(shipped.cases_failed(Preset::Glows, Some(&draft.rules), &good), Vec::new());
    let failed = shipped.cases_failed(Preset::Glows, Some(&draft.rules), &[case("deny", 17, "intern")]);
    assert_eq!(failed[0].detail, "should be refused and is allowed by preset/glows/member/own");
    assert_eq!(shipped.cases_failed(Preset::Glows, None, &good).len(), 1);
    let machine = |product: &str| Thing { product: product.to_owned(), gpus: 1, ..Thing::default() };
    let sample = Sample {
        machines: ["spot-h100", "h100"].map(|name| (machine(name), Credits::from_micros(2_000_000))).to_vec(),
        images: vec!["base".to_owned()],
        labels: BTreeSet::new(),
        people: Vec::new(),
    };
    let effects = shipped.effects(Preset::Glows, None, Some(&draft.rules), &sample);
    assert_eq!(effects.errors, Vec::<String>::new());
    let found: Vec<_> =
        effects.changes.iter().map(|c| (c.role, c.label.as_deref(), c.gains, c.loses)).collect();
    // Owners and admins too, if they have the label: the policy does not look at roles.
    let lost = |role| (role, Some("intern"), 0, 6);
    assert_eq!(found, [lost(Role::Owner), lost(Role::Admin), lost(Role::Member)]);
    assert_eq!(
        effects.changes[2].example,
        "createInstance for the role member labelled intern, about an instance of their own: spot-h100 with 1 GPU(s), \
         image base; Wednesday 18:00"
    );
    assert_eq!(effects.changes[2].by, ["team/night-spot"]);
}
