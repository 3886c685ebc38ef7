//! What proofs stand on: that the one set that is proven about answers like the layers that decide, and that what it
//! takes for granted is true.

use std::{cell::Cell, sync::LazyLock};

use cedar_policy::Decision as Cedar;

use super::{team::with, *};
use crate::policy::{
    cases::{Thing, Who, Whose},
    prove::grounds::{Grounds, Situation, Version},
};

static SHIPPED: LazyLock<Policies> = LazyLock::new(|| Policies::shipped().unwrap());

const TEXT: &str = r#"
@id("help") permit (principal in Role::"member", action, resource) when { principal.labels.contains("intern") };
@id("hands-off") @advice("not you")
forbid (principal, action in [Action::"member:write", Action::"policy:write"], resource)
unless { principal.key };
@id("late") @advice("too late") forbid (principal, action in [Action::"view", Action::"write"], resource)
when { context.hour >= 18 };
@id("small") @advice("too large") forbid (principal, action == Action::"CreateInstance", resource is Instance)
when { context.want.gpus > 2 || resource.gpus > 2 };
"#;

fn version(grounds: &Grounds<'_>, text: &str) -> Version {
    Version::of(grounds, text, || false).unwrap().unwrap()
}

fn situations(version: &Version) -> Vec<Situation> {
    version.situations(version.written.iter())
}

#[test]
fn what_is_proven_about_is_what_decides() {
    let shipped = &*SHIPPED;
    let rules = shipped.rules(1, TEXT);
    let (asked, allowed) = (Cell::new(0_u32), Cell::new(0_u32));
    for preset in Preset::ALL {
        let grounds = Grounds::of(shipped, *preset).unwrap();
        let version = version(&grounds, TEXT);
        let situations = situations(&version);
        assert!(situations.len() > 100, "{}", situations.len());
        for (number, situation) in situations.iter().enumerate() {
            let whole = grounds.whole(situation, &version.index).unwrap();
            let facts = grounds.facts(situation).unwrap();
            for (role, hour) in preset.roles().iter().flat_map(|role| [(*role, 9), (*role, 19)]) {
                let who = Who {
                    role,
                    labels: [["intern", "guest"][number % 2].to_owned()].into(),
                    account: "ada".to_owned(),
                    key: (number + usize::from(hour)) % 3 == 0,
                };
                let wall = crate::time::WallTime { hour, weekday: 3, ..Default::default() };
                let principal = with(&who.principal(*preset, wall, None), &rules);
                for owner in [Whose::Own, Whose::Other, Whose::Team] {
                    let thing = Thing { owner, gpus: u32::from(hour) % 4, ..Thing::default() };
                    let resource = thing.resource(&situation.about, *preset);
                    let known = thing.facts(situation.action, None);
                    let action = situation.action;
                    let decision = shipped.decide(&principal, action, &resource, &known);
                    assert!(decision.errors().is_empty(), "{action:?} {:?}", decision.errors());
                    let (who, what) = (
                        shipped.types.principal(&principal).unwrap(),
                        shipped.types.resource(&resource).unwrap(),
                    );
                    let context = entities::context(&principal, true, &known).unwrap();
                    let uid = action_uid(action.name());
                    let request = Request::new(who.uid, uid, what.uid, context, None).unwrap();
                    let entities = Entities::from_entities([who.entity, what.entity], None).unwrap();
                    let ask = |set: &PolicySet| Authorizer::new().is_authorized(&request, set, &entities);
                    let real = ask(&facts);
                    assert_eq!(
                        real.decision(),
                        Cedar::Allow,
                        "{action:?} {:?} {request:?}",
                        real.diagnostics()
                    );
                    let one = ask(&whole);
                    assert_eq!(
                        one.decision() == Cedar::Allow,
                        decision.allowed(),
                        "{preset} {action:?} {principal:?}"
                    );
                    asked.set(asked.get() + 1);
                    allowed.set(allowed.get() + u32::from(decision.allowed()));
                }
            }
        }
    }
    let (asked, allowed) = (asked.get(), allowed.get());
    assert!(asked > 5_000 && allowed > 500 && allowed < asked - 500, "{allowed} of {asked}");
}

#[test]
fn questions_that_can_be_asked_are_within_what_is_taken_for_granted() {
    let shipped = &*SHIPPED;
    let rules = shipped.rules(1, TEXT);
    let grounds: Vec<Grounds<'_>> =
        Preset::ALL.iter().map(|preset| Grounds::of(shipped, *preset).unwrap()).collect();
    let spoken: Vec<Vec<Situation>> =
        grounds.iter().map(|grounds| situations(&version(grounds, TEXT))).collect();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let asked = Cell::new(0_u32);
    runner
        .run(&(principals(), resources(), facts()), |(principal, resource, facts)| {
            let Principal::Member(member) = &principal else { return Ok(()) };
            let mut worlds = grounds.iter().zip(&spoken);
            let world = worlds.find(|(grounds, _)| grounds.preset == member.preset);
            let Some((grounds, spoken)) = world else { return Ok(()) };
            // A launch is of one instance at least, and an account has a role of the preset.
            let real = facts.launch.as_ref().is_some_and(|launch| launch.instances > 0);
            let fits = |resource: &Resource| match resource {
                Resource::Member { role, .. } => member.preset.roles().contains(role),
                _ => true,
            };
            if !real || facts.snapshots_used.is_none() || !fits(&resource) {
                return Ok(());
            }
            let principal = with(&principal, &rules);
            let what = shipped.types.resource(&resource).unwrap();
            for situation in spoken {
                let action = situation.action;
                if situation.about != what.uid.type_name().to_string() {
                    continue;
                }
                let entry = shipped.index(&principal).and_then(|index| index.get(action.name())).unwrap();
                let question = Question {
                    principal: &principal,
                    name: action.name(),
                    kind: action.kind(),
                    operation: action.operation(),
                    resource: &resource,
                    facts: &facts,
                };
                let who = shipped.types.principal(&principal).unwrap();
                let context = entities::context(&principal, in_scope(&question, entry), &facts).unwrap();
                let uid = action_uid(action.name());
                let request = Request::new(who.uid, uid, what.uid.clone(), context, None).unwrap();
                let entities = Entities::from_entities([who.entity, what.entity.clone()], None).unwrap();
                let set = grounds.facts(situation).unwrap();
                let response = Authorizer::new().is_authorized(&request, &set, &entities);
                prop_assert_eq!(response.decision(), Cedar::Allow, "{:?} {:?}", response, request);
                prop_assert_eq!(response.diagnostics().errors().count(), 0);
                asked.set(asked.get() + 1);
            }
            Ok(())
        })
        .unwrap();
    assert!(asked.get() > 500, "{}", asked.get());
}

#[test]
fn a_situation_is_a_route_of_a_team_and_no_group() {
    let shipped = &*SHIPPED;
    let grounds = Grounds::of(shipped, Preset::Glows).unwrap();
    let text = "@id(\"a\") permit (principal, action == Action::\"instance:view\", resource);
        @id(\"b\") permit (principal, action in [Action::\"instance:view\"], resource is Instance);";
    let version = version(&grounds, text);
    assert!(grounds.spoken(&version.written[0]).is_empty());
    let spoken = grounds.spoken(&version.written[1]);
    assert!(spoken.iter().any(|one| one.action == Action::GetInstance && one.about == "Instance"));
    assert!(spoken.iter().all(|one| one.action.kind() == "instance" && one.about == "Instance"));
    assert!(grounds.all() > 100);
}
