//! What can only be seen with the engine at hand: that the texts are valid, that they and the table of
//! actions are the same, that the index changes no answer, and that our entities are what the schema says.

mod proofs;
mod team;

use std::{collections::BTreeSet, path::Path, str::FromStr, sync::Arc};

use cedar_policy::{
    Authorizer, Entities, EntityUid, Policy, PolicySet, Request, Schema, ValidationMode, Validator,
};
use proptest::prelude::*;

use super::*;
use crate::{
    ids::{Id, MemberId, TeamId, UserId},
    model::{quota::Limits, quota::Usage, team::Role},
    money::Credits,
};

fn schema() -> Schema {
    text::schema(&shipped::SCHEMA).unwrap()
}

fn composed(preset: Option<Preset>) -> Vec<Policy> {
    let preset = preset.map(shipped::preset);
    shipped::PLATFORM.iter().chain(&preset).flat_map(|text| text::policies(text).unwrap()).collect()
}

fn action_uid(name: &str) -> EntityUid {
    EntityUid::from_str(&format!("Action::{name:?}")).unwrap()
}

#[test]
fn every_text_is_strictly_valid_and_follows_no_more_than_one_reference() {
    let validator = Validator::new(schema());
    for preset in [None].into_iter().chain(Preset::ALL.iter().copied().map(Some)) {
        let set = PolicySet::from_policies(composed(preset)).unwrap();
        let result = validator.validate_with_level(&set, ValidationMode::Strict, 1);
        assert!(result.validation_passed_without_warnings(), "{preset:?}: {result}");
    }
}

#[test]
fn every_file_is_shipped() {
    fn walk(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "cedar" || e == "cedarschema") {
                found.insert(path.display().to_string());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut files = BTreeSet::new();
    walk(&root, &mut files);
    let presets = Preset::ALL.iter().copied().map(shipped::preset);
    let shipped: BTreeSet<String> = [shipped::SCHEMA, shipped::FACTS]
        .into_iter()
        .chain(shipped::PLATFORM)
        .chain(presets)
        .map(|text| root.join(text.path).display().to_string())
        .collect();
    assert_eq!(files, shipped);
}

#[test]
fn schema_and_action_table_are_the_same() {
    let schema = schema();
    let actions = schema.action_entities().unwrap();
    let leaves: BTreeSet<String> = schema
        .actions()
        .map(|uid| uid.id().unescaped().to_owned())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect();
    let table: BTreeSet<String> = Action::ALL.iter().map(|action| action.name().to_owned()).collect();
    assert_eq!(leaves, table, "leaf actions of the schema and src/model/action.rs");
    for action in Action::ALL {
        let parent = action_uid(&group(action.kind(), action.verb()));
        let leaf = action_uid(action.name());
        assert!(actions.is_ancestor_of(&parent, &leaf), "{leaf} must be in {parent}");
        let groups = actions.ancestors(&leaf).unwrap().filter(|uid| uid.id().unescaped().contains(':'));
        assert_eq!(groups.count(), 1, "{leaf} is in one group");
        let (name, operation) = (action.name(), action.operation());
        assert!(
            name[..1].eq_ignore_ascii_case(&operation[..1]) && name[1..] == operation[1..],
            "{name}, {operation}"
        );
    }
    for kind in kinds(&schema) {
        for verb in [Verb::View, Verb::Use, Verb::Write] {
            assert!(schema.actions().any(|uid| *uid == action_uid(&group(&kind, verb))), "{kind} {verb:?}");
        }
    }
}

#[test]
fn guardrails_forbid_presets_speak_for_their_roles_and_every_forbid_explains_itself() {
    let mut codes = BTreeSet::new();
    for preset in Preset::ALL {
        for policy in composed(Some(*preset)) {
            let id = policy.id().to_string();
            let layer = id.split('/').next().unwrap();
            let forbids = policy.effect() == cedar_policy::Effect::Forbid;
            match layer {
                "plat" => assert!(forbids, "{id}: guardrails only forbid"),
                "site" => assert!(!forbids, "{id}: the site file only permits"),
                "preset" => assert!(id.starts_with(&format!("preset/{preset}/")), "{id}"),
                other => panic!("{id}: unknown layer {other}"),
            }
            if forbids {
                codes.insert(
                    policy.annotation("advice").unwrap_or_else(|| panic!("{id}: @advice")).to_owned(),
                );
                assert!(policy.annotation("lifted_by").is_some(), "{id}: @lifted_by");
            }
        }
    }
    let known: BTreeSet<String> = advice::CODES.iter().map(|code| (*code).to_owned()).collect();
    assert_eq!(codes, known, "advice codes in policies and sentences in advice.rs");
    let (principal, resource, facts) = (Principal::Anonymous, Resource::Site, Facts::default());
    let case = advice::Case {
        principal: &principal,
        resource: &resource,
        facts: &facts,
        asked: "doIt",
        sees_balance: true,
    };
    for code in &codes {
        let numeric = code.starts_with("quota-") || code == "funds" || code == "budget";
        assert!(numeric || case.sentence(code).0 != *code, "{code} has a sentence");
    }
}

#[test]
fn every_text_begins_with_prose() {
    for text in
        shipped::PLATFORM.iter().chain(&Preset::ALL.iter().copied().map(shipped::preset).collect::<Vec<_>>())
    {
        let prose = text.text.lines().take_while(|line| line.starts_with("// ")).count();
        assert!(prose >= 3, "{}: {prose} lines of prose", text.path);
    }
}

#[test]
fn shipped_policies_do_not_look_at_clocks() {
    for text in shipped::PLATFORM.into_iter().chain(Preset::ALL.iter().copied().map(shipped::preset)) {
        for word in ["context.now", "context.hour", "context.minute", "context.weekday"] {
            assert!(
                !text.text.contains(word),
                "{}: {word} is handed in only for a team's own policies",
                text.path
            );
        }
    }
}

#[test]
fn a_condition_on_the_action_is_refused() {
    let source = "permit (principal, action, resource) when { action in [Action::\"view\"] };";
    let policy = Policy::parse(None, source).unwrap();
    let error = text::without_action_scope(&policy).unwrap_err();
    assert!(error.to_string().contains("in the scope"), "{error}");
}

fn team(n: u128) -> TeamId {
    TeamId::from_uuid(uuid::Uuid::from_u128(n))
}

fn member(n: u128) -> MemberId {
    MemberId::from_uuid(uuid::Uuid::from_u128(n))
}

fn instance(of: u128, owner: u128, region: &str, gpus: u32) -> Resource {
    Resource::Instance {
        team: team(of),
        owner: member(owner),
        region: region.to_owned(),
        instance_type: "small".to_owned(),
        accelerator: "none".to_owned(),
        image: "base".to_owned(),
        product: "small".to_owned(),
        product_labels: ["spot".to_owned()].into(),
        gpus,
    }
}

fn resources() -> impl Strategy<Value = Resource> {
    let who = || 1..3_u128;
    let place = prop::sample::select(vec!["tw-01", "tw-02"]);
    prop_oneof![
        Just(Resource::Site),
        (who(), prop::option::of(who()))
            .prop_map(|(t, m)| Resource::Record { team: team(t), owner: m.map(member) }),
        (who(), who(), prop::sample::select(Role::ALL.to_vec())).prop_map(|(t, m, role)| Resource::Member {
            team: team(t),
            id: member(m),
            role
        }),
        (who(), who(), place.clone(), 0..4_u32).prop_map(|(t, m, region, gpus)| instance(t, m, region, gpus)),
        place.prop_map(|region| Resource::Offer {
            region: region.to_owned(),
            instance_type: "small".to_owned(),
            accelerator: "none".to_owned(),
            product_labels: Default::default(),
        }),
        Just(Resource::Image { name: "base".to_owned() }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let names = || prop::option::of(prop::collection::btree_set("tw-0[12]|small|none|base", 0..3));
    let count = || prop::option::of(0..5_u32);
    (names(), names(), names(), names(), count(), count(), count()).prop_map(
        |(regions, instance_types, accelerators, images, instances, gpus, gpus_per_instance)| Limits {
            regions,
            instance_types,
            accelerators,
            images,
            instances,
            gpus,
            gpus_per_instance,
            ..Limits::default()
        },
    )
}

fn principals() -> impl Strategy<Value = Principal> {
    let seats: Vec<(Preset, Role)> =
        Preset::ALL.iter().flat_map(|preset| preset.roles().iter().map(|role| (*preset, *role))).collect();
    let scope = prop::sample::select(vec!["view", "instance:write", "createInstance", "listBills"]);
    let scopes = prop::option::weighted(0.3, prop::collection::vec(scope, 0..3));
    let flag = prop::bool::weighted;
    let members = (prop::sample::select(seats), flag(0.9), flag(0.1), limits(), scopes).prop_map(
        |((preset, role), active, reset_only, limits, scopes)| {
            Principal::Member(Arc::new(MemberPrincipal {
                id: member(1),
                team: team(1),
                role,
                preset,
                account: "ada".to_owned(),
                labels: ["intern".to_owned()].into(),
                active,
                reset_only,
                limits,
                key_scopes: scopes.map(|scopes| scopes.into_iter().map(str::to_owned).collect()),
                version: 7,
                wall: Default::default(),
                rules: None,
            }))
        },
    );
    let users = (flag(0.5), flag(0.2)).prop_map(|(operator, reset_only)| Principal::User {
        id: UserId::from_uuid(uuid::Uuid::nil()),
        operator,
        reset_only,
    });
    prop_oneof![1 => Just(Principal::Anonymous), 2 => users, 9 => members]
}

fn facts() -> impl Strategy<Value = Facts> {
    let launch =
        (0..3_u32, 0..5_u32, 0..4_u32, -3..6_i64, 0..6_i64).prop_map(|(n, gpus, used, funds, hold)| Launch {
            instances: n,
            gpus,
            used: Usage { instances: used, gpus: used, ..Usage::default() },
            per_hour: Credits::from_micros(hold),
            team_used: Usage { instances: used, gpus: used, ..Usage::default() },
            team_ceiling: Limits {
                instances: Some(n),
                gpus: Some(gpus),
                spend_per_hour: Some(Credits::from_micros(funds)),
                ..Limits::default()
            },
            hold: Credits::from_micros(hold),
            funds: Credits::from_micros(funds),
            budget: None,
            ..Launch::default()
        });
    let confirmation =
        (0..6_i64, prop::option::of(0..6_i64), prop::bool::ANY).prop_map(|(amount, above, again)| {
            let (amount, alone_up_to) = (Credits::from_micros(amount), above.map(Credits::from_micros));
            Confirmation { amount, alone_up_to, again }
        });
    let role = prop::option::of(prop::sample::select(Role::ALL.to_vec()));
    let snapshots_used = prop::option::weighted(0.9, 0..4_u32);
    (prop::option::weighted(0.9, launch), role, prop::option::weighted(0.9, confirmation), snapshots_used)
        .prop_map(|(launch, target_role, confirmation, snapshots_used)| Facts {
            launch,
            target_role,
            confirmation,
            snapshots_used,
            price: None,
            owner_name: None,
        })
}

/// The whole policy set with its scopes, and the action hierarchy: what the index is compared with.
struct Unindexed {
    schema: Schema,
    actions: Entities,
    sets: std::collections::HashMap<Option<Preset>, PolicySet>,
}

impl Unindexed {
    fn new() -> Self {
        let schema = schema();
        let presets = [None].into_iter().chain(Preset::ALL.iter().copied().map(Some));
        let sets = presets.map(|p| (p, PolicySet::from_policies(composed(p)).unwrap())).collect();
        Self { actions: schema.action_entities().unwrap(), schema, sets }
    }

    /// The ids of the policies that decide and of those that fail, and whether the engine allows.
    fn ask(
        &self,
        policies: &Policies,
        question: &Question<'_>,
        entry: &Entry,
    ) -> (bool, BTreeSet<String>, usize) {
        let who = policies.types.principal(question.principal).unwrap();
        let what = policies.types.resource(question.resource).unwrap();
        let context =
            entities::context(question.principal, in_scope(question, entry), question.facts).unwrap();
        let request = Request::new(who.uid, action_uid(question.name), what.uid, context, None).unwrap();
        let entities = self.actions.clone().add_entities([who.entity, what.entity], None).unwrap();
        let preset = match question.principal {
            Principal::Member(member) => Some(member.preset),
            Principal::Anonymous | Principal::User { .. } => None,
        };
        let response = Authorizer::new().is_authorized(&request, &self.sets[&preset], &entities);
        let ids = response.diagnostics().reason().map(ToString::to_string).collect();
        let errors = response.diagnostics().errors().count();
        (response.decision() == cedar_policy::Decision::Allow, ids, errors)
    }
}

#[test]
fn the_index_changes_no_answer() {
    let policies = Policies::shipped().unwrap();
    let unindexed = Unindexed::new();
    let names: Vec<String> = unindexed
        .schema
        .actions()
        .map(|uid| uid.id().unescaped().to_owned())
        .filter(|name| name.contains(':') || name.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let questions = (principals(), prop::sample::select(names), resources(), facts());
    runner
        .run(&questions, |(principal, name, resource, facts)| {
            let leaf = Action::ALL.iter().find(|action| action.name() == name);
            let operation = leaf.map_or(name.as_str(), |action| action.operation());
            let kind = leaf.map_or_else(|| name.split(':').next().unwrap(), |action| action.kind());
            let question = Question {
                principal: &principal,
                name: &name,
                kind,
                operation,
                resource: &resource,
                facts: &facts,
            };
            let decision = policies.answer(&question);
            let Some(entry) = policies.index(&principal).and_then(|index| index.get(&name)) else {
                prop_assert!(!decision.allowed());
                return Ok(());
            };
            let about = policies.types.resource(&resource).unwrap().uid;
            if !entry.resources.contains(about.type_name()) {
                prop_assert!(!decision.allowed() && decision.forced() && decision.errors().len() == 1);
                return Ok(());
            }
            let (allow, ids, errors) = unindexed.ask(&policies, &question, entry);
            prop_assert_eq!(decision.allowed(), allow && errors == 0);
            prop_assert_eq!(decision.errors().len(), errors);
            let determining: BTreeSet<String> = decision.determining().iter().map(|d| d.id.clone()).collect();
            prop_assert_eq!(determining, ids);
            prop_assert_eq!(decision.denials().is_empty(), decision.allowed());
            prop_assert_eq!(policies.allows(&question), decision.allowed());
            Ok(())
        })
        .unwrap();
}

#[test]
fn our_entities_and_facts_are_what_the_schema_says() {
    let policies = Policies::shipped().unwrap();
    let schema = schema();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let questions = (principals(), prop::sample::select(Action::ALL), resources(), facts());
    runner
        .run(&questions, |(principal, action, resource, facts)| {
            // What clocks show is handed in where a team has policies of its own.
            let principal = team::with(&principal, &policies.rules(1, ""));
            let who = policies.types.principal(&principal).unwrap();
            let what = policies.types.resource(&resource).unwrap();
            let name = action_uid(action.name());
            let asks = schema.principals_for_action(&name).unwrap().any(|t| t == who.uid.type_name());
            let about = schema.resources_for_action(&name).unwrap().any(|t| t == what.uid.type_name());
            let pair = [who.entity, what.entity];
            prop_assert!(Entities::from_entities(pair, Some(&schema)).is_ok());
            if asks && about {
                let is_launch = matches!(action, Action::CreateInstance | Action::StartInstance);
                let is_change = matches!(action, Action::CreateMember | Action::UpdateMember);
                let is_confirmation = action == Action::ConfirmTopUp;
                let is_snapshot = action == Action::CreateSnapshot;
                if is_confirmation && facts.confirmation.is_none() {
                    return Ok(());
                }
                let facts = Facts {
                    launch: facts.launch.filter(|_| is_launch),
                    target_role: facts.target_role.filter(|_| is_change),
                    confirmation: facts.confirmation.filter(|_| is_confirmation),
                    snapshots_used: facts.snapshots_used.filter(|_| is_snapshot),
                    price: None,
                    owner_name: None,
                };
                let known = matches!(principal, Principal::Member(_));
                if is_launch && (facts.launch.is_none() || !known)
                    || is_snapshot && (facts.snapshots_used.is_none() || !known)
                {
                    return Ok(());
                }
                let context = entities::context(&principal, true, &facts).unwrap();
                let request = Request::new(who.uid, name, what.uid, context, Some(&schema));
                prop_assert!(request.is_ok(), "{:?}", request.err().map(|e| e.to_string()));
            }
            Ok(())
        })
        .unwrap();
}
