//! P1: a decision as the services ask for it, beside the bare engine on the one policy that allows it.
//!
//! Ours begins with our own words (member, resource, facts) and ends with a decision and its reasons. The yardstick
//! has everything made beforehand: a policy set of one permit, both entities, the request.

use std::{hint::black_box, str::FromStr, sync::Arc, time::Instant};

use cedar_policy::{Authorizer, Context, Decision, Entities, PolicySet, Request};
use muster::{
    chance::SystemChance,
    ids::{Id, MemberId, TeamId},
    model::{
        action::Action,
        quota::{Limits, NO_ACCELERATOR, Usage},
        team::{Preset, Role},
    },
    policy::{Facts, Launch, MemberPrincipal, Policies, Principal, Resource},
    time::{Clock, SystemClock},
};
use serde_json::json;

use crate::support::{
    report::{Bar, Wanted},
    site::credits,
};

const ROUNDS: usize = 9;
const DECISIONS: u32 = 20_000;

const PERMIT: &str = r#"
    permit (principal in Role::"member", action, resource is Instance)
    when { principal.team == resource.team && principal == resource.owner };"#;

pub(crate) fn measure() -> Vec<Bar> {
    let (policies, ids) = (Policies::shipped().unwrap(), (fresh(), fresh()));
    let launch = Launch {
        instances: 1,
        gpus: 0,
        used: Usage::default(),
        hold: credits(1),
        funds: credits(10),
        per_hour: credits(1),
        budget: None,
        ..Launch::default()
    };
    let facts = Facts { launch: Some(launch), ..Facts::default() };
    let look = bar("P1", "decide a look at an instance ÷ bare is_authorized", WANTED);
    let start = bar("P1 launch", "decide a launch, with quota and funds ÷ the same", Wanted::Nothing);
    vec![
        compare(look, &policies, ids, Action::GetInstance, &Facts::default()),
        compare(start, &policies, ids, Action::CreateInstance, &facts),
    ]
}

const WANTED: Wanted = Wanted::AtMost(2.5, 1.5);

fn bar(id: &'static str, what: &'static str, wanted: Wanted) -> Bar {
    let settings = format!("preset glows, role member, {ROUNDS} rounds of {DECISIONS} decisions, one thread");
    Bar { id, what, wanted, unit: "µs", ours: Vec::new(), yardstick: Vec::new(), settings }
}

fn compare(
    mut bar: Bar,
    policies: &Policies,
    (team, me): (TeamId, MemberId),
    action: Action,
    facts: &Facts,
) -> Bar {
    let (principal, resource) = (member(team, me), instance(team, me));
    let bare = Bare::new(team, me, action.name());
    let ours = || assert!(policies.decide(&principal, action, black_box(&resource), facts).allowed());
    let yardstick = || assert!(bare.allows());
    // The first decisions fill what is kept between decisions.
    time(&ours);
    time(&yardstick);
    for _ in 0..ROUNDS {
        bar.ours.push(time(&ours));
        bar.yardstick.push(time(&yardstick));
    }
    bar
}

/// Microseconds of one.
fn time(decide: &dyn Fn()) -> f64 {
    let began = Instant::now();
    (0..DECISIONS).for_each(|_| decide());
    began.elapsed().as_secs_f64() * 1e6 / f64::from(DECISIONS)
}

/// The engine with everything made beforehand.
struct Bare {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
    request: Request,
}

impl Bare {
    fn new(team: TeamId, me: MemberId, action: &str) -> Self {
        let uid = |kind: &str, id: &str| json!({ "type": kind, "id": id });
        let refer = |kind: &str, id: &str| json!({ "__entity": uid(kind, id) });
        let (team, me) = (team.to_string(), me.to_string());
        let entities = json!([
            {
                "uid": uid("Member", &me),
                "attrs": { "team": refer("Team", &team) },
                "parents": [uid("Role", "member")],
            },
            {
                "uid": uid("Instance", "it"),
                "attrs": { "team": refer("Team", &team), "owner": refer("Member", &me) },
                "parents": [],
            },
        ]);
        let name = |kind: &str, id: &str| format!("{kind}::\"{id}\"").parse().unwrap();
        let (who, what, it) = (name("Member", &me), name("Action", action), name("Instance", "it"));
        Self {
            authorizer: Authorizer::new(),
            policies: PolicySet::from_str(PERMIT).unwrap(),
            entities: Entities::from_json_value(entities, None).unwrap(),
            request: Request::new(who, what, it, Context::empty(), None).unwrap(),
        }
    }

    fn allows(&self) -> bool {
        let answer = self.authorizer.is_authorized(black_box(&self.request), &self.policies, &self.entities);
        answer.decision() == Decision::Allow
    }
}

/// A fresh id.
pub(crate) fn fresh<T: Id>() -> T {
    T::fresh(SystemClock.now(), &SystemChance)
}

fn member(team: TeamId, id: MemberId) -> Principal {
    Principal::Member(Arc::new(seat(team, id)))
}

/// A member with a session and no limits.
pub(crate) fn seat(team: TeamId, id: MemberId) -> MemberPrincipal {
    MemberPrincipal {
        id,
        team,
        role: Role::Member,
        preset: Preset::Glows,
        account: "ada".to_owned(),
        labels: Default::default(),
        active: true,
        reset_only: false,
        limits: Limits::default(),
        key_scopes: None,
        version: 1,
        wall: Default::default(),
        rules: None,
    }
}

/// The member's own small instance.
pub(crate) fn instance(team: TeamId, owner: MemberId) -> Resource {
    Resource::Instance {
        team,
        owner,
        region: "here".to_owned(),
        instance_type: "cpu".to_owned(),
        accelerator: NO_ACCELERATOR.to_owned(),
        image: "base".to_owned(),
        product: "small".to_owned(),
        product_labels: Default::default(),
        gpus: 0,
    }
}
