//! P2: what a decision costs in a team with many policies of its own, beside one with few.
//!
//! The policies are spread over all operations of a team's nouns, as a team's are; a decision asks those about its
//! operation. `P2 all` is the worst case: every one of them is about the operation that is asked for. A team may have
//! 200; a thousand is asked to see how it grows.

use std::{fmt::Write as _, hint::black_box, sync::Arc, time::Instant};

use muster::{
    model::action::Action,
    policy::{Facts, MemberPrincipal, Policies, Principal},
};

use crate::{
    decision::{fresh, instance, seat},
    support::report::{Bar, Wanted},
};

const ROUNDS: usize = 9;
const DECISIONS: u32 = 5_000;
const MANY: usize = 1_000;
const FEW: usize = 10;
/// Labels that policies look for.
const LABELS: usize = 5;

pub(crate) fn measure() -> Vec<Bar> {
    let policies = Policies::shipped().unwrap();
    let spread = bar("P2", "decide in a team with 1000 policies ÷ with 10", Wanted::AtMost(3.0, 1.5));
    let all = bar("P2 all", "the same, all of them about the operation ÷ 10 such", Wanted::Nothing);
    vec![compare(spread, &policies, true), compare(all, &policies, false)]
}

fn bar(id: &'static str, what: &'static str, wanted: Wanted) -> Bar {
    let settings = format!("preset glows, role member, {ROUNDS} rounds of {DECISIONS} decisions, one thread");
    Bar { id, what, wanted, unit: "µs", ours: Vec::new(), yardstick: Vec::new(), settings }
}

fn compare(mut bar: Bar, policies: &Policies, spread: bool) -> Bar {
    let (team, me) = (fresh(), fresh());
    let resource = instance(team, me);
    let member = |count| {
        let rules = policies.rules(1, &text(policies, count, spread));
        Principal::Member(Arc::new(MemberPrincipal { rules: Some(rules), ..seat(team, me) }))
    };
    let (many, few) = (member(MANY), member(FEW));
    let time = |principal: &Principal| {
        let began = Instant::now();
        for _ in 0..DECISIONS {
            let decision =
                policies.decide(principal, Action::GetInstance, black_box(&resource), &Facts::default());
            assert!(decision.allowed());
        }
        began.elapsed().as_secs_f64() * 1e6 / f64::from(DECISIONS)
    };
    // The first decisions fill what is kept between decisions.
    time(&many);
    time(&few);
    for _ in 0..ROUNDS {
        bar.ours.push(time(&many));
        bar.yardstick.push(time(&few));
    }
    bar
}

/// Forbids that look at a label, as teams write them: one for each operation in turn, or all for one.
fn text(policies: &Policies, count: usize, spread: bool) -> String {
    let is_teams = |action: &&Action| policies.is_scope(action.operation());
    let others = Action::ALL.iter().filter(|action| **action != Action::GetInstance).filter(is_teams);
    let actions: Vec<Action> = std::iter::once(Action::GetInstance).chain(others.copied()).collect();
    let mut text = String::new();
    for number in 0..count {
        let action = if spread { actions[number % actions.len()] } else { Action::GetInstance };
        writeln!(
            text,
            "@id(\"p{number}\") @advice(\"not today\") forbid (principal, action == Action::\"{}\", resource) when {{ \
             principal.labels.contains(\"l{}\") }};",
            action.name(),
            number % LABELS
        )
        .unwrap();
    }
    text
}

/// So many policies, spread over all operations.
pub(crate) fn spread(policies: &Policies, count: usize) -> String {
    text(policies, count, true)
}
